//! The packages that an id on the command line means, for those commands that read them. Leases
//! come first: retention may decide at any moment.

use super::error::CliError;
use super::output;
use crate::catalog::Catalog;
use crate::lifecycle::{Archive, Holding, State};
use crate::model::Reference;
use crate::vault::{Lease, Vault};

/// The archives meant: one, or the stored parts of a snapshot, which must all be there.
pub(super) async fn find(catalog: &Catalog, id: Reference) -> Result<Vec<Archive>, CliError> {
    let missing =
        |id: &dyn std::fmt::Display| CliError::NotFound(format!("there is no {id} in the catalog"));
    match id {
        Reference::Archive(id) => Ok(vec![catalog.archive(id).await?.ok_or_else(|| missing(&id))?]),
        Reference::Snapshot(id) => {
            let all = catalog.archives_of(id).await?;
            let parts = catalog.parts_of(id).await.map_err(|_| missing(&id))?;
            let stored: Vec<Archive> =
                all.into_iter().filter(|a| a.state.holding().is_some()).collect();
            let complete = (1..=parts).all(|part| stored.iter().any(|a| a.part == part));
            if parts == 0 || !complete {
                return Err(CliError::NotFound(format!(
                    "{id} is not complete: name its parts one by one (`roma-archived show {id}`)"
                )));
            }
            Ok(stored)
        }
    }
}

pub(super) fn holding(archive: &Archive) -> Result<&Holding, CliError> {
    match &archive.state {
        State::Stored(held) | State::Trashed(held, _) | State::Damaged(held) => Ok(held),
        State::Deleting(_, deletion) | State::Deleted(_, deletion) => {
            let when = archive.milestones.deleted_at;
            let when = when.map_or_else(String::new, |at| format!(" at {at}"));
            let (id, reason) = (archive.id, &deletion.reason);
            Err(CliError::NotFound(format!("{id} was deleted{when}: {reason}")))
        }
        state => {
            let why = archive.last_error.as_deref().unwrap_or("it is not stored yet");
            Err(CliError::NotFound(format!("{} is {}: {why}", archive.id, state.word())))
        }
    }
}

/// Keeps the files from being deleted while they are read.
pub(super) async fn lease(
    catalog: &Catalog,
    vault: &Vault,
    archives: &[Archive],
) -> Result<Vec<Lease>, CliError> {
    let mut leases = Vec::with_capacity(archives.len());
    for archive in archives {
        match vault.lease(&holding(archive)?.file) {
            Ok(lease) => leases.push(lease),
            Err(error) => {
                // Deleted since the catalog was asked: it says when and why.
                if let Some(now) = catalog.archive(archive.id).await? {
                    holding(&now)?;
                }
                return Err(CliError::Extract { id: archive.id, source: error.into() });
            }
        }
    }
    Ok(leases)
}

pub(super) fn mention_trash(archive: &Archive) {
    if let State::Trashed(..) = archive.state {
        output::note(&format!(
            "note: {} is in the trash until {}; `roma-archived undelete {}` keeps it",
            archive.id, archive.not_before, archive.snapshot
        ));
    }
}
