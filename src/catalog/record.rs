//! What callers hand to the catalog and get from it, besides archives.

use crate::lifecycle::{Archive, Event, SnapshotState};
use crate::model::{JobId, Name, Scope, SnapshotId, Timestamp};

/// One change of one archive: the version that was seen, and what happened to it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The archive as the caller knew it; if it has changed since, the change is refused.
    pub archive: Archive,
    /// What happened.
    pub event: Event,
    /// What comes of its scope, in the same transaction.
    pub sequel: Sequel,
}

/// What becomes of the scope of an archive that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sequel {
    /// Nothing more.
    None,
    /// It is exported again, by an archive of this generation.
    Again(u32),
    /// Another scope is exported in its place: what is still there of it, or the same in another
    /// form. The words say why.
    Instead(Scope, String),
    /// Nothing of it is there any more: the snapshot does without this part.
    Vanished(String),
}

impl Change {
    /// A change without a sequel.
    pub const fn new(archive: Archive, event: Event) -> Self {
        Self { archive, event, sequel: Sequel::None }
    }
}

/// Why a run was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its schedule was due.
    Schedule,
    /// A person asked for it with `export`.
    Command,
    /// A job that was started elsewhere was adopted with `watch`.
    Watch,
    /// Nobody knows any more: its files were found by `rebuild`.
    Rebuild,
}

impl Origin {
    /// The word in the catalog.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Command => "command",
            Self::Watch => "watch",
            Self::Rebuild => "rebuild",
        }
    }
}

/// A run to be opened.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// The instance that is exported.
    pub instance: Name,
    /// The export, or `watched`.
    pub export: Name,
    /// Why.
    pub origin: Origin,
    /// The occurrence of the schedule, or the moment of the command.
    pub taken_at: Timestamp,
    /// For a scheduled run: when the next one falls due, if ever.
    pub next_due: Option<Timestamp>,
    /// For a scheduled run: how many before it were missed and are made up for by it.
    pub missed: u32,
}

/// The run that was opened, or the one that does for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which one.
    pub id: SnapshotId,
    /// A run of the same export that has to come to its end before.
    pub behind: Option<SnapshotId>,
    /// It was there already and has not begun: one run that waits is enough.
    pub joined: bool,
}

/// A snapshot whose scope is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnplannedSnapshot {
    /// Which one.
    pub id: SnapshotId,
    /// The instance that is exported.
    pub instance: Name,
    /// The export.
    pub export: Name,
    /// When it fell due.
    pub taken_at: Timestamp,
    /// Failed attempts to read the scope.
    pub attempts: u32,
    /// The next attempt is not due before this.
    pub not_before: Timestamp,
}

/// What became of a snapshot's planning.
#[derive(Clone, Debug)]
pub enum Planning {
    /// The scope, divided into jobs, and what of it is not there.
    Parts(Vec<Scope>, Option<Uncovered>),
    /// It comes again.
    Postponed(crate::lifecycle::Failure, Timestamp),
    /// It comes to nothing.
    Failed(String),
}

/// What was to be exported and is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncovered {
    /// Ids of applications that are not there.
    pub apps: Vec<String>,
    /// Ids of tasks that are not there.
    pub tasks: Vec<String>,
    /// How many more assets ROMA counts than it shows.
    pub unseen: u64,
    /// How that was found out.
    pub message: String,
}

impl Uncovered {
    /// How many assets they are.
    pub fn count(&self) -> u64 {
        (self.apps.len() + self.tasks.len()) as u64 + self.unseen
    }
}

/// A job that is asked to be adopted.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// The instance that runs it.
    pub instance: Name,
    /// The job.
    pub job: JobId,
    /// Also if it is known and was taken for lost: the new archive replaces the lost one, unless
    /// another does so already.
    pub again: bool,
}

/// The answer to an adoption.
#[derive(Clone, Debug)]
pub enum Adopted {
    /// A new archive watches the job.
    New(Archive),
    /// This archive knew the job already; nothing was changed.
    Known(Archive),
}

/// A configured export, to be recorded.
#[derive(Clone, Debug)]
pub struct ExportRecord {
    /// The instance that is exported.
    pub instance: Name,
    /// The export, or `watched`.
    pub name: Name,
    /// The cron expression.
    pub schedule: Option<String>,
    /// Its objective.
    pub rpo: Option<std::time::Duration>,
    /// When it falls due next.
    pub next_due: Option<Timestamp>,
    /// The effective policy in words, and its digest.
    pub policy: (String, String),
}

/// What is recorded of a configured export.
#[derive(Clone, Debug)]
pub struct ExportState {
    /// The instance that is exported.
    pub instance: Name,
    /// The export, or `watched`.
    pub name: Name,
    /// Occurrences up to here are taken or passed over.
    pub last_due: Timestamp,
    /// When the effective policy last changed; `None`: it is the first one.
    pub policy_changed_at: Option<Timestamp>,
    /// Digest of the effective policy.
    pub policy_hash: Option<String>,
}

/// A snapshot for retention, with what is recorded of its last verdict.
#[derive(Clone, Debug)]
pub struct SnapshotRecord {
    /// Which one.
    pub id: SnapshotId,
    /// When its run fell due.
    pub taken_at: Timestamp,
    /// Where it stands.
    pub state: SnapshotState,
    /// Bytes of its packages.
    pub raw_bytes: u64,
    /// Bytes of its files.
    pub stored_bytes: u64,
    /// The pin that holds it longest, and until when; `None`: for ever.
    pub pin: Option<(String, Option<Timestamp>)>,
    /// As last written.
    pub kept_because: Option<String>,
    /// As last written.
    pub expected_delete_at: Option<Timestamp>,
}

/// The words of a verdict, for the view `snapshots`.
#[derive(Clone, Debug)]
pub struct VerdictNote {
    /// Which snapshot.
    pub id: SnapshotId,
    /// Why it stays.
    pub kept_because: Option<String>,
    /// When its files are expected to go.
    pub expected_delete_at: Option<Timestamp>,
}
