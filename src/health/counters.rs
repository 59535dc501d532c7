//! What has happened since the process started, counted from the events of the catalog: those of
//! the daemon and of every command beside it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{ArchiveId, Name, SnapshotId, Timestamp};

/// One row of the view `events`, with whose it is.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// Its number.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// The archive, if it concerns one.
    pub archive: Option<ArchiveId>,
    /// The snapshot, if it concerns one.
    pub snapshot: Option<SnapshotId>,
    /// The instance and the export of that snapshot.
    pub of: Option<(Name, Name)>,
    /// The word of the event.
    pub event: String,
    /// The state before.
    pub from_state: Option<String>,
    /// The state after.
    pub to_state: Option<String>,
    /// What belongs to it.
    pub detail: Value,
}

impl Occurrence {
    /// Whether this is the moment at which it came into that state.
    pub fn becomes(&self, state: &str) -> bool {
        self.archive.is_some()
            && self.to_state.as_deref() == Some(state)
            && self.from_state != self.to_state
    }

    /// A text of its detail.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.detail.pointer(pointer)?.as_str()
    }

    fn number(&self, pointer: &str) -> u64 {
        self.detail.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
    }
}

/// What has happened in one export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfExport {
    /// Requests to start a job that were about to be sent.
    pub requests: u64,
    /// GETs of a package that were about to be sent.
    pub transfers: u64,
    /// Packages that arrived whole.
    pub downloads: u64,
    /// Their bytes.
    pub downloaded_bytes: u64,
    /// Archives that became stored.
    pub stored: u64,
    /// Archives that became lost.
    pub losses: u64,
    /// Archives that became damaged.
    pub damaged: u64,
    /// Archives that failed, and runs that came to nothing.
    pub failures: u64,
    /// Archives whose file was removed.
    pub deleted: u64,
    /// Runs that another one makes up for.
    pub runs_missed: u64,
}

/// What has happened since the process started.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// By instance and export.
    pub exports: BTreeMap<(Name, Name), OfExport>,
    /// Attempts that failed, by instance and class.
    pub failed_attempts: BTreeMap<(Name, String), u64>,
}

impl Counters {
    /// Takes in what happened next.
    pub fn count(&mut self, event: &Occurrence) {
        let Some((instance, export)) = &event.of else { return };
        let own = self.exports.entry((instance.clone(), export.clone())).or_default();
        match event.event.as_str() {
            "request_started" => own.requests += 1,
            "download_started" => own.transfers += 1,
            "download_finished" => {
                own.downloads += 1;
                own.downloaded_bytes += event.number("/raw/bytes");
            }
            "run_collapsed" => own.runs_missed += event.number("/runs"),
            "planning_failed" => own.failures += 1,
            _ => {}
        }
        let states = [
            ("stored", &mut own.stored),
            ("lost", &mut own.losses),
            ("damaged", &mut own.damaged),
            ("failed", &mut own.failures),
            ("deleted", &mut own.deleted),
        ];
        for (state, count) in states {
            *count += u64::from(event.becomes(state));
        }
        if let Some(class) = event.text("/failure/class") {
            let key = (instance.clone(), class.to_owned());
            *self.failed_attempts.entry(key).or_default() += 1;
        }
    }
}
