//! The life of an archive and of the snapshot it belongs to, as pure functions.
//!
//! [`State`] says where an archive stands, [`Event`] what happened to it, [`Archive::apply`] what
//! the one becomes through the other, [`next_step`] what is to be done next, [`on_restart`] what a
//! process that died in the middle has left behind, and [`after_failure`] what a failed attempt
//! means. Nothing here reads a clock, a file, the network or the database: whoever calls brings
//! the time and the evidence, and whoever calls commits the result.
//!
//! The three states in `-ing` (requesting, downloading, deleting) are those whose effect on the
//! outside may or may not have happened. Every other state is a fact.

mod archive;
mod event;
mod failure;
mod notice;
mod partition;
mod retry;
#[cfg(test)]
mod samples;
mod snapshot;
mod state;
mod step;
mod transition;

pub use archive::{Archive, Milestones};
pub use event::{Event, Remarks};
pub use failure::{Effect, Failure, FailureClass};
pub use notice::Notice;
pub use partition::{MOST_ASSETS, partition};
pub use retry::{
    Pace, Present, after_failure, backoff, credible_due, planning_retry, poll_delay,
    replacement_generation, replacement_pause,
};
pub use snapshot::{
    Part, SnapshotEvent, SnapshotState, SnapshotSummary, may_change_summary, summarize,
};
pub use state::{Deletion, FailureCause, Found, Holding, LossCause, Offer, State, StateWord};
pub use step::{Step, is_at_rest, next_step};
pub use transition::{Evidence, IllegalTransition, on_restart, transition};
