//! Why something is not done with a snapshot: each with what stands in the way and what to do then.
//! Nothing here asks the catalog; who refuses is in `pins`.

use super::pins::Pin;
use crate::lifecycle::SnapshotState;
use crate::model::{Name, SnapshotId, Timestamp};

/// Why something is not done with a snapshot; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such snapshot.
    #[error("there is no {0} in the catalog: `roma-archived list --snapshots` shows all")]
    Unknown(SnapshotId),
    /// A pin holds what was to be deleted.
    #[error("{} is pinned: {} ({}, by {})", pin.snapshot, pin.name, pin.reason, pin.by)]
    Held {
        /// The one that holds it longest.
        pin: Pin,
    },
    /// Nothing newer of its export is good, whatever there was when its deletion was decided.
    #[error("{0} is the newest good snapshot of its export by now: no policy takes that")]
    NewestGood(SnapshotId),
    /// What is to be pinned lies in the trash.
    #[error(
        "{0} is in the trash, where a pin holds nothing: bring it back first with \
         `roma-archived undelete {0}`, then pin it"
    )]
    InTrash(SnapshotId),
    /// The removal of its files has begun.
    #[error(
        "the removal of the files of {snapshot} has begun ({reason}): it is too late to {wanted} it"
    )]
    BeingDeleted {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Why they go.
        reason: String,
        /// What was asked for, as a verb.
        wanted: &'static str,
    },
    /// Its files are gone.
    #[error(
        "the files of {snapshot} were deleted{} ({reason}): they are gone, there is nothing to \
         {wanted}; `roma-archived show {snapshot}` tells what they were",
        at.map_or_else(String::new, |at| format!(" at {at}"))
    )]
    Deleted {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// When the last of them went.
        at: Option<Timestamp>,
        /// Why.
        reason: String,
        /// What was asked for, as a verb.
        wanted: &'static str,
    },
    /// Nothing of it lies in the trash.
    #[error("{snapshot} is not in the trash but {state}: there is nothing to bring back")]
    NotTrashed {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Where it stands.
        state: SnapshotState,
    },
    /// There is no pin of this name.
    #[error("{snapshot} has no pin `{name}`: {}", others(known))]
    NotPinned {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// What was asked for.
        name: Name,
        /// The pins that it has.
        known: Vec<String>,
    },
}

fn others(known: &[String]) -> String {
    if known.is_empty() {
        "nothing pins it".to_owned()
    } else {
        format!("it has {}, to be named with --name", known.join(", "))
    }
}
