//! What may follow what. Every pair not named here is refused, so a wrong event can never quietly
//! rewrite history.

use super::event::{Event, Remarks};
use super::failure::{Effect, Failure, FailureClass};
use super::state::{FailureCause, Found, Holding, LossCause, Offer, State, StateWord};
use crate::model::{Content, Format, Timestamp};

/// An event met a state that it cannot follow. Always a bug, or a second writer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{event} cannot happen to an archive that is {state}")]
pub struct IllegalTransition {
    /// Where the archive stands.
    pub state: StateWord,
    /// What was said to have happened.
    pub event: String,
}

/// The state that `event` leads to from `state`.
pub fn transition(state: State, event: &Event) -> Result<State, IllegalTransition> {
    use Event as E;
    use State as S;
    match (event, state) {
        (E::RequestStarted, S::Scheduled) => Ok(S::Requesting),
        (E::JobAdopted { job }, S::Scheduled) | (E::JobAccepted { job }, S::Requesting) => {
            Ok(S::Running { job: job.clone() })
        }
        (E::RequestPostponed { .. }, S::Scheduled | S::Requesting) => Ok(S::Scheduled),
        (E::RequestRefused { cause, .. }, S::Scheduled | S::Requesting) => {
            Ok(S::Failed { job: None, cause: *cause })
        }
        (E::RequestUnanswered { .. }, S::Requesting) => {
            Ok(S::Lost { job: None, package: None, cause: LossCause::RequestUnanswered })
        }
        (E::JobSucceeded { package }, S::Running { job }) => {
            Ok(S::Ready(Offer { job, package: package.clone() }))
        }
        (E::JobFailed { .. }, S::Running { job }) => {
            Ok(S::Failed { job: Some(job), cause: FailureCause::JobFailed })
        }
        (E::PackageDuplicate { .. }, S::Running { job }) => {
            Ok(S::Failed { job: Some(job), cause: FailureCause::DuplicatePackage })
        }
        (E::PackageLost { cause, .. }, state) => lose(state, *cause, event),
        (E::DownloadStarted, S::Ready(offer)) => Ok(S::Downloading(offer)),
        // A preflight that failed leaves the package at ROMA, so `ready` may be put off as well.
        (E::DownloadPostponed { .. }, S::Ready(offer) | S::Downloading(offer)) => {
            Ok(S::Ready(offer))
        }
        (E::DownloadInterrupted { .. }, S::Downloading(offer)) => Ok(S::Running { job: offer.job }),
        (E::DownloadFinished { raw, format, .. }, S::Downloading(offer)) => {
            Ok(S::Downloaded { offer, raw: *raw, format: *format })
        }
        (E::FileStored { file, content_sha256 }, S::Downloaded { offer, raw, .. }) => {
            let (file, content_sha256) = (file.clone(), *content_sha256);
            Ok(S::Stored(Holding { offer, raw, file, content_sha256, original: None }))
        }
        (E::FileShared { file, raw, content_sha256, original }, S::Downloaded { offer, .. }) => {
            Ok(S::Stored(Holding {
                offer,
                raw: *raw,
                file: file.clone(),
                content_sha256: Some(*content_sha256),
                original: Some(*original),
            }))
        }
        (E::FileFound(found), state) if found.fits(&state) => Ok(S::Stored(found.holding())),
        // Out of the trash; or found whole again, for instance because the disk was not mounted.
        (E::DeletionRevoked { .. }, S::Trashed(held, _)) | (E::FileVerified, S::Damaged(held)) => {
            Ok(S::Stored(held))
        }
        // Damaged in another way than before: worse, perhaps.
        (
            E::FileDamaged { .. },
            S::Stored(held) | S::Trashed(held, _) | S::Deleting(held, _) | S::Damaged(held),
        ) => Ok(S::Damaged(held)),
        (E::DeletionDecided { deletion, .. }, S::Stored(held)) => {
            Ok(S::Trashed(held, deletion.clone()))
        }
        (E::DeletionStarted, S::Trashed(held, deletion)) => Ok(S::Deleting(held, deletion)),
        (E::FileDeleted, S::Deleting(held, deletion)) => Ok(S::Deleted(held, deletion)),
        // These say when the same comes again, that all is well, or that somebody knows.
        (E::PollPostponed { .. } | E::JobStillRunning, state @ S::Running { .. })
        | (E::PackPostponed { .. }, state @ S::Downloaded { .. })
        | (E::FileVerified | E::FileInherited { .. }, state @ (S::Stored(_) | S::Trashed(..)))
        | (E::LossAcknowledged { .. }, state @ (S::Lost { .. } | S::Damaged(_)))
        | (E::DeletionPostponed { .. }, state @ S::Deleting(..)) => Ok(state),
        (event, state) => Err(illegal(&state, event)),
    }
}

