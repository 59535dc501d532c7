//! A snapshot's state follows from its parts; nothing else may set it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::state::StateWord;
use crate::model::{ArchiveId, JobId, SnapshotId, Timestamp, UnknownWord};

/// Where a snapshot stands: the words of the view `snapshots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotState {
    /// Some part may still be stored.
    Open,
    /// Every part is stored and verified: only such a snapshot counts for retention.
    Complete,
    /// At rest, but a part is missing.
    Incomplete,
    /// Retention has decided about its files; they are still there.
    Trashed,
    /// Its files are gone.
    Deleted,
}

impl SnapshotState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Complete, Self::Incomplete, Self::Trashed, Self::Deleted];

    /// The word in the catalog, on the screen and in the documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Trashed => "trashed",
            Self::Deleted => "deleted",
        }
    }
}

impl std::fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for SnapshotState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| UnknownWord::new("snapshot state", word))
    }
}

/// What happened to a snapshot as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are explained at the types they have")]
pub enum SnapshotEvent {
    /// A run fell due, was asked for, or a job was adopted.
    SnapshotOpened { origin: String },
    /// It begins when this run of the same export has come to its end.
    RunQueued { behind: SnapshotId },
    /// It makes up for other runs as well: missed ones, or those that fell due, or were asked for,
    /// while it waited. `newest` is the last of them.
    RunCollapsed { runs: u32, origin: String, newest: Timestamp },
    /// The scope is known and divided into this many jobs.
    PartsPlanned { parts: u32, apps: usize, tasks: usize },
    /// The scope could not be read from ROMA; it comes again.
    PlanningPostponed { failure: Failure, not_before: Timestamp },
    /// The scope cannot be read, or is empty: this run comes to nothing.
    PlanningFailed { message: String },
    /// These assets were to be exported and are not: they are not there any more, or ROMA does not
    /// show them. `unseen` is how many more ROMA counts than it shows.
    CoverageReduced {
        apps: Vec<String>,
        tasks: Vec<String>,
        #[serde(default)]
        unseen: u64,
        message: String,
    },
    /// Of this part nothing is left to export: the snapshot does without it.
    ScopeVanished { part: u32, message: String },
    /// Somebody holds it: retention does not delete it before `until`, or ever.
    Pinned { name: String, reason: String, by: String, until: Option<Timestamp> },
    /// Somebody let it go again; what the pin was is told once more.
    Unpinned { name: String, reason: String, by: String, until: Option<Timestamp> },
    /// Intent: a part is about to be sent to an instance, which shall import it.
    RestoreStarted {
        archive_id: ArchiveId,
        instance: String,
        mode: String,
        prefix: Option<String>,
        overwrite_datasources: bool,
        by: String,
    },
    /// The instance has taken the part and runs a job that imports it.
    RestoreAccepted { archive_id: ArchiveId, instance: String, job: JobId },
    /// The job has imported the part.
    RestoreFinished { archive_id: ArchiveId, instance: String, job: JobId },
    /// The part is not imported, or nobody knows whether it is: the message says which.
    RestoreFailed { archive_id: ArchiveId, instance: String, job: Option<JobId>, message: String },
}

impl SnapshotEvent {
    /// The word in the column `events.event`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::SnapshotOpened { .. } => "snapshot_opened",
            Self::RunQueued { .. } => "run_queued",
            Self::RunCollapsed { .. } => "run_collapsed",
            Self::PartsPlanned { .. } => "parts_planned",
            Self::PlanningPostponed { .. } => "planning_postponed",
            Self::PlanningFailed { .. } => "planning_failed",
            Self::CoverageReduced { .. } => "coverage_reduced",
            Self::ScopeVanished { .. } => "scope_vanished",
            Self::Pinned { .. } => "pinned",
            Self::Unpinned { .. } => "unpinned",
            Self::RestoreStarted { .. } => "restore_started",
            Self::RestoreAccepted { .. } => "restore_accepted",
            Self::RestoreFinished { .. } => "restore_finished",
            Self::RestoreFailed { .. } => "restore_failed",
        }
    }
}

/// What a snapshot needs to know of one archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which part of the snapshot it is.
    pub part: u32,
    /// Where the archive stands.
    pub state: StateWord,
    /// Size of the package, 0 until it is known.
    pub raw_bytes: u64,
    /// Size of the file; 0 until it is known, and if it counts as another archive's.
    pub stored_bytes: u64,
}

/// What follows from the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Where the snapshot stands.
    pub state: SnapshotState,
    /// Parts in the vault now.
    pub parts_stored: u32,
    /// Bytes of their packages.
    pub raw_bytes: u64,
    /// Bytes of their files.
    pub stored_bytes: u64,
}

