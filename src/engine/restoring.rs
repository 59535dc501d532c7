//! The way back: sends stored packages to an instance, one after the other, and waits until each is
//! imported. A person starts it and looks on; the daemon does not.
//!
//! The start of an import cannot be taken back, and a lost answer to it leaves a job that nobody
//! can find again: the intent is recorded before it is sent, and what may have happened is never
//! sent a second time. Nothing is begun while a package of the same account waits to be downloaded,
//! for ROMA may throw it away (contract U9). Killed at any point, the events tell how far it came.

use std::time::Duration;

use super::shell::on_vault;
use crate::catalog::{Catalog, CatalogError};
use crate::clock::Clock;
use crate::lifecycle::{
    Archive, Effect, Failure, FailureClass, Pace, SnapshotEvent, State, StateWord, backoff,
    poll_delay,
};
use crate::model::{ArchiveId, JobId, Name, Timestamp, story};
use crate::roma::{ImportOptions, JobStatus, Roma};
use crate::vault::{DamageReason, ExtractError, Vault};

/// How long another job of the user may keep the import waiting.
const BUSY_CEILING: Duration = Duration::from_hours(2);
/// How long the import may run before nobody waits for it any more.
const JOB_CEILING: Duration = Duration::from_hours(24);
/// Attempts in a row to start the job, or to ask about it, that may fail.
const ATTEMPTS: u32 = 8;

/// Sends packages back.
#[derive(Debug)]
pub struct Restorer {
    /// Where it is recorded.
    pub catalog: Catalog,
    /// Where the packages lie.
    pub vault: Vault,
    /// The client.
    pub roma: Roma,
    /// The time.
    pub clock: Clock,
    /// How often the job is looked at.
    pub pace: Pace,
    /// Instances of the account that the target is asked as: one job at a time for all of them.
    pub siblings: Vec<Name>,
    /// Whether a daemon works on what waits.
    pub daemon_runs: bool,
}

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// The configured instance.
    pub instance: Name,
    /// What is asked of it.
    pub options: ImportOptions,
    /// Who asks, for the record.
    pub by: String,
}

/// What is told on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreProgress {
    /// It cannot begin yet; it is tried again at that moment.
    Waiting(String, Timestamp),
    /// The instance has taken the package and works on it.
    Accepted(JobId),
}

/// Why a part was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The stored package is not what it was; nothing of it was sent.
    #[error("cannot read the package of {id}; nothing of it was sent")]
    Unreadable {
        /// Whose package it is.
        id: ArchiveId,
        /// Why.
        #[source]
        source: ExtractError,
    },
    /// A package of the same account is in danger as long as it waits at ROMA.
    #[error(
        "{id} is {state}, and no daemon runs that would fetch its package, which another job of \
         the same account puts at risk: start the daemon, or `roma-archived run --once`, first"
    )]
    PackageWaits {
        /// Which archive.
        id: ArchiveId,
        /// Where it stands.
        state: StateWord,
    },
    /// Waited for too long.
    #[error("gave up waiting after {} h: {reason}", BUSY_CEILING.as_secs() / 3600)]
    StillBusy {
        /// For what.
        reason: String,
    },
    /// The instance, or what stands before it, refused; nothing was imported.
    #[error("the package of {id} is not imported: {}", failure.message)]
    Refused {
        /// Whose package it is.
        id: ArchiveId,
        /// What was said.
        failure: Failure,
    },
    /// The answer was lost.
    #[error(
        "nobody knows whether the package of {id} is being imported ({}): look at the asset jobs \
         in the console of ROMA Connect before it is sent again",
        failure.message
    )]
    Unanswered {
        /// Whose package it is.
        id: ArchiveId,
        /// What happened.
        failure: Failure,
    },
    /// The job ended badly.
    #[error("job {job} did not import the package of {id}: {reasons}")]
    JobFailed {
        /// Whose package it is.
        id: ArchiveId,
        /// ROMA's job.
        job: JobId,
        /// ROMA's words.
        reasons: String,
    },
    /// The job goes on, perhaps, and is out of sight.
    #[error(
        "job {job}, which imports the package of {id}, cannot be watched to its end ({message}): \
         look at it in the console of ROMA Connect"
    )]
    OutOfSight {
        /// Whose package it is.
        id: ArchiveId,
        /// ROMA's job.
        job: JobId,
        /// Why.
        message: String,
        /// Whether ROMA could not be reached.
        unreachable: bool,
    },
    /// What happens cannot be recorded.
    #[error("the catalog failed")]
    Catalog(#[from] CatalogError),
}

