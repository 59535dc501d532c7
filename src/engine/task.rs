//! What runs beside the loop, and what it brings back.

use super::failure::EngineError;
use super::planning::Planned;
use super::step::Outcome;
use crate::lifecycle::{Archive, Step};
use crate::model::{ArchiveId, SnapshotId};

/// What a finished task brings.
#[derive(Debug)]
pub(super) enum Finished {
    Step(Result<Outcome, EngineError>),
    Planning(Result<Planned, EngineError>),
    Sweep(Result<Vec<Archive>, EngineError>),
}

/// What a task was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Step(Step, ArchiveId),
    Planning(SnapshotId),
    Sweep(usize),
}

impl Task {
    /// The archive that it took out of the agenda.
    pub(super) const fn archive(self) -> Option<ArchiveId> {
        match self {
            Self::Step(_, id) => Some(id),
            Self::Planning(_) | Self::Sweep(_) => None,
        }
    }
}