/// Derives a snapshot's state. `parts` is the number that was planned: `None` while it is unknown,
/// 0 when the planning failed. `archives` are all that were ever opened for it, lost ones and
/// their replacements included.
pub fn summarize(parts: Option<u32>, archives: &[Part]) -> SnapshotSummary {
    use StateWord as W;
    let with = |words: &[W]| archives.iter().filter(|a| words.contains(&a.state)).count();
    let held: Vec<&Part> =
        archives.iter().filter(|a| matches!(a.state, W::Stored | W::Trashed)).collect();
    // A part whose lost package was found again may have been exported anew as well.
    let stored: BTreeSet<u32> =
        archives.iter().filter(|a| a.state == W::Stored).map(|a| a.part).collect();
    let stored = stored.len();
    let planned = parts.map(|parts| usize::try_from(parts).unwrap_or(usize::MAX));
    let state = if archives.iter().any(|a| a.state.is_unfinished()) || planned.is_none() {
        SnapshotState::Open
    } else if stored > 0 && planned.is_some_and(|planned| stored >= planned) {
        SnapshotState::Complete
    } else if with(&[W::Trashed, W::Deleting]) > 0 && stored == 0 {
        SnapshotState::Trashed
    } else if with(&[W::Deleted]) > 0 && stored == 0 {
        SnapshotState::Deleted
    } else {
        SnapshotState::Incomplete
    };
    SnapshotSummary {
        state,
        parts_stored: u32::try_from(stored).unwrap_or(u32::MAX),
        raw_bytes: held.iter().map(|a| a.raw_bytes).sum(),
        stored_bytes: held.iter().map(|a| a.stored_bytes).sum(),
    }
}

/// Whether [`summarize`] may give something else after a part went from one state to another. Of a
/// part that is still on its way to the vault it is known already that the snapshot is open and
/// that nothing of it counts.
pub const fn may_change_summary(from: StateWord, to: StateWord) -> bool {
    !(from.is_unfinished() && to.is_unfinished())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(part: u32, state: StateWord) -> Part {
        Part { part, state, raw_bytes: 10, stored_bytes: 4 }
    }

    #[test]
    fn the_state_follows_from_the_parts() {
        use StateWord as W;
        type Case = (Option<u32>, &'static [(u32, W)], SnapshotState);
        let cases: [Case; 11] = [
            (None, &[], SnapshotState::Open),
            (Some(0), &[], SnapshotState::Incomplete),
            (Some(1), &[(1, W::Running)], SnapshotState::Open),
            (Some(2), &[(1, W::Stored), (2, W::Scheduled)], SnapshotState::Open),
            (Some(2), &[(1, W::Stored), (2, W::Stored)], SnapshotState::Complete),
            (Some(2), &[(1, W::Stored), (2, W::Lost), (2, W::Stored)], SnapshotState::Complete),
            (Some(2), &[(1, W::Stored), (2, W::Lost)], SnapshotState::Incomplete),
            (Some(2), &[(1, W::Stored), (1, W::Stored), (2, W::Lost)], SnapshotState::Incomplete),
            (Some(2), &[(1, W::Stored), (2, W::Damaged)], SnapshotState::Incomplete),
            (Some(2), &[(1, W::Deleted), (2, W::Trashed)], SnapshotState::Trashed),
            (Some(2), &[(1, W::Deleted), (2, W::Lost), (2, W::Deleted)], SnapshotState::Deleted),
        ];
        for (parts, archives, expected) in cases {
            let archives: Vec<Part> = archives.iter().map(|(p, s)| archive(*p, *s)).collect();
            assert_eq!(summarize(parts, &archives).state, expected, "{archives:?}");
        }
    }

    #[test]
    fn no_step_changes_the_summary_that_is_said_not_to() {
        for (from, to) in
            StateWord::ALL.into_iter().flat_map(|from| StateWord::ALL.map(|to| (from, to)))
        {
            for other in StateWord::ALL {
                let summary = |state| summarize(Some(2), &[archive(1, state), archive(2, other)]);
                let changes = summary(from) != summary(to);
                assert!(!changes || may_change_summary(from, to), "{from} {to} beside {other}");
            }
        }
        assert!(may_change_summary(StateWord::Downloaded, StateWord::Stored));
        assert!(!may_change_summary(StateWord::Ready, StateWord::Downloading));
    }

    #[test]
    fn only_files_that_exist_count_in_the_sizes() {
        let parts = [archive(1, StateWord::Stored), archive(2, StateWord::Deleted)];
        let summary = summarize(Some(2), &parts);
        assert_eq!((summary.raw_bytes, summary.stored_bytes, summary.parts_stored), (10, 4, 1));
    }
}