/// `s12-1.zip`: of our own numbers, and a name that ROMA takes.
pub fn restored_file_name(archive: &Archive) -> String {
    format!("{}-{}.zip", archive.snapshot, archive.part)
}

impl Restorer {
    /// Sends the package of one archive, and waits until the instance has imported it.
    pub async fn restore(
        &self,
        archive: &Archive,
        order: &RestoreOrder,
        tell: &mut (dyn FnMut(RestoreProgress) + Send),
    ) -> Result<JobId, RestoreError> {
        let package = self.package(archive).await?;
        let job = match self.start(archive, order, &package, tell).await {
            Ok(job) => job,
            // Nothing was tried.
            Err(error @ RestoreError::PackageWaits { .. }) => return Err(error),
            Err(error) => {
                let message = story(&error);
                self.note(archive, failed(archive, order, None, message)).await?;
                return Err(error);
            }
        };
        let (archive_id, instance) = (archive.id, order.instance.to_string());
        let accepted = SnapshotEvent::RestoreAccepted {
            archive_id,
            instance: instance.clone(),
            job: job.clone(),
        };
        self.note(archive, accepted).await?;
        tell(RestoreProgress::Accepted(job.clone()));
        if let Err(error) = self.watch(archive, order, &job).await {
            let message = story(&error);
            self.note(archive, failed(archive, order, Some(job), message)).await?;
            return Err(error);
        }
        let finished = SnapshotEvent::RestoreFinished { archive_id, instance, job: job.clone() };
        self.note(archive, finished).await?;
        Ok(job)
    }

    /// The package as ROMA sent it, its hash checked. What is sent back is small: the gateway takes
    /// no more.
    async fn package(&self, archive: &Archive) -> Result<Vec<u8>, RestoreError> {
        let (State::Stored(held) | State::Trashed(held, _)) = &archive.state else {
            let source = ExtractError::Damaged(DamageReason::Missing);
            return Err(RestoreError::Unreadable { id: archive.id, source });
        };
        let held = held.clone();
        let read = on_vault(&self.vault, move |vault| {
            let mut package = Vec::new();
            vault.extract(&held.file, held.raw, &mut package).map(|()| package)
        });
        read.await.map_err(|source| RestoreError::Unreadable { id: archive.id, source })
    }

    /// Starts the job, as soon as nothing of the account is in its way.
    async fn start(
        &self,
        archive: &Archive,
        order: &RestoreOrder,
        package: &[u8],
        tell: &mut (dyn FnMut(RestoreProgress) + Send),
    ) -> Result<JobId, RestoreError> {
        let id = archive.id;
        let began = self.clock.now();
        let mut attempts = 0;
        let mut recorded = false;
        loop {
            let (reason, wait) = if let Some(reason) = self.in_the_way().await? {
                (reason, self.pace.poll_interval_max)
            } else {
                if !recorded {
                    self.note(archive, started(archive, order)).await?;
                    recorded = true;
                }
                let file = (&*restored_file_name(archive), package.to_vec());
                let now = self.clock.now();
                let answer = self.roma.import_package(&order.instance, file, &order.options, now);
                match answer.await {
                    Ok(job) => return Ok(job),
                    Err(error) => {
                        let failure = error.into_failure();
                        let wait = next_try(id, &mut attempts, &failure, self.pace);
                        (failure.message.clone(), wait.ok_or_else(|| give_up(id, failure))?)
                    }
                }
            };
            let now = self.clock.now();
            if now.since(began) >= BUSY_CEILING {
                return Err(RestoreError::StillBusy { reason });
            }
            let until = now.plus(wait);
            tell(RestoreProgress::Waiting(reason, until));
            self.clock.sleep_until(until).await;
        }
    }

    /// What of the account runs or waits at ROMA, as far as the catalog knows.
    async fn in_the_way(&self) -> Result<Option<String>, RestoreError> {
        let active = self.catalog.active().await?;
        let mut busy = active.iter().filter(|other| {
            other.state.word().occupies_account() && self.siblings.contains(&other.instance)
        });
        let Some(other) = busy.next() else { return Ok(None) };
        let state = other.state.word();
        if self.daemon_runs {
            return Ok(Some(format!("{} of the same account is {state}", other.id)));
        }
        Err(RestoreError::PackageWaits { id: other.id, state })
    }

