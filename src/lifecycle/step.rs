//! What an archive needs next.

use super::archive::Archive;
use super::state::State;
use crate::model::Timestamp;

/// One effect on the outside, with its intent before it and its fact after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Start the job at ROMA.
    Request,
    /// Ask ROMA about the job.
    Poll,
    /// The one GET.
    Download,
    /// Staged file into the vault.
    Pack,
    /// Its time in the trash is over: decide to remove the file, and do it.
    Purge,
    /// Remove a file whose removal was begun.
    Delete,
}

/// The next step and the earliest moment for it; `None`: the archive is at rest.
///
/// `requesting` and `downloading` have no step: while they last, a running step owns them, and
/// after a restart [`super::on_restart`] turns them into a state that has one.
pub fn next_step(archive: &Archive) -> Option<(Step, Timestamp)> {
    let step = match &archive.state {
        State::Scheduled => Step::Request,
        State::Running { .. } => Step::Poll,
        State::Ready(_) => Step::Download,
        State::Downloaded { .. } => Step::Pack,
        State::Trashed(..) => Step::Purge,
        State::Deleting(..) => Step::Delete,
        State::Requesting
        | State::Downloading(_)
        | State::Stored(_)
        | State::Deleted(..)
        | State::Damaged(_)
        | State::Failed { .. }
        | State::Lost { .. } => return None,
    };
    Some((step, archive.not_before))
}

/// Whether nothing is left to do for the archive. `requesting` and `downloading` have no step of
/// their own, but a step or a restart has to settle them.
pub fn is_at_rest(archive: &Archive) -> bool {
    let in_doubt = matches!(archive.state, State::Requesting | State::Downloading(_));
    next_step(archive).is_none() && !in_doubt
}