impl Found {
    /// Whether the file can be that of an archive in this state: it has none, and what it knows of
    /// job and package is what the file says.
    pub fn fits(&self, state: &State) -> bool {
        let offered = |offer: &Offer| offer.job == self.job && offer.package == self.package;
        match state {
            State::Scheduled | State::Requesting => true,
            State::Running { job } => *job == self.job,
            State::Ready(offer) | State::Downloading(offer) => offered(offer),
            State::Downloaded { offer, raw, .. } => offered(offer) && *raw == self.raw,
            State::Lost { job, package, .. } => {
                job.as_ref().is_none_or(|job| *job == self.job)
                    && package.as_ref().is_none_or(|package| *package == self.package)
            }
            State::Stored(_)
            | State::Trashed(..)
            | State::Deleting(..)
            | State::Deleted(..)
            | State::Damaged(_)
            | State::Failed { .. } => false,
        }
    }

    fn holding(&self) -> Holding {
        let offer = Offer { job: self.job.clone(), package: self.package.clone() };
        let (raw, file, original) = (self.raw, self.file.clone(), self.original);
        Holding { offer, raw, file, content_sha256: None, original }
    }
}

/// A loss may be found from the start of the job until the package lies packed in the vault.
fn lose(state: State, cause: LossCause, event: &Event) -> Result<State, IllegalTransition> {
    match state {
        State::Running { job } => Ok(State::Lost { job: Some(job), package: None, cause }),
        State::Ready(offer) | State::Downloading(offer) | State::Downloaded { offer, .. } => {
            Ok(State::Lost { job: Some(offer.job), package: Some(offer.package), cause })
        }
        state => Err(illegal(&state, event)),
    }
}

fn illegal(state: &State, event: &Event) -> IllegalTransition {
    IllegalTransition { state: state.word(), event: event.word().to_owned() }
}

/// What a dead process left in staging for one archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing, or nothing that is certainly whole.
    Nothing,
    /// The whole package, durable, and what does not look whole about it.
    Whole(Content, Format, Option<&'static str>),
}

/// What a restart makes of an archive whose effect was in doubt; `None`: it rests as it is.
///
/// A deletion in doubt needs no event: removing a file that is gone is a success.
pub fn on_restart(state: &State, evidence: Evidence, now: Timestamp) -> Option<Event> {
    let killed = |message: &str| Failure::new(FailureClass::Transient, Effect::Unknown, message);
    match (state, evidence) {
        (State::Requesting, _) => Some(Event::RequestUnanswered {
            failure: killed("the daemon stopped before ROMA's answer was recorded"),
        }),
        (State::Downloading(_), Evidence::Whole(raw, format, flaw)) => {
            let remarks = Remarks { flaw: flaw.map(ToOwned::to_owned), ..Remarks::default() };
            Some(Event::DownloadFinished { raw, format, adopted: true, remarks })
        }
        (State::Downloading(_), Evidence::Nothing) => Some(Event::DownloadInterrupted {
            failure: killed("the daemon stopped during the download"),
            not_before: now,
        }),
        _ => None,
    }
}

#[cfg(test)]
#[path = "transition_tests.rs"]
mod tests;
