//! One archive: everything the catalog knows of it, and how an event changes it.

use super::event::Event;
use super::failure::FailureClass;
use super::state::State;
use super::transition::{IllegalTransition, transition};
use crate::model::{ArchiveId, Name, Scope, SnapshotId, Timestamp};

/// When the stages of a life were reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Milestones {
    /// ROMA accepted the job, or it was adopted.
    pub accepted_at: Option<Timestamp>,
    /// ROMA offered the package.
    pub ready_at: Option<Timestamp>,
    /// The whole package was durable in staging.
    pub downloaded_at: Option<Timestamp>,
    /// The package lay in the vault.
    pub stored_at: Option<Timestamp>,
    /// The stored file was last read back and compared.
    pub verified_at: Option<Timestamp>,
    /// The file was gone.
    pub deleted_at: Option<Timestamp>,
    /// Somebody saw that it is lost or damaged; nothing once it is neither any more.
    pub acknowledged_at: Option<Timestamp>,
}

/// Our record of one package: part `part` of its snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The `id` of the view `archives`.
    pub id: ArchiveId,
    /// The run it belongs to.
    pub snapshot: SnapshotId,
    /// The configured instance it comes from.
    pub instance: Name,
    /// The configured export, or `watched`.
    pub export: Name,
    /// 1 for the first part of the snapshot.
    pub part: u32,
    /// 0 for the first try of this part, n for the n-th export after a loss.
    pub generation: u32,
    /// The lost archive that this one replaces.
    pub replaces: Option<ArchiveId>,
    /// What the job exports; `None` when the job was started elsewhere.
    pub scope: Option<Scope>,
    /// When the run fell due.
    pub scheduled_at: Timestamp,
    /// Counts the events; a writer that saw an older one is refused.
    pub revision: i64,
    /// Failed attempts of the present step.
    pub attempts: u32,
    /// Times in a row that ROMA did not know the job.
    pub unknown_polls: u32,
    /// GETs of the package that may have reached ROMA, but for those that its size ended.
    pub downloads: u32,
    /// Since when ROMA has refused to start the job because another of the account runs.
    pub busy_since: Option<Timestamp>,
    /// The next step is not due before this moment.
    pub not_before: Timestamp,
    /// Where it stands.
    pub state: State,
    /// When it got there.
    pub milestones: Milestones,
    /// The last thing that went wrong, in words; stays until a step succeeds.
    pub last_error: Option<String>,
}

impl Archive {
    /// When its job began, as far as we know.
    pub fn began(&self) -> Timestamp {
        self.milestones.accepted_at.unwrap_or(self.scheduled_at)
    }

    /// The archive that stored the file it has, or had: itself, unless it shares that one's.
    pub fn original(&self) -> Option<ArchiveId> {
        Some(self.state.holding()?.original.unwrap_or(self.id))
    }

