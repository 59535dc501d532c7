//! Whether all is well: one reading of what the catalog says, for `status`, the metrics and the
//! notifications alike. A loss that one of them shows, all of them show.
//!
//! Pure: facts and the present moment go in, a judgement, a text or a message comes out. It must
//! never ask the catalog, the disk or the clock by itself.

use std::time::Duration;

mod counters;
mod exposition;
mod message;
mod metrics;
mod signs;

pub use counters::{Counters, Occurrence};
pub use exposition::{Local, Picture, exposition};
pub use message::{Message, messages};
pub use metrics::{Kind, METRICS, Metric};
pub use signs::{AccountSigns, InstanceSigns, Signs};

use crate::lifecycle::{SnapshotState, StateWord};
use crate::model::{ArchiveId, Name, Timestamp};

/// What the catalog says at one moment; what it costs to ask follows from the number of exports,
/// not from their history.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Every export that is configured, `watched` of each instance included.
    pub exports: Vec<ExportFacts>,
    /// How many archives there are, also of exports that are no longer configured.
    pub archives: Vec<Count<StateWord>>,
    /// How many snapshots there are, and how large they are.
    pub snapshots: Vec<Count<SnapshotState>>,
    /// Losses that are neither made good nor acknowledged.
    pub losses: Vec<Concern>,
    /// Damaged files that nobody has acknowledged.
    pub damaged: Vec<Concern>,
}

/// What the catalog says of one configured export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFacts {
    /// Its instance.
    pub instance: Name,
    /// Its name.
    pub name: Name,
    /// A verified snapshot shall never be older than this.
    pub rpo: Option<Duration>,
    /// When its next run starts.
    pub next_due: Option<Timestamp>,
    /// `taken_at` of its newest complete snapshot.
    pub newest_complete: Option<Timestamp>,
    /// When that one became complete.
    pub last_success: Option<Timestamp>,
    /// When it last failed.
    pub last_failure: Option<Timestamp>,
    /// Runs whose scope is not read yet.
    pub runs_waiting: u64,
}

/// How much there is of one export in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count<State> {
    /// The instance.
    pub instance: Name,
    /// The export.
    pub export: Name,
    /// The state.
    pub state: State,
    /// How many.
    pub count: u64,
    /// The packages of these snapshots whose files exist; 0 for archives.
    pub raw_bytes: u64,
    /// Their files, shared ones once; 0 for archives.
    pub stored_bytes: u64,
}

/// An archive that is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Which one.
    pub archive: ArchiveId,
    /// Its instance.
    pub instance: Name,
    /// Its export.
    pub export: Name,
}

impl ExportFacts {
    /// Whether its objective is met; `None` without one. As the view `exports` says it, which
    /// counts in whole seconds.
    pub fn is_met(&self, now: Timestamp) -> Option<bool> {
        let rpo = self.rpo?;
        let second = Timestamp::from_millis(now.as_millis().div_euclid(1_000) * 1_000);
        Some(self.newest_complete.is_some_and(|taken| second.since(taken) <= rpo))
    }
}

impl ExportFacts {
    /// Why its objective is missed, for people.
    pub fn why_missed(&self, now: Timestamp) -> String {
        let rpo = self.rpo.unwrap_or_default();
        match self.newest_complete {
            Some(taken) => format!(
                "the newest complete snapshot is of {taken}, {} h ago, and rpo is {} h",
                hours(now.since(taken)),
                hours(rpo)
            ),
            None => format!("there is no complete snapshot, and rpo is {} h", hours(rpo)),
        }
    }
}

/// With one digit where it is needed.
fn hours(span: Duration) -> String {
    let tenths = span.as_secs() / 360;
    if tenths.is_multiple_of(10) {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// What is not well.
#[derive(Clone, Debug)]
pub struct Judgement<'f> {
    /// Losses that are not settled.
    pub losses: &'f [Concern],
    /// Damaged files that nobody has acknowledged.
    pub damaged: &'f [Concern],
    /// Exports whose objective is missed.
    pub missed: Vec<&'f ExportFacts>,
}

impl Judgement<'_> {
    /// What the exit code of `status` says.
    pub fn is_well(&self) -> bool {
        self.losses.is_empty() && self.damaged.is_empty() && self.missed.is_empty()
    }
}

impl Facts {
    /// What is not well at this moment.
    pub fn judge(&self, now: Timestamp) -> Judgement<'_> {
        let missed = self.exports.iter().filter(|export| export.is_met(now) == Some(false));
        Judgement { losses: &self.losses, damaged: &self.damaged, missed: missed.collect() }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
