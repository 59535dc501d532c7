//! From a run to its jobs: reads what the instance holds, and divides it.
//!
//! Reading is harmless, so nothing is recorded before it; killed in between, it is read again.

use std::sync::Arc;
use std::time::Duration;

use super::failure::EngineError;
use super::shell::Shell;
use crate::catalog::{CatalogError, Planning, UnplannedSnapshot};
use crate::lifecycle::{Archive, Failure, FailureClass, REQUEST_ATTEMPTS, backoff};
use crate::model::{Scope, Timestamp};
use crate::settings::{Export, Selection};

/// A job takes at most this many applications and tasks together (contract 1).
const MOST_ASSETS: usize = 100;

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
            Ok(scope) => divide(scope),
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
        Selection::All => shell.heard(instance, shell.roma.list_apps(instance, now).await)?,
        Selection::Ids(ids) => ids.clone(),
    };
    let tasks = match &export.tasks {
        Selection::All => shell.heard(instance, shell.roma.list_tasks(instance, now).await)?,
        Selection::Ids(ids) => ids.clone(),
    };
    Ok(Scope { apps, tasks })
}

/// Divides a scope into jobs, applications first, in the order of their ids, so that successive
/// snapshots of an unchanged instance have equal parts.
fn divide(mut scope: Scope) -> Planning {
    if scope.is_empty() {
        return Planning::Failed("there is nothing to export: no application, no task".to_owned());
    }
    scope.apps.sort_unstable();
    scope.tasks.sort_unstable();
    let mut parts: Vec<Scope> = scope
        .apps
        .chunks(MOST_ASSETS)
        .map(|apps| Scope { apps: apps.to_vec(), tasks: Vec::new() })
        .collect();
    let mut tasks = scope.tasks.as_slice();
    if let Some(last) = parts.last_mut() {
        let room = MOST_ASSETS.saturating_sub(last.len()).min(tasks.len());
        let (fitting, rest) = tasks.split_at(room);
        last.tasks = fitting.to_vec();
        tasks = rest;
    }
    parts.extend(
        tasks.chunks(MOST_ASSETS).map(|tasks| Scope { apps: Vec::new(), tasks: tasks.to_vec() }),
    );
    Planning::Parts(parts)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_asset_is_in_exactly_one_job_of_at_most_a_hundred(
            apps in 0_usize..350,
            tasks in 0_usize..1_200,
        ) {
            let ids = |prefix: &str, count: usize| -> Vec<String> {
                (0..count).map(|i| format!("{prefix}{i}")).collect()
            };
            let scope = Scope { apps: ids("a", apps), tasks: ids("t", tasks) };
            let Planning::Parts(parts) = divide(scope.clone()) else {
                prop_assert!(scope.is_empty());
                return Ok(());
            };
            prop_assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= MOST_ASSETS));
            prop_assert_eq!(parts.len(), (apps + tasks).div_ceil(MOST_ASSETS));
            let assets = parts.iter().flat_map(|part| part.apps.iter().chain(&part.tasks));
            let mut seen: Vec<String> = assets.cloned().collect();
            seen.sort();
            let mut all: Vec<String> = scope.apps.iter().chain(&scope.tasks).cloned().collect();
            all.sort();
            prop_assert_eq!(seen, all);
        }
    }
}