    /// This archive after `event` happened at `at`.
    pub fn apply(&self, event: &Event, at: Timestamp) -> Result<Self, IllegalTransition> {
        let mut next = self.clone();
        next.state = transition(self.state.clone(), event)?;
        next.revision += 1;
        next.unknown_polls = if is_unknown(event) { self.unknown_polls + 1 } else { 0 };
        next.not_before = at;
        next.busy_since = match event {
            // An attempt, or trouble of another kind, says nothing about the other job.
            Event::RequestStarted | Event::RequestPostponed { .. } => {
                busy_since(event).or(self.busy_since)
            }
            _ => None,
        };
        match event {
            Event::RequestPostponed { failure, not_before, .. }
            | Event::PollPostponed { failure, not_before }
            | Event::DownloadPostponed { failure, not_before }
            | Event::DownloadInterrupted { failure, not_before }
            | Event::PackPostponed { failure, not_before }
            | Event::DeletionPostponed { failure, not_before } => {
                // Waiting for one's turn at ROMA is no failed attempt.
                next.attempts += u32::from(!failure.class.is_waiting());
                next.not_before = *not_before;
                let since = busy_since(event).map(|since| format!("waits since {since}: "));
                let mut words = since.unwrap_or_default();
                words.push_str(&failure.message);
                next.last_error = Some(words);
            }
            Event::RequestRefused { failure, .. } | Event::RequestUnanswered { failure } => {
                next.attempts += 1;
                next.last_error = Some(failure.message.clone());
            }
            Event::JobFailed { reasons } => next.last_error = Some(reasons.clone()),
            Event::PackageLost { message, .. } | Event::FileDamaged { message } => {
                next.last_error = Some(message.clone());
            }
            Event::PackageDuplicate { claimed_by, .. } => {
                next.last_error = Some(format!("{claimed_by} already has this package"));
            }
            // The intent of a step says nothing yet about how it ends.
            Event::RequestStarted | Event::DeletionStarted => {}
            Event::DownloadStarted => next.downloads += 1,
            Event::JobAccepted { .. }
            | Event::JobAdopted { .. }
            | Event::JobStillRunning
            | Event::JobSucceeded { .. }
            | Event::DownloadFinished { .. }
            | Event::FileStored { .. }
            | Event::FileShared { .. }
            | Event::FileFound(_)
            | Event::DeletionRevoked { .. }
            | Event::FileDeleted => {
                next.attempts = 0;
                next.last_error = None;
            }
            // Nothing happened to its own file name, nor to the day of its removal; and a loss that
            // was seen is the same loss.
            Event::FileInherited { .. } | Event::LossAcknowledged { .. } => {
                next.not_before = self.not_before;
            }
            // A look at a file in the trash changes nothing about the day of its removal.
            Event::FileVerified => {
                next.attempts = 0;
                next.not_before = self.not_before;
                next.last_error = None;
            }
            Event::DeletionDecided { purge_at, .. } => {
                next.attempts = 0;
                next.not_before = *purge_at;
            }
        }
        if is_uncounted(event) && matches!(self.state, State::Downloading(_)) {
            next.downloads = next.downloads.saturating_sub(1);
        }
        next.milestones.reach(event, at);
        Ok(next)
    }
}

/// ROMA does not know the job.
fn is_unknown(event: &Event) -> bool {
    matches!(event, Event::PollPostponed { failure, .. } if failure.class == FailureClass::Gone)
}

/// Since when it waits for another asset job of its account.
const fn busy_since(event: &Event) -> Option<Timestamp> {
    match event {
        Event::RequestPostponed { busy_since, .. } => *busy_since,
        _ => None,
    }
}

/// A GET that is none of those that broke off by chance: it certainly did not reach ROMA, or we
/// broke it off ourselves, for a reason that only a person can mend.
const fn is_uncounted(event: &Event) -> bool {
    match event {
        Event::DownloadPostponed { .. } => true,
        Event::DownloadInterrupted { failure, .. } => {
            matches!(failure.class, FailureClass::Permanent)
        }
        _ => false,
    }
}

impl Milestones {
    fn reach(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::JobAccepted { .. } | Event::JobAdopted { .. } => self.accepted_at = Some(at),
            Event::JobSucceeded { .. } => self.ready_at = Some(at),
            Event::DownloadFinished { .. } => self.downloaded_at = Some(at),
            Event::FileStored { .. } | Event::FileShared { .. } => {
                self.stored_at = Some(at);
                self.verified_at = Some(at);
            }
            Event::FileFound(found) => {
                self.ready_at = self.ready_at.or(found.ready_at);
                self.downloaded_at = self.downloaded_at.or(found.downloaded_at);
                self.stored_at = Some(at);
                self.verified_at = Some(at);
                self.acknowledged_at = None;
            }
            Event::FileVerified => {
                self.verified_at = Some(at);
                // What is damaged once more is a new loss.
                self.acknowledged_at = None;
            }
            // What somebody has seen was something else.
            Event::FileDamaged { .. } => self.acknowledged_at = None,
            Event::LossAcknowledged { .. } => self.acknowledged_at = Some(at),
            Event::FileDeleted => self.deleted_at = Some(at),
            _ => {}
        }
    }
}
