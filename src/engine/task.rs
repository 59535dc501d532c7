//! What runs beside the loop, and what it brings back.

use super::failure::EngineError;
use super::planning::Planned;
use super::step;
use crate::lifecycle::{Archive, Step};
use crate::model::{ArchiveId, SnapshotId};

/// What a finished task brings.
#[derive(Debug)]
pub(super) enum Finished {
    Step(Result<step::Outcome, EngineError>),
    Planning(Result<Planned, EngineError>),
    Sweep(Result<Vec<Archive>, EngineError>),
}

/// What a task was about, in case it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Step(Step, ArchiveId),
    Planning(SnapshotId),
    Sweep(usize),
}
