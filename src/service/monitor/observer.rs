//! Looks at the catalog after each beat of the work loop, if something has changed or a minute has
//! passed, and says what follows: metrics, missed objectives, a ping, an alarm for the webhook.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Deliveries, Objectives, Pinger, Rhythm, Textfile};
use crate::catalog::{Catalog, CatalogError, FILE_NAME};
use crate::clock::Clock;
use crate::health::{Counters, Facts, Local, Picture, Signs, exposition};
use crate::model::{Timestamp, story};
use crate::settings::Settings;
use crate::vault::{OsDisk, Vault};

/// Who looks.
#[derive(Debug)]
pub(super) struct Observer {
    catalog: Catalog,
    clock: Clock,
    rhythm: Rhythm,
    state_dir: PathBuf,
    started_at: Timestamp,
    counters: Counters,
    /// Events up to here are counted.
    seq: i64,
    objectives: Objectives,
    looked_at: Option<Timestamp>,
    /// The catalog could not be read, and somebody was told.
    is_blind: bool,
    pub(super) textfile: Option<Textfile>,
    pub(super) ping: Option<Pinger>,
    pub(super) alarm: Arc<Notify>,
    pub(super) deliveries: Arc<Deliveries>,
}

impl Observer {
    /// Counts from what the catalog holds at this moment on.
    pub(super) async fn new(
        settings: &Settings,
        catalog: &Catalog,
        clock: &Clock,
        rhythm: Rhythm,
    ) -> Result<Self, CatalogError> {
        Ok(Self {
            catalog: catalog.clone(),
            clock: clock.clone(),
            rhythm,
            state_dir: settings.state_dir.clone(),
            started_at: clock.now(),
            counters: Counters::default(),
            seq: catalog.last_seq().await?,
            objectives: Objectives::new(catalog).await?,
            looked_at: None,
            is_blind: false,
            textfile: None,
            ping: None,
            alarm: Arc::default(),
            deliveries: Arc::default(),
        })
    }

    /// Looks after each beat, and once more at the end.
    pub(super) async fn run(mut self, mut beats: watch::Receiver<Signs>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // Only waiting stands in here.
            tokio::select! {
                () = stop.cancelled() => break,
                changed = beats.changed() => if changed.is_err() { break },
            }
            let signs = beats.borrow_and_update().clone();
            self.look(&signs, false).await;
        }
        let signs = beats.borrow().clone();
        self.look(&signs, true).await;
        let Self { objectives, textfile, ping, .. } = &mut self;
        tokio::join!(
            objectives.finish(),
            async {
                if let Some(textfile) = textfile {
                    textfile.finish().await;
                }
            },
            async {
                if let Some(ping) = ping {
                    ping.finish().await;
                }
            },
        );
    }

    async fn look(&mut self, signs: &Signs, is_last: bool) {
        match self.try_look(signs, is_last).await {
            Ok(()) => self.is_blind = false,
            Err(error) if self.is_blind => tracing::debug!(error = %story(&error), "still blind"),
            Err(error) => {
                tracing::warn!(error = %story(&error), "metrics and notifications stand still");
                self.is_blind = true;
            }
        }
    }

    async fn try_look(&mut self, signs: &Signs, is_last: bool) -> Result<(), CatalogError> {
        let now = self.clock.now();
        let is_time =
            self.looked_at.is_none_or(|last| now < last || now.since(last) >= self.rhythm.report);
        let is_ping_due = self.ping.as_mut().is_some_and(|ping| ping.is_due(now));
        let has_changed = self.catalog.last_seq().await? != self.seq;
        if !(is_time || is_ping_due || has_changed || is_last) {
            return Ok(());
        }
        self.looked_at = Some(now);
        self.count().await?;
        let facts = self.catalog.facts().await?;
        // Nothing below waits for the catalog to be written, or for the folder of the metrics.
        self.objectives.tell(&facts, now, &self.alarm);
        self.alarm.notify_one();
        if let Some(ping) = &mut self.ping
            && is_ping_due
            && facts.judge(now).missed.is_empty()
        {
            ping.send(now);
        }
        self.write(&facts, signs, now).await;
        Ok(())
    }

    /// Takes in what has happened since.
    async fn count(&mut self) -> Result<(), CatalogError> {
        loop {
            let events = self.catalog.events_after(self.seq).await?;
            let Some(last) = events.last() else { return Ok(()) };
            self.seq = last.seq;
            for event in &events {
                self.counters.count(event);
            }
        }
    }

    async fn write(&mut self, facts: &Facts, signs: &Signs, now: Timestamp) {
        let Some(textfile) = &mut self.textfile else { return };
        let state_dir = self.state_dir.clone();
        let around = tokio::task::spawn_blocking(move || around(&state_dir)).await;
        let (catalog_bytes, log_bytes, quarantined) = around.unwrap_or_default();
        let local = Local {
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started_at,
            catalog_bytes,
            log_bytes,
            waits_for_catalog: self.catalog.waiting().is_some(),
            quarantined,
            notified: self.deliveries.table(),
            pending: self.deliveries.pending.load(Ordering::Relaxed),
        };
        let counters = &self.counters;
        let picture = Picture { now, facts, signs, counters, local: &local };
        textfile.offer(exposition(&picture), now);
    }
}

/// Sizes of the database and of its log of changes, and what lies in quarantine.
fn around(state_dir: &Path) -> (u64, u64, Option<u64>) {
    let bytes = |suffix: &str| {
        let path = state_dir.join(format!("{FILE_NAME}{suffix}"));
        path.metadata().map_or(0, |found| found.len())
    };
    let quarantined = Vault::at(state_dir, Arc::new(OsDisk)).quarantined().ok();
    (bytes(""), bytes("-wal"), quarantined)
}
