//! What a start makes of what a dead process left behind. Recovery is the start path: there is no
//! other way to start, so it is exercised every time.

use std::collections::HashMap;
use std::sync::Arc;

use super::failure::EngineError;
use super::keeper::Keeper;
use super::shell::Shell;
use crate::lifecycle::{Archive, Evidence, State, on_restart};
use crate::model::{ArchiveId, story};
use crate::vault::{Staged, StagedEvidence, VaultError};

/// Settles every archive in doubt, tidies staging, and returns all archives that are not at rest.
pub(super) async fn run(shell: &Arc<Shell>) -> Result<Vec<Archive>, EngineError> {
    let mut active = Vec::new();
    for archive in shell.catalog.active().await? {
        active.extend(settle(shell, archive).await?);
    }
    tidy_staging(shell, &active).await?;
    Ok(active)
}

/// Settles one archive; the answer holds it and its replacement, should it be lost.
pub(super) async fn settle(
    shell: &Arc<Shell>,
    archive: Archive,
) -> Result<Vec<Archive>, EngineError> {
    if archive.state.word().is_unfinished()
        && let Some(stored) = Keeper::of(shell).take_back(&archive).await?
    {
        return Ok(vec![stored]);
    }
    let evidence = match &archive.state {
        State::Downloading(_) => evidence(shell, archive.id).await?,
        _ => Evidence::Nothing,
    };
    match on_restart(&archive.state, evidence, shell.clock.now()) {
        Some(event) => shell.record(&archive, event).await,
        None => Ok(vec![archive]),
    }
}

async fn evidence(shell: &Arc<Shell>, id: ArchiveId) -> Result<Evidence, EngineError> {
    match shell.blocking(move |vault| vault.inspect_staged(id)).await {
        Ok(StagedEvidence::Whole(Staged { content, format, flaw })) => {
            Ok(Evidence::Whole(content, format, flaw))
        }
        Ok(StagedEvidence::Partial { bytes }) => {
            tracing::warn!(archive.id = %id, bytes, "a download was cut short");
            Ok(Evidence::Nothing)
        }
        Ok(StagedEvidence::Nothing) => Ok(Evidence::Nothing),
        // Without a look at the disk nothing can be decided: stop, and try again at the next start.
        Err(error) => Err(EngineError::Disk(error)),
    }
}

/// Removes what is certainly superfluous, and moves to quarantine what nobody knows. Nothing that
/// may be the only copy of a package is ever removed.
async fn tidy_staging(shell: &Arc<Shell>, active: &[Archive]) -> Result<(), EngineError> {
    let known: HashMap<ArchiveId, &Archive> = active.iter().map(|a| (a.id, a)).collect();
    let contents =
        shell.blocking(crate::vault::Vault::list_staged).await.map_err(EngineError::Disk)?;
    for file in contents.ours {
        let archive = match known.get(&file.id) {
            Some(archive) => Some((*archive).clone()),
            None => shell.catalog.archive(file.id).await?,
        };
        match fate(archive.as_ref()) {
            Fate::Keep => {}
            Fate::Discard => {
                check(shell.blocking(move |vault| vault.discard_staged(file.id)).await)?;
            }
            Fate::Quarantine => {
                let path = shell.vault.staged_path(file.id, file.kind);
                let message = "it is no download of an archive on its way";
                quarantine(shell, path, "orphan", message).await?;
            }
        }
    }
    for path in contents.foreign {
        quarantine(shell, path, "foreign", "it is no file that this program writes").await?;
    }
    Ok(())
}

async fn quarantine(
    shell: &Arc<Shell>,
    path: std::path::PathBuf,
    why: &'static str,
    message: &str,
) -> Result<(), EngineError> {
    // What the disk refuses is no reason not to start; it says so itself.
    Keeper::of(shell).quarantine(path, why, message.to_owned()).await.map(drop)
}

/// Tidying that fails is no reason not to start, but for an fsync that failed.
fn check(result: Result<(), VaultError>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.is_fatal() => Err(EngineError::Disk(error)),
        Err(error) => {
            tracing::warn!(error = %story(&error), "staging could not be tidied");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

enum Fate {
    Keep,
    Discard,
    Quarantine,
}

fn fate(archive: Option<&Archive>) -> Fate {
    match archive.map(|archive| &archive.state) {
        // Waiting to be packed: the staged file is the only copy. Before that, the next attempt
        // begins with a file of its own.
        Some(
            State::Downloaded { .. }
            | State::Running { .. }
            | State::Ready(_)
            | State::Downloading(_),
        ) => Fate::Keep,
        // Stored, read back and recorded: what is left in staging is a copy.
        Some(State::Stored(_) | State::Trashed(..) | State::Deleting(..) | State::Deleted(..)) => {
            Fate::Discard
        }
        // Nobody needs it, as far as the catalog knows; a person may.
        Some(
            State::Scheduled
            | State::Requesting
            | State::Damaged(_)
            | State::Failed { .. }
            | State::Lost { .. },
        )
        | None => Fate::Quarantine,
    }
}