    /// Asks about the job until it ends.
    async fn watch(
        &self,
        archive: &Archive,
        order: &RestoreOrder,
        job: &JobId,
    ) -> Result<(), RestoreError> {
        let began = self.clock.now();
        let (mut polls, mut failures) = (0, 0);
        let out_of_sight = |message: String, unreachable| RestoreError::OutOfSight {
            id: archive.id,
            job: job.clone(),
            message,
            unreachable,
        };
        loop {
            let mut wait = poll_delay(archive.id, polls, self.pace);
            polls += 1;
            let now = self.clock.now();
            match self.roma.job(&order.instance, job, now).await {
                Ok(report) => {
                    failures = 0;
                    match report.status {
                        JobStatus::Succeeded | JobStatus::Finished => return Ok(()),
                        JobStatus::Failed => {
                            let (id, job, reasons) = (archive.id, job.clone(), report.reasons);
                            return Err(RestoreError::JobFailed { id, job, reasons });
                        }
                        JobStatus::Running if now.since(began) >= JOB_CEILING => {
                            return Err(out_of_sight("it has not ended in 24 hours".into(), false));
                        }
                        JobStatus::Running => {}
                    }
                }
                Err(error) => {
                    let failure = error.into_failure();
                    failures += 1;
                    if failures >= ATTEMPTS {
                        let unreachable = failure.class == FailureClass::Transient;
                        return Err(out_of_sight(failure.message, unreachable));
                    }
                    wait = wait.max(pause(archive.id, failures - 1, &failure, self.pace));
                }
            }
            self.clock.sleep_until(now.plus(wait)).await;
        }
    }

    async fn note(&self, archive: &Archive, event: SnapshotEvent) -> Result<(), CatalogError> {
        self.catalog.note_snapshot(archive.snapshot, event, self.clock.now()).await
    }
}

fn started(archive: &Archive, order: &RestoreOrder) -> SnapshotEvent {
    SnapshotEvent::RestoreStarted {
        archive_id: archive.id,
        instance: order.instance.to_string(),
        mode: order.options.mode.word().to_owned(),
        prefix: order.options.prefix.clone(),
        overwrite_datasources: order.options.overwrite_datasources,
        by: order.by.clone(),
    }
}

fn failed(
    archive: &Archive,
    order: &RestoreOrder,
    job: Option<JobId>,
    message: String,
) -> SnapshotEvent {
    let (archive_id, instance) = (archive.id, order.instance.to_string());
    SnapshotEvent::RestoreFailed { archive_id, instance, job, message }
}

/// When it is tried again; `None`: never, because it may have happened, or would help nothing.
fn next_try(id: ArchiveId, attempts: &mut u32, failure: &Failure, pace: Pace) -> Option<Duration> {
    match (failure.effect, failure.class) {
        (Effect::Unknown, _)
        | (_, FailureClass::Permanent | FailureClass::Gone | FailureClass::Paused) => None,
        // Waiting for one's turn is no failed attempt.
        (_, FailureClass::Busy) => Some(pace.poll_interval_max),
        // A new token is fetched once.
        (_, FailureClass::Unauthorized) if *attempts > 0 => None,
        _ => {
            *attempts += 1;
            (*attempts < ATTEMPTS).then(|| pause(id, *attempts - 1, failure, pace))
        }
    }
}

fn pause(id: ArchiveId, attempts: u32, failure: &Failure, pace: Pace) -> Duration {
    let wished = Duration::from_millis(failure.retry_after_ms.unwrap_or_default());
    let own = if failure.class == FailureClass::Unauthorized {
        pace.poll_interval
    } else {
        backoff(id.0.unsigned_abs(), attempts)
    };
    own.max(wished.min(BUSY_CEILING))
}

fn give_up(id: ArchiveId, failure: Failure) -> RestoreError {
    if failure.effect == Effect::Unknown {
        RestoreError::Unanswered { id, failure }
    } else {
        RestoreError::Refused { id, failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(effect: Effect, class: FailureClass, attempts: u32) -> Option<Duration> {
        let pace = Pace {
            poll_interval: Duration::from_secs(2),
            poll_interval_max: Duration::from_mins(1),
        };
        let mut attempts = attempts;
        next_try(ArchiveId(7), &mut attempts, &Failure::new(class, effect, "no"), pace)
    }

    #[test]
    fn what_may_have_happened_is_never_sent_again() {
        for class in [FailureClass::Transient, FailureClass::Throttled, FailureClass::Local] {
            assert_eq!(wait(Effect::Unknown, class, 0), None);
            assert!(wait(Effect::NotDone, class, 0).is_some());
            assert_eq!(wait(Effect::NotDone, class, ATTEMPTS - 1), None, "not for ever");
        }
        assert_eq!(wait(Effect::NotDone, FailureClass::Permanent, 0), None);
        assert!(wait(Effect::NotDone, FailureClass::Busy, ATTEMPTS).is_some());
        assert!(wait(Effect::NotDone, FailureClass::Unauthorized, 0).is_some());
        assert_eq!(wait(Effect::NotDone, FailureClass::Unauthorized, 1), None);
    }
}
