//! `verify`: reads stored files to their end now and compares them with the catalog, also beside a
//! running daemon. What it finds is recorded as if the daemon had found it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::VerifyArgs;
use super::error::CliError;
use super::progress::Progress;
use super::{open, output};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::engine::{Finding, Keeper};
use crate::exit::Exit;
use crate::lifecycle::{Archive, State};
use crate::model::{ArchiveId, Reference};
use crate::service::ServiceError;
use crate::vault::{Lease, OsDisk, Vault};

pub(super) async fn run(loaded: &Loaded, args: &VerifyArgs) -> Result<Exit, CliError> {
    // Looked at before anything is made: there may be nothing to verify at all.
    drop(open::reader(&loaded.settings.state_dir).await?);
    let catalog = open::writer(&loaded.settings).await?;
    let vault = Vault::at(&loaded.settings.state_dir, Arc::new(OsDisk));
    let keeper = Keeper::new(catalog.clone(), vault, Clock::System);
    let progress = Progress::of_bytes(0, "reading");
    let mut report = Report::new(args.json, progress);
    let result = verify(&catalog, &keeper, args, &mut report).await;
    // It holds the catalog too, which would wait for it.
    drop(keeper);
    let closed = catalog.close().await;
    result?;
    closed?;
    report.finish()
}

async fn verify(
    catalog: &Catalog,
    keeper: &Keeper,
    args: &VerifyArgs,
    report: &mut Report,
) -> Result<(), CliError> {
    if args.all {
        report.expect(stored_bytes(catalog).await?);
        let done = keeper.verify_all(&mut |finding| report.take(finding)).await;
        return done.map_err(|error| ServiceError::Engine(error).into());
    }
    // All of them first: a slip in the last one shows before hours of reading.
    let mut archives = Vec::new();
    for id in &args.ids {
        archives.extend(find(catalog, *id).await?);
    }
    archives.sort_by_key(|archive| archive.id);
    archives.dedup_by_key(|archive| archive.id);
    report.expect(archives.iter().map(stored_size).sum());
    // All of them before the first byte; what has no file any more is told when it is its turn.
    let _leases: Vec<Lease> = archives.iter().filter_map(|archive| keeper.lease(archive)).collect();
    for archive in archives {
        report.take(keeper.read(archive).await.map_err(ServiceError::Engine)?);
    }
    Ok(())
}

/// What `--all` reads: a shared file counts as often as it is read, once for each of its names.
async fn stored_bytes(catalog: &Catalog) -> Result<u64, CliError> {
    let sum = "SELECT coalesce(sum(stored_bytes), 0) FROM archives \
               WHERE state IN ('stored', 'trashed', 'damaged')";
    let rows = catalog.view(sum, &[]).await?.rows;
    Ok(rows.first().and_then(|row| row.first()).and_then(Value::as_u64).unwrap_or(0))
}

fn stored_size(archive: &Archive) -> u64 {
    archive.state.holding().map_or(0, |held| held.file.content.bytes)
}

/// The archives meant that have a file.
async fn find(catalog: &Catalog, id: Reference) -> Result<Vec<Archive>, CliError> {
    let none = |why: &str| CliError::NotFound(format!("{id} {why}"));
    let all = match id {
        Reference::Archive(id) => catalog.archive(id).await?.into_iter().collect(),
        Reference::Snapshot(id) => catalog.archives_of(id).await?,
    };
    if all.is_empty() {
        return Err(none("is not in the catalog, or has no parts yet"));
    }
    let has_file = |archive: &Archive| {
        matches!(archive.state, State::Stored(_) | State::Trashed(..) | State::Damaged(_))
    };
    let held: Vec<Archive> = all.into_iter().filter(has_file).collect();
    if held.is_empty() {
        return Err(none("has no file: it is not stored, or was deleted"));
    }
    Ok(held)
}

/// What is told, line by line or at the end as JSON.
#[derive(Debug)]
struct Report {
    as_json: bool,
    progress: Progress,
    files: u64,
    bytes: u64,
    damaged: Vec<Value>,
    unreadable: Vec<Value>,
    quarantined: Vec<Value>,
    restored: Vec<ArchiveId>,
    found: Vec<ArchiveId>,
    /// Standard output is gone; reading and recording go on.
    broken: Option<CliError>,
}

impl Report {
    fn new(as_json: bool, progress: Progress) -> Self {
        Self {
            as_json,
            progress,
            files: 0,
            bytes: 0,
            damaged: Vec::new(),
            unreadable: Vec::new(),
            quarantined: Vec::new(),
            restored: Vec::new(),
            found: Vec::new(),
            broken: None,
        }
    }

    /// So much will be read.
    fn expect(&self, bytes: u64) {
        self.progress.expect(bytes);
    }

    fn take(&mut self, finding: Finding) {
        let line = match finding {
            Finding::Sound(archive) => {
                self.count(&archive);
                return;
            }
            Finding::Changed(_) => return,
            Finding::Restored(archive) => {
                self.count(&archive);
                self.restored.push(archive.id);
                format!("{}: whole again", archive.id)
            }
            Finding::Found(archive) => {
                self.count(&archive);
                self.found.push(archive.id);
                format!("{}: its file was found, it is stored now", archive.id)
            }
            Finding::Damaged { archive, reason } => {
                self.progress.add(stored_size(&archive));
                let (id, path) = (archive.id, archive.state.holding().map(|h| &h.file.path));
                let path = path.map(String::as_str).unwrap_or_default();
                self.damaged.push(json!({
                    "archive_id": id, "path": path, "reason": reason.to_string(),
                }));
                format!(
                    "{id}: damaged: {reason}: put vault/{path} back, from a backup or from \
                     quarantine/, then `roma-archived verify {id}`"
                )
            }
            Finding::Unreadable { archive, error } => {
                self.unreadable.push(json!({ "archive_id": archive, "error": error }));
                let id = archive.map_or_else(|| "vault".to_owned(), |id| id.to_string());
                format!("{id}: cannot be read: {error}; nothing is recorded, look at the disk")
            }
            Finding::Quarantined { path, kept_as, message } => {
                let line = format!("{path}: unknown: {message}; it is kept as {kept_as}");
                self.quarantined.push(json!({
                    "path": path, "kept_as": kept_as, "reason": message,
                }));
                line
            }
        };
        if !self.as_json && self.broken.is_none() {
            let line = output::printable(&line);
            self.broken = self.progress.aside(|| output::line(&line)).err();
        }
    }

    fn count(&mut self, archive: &Archive) {
        self.files += 1;
        self.bytes += stored_size(archive);
        self.progress.add(stored_size(archive));
    }

    fn finish(self) -> Result<Exit, CliError> {
        let well =
            self.damaged.is_empty() && self.unreadable.is_empty() && self.quarantined.is_empty();
        drop(self.progress);
        if let Some(error) = self.broken {
            return Err(error);
        }
        if self.as_json {
            output::json(json!({
                "well": well,
                "sound_files": self.files,
                "sound_bytes": self.bytes,
                "damaged": self.damaged,
                "unreadable": self.unreadable,
                "quarantined": self.quarantined,
                "restored": self.restored,
                "found": self.found,
            }))?;
        } else {
            output::line(&format!(
                "{} files with {} are what they were; {} damaged, {} not readable, {} unknown",
                self.files,
                output::size(self.bytes),
                self.damaged.len(),
                self.unreadable.len(),
                self.quarantined.len()
            ))?;
        }
        Ok(if well { Exit::Ok } else { Exit::NotWell })
    }
}
