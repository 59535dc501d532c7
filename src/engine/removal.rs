//! The end of a file: its time in the trash is over, or its removal was begun before.
//!
//! It must never remove what a pin holds, what somebody reads, or what is not the file that was
//! stored. Killed after the intent: removed again, and a missing file is a success.

use std::sync::Arc;

use super::failure::{EngineError, of_vault};
use super::shell::{Changed, Shell};
use crate::catalog::{CatalogError, Change};
use crate::lifecycle::{Archive, Effect, Event, Holding, State};

/// Removes the file of an archive that is in the trash, or whose removal was begun.
pub(super) async fn run(shell: &Arc<Shell>, archive: Archive) -> Changed {
    let archive = match &archive.state {
        State::Trashed(..) => match begin(shell, &archive).await? {
            Ok(archive) => archive,
            Err(other) => return Ok(other),
        },
        _ => archive,
    };
    let State::Deleting(Holding { file, .. }, _) = &archive.state else {
        return Ok(vec![archive]);
    };
    let file = file.clone();
    match shell.blocking(move |vault| vault.remove_stored(&file)).await {
        Ok(()) => shell.record(&archive, Event::FileDeleted).await,
        Err(error) => {
            let failure = of_vault(error, Effect::NotDone)?;
            shell.fail(&archive, failure).await
        }
    }
}

/// Commits the intent. What a pin holds comes back from the trash instead: it would be refused
/// again and again. The inner error means that there is nothing to remove.
async fn begin(
    shell: &Arc<Shell>,
    archive: &Archive,
) -> Result<Result<Archive, Vec<Archive>>, EngineError> {
    let change = Change::new(archive.clone(), Event::DeletionStarted);
    match shell.catalog.commit(change, shell.clock.now()).await {
        Ok(archive) => Ok(Ok(archive)),
        Err(CatalogError::Refused(why)) => {
            tracing::warn!(archive.id = %archive.id, "it comes back from the trash: {why}");
            let event = Event::DeletionRevoked { by: why.to_string() };
            shell.record(archive, event).await.map(Err)
        }
        Err(error) if error.is_fatal() => Err(error.into()),
        // The same again, for what is done about it in every step.
        Err(_) => shell.advance(archive, Event::DeletionStarted).await,
    }
}
