//! Who is told how the work loop does: systemd, and whatever watches from outside. Both hear of it
//! from the loop alone, so that a loop that hangs is noticed.

use std::time::Duration;

use super::monitor::Monitor;
use super::systemd::Systemd;
use crate::catalog::Catalog;
use crate::engine::Engine;

/// Those who are told.
#[derive(Debug)]
pub(super) struct Watchers {
    pub(super) systemd: Systemd,
    monitor: Option<Monitor>,
}

impl Watchers {
    pub(super) fn new() -> Self {
        Self { systemd: Systemd::new(), monitor: None }
    }

    /// From now on the outside hears of it as well.
    pub(super) fn join(&mut self, monitor: Monitor) {
        self.monitor = Some(monitor);
    }

    pub(super) fn longest_sleep(&self) -> Duration {
        self.systemd.longest_sleep()
    }

    /// The loop has come round.
    pub(super) fn alive(&mut self, engine: &Engine) {
        self.systemd.alive(engine.summary());
        if let Some(monitor) = &mut self.monitor {
            monitor.beat(|| engine.signs());
        }
    }

    /// The loop stands still, and knows why; also before it is ready.
    pub(super) fn waiting(&mut self, status: String) {
        self.systemd.waiting(status);
        if let Some(monitor) = &mut self.monitor {
            monitor.waits();
        }
    }

    /// The loop has ended.
    pub(super) async fn leave(&mut self, engine: &Engine, catalog: &Catalog) {
        if let Some(monitor) = self.monitor.take() {
            monitor.stop(engine.signs(), catalog).await;
        }
    }
}
