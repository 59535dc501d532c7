//! From a run to its jobs: reads what the instance holds, and divides it as the run before did.
//!
//! Reading is harmless, so nothing is recorded before it; killed in between, it is read again.

use std::sync::Arc;
use std::time::Duration;

use super::failure::EngineError;
use super::shell::Shell;
use crate::catalog::{CatalogError, Planning, UnplannedSnapshot};
use crate::lifecycle::{Archive, Failure, FailureClass, REQUEST_ATTEMPTS, backoff, partition};
use crate::model::{Scope, Timestamp};
use crate::settings::{Export, Selection};

/// What came of planning: the archives it opened, or when it comes again.
#[derive(Debug)]
pub(super) enum Planned {
    Done(Vec<Archive>),
    Later(UnplannedSnapshot),
}

/// Plans one snapshot.
pub(super) async fn run(
    shell: Arc<Shell>,
    snapshot: UnplannedSnapshot,
    export: Option<Export>,
) -> Result<Planned, EngineError> {
    let planning = match export {
        Some(export) => match discover(&shell, &export).await {
            Ok(scope) if scope.is_empty() => {
                Planning::Failed("there is nothing to export: no application, no task".to_owned())
            }
            Ok(scope) => {
                let catalog = &shell.catalog;
                let before = catalog.last_parts(&export.instance, &export.name).await?;
                Planning::Parts(partition(scope, &before))
            }
            Err(failure) => put_off(&snapshot, failure, shell.clock.now()),
        },
        None => Planning::Failed(format!("export `{}` is no longer configured", snapshot.export)),
    };
    let now = shell.clock.now();
    let later = match &planning {
        Planning::Postponed(_, not_before) => Some(*not_before),
        _ => None,
    };
    match shell.catalog.plan(snapshot.id, planning, now).await {
        Ok(archives) => Ok(match later {
            Some(not_before) => {
                let attempts = snapshot.attempts + 1;
                Planned::Later(UnplannedSnapshot { attempts, not_before, ..snapshot })
            }
            None => Planned::Done(archives),
        }),
        Err(CatalogError::AlreadyPlanned(_)) => Ok(Planned::Done(Vec::new())),
        Err(error) => Err(error.into()),
    }
}

async fn discover(shell: &Shell, export: &Export) -> Result<Scope, Failure> {
    let (now, instance) = (shell.clock.now(), &export.instance);
    let apps = match &export.apps {
        Selection::All => {
            let listed = shell.heard(instance, shell.roma.list_apps(instance, now).await)?;
            listed.ids.into_iter().collect()
        }
        Selection::Ids(ids) => ids.clone(),
    };
    let tasks = match &export.tasks {
        Selection::All => {
            let listed = shell.heard(instance, shell.roma.list_tasks(instance, now).await)?;
            listed.ids.into_iter().collect()
        }
        Selection::Ids(ids) => ids.clone(),
    };
    Ok(Scope { apps, tasks })
}

fn put_off(snapshot: &UnplannedSnapshot, failure: Failure, now: Timestamp) -> Planning {
    if snapshot.attempts + 1 >= REQUEST_ATTEMPTS {
        return Planning::Failed(failure.message);
    }
    let wished = Duration::from_millis(failure.retry_after_ms.unwrap_or_default());
    let own = match failure.class {
        FailureClass::Unauthorized if snapshot.attempts == 0 => Duration::ZERO,
        FailureClass::Unauthorized | FailureClass::Permanent => Duration::from_secs(330),
        _ => backoff(snapshot.id.0.unsigned_abs(), snapshot.attempts),
    };
    let not_before = now.plus(own.max(wished.min(Duration::from_hours(1))));
    Planning::Postponed(failure, not_before)
}
