//! Beside the work loop: writes the metrics, records missed objectives, pings, and tells the
//! webhook. The work loop only hands over its signs of life; it never waits for anything here, and
//! nothing here changes what it does. While the loop is silent nothing is written and nobody is
//! pinged, so that a dead loop shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod objectives;
mod observer;
mod ping;
mod textfile;
mod webhook;

use super::{ATTENTION, Options, ServiceError};
use crate::catalog::Catalog;
use crate::clock::{Clock, pause};
use crate::health::Signs;
use crate::model::Timestamp;
use crate::roma::plain_client;
use crate::settings::Settings;
use objectives::Objectives;
use observer::Observer;
use ping::Pinger;
use textfile::Textfile;
use webhook::Webhook;

/// A call to somebody else's server takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// When the daemon stops, what is left to be told may take so long.
const FAREWELL: Duration = Duration::from_secs(5);
/// Then nothing is waited for any more, whatever hangs.
const LONGEST_FAREWELL: Duration = Duration::from_secs(15);

/// How often the outside hears of the daemon.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// How soon what has changed shows.
    pub look: Duration,
    /// How often the metrics are written although nothing has changed.
    pub report: Duration,
    /// How often the dead-man's switch is pinged.
    pub ping: Duration,
    /// How soon a ping that failed is tried again.
    pub ping_again: Duration,
    /// How soon a message that was not taken is sent again; each further time it doubles.
    pub tell_again: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(5),
            report: Duration::from_mins(1),
            ping: Duration::from_mins(1),
            ping_again: Duration::from_secs(10),
            tell_again: Duration::from_secs(1),
        }
    }
}

/// What came of the attempts to notify.
#[derive(Debug, Default)]
struct Deliveries {
    pings: [AtomicU64; 2],
    messages: [AtomicU64; 2],
    pending: AtomicU64,
}

impl Deliveries {
    fn count(kind: &[AtomicU64; 2], has_worked: bool) {
        kind[usize::from(!has_worked)].fetch_add(1, Ordering::Relaxed);
    }

    fn table(&self) -> Vec<(&'static str, &'static str, u64)> {
        let kinds = [("ping", &self.pings), ("webhook", &self.messages)];
        let results = ["delivered", "failed"];
        let rows = kinds.into_iter().flat_map(|(kind, counts)| {
            results
                .into_iter()
                .zip(counts)
                .map(move |(result, count)| (kind, result, count.load(Ordering::Relaxed)))
        });
        rows.collect()
    }
}

/// The tasks beside the loop.
#[derive(Debug)]
pub(super) struct Monitor {
    signs: watch::Sender<Signs>,
    clock: Clock,
    look: Duration,
    last_beat: Option<Timestamp>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Monitor {
    /// Begins to watch, from what the catalog holds at this moment on.
    pub(super) async fn start(
        settings: &Settings,
        catalog: &Catalog,
        options: &Options,
    ) -> Result<Self, ServiceError> {
        let deliveries = Arc::new(Deliveries::default());
        let alarm = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let Options { clock, rhythm, disk, .. } = options;
        let client = || plain_client(&settings.tls, PATIENCE);
        if let Some(url) = &settings.notify.webhook {
            let parts = (client()?, url.clone(), *rhythm, deliveries.clone());
            let webhook = Webhook::new(catalog, clock, parts).await?;
            tasks.spawn(webhook.run(alarm.clone(), stop.clone()));
        }
        let ping = match &settings.notify.ping {
            Some(url) => Some(Pinger::new(client()?, url.clone(), *rhythm, deliveries.clone())),
            None => None,
        };
        let mut observer = Observer::new(settings, catalog, clock, *rhythm).await?;
        observer.textfile =
            settings.metrics.textfile.clone().map(|path| Textfile::new(path, disk.clone()));
        (observer.ping, observer.alarm, observer.deliveries) = (ping, alarm, deliveries);
        let (signs, beats) = watch::channel(Signs::default());
        tasks.spawn(observer.run(beats, stop.clone()));
        let (clock, look) = (clock.clone(), rhythm.look);
        Ok(Self { signs, clock, look, last_beat: None, stop, tasks })
    }

    /// The loop has come round.
    pub(super) fn beat(&mut self, signs: impl FnOnce() -> Signs) {
        if self.is_due() {
            self.signs.send_replace(signs());
        }
    }

    /// The loop stands still, and knows why.
    pub(super) fn waits(&mut self) {
        if self.is_due() {
            // What it told last holds; what it waits for is asked of the catalog.
            self.signs.send_modify(|_| {});
        }
    }

    fn is_due(&mut self) -> bool {
        if let Some(Err(error)) = self.tasks.try_join_next() {
            tracing::error!(%error, "what watches the daemon broke; this is a bug");
        }
        let now = self.clock.now();
        let is_due = self.last_beat.is_none_or(|last| now < last || now.since(last) >= self.look);
        if is_due {
            self.last_beat = Some(now);
        }
        is_due
    }

    /// Tells the last there is to tell, and ends. What cannot be told now is told after the next
    /// start.
    pub(super) async fn stop(mut self, signs: Signs, catalog: &Catalog) {
        self.signs.send_replace(signs);
        self.stop.cancel();
        let mut left = LONGEST_FAREWELL;
        while !self.tasks.is_empty() {
            tokio::select! {
                joined = self.tasks.join_next() => match joined {
                    Some(Err(error)) if !error.is_cancelled() => {
                        tracing::error!(%error, "what watches the daemon broke; this is a bug");
                    }
                    _ => {}
                },
                () = pause(ATTENTION) => {
                    left = left.saturating_sub(ATTENTION);
                    // What they would record, a mark or a notice, is recorded after the next start.
                    if left.is_zero() || catalog.waiting().is_some() {
                        self.tasks.abort_all();
                    }
                }
            }
        }
    }
}
