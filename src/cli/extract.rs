//! `extract`: a package as ROMA sent it. A file appears under its name only after its hash was
//! checked.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::args::ExtractArgs;
use super::error::CliError;
use super::{open, output};
use crate::catalog::Catalog;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::lifecycle::{Archive, Holding, State};
use crate::model::{Format, Reference};
use crate::vault::{Lease, OsDisk, Vault};

pub(super) async fn run(loaded: &Loaded, args: &ExtractArgs) -> Result<Exit, CliError> {
    let state_dir = &loaded.settings.state_dir;
    let catalog = open::reader(state_dir).await?;
    let archives = find(&catalog, args.id).await?;
    let vault = Vault::at(state_dir, Arc::new(OsDisk));
    let targets = targets(args, &archives)?;
    let held = archives.iter().map(holding).collect::<Result<Vec<_>, _>>()?;
    // All of them before the first byte: retention may decide at any moment.
    let _leases = lease(&catalog, &vault, &archives).await?;
    archives.iter().for_each(mention_trash);
    let mut written = Vec::new();
    for ((archive, held), target) in archives.iter().zip(held).zip(targets) {
        match target {
            Some(path) => {
                to_file(&vault, archive, held, &path, args.force)?;
                let (bytes, sha256) = (held.raw.bytes, held.raw.sha256);
                written.push(json!({
                    "archive_id": archive.id, "path": path, "bytes": bytes, "sha256": sha256,
                }));
                if !args.json {
                    let size = output::size(bytes);
                    output::line(&format!("{sha256}  {} ({size})", path.display()))?;
                }
            }
            None => to_stdout(&vault, archive, held)?,
        }
    }
    if args.json {
        output::json(json!({ "files": written }))?;
    }
    Ok(Exit::Ok)
}

/// The archives meant: one, or the stored parts of a snapshot, which must all be there.
async fn find(catalog: &Catalog, id: Reference) -> Result<Vec<Archive>, CliError> {
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
                    "{id} is not complete: extract its parts one by one (`roma-archived show {id}`)"
                )));
            }
            Ok(stored)
        }
    }
}

fn holding(archive: &Archive) -> Result<&Holding, CliError> {
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
async fn lease(
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

fn mention_trash(archive: &Archive) {
    if let State::Trashed(..) = archive.state {
        output::note(&format!(
            "note: {} is in the trash until {}; `roma-archived undelete {}` keeps it",
            archive.id, archive.not_before, archive.snapshot
        ));
    }
}

/// Where each archive goes; `None` is standard output.
fn targets(args: &ExtractArgs, archives: &[Archive]) -> Result<Vec<Option<PathBuf>>, CliError> {
    match (&args.output, archives) {
        (None, [_]) if std::io::stdout().is_terminal() => Err(CliError::Usage(
            "a package does not belong on a terminal: name a file with --output".to_owned(),
        )),
        (None, [_]) => Ok(vec![None]),
        (None, _) => Err(CliError::Usage(
            "this snapshot has several parts: name a directory with --output".to_owned(),
        )),
        (Some(path), [one]) if matches!(args.id, Reference::Archive(_)) => {
            Ok(vec![Some(if path.is_dir() { path.join(file_name(one)) } else { path.clone() })])
        }
        (Some(directory), several) => {
            std::fs::create_dir_all(directory)
                .map_err(|source| CliError::Write { path: directory.clone(), source })?;
            Ok(several.iter().map(|archive| Some(directory.join(file_name(archive)))).collect())
        }
    }
}

/// `s12-1.zip`: ours, never a name that the server sent.
fn file_name(archive: &Archive) -> String {
    let extension = match archive.state.holding().map(|held| held.file.format) {
        Some(Format::Zip) => "zip",
        Some(Format::Json) => "json",
        _ => "bin",
    };
    format!("{}-{}.{extension}", archive.snapshot, archive.part)
}

fn to_stdout(vault: &Vault, archive: &Archive, held: &Holding) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    vault
        .extract(&held.file, held.raw, &mut stdout)
        .map_err(|source| CliError::Extract { id: archive.id, source })?;
    stdout.flush().map_err(CliError::Output)
}

fn to_file(
    vault: &Vault,
    archive: &Archive,
    held: &Holding,
    path: &Path,
    force: bool,
) -> Result<(), CliError> {
    let failed = |source| CliError::Write { path: path.to_owned(), source };
    if path.exists() && !force {
        return Err(CliError::Write {
            path: path.to_owned(),
            source: std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "it exists already; --force replaces it",
            ),
        });
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    vault
        .extract(&held.file, held.raw, temporary.as_file_mut())
        .map_err(|source| CliError::Extract { id: archive.id, source })?;
    temporary.as_file().sync_all().map_err(failed)?;
    if force {
        temporary.persist(path).map_err(|error| failed(error.error))?;
    } else {
        temporary.persist_noclobber(path).map_err(|error| failed(error.error))?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
