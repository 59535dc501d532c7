//! Speaks to systemd, when it listens: READY, STATUS, WATCHDOG, STOPPING. Elsewhere every call
//! does nothing. The watchdog is fed by the work loop only, so that a loop that hangs is noticed.
//! A loop that waits for the catalog to find room does not hang, and goes on feeding it.

use std::time::Duration;

use sd_notify::NotifyState;

/// How much longer systemd waits for a start or a stop while the daemon waits for something.
const WAITING: Duration = Duration::from_secs(30);

/// The line to systemd.
#[derive(Debug)]
pub(super) struct Systemd {
    watchdog: Option<Duration>,
    last_status: String,
}

impl Systemd {
    pub(super) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), last_status: String::new() }
    }

    /// How often the loop must come by: twice as often as systemd expects it.
    pub(super) fn longest_sleep(&self) -> Duration {
        self.watchdog.map_or(Duration::from_mins(1), |interval| interval / 2)
    }

    pub(super) fn ready(&mut self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(status)]);
        status.clone_into(&mut self.last_status);
    }

    /// The loop is alive; the status is sent when it changed.
    pub(super) fn alive(&mut self, status: String) {
        if self.watchdog.is_some() {
            self.send(&[NotifyState::Watchdog]);
        }
        if status != self.last_status {
            self.send(&[NotifyState::Status(&status)]);
            self.last_status = status;
        }
    }

    /// The loop stands still, and knows why; also before it is ready.
    pub(super) fn waiting(&mut self, status: String) {
        self.send(&[NotifyState::ExtendTimeoutUsec(
            WAITING.as_micros().try_into().unwrap_or(u32::MAX),
        )]);
        self.alive(status);
    }

    pub(super) fn stopping(&mut self, status: &str, grace: Duration) {
        let grace = u32::try_from(grace.as_micros()).unwrap_or(u32::MAX);
        self.send(&[
            NotifyState::Stopping,
            NotifyState::Status(status),
            NotifyState::ExtendTimeoutUsec(grace),
        ]);
    }

    #[expect(clippy::unused_self, reason = "whoever speaks to systemd holds the line to it")]
    fn send(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(error = %error, "systemd was not told");
        }
    }
}
