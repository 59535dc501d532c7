//! Records which objectives are missed, and met again, as events of the catalog. A task of its own
//! does that: while the catalog has no room or no lock for it, everything else goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

use super::FAREWELL;
use crate::catalog::{Catalog, CatalogError};
use crate::clock::pause;
use crate::health::Facts;
use crate::lifecycle::Notice;
use crate::model::{Name, Timestamp, story};

/// Instance and export of each objective that is missed.
type Missed = BTreeSet<(Name, Name)>;

/// What was last said of the objectives.
#[derive(Debug)]
pub(super) struct Objectives {
    catalog: Catalog,
    /// Recorded as missed.
    missed: Missed,
    /// What is being recorded: one at a time, so that the events are in order. It ends with this,
    /// because it would keep the catalog open.
    flight: JoinSet<Result<Missed, CatalogError>>,
    /// The last one could not be recorded, and somebody was told.
    is_failing: bool,
}

impl Objectives {
    /// Goes on from what the catalog says.
    pub(super) async fn new(catalog: &Catalog) -> Result<Self, CatalogError> {
        let missed = catalog.missed_objectives().await?.into_iter().collect();
        Ok(Self { catalog: catalog.clone(), missed, flight: JoinSet::new(), is_failing: false })
    }

    /// Has each objective recorded that is missed now, or met again, and raises the alarm once it
    /// is. What cannot be recorded yet is found again by a later look.
    pub(super) fn tell(&mut self, facts: &Facts, now: Timestamp, alarm: &Arc<Notify>) {
        while let Some(joined) = self.flight.try_join_next() {
            self.take(joined);
        }
        // What waits for room is not made to wait for this as well.
        if !self.flight.is_empty() || self.catalog.waiting().is_some() {
            return;
        }
        let (notices, missed) = self.turns(facts, now);
        if notices.is_empty() {
            self.missed = missed;
            return;
        }
        let (catalog, alarm) = (self.catalog.clone(), alarm.clone());
        self.flight.spawn(async move {
            catalog.notify(notices, now).await?;
            alarm.notify_one();
            Ok(missed)
        });
    }

    /// Waits a moment for the one under way. The next start finds again what is not recorded.
    pub(super) async fn finish(&mut self) {
        tokio::select! {
            Some(joined) = self.flight.join_next() => self.take(joined),
            () = pause(FAREWELL), if !self.flight.is_empty() => {}
            else => {}
        }
    }

    /// What has turned since, and what is missed then.
    fn turns(&self, facts: &Facts, now: Timestamp) -> (Vec<Notice>, Missed) {
        let mut notices = Vec::new();
        let mut missed = self.missed.clone();
        for export in &facts.exports {
            let key = (export.instance.clone(), export.name.clone());
            let (instance, name) = key.clone();
            match export.is_met(now) {
                Some(false) => {
                    if missed.insert(key) {
                        let message = export.why_missed(now);
                        notices.push(Notice::ObjectiveMissed { instance, export: name, message });
                    }
                }
                Some(true) => {
                    if missed.remove(&key) {
                        notices.push(Notice::ObjectiveMet { instance, export: name });
                    }
                }
                // Whoever takes the objective away and sets it again starts afresh.
                None => drop(missed.remove(&key)),
            }
        }
        (notices, missed)
    }

    fn take(&mut self, joined: Result<Result<Missed, CatalogError>, JoinError>) {
        match joined {
            Ok(Ok(missed)) => {
                self.missed = missed;
                self.is_failing = false;
            }
            Ok(Err(error)) if self.is_failing => {
                tracing::debug!(error = %story(&error), "objectives still cannot be recorded");
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = %story(&error),
                    "an objective that is missed or met again cannot be recorded"
                );
                self.is_failing = true;
            }
            Err(error) => {
                tracing::error!(%error, "what records the objectives broke; this is a bug");
            }
        }
    }
}
