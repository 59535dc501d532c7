//! What is left of a job's scope that ROMA did not export: assets vanish between the reading of a
//! list and the job, or are named in the configuration and gone (contract U18). The lists are read
//! once more; what is not in them is dropped, recorded as such, and the rest is exported again.
//!
//! It must never drop an asset that is listed, nor go on without a record of what it dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::shell::{Changed, Shell};
use crate::catalog::Sequel;
use crate::lifecycle::{Archive, Effect, Event, Failure, FailureCause, FailureClass};
use crate::model::Scope;

/// A job that has failed can wait for so many attempts to read the lists.
const ATTEMPTS: u32 = 10;

/// ROMA says that the job failed.
pub(super) async fn after_failed_job(
    shell: &Arc<Shell>,
    archive: &Archive,
    reasons: String,
) -> Changed {
    let sequel = match what_is_left(shell, archive).await {
        Ok(left) => sequel(archive, left, &reasons),
        // The job is asked about again, and says the same again.
        Err(failure) if may_pass(&failure) && archive.attempts < ATTEMPTS => {
            return shell.fail(archive, failure).await;
        }
        Err(_) => None,
    };
    let event = Event::JobFailed { reasons };
    match sequel {
        Some(sequel) => shell.record_with(archive, event, sequel).await,
        None => shell.record(archive, event).await,
    }
}

/// ROMA refused to start the job, because of what it was asked for.
pub(super) async fn after_refusal(
    shell: &Arc<Shell>,
    archive: &Archive,
    failure: Failure,
) -> Changed {
    let left = match what_is_left(shell, archive).await {
        Ok(left) => left,
        // The request certainly started nothing: it comes again.
        Err(listing) if may_pass(&listing) => {
            return shell.fail(archive, Failure { effect: Effect::NotDone, ..listing }).await;
        }
        Err(_) => None,
    };
    let another_form = || {
        let scope = archive.scope.clone()?;
        let message = "an empty list was refused: it is left out".to_owned();
        (scope.is_one_sided() && !scope.omit_empty)
            .then_some(Sequel::Instead(Scope { omit_empty: true, ..scope }, message))
    };
    match sequel(archive, left, &failure.message).or_else(another_form) {
        Some(sequel) => {
            let event = Event::RequestRefused { cause: FailureCause::Refused, failure };
            shell.record_with(archive, event, sequel).await
        }
        None => shell.fail(archive, failure).await,
    }
}

const fn may_pass(failure: &Failure) -> bool {
    !matches!(failure.class, FailureClass::Permanent | FailureClass::Gone | FailureClass::Local)
}

/// What to do when not all of the scope is there any more.
fn sequel(archive: &Archive, left: Option<Scope>, why: &str) -> Option<Sequel> {
    let (scope, left) = (archive.scope.as_ref()?, left?);
    if left.len() == scope.len() {
        return None;
    }
    let message = format!("no longer listed; found out because: {why}");
    Some(if left.is_empty() { Sequel::Vanished(message) } else { Sequel::Instead(left, message) })
}

/// The part of the scope that ROMA still lists; `None`: the scope is not known.
async fn what_is_left(shell: &Shell, archive: &Archive) -> Result<Option<Scope>, Failure> {
    let Some(scope) = archive.scope.clone() else { return Ok(None) };
    let instance = &archive.instance;
    let Scope { mut apps, mut tasks, omit_empty } = scope;
    if !apps.is_empty() {
        let listed = shell.roma.list_apps(instance, shell.clock.now()).await;
        retain(&mut apps, &shell.heard(instance, listed)?.ids);
    }
    if !tasks.is_empty() {
        let listed = shell.roma.list_tasks(instance, shell.clock.now()).await;
        retain(&mut tasks, &shell.heard(instance, listed)?.ids);
    }
    Ok(Some(Scope { apps, tasks, omit_empty }))
}

fn retain(ids: &mut Vec<String>, listed: &BTreeSet<String>) {
    ids.retain(|id| listed.contains(id));
}
