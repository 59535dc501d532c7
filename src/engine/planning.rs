//! From a run to its jobs: reads what the instance holds, and divides it as the run before did.
//!
//! Reading is harmless, so nothing is recorded before it; killed in between, it is read again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::failure::EngineError;
use super::shell::Shell;
use crate::catalog::{CatalogError, Planning, Uncovered, UnplannedSnapshot};
use crate::lifecycle::{Archive, Failure, FailureClass, partition, planning_retry};
use crate::model::{Scope, Timestamp};
use crate::roma::{Listing, RomaError};
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
            Ok((scope, uncovered)) if scope.is_empty() => Planning::Failed(nothing(&uncovered)),
            Ok((scope, uncovered)) => {
                let catalog = &shell.catalog;
                let before = catalog.last_parts(&export.instance, &export.name).await?;
                let uncovered = (uncovered.count() > 0).then_some(uncovered);
                Planning::Parts(partition(scope, &before), uncovered)
            }
            Err(failure) => put_off(&snapshot, failure, shell.clock.now()),
        },
        None => Planning::Failed(format!("export `{}` is no longer configured", snapshot.export)),
    };
    let now = shell.clock.now();
    let is_attempt = match &planning {
        Planning::Postponed(failure, _) => failure.class != FailureClass::Paused,
        _ => true,
    };
    let later = match &planning {
        Planning::Postponed(_, not_before) => Some(*not_before),
        _ => None,
    };
    match shell.catalog.plan(snapshot.id, planning, now).await {
        Ok(archives) => Ok(match later {
            Some(not_before) => {
                let attempts = snapshot.attempts + u32::from(is_attempt);
                Planned::Later(UnplannedSnapshot { attempts, not_before, ..snapshot })
            }
            None => Planned::Done(archives),
        }),
        Err(CatalogError::AlreadyPlanned(_)) => Ok(Planned::Done(Vec::new())),
        Err(error) => Err(error.into()),
    }
}

fn nothing(uncovered: &Uncovered) -> String {
    let missing = uncovered.count();
    if missing == 0 {
        return "there is nothing to export: no application, no task".to_owned();
    }
    format!("there is nothing to export: {missing} assets are asked for and none is there")
}

async fn discover(shell: &Shell, export: &Export) -> Result<(Scope, Uncovered), Failure> {
    let instance = &export.instance;
    let mut uncovered = Uncovered::default();
    let mut missing = Vec::new();
    let mut scope = Scope::default();
    if export.apps.takes_any() {
        let listed = shell.roma.list_apps(instance, shell.clock.now()).await;
        (scope.apps, uncovered.apps) =
            choose(shell, export, &export.apps, listed, &mut uncovered.unseen)?;
    }
    if export.tasks.takes_any() {
        let listed = shell.roma.list_tasks(instance, shell.clock.now()).await;
        (scope.tasks, uncovered.tasks) =
            choose(shell, export, &export.tasks, listed, &mut uncovered.unseen)?;
    }
    if uncovered.apps.len() + uncovered.tasks.len() > 0 {
        missing.push("the configuration names what ROMA does not list".to_owned());
    }
    if uncovered.unseen > 0 {
        missing.push(format!("ROMA counts {} assets more than it shows", uncovered.unseen));
    }
    uncovered.message = missing.join("; ");
    Ok((scope, uncovered))
}

/// The ids that are chosen and there, and those that are chosen and not there.
fn choose(
    shell: &Shell,
    export: &Export,
    selection: &Selection,
    listed: Result<Listing, RomaError>,
    unseen: &mut u64,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let listed = shell.heard(&export.instance, listed);
    match (selection, listed) {
        (Selection::All, Ok(Listing { ids, announced })) => {
            *unseen += announced.map_or(0, |all| all.saturating_sub(ids.len() as u64));
            Ok((ids.into_iter().collect(), Vec::new()))
        }
        (Selection::Ids(ids), Ok(listed)) => {
            let (there, gone): (BTreeSet<&String>, BTreeSet<&String>) =
                ids.iter().partition(|id| listed.ids.contains(*id));
            let owned = |ids: BTreeSet<&String>| ids.into_iter().cloned().collect();
            Ok((owned(there), owned(gone)))
        }
        // An account that may export and not list can still name what it wants.
        (Selection::Ids(ids), Err(failure)) if failure.class == FailureClass::Permanent => {
            Ok((ids.clone(), Vec::new()))
        }
        (_, Err(failure)) => Err(failure),
    }
}

fn put_off(snapshot: &UnplannedSnapshot, failure: Failure, now: Timestamp) -> Planning {
    match planning_retry(snapshot.id, snapshot.attempts, &failure, now) {
        Some(not_before) => Planning::Postponed(failure, not_before),
        None => Planning::Failed(failure.message),
    }
}
