//! What the writer is asked to do, and what comes of it.

use super::pins::{Pin, Unpin};
use super::rebuild::RebuiltSnapshot;
use super::record::{
    Adopted, Adoption, Change, ExportRecord, NewSnapshot, Opened, Planning, VerdictNote,
};
use crate::lifecycle::{Archive, Notice, SnapshotEvent};
use crate::model::{ArchiveId, SnapshotId};

/// What can be written. Cloned, because a transaction that found no room is tried again.
#[derive(Clone)]
pub(super) enum Operation {
    Commit(Vec<Change>),
    OpenSnapshot(NewSnapshot),
    Plan(SnapshotId, Planning),
    Adopt(Adoption),
    ConfigureExports(Vec<ExportRecord>),
    NoteVerdicts(Vec<VerdictNote>),
    Notify(Vec<Notice>),
    /// What happened to a snapshot without changing it.
    NoteSnapshot(SnapshotId, Box<SnapshotEvent>),
    Pin(Pin),
    Unpin(Unpin),
    /// Brings the snapshot of this pin back from the trash, and pins it.
    Undelete(Pin),
    Stamp {
        key: &'static str,
        value: String,
        replace: bool,
    },
    /// Snapshots of which only the files are known.
    EnterRebuilt(Vec<RebuiltSnapshot>),
    /// Larger numbers than these come next.
    NumberAbove(ArchiveId, SnapshotId),
    /// Not a write: whether *another* connection has written. Only this connection can tell.
    DataVersion,
}

/// What came of an operation.
pub(super) enum Outcome {
    Done,
    Archives(Vec<Archive>),
    Opened(Opened),
    Adopted(Box<Adopted>),
    /// The pin of that name that there was.
    Pin(Option<Pin>),
    Undeleted(Vec<Archive>, Pin),
    DataVersion(i64),
}
