//! One step of one archive: commit the intent, perform the effect, commit the fact. Each function
//! says what a crash in its gaps leaves behind; `recovery.rs` is the other half.

use std::sync::Arc;
use std::time::Duration;

use super::coverage;
use super::failure::EngineError;
use super::shell::{Changed, Shell};
use crate::catalog::{CatalogError, Change};
use crate::lifecycle::{
    Archive, Effect, Event, Failure, FailureCause, FailureClass, LossCause, State, Step,
};
use crate::model::{JobId, Timestamp};
use crate::roma::{JobReport, JobStatus};

/// How long a job may run before it counts as stuck (contract U13).
const JOB_DEADLINE: Duration = Duration::from_hours(24);

/// What came of a step.
#[derive(Debug)]
pub(super) enum Outcome {
    /// These archives are changed or new.
    Changed(Vec<Archive>),
    /// The job still runs; nothing was recorded.
    StillRunning(Box<Archive>),
}

/// Runs one step of `archive` to its end.
pub(super) async fn run(
    shell: Arc<Shell>,
    step: Step,
    archive: Archive,
) -> Result<Outcome, EngineError> {
    match step {
        Step::Request => request(&shell, archive).await.map(Outcome::Changed),
        Step::Poll => poll(&shell, archive).await,
        Step::Download => super::download::run(&shell, archive).await.map(Outcome::Changed),
        Step::Pack => super::packing::run(&shell, archive).await.map(Outcome::Changed),
        Step::Purge | Step::Delete => {
            super::removal::run(&shell, archive).await.map(Outcome::Changed)
        }
    }
}

/// Starts the job. Killed after the intent: nobody knows whether it runs, and ROMA lists no jobs,
/// so the archive is lost and its scope is exported again.
async fn request(shell: &Arc<Shell>, archive: Archive) -> Changed {
    let now = shell.clock.now();
    let Some(scope) = archive.scope.clone() else {
        // Only a watched job has no scope, and it is never scheduled.
        let message = "the archive has no scope to export";
        let failure = Failure::new(FailureClass::Permanent, Effect::NotDone, message);
        let event = Event::RequestRefused { cause: FailureCause::Refused, failure };
        return shell.record(&archive, event).await;
    };
    // A sign-in that fails must not leave the request in doubt.
    if let Err(failure) = shell.credential(&archive.instance).await {
        return shell.fail(&archive, failure).await;
    }
    let archive = match shell.advance(&archive, Event::RequestStarted).await? {
        Ok(archive) => archive,
        Err(other) => return Ok(other),
    };
    match shell.roma.start_export(&archive.instance, &scope, now).await {
        Ok(job) => {
            shell.breakers().answered(&archive.instance);
            accept(shell, &archive, job).await
        }
        Err(error) => {
            let about_scope = error.is_about_request();
            let failure = shell.blame(&archive.instance, error);
            if about_scope {
                return coverage::after_refusal(shell, &archive, failure).await;
            }
            shell.fail(&archive, failure).await
        }
    }
}

/// A job that another archive has already can only be a server's mistake; the request then counts
/// as unanswered rather than leaving the archive in doubt for ever.
async fn accept(shell: &Arc<Shell>, archive: &Archive, job: JobId) -> Changed {
    let changed = shell.record(archive, Event::JobAccepted { job: job.clone() }).await?;
    let in_doubt = changed.first().is_some_and(|a| a.state == State::Requesting);
    if !in_doubt {
        return Ok(changed);
    }
    let message = format!("ROMA answered with job {job}, which another archive already has");
    let failure = Failure::new(FailureClass::Transient, Effect::Unknown, message);
    shell.fail(archive, failure).await
}

/// Asks about the job. Nothing to undo at any point.
async fn poll(shell: &Arc<Shell>, archive: Archive) -> Result<Outcome, EngineError> {
    let State::Running { job } = &archive.state else {
        return Ok(Outcome::Changed(vec![archive]));
    };
    let now = shell.clock.now();
    let answer = shell.roma.job(&archive.instance, job, now).await;
    let report = match shell.heard(&archive.instance, answer) {
        Ok(report) => report,
        Err(failure) => return shell.fail(&archive, failure).await.map(Outcome::Changed),
    };
    // By a clock that ran ahead every job would have run for too long.
    let now = if shell.clock_doubt().is_some() { archive.began() } else { shell.clock.now() };
    let Some(event) = judge(&archive, report, now) else {
        if archive.last_error.is_none() {
            return Ok(Outcome::StillRunning(Box::new(archive)));
        }
        // The trouble is over: it must no longer be shown, nor count.
        return Ok(match shell.advance(&archive, Event::JobStillRunning).await? {
            Ok(archive) => Outcome::StillRunning(Box::new(archive)),
            Err(other) => Outcome::Changed(other),
        });
    };
    let changed = match event {
        Event::JobFailed { reasons } if archive.scope.is_some() => {
            coverage::after_failed_job(shell, &archive, reasons).await?
        }
        event => offer(shell, &archive, event).await?,
    };
    Ok(Outcome::Changed(changed))
}

/// Records what a job said. A package that another archive claims is a duplicate (contract U17).
async fn offer(shell: &Arc<Shell>, archive: &Archive, event: Event) -> Changed {
    let Event::JobSucceeded { package } = &event else {
        return shell.record(archive, event).await;
    };
    let package = package.clone();
    let change = Change::new(archive.clone(), event);
    match shell.catalog.commit_all(vec![change], shell.clock.now()).await {
        Ok(archives) => Ok(archives),
        Err(CatalogError::PackageClaimed { by: claimed_by }) => {
            shell.record(archive, Event::PackageDuplicate { package, claimed_by }).await
        }
        Err(error) if error.is_fatal() => Err(error.into()),
        Err(error) => shell.refused(archive, &error).await,
    }
}

/// What a job's report means; `None`: it still runs.
fn judge(archive: &Archive, report: JobReport, now: Timestamp) -> Option<Event> {
    let gone =
        |cause, message: &str| Some(Event::PackageLost { cause, message: message.to_owned() });
    if report.not_an_export {
        let reasons = "this is an import or delete job: it has no package".to_owned();
        return Some(Event::JobFailed { reasons });
    }
    match (report.status, report.package) {
        (JobStatus::Failed, _) => {
            let reasons = if report.reasons.is_empty() {
                "ROMA gives no reason".to_owned()
            } else {
                report.reasons
            };
            // It had ended well and offered a package before.
            if archive.milestones.ready_at.is_some() {
                let message = format!("the job no longer offers its package but failed: {reasons}");
                return gone(LossCause::PackageGone, &message);
            }
            Some(Event::JobFailed { reasons })
        }
        (JobStatus::Succeeded | JobStatus::Finished, Some(package)) => {
            Some(Event::JobSucceeded { package })
        }
        (JobStatus::Finished, None) => {
            gone(LossCause::PackageGone, "the package was already downloaded")
        }
        (JobStatus::Succeeded, None) => {
            gone(LossCause::PackageGone, "the job ended well but offers no package any more")
        }
        (JobStatus::Running, _) => {
            if now.since(archive.began()) < JOB_DEADLINE {
                return None;
            }
            gone(LossCause::JobStuck, "the job has not ended within 24 hours")
        }
    }
}
