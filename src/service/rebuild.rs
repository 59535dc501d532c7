//! Makes the catalog anew from what the files of the vault say of themselves, for when it is gone
//! or broken.
//!
//! The new one is made in a folder of its own, and takes its place by one rename once it is whole,
//! read through and durable. It must never remove or write to the old one, which is moved aside,
//! nor move a file of the vault. Killed at any point, either no catalog is there, and the daemon
//! does not begin an empty one beside a full vault, or the new one is; the same call begins anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ServiceError, create_state_dir, record_configuration};
use crate::catalog::{Access, Catalog, FILE_NAME, check_copy};
use crate::clock::Clock;
use crate::engine::{Gathered, History, LeftAlone, arrange, gather};
use crate::lifecycle::Notice;
use crate::model::{ArchiveId, Timestamp};
use crate::settings::Settings;
use crate::vault::{Disk, StateLock, Vault, VaultError};

/// Where the new one is made.
const FOLDER: &str = "rebuild";
/// The files of a catalog, by what their names end in. The database goes first: without it, its
/// log of changes is taken for nobody's.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];
/// Snapshots in one transaction.
const BATCH: usize = 256;

/// Why the catalog is not rebuilt. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// It is there.
    #[error(
        "there is a catalog already, {}: losses, pins and what was deleted stand nowhere else. If \
         it is broken and there is no backup, --force keeps it beside and makes another",
        path.display()
    )]
    CatalogThere {
        /// The catalog.
        path: PathBuf,
    },
    /// There is nothing to rebuild it from.
    #[error(
        "no file in {} proves to be a stored package: is its disk mounted, is it the right \
         configuration?",
        path.display()
    )]
    NoPackages {
        /// `vault/`.
        path: PathBuf,
    },
    /// What cannot be read would be missing, and taken for nobody's file later.
    #[error(
        "{count} files or folders of the vault cannot be read, the first: {first}. Mend that, or \
         move them out of vault/, and begin anew"
    )]
    Unreadable {
        /// How many.
        count: usize,
        /// What the operating system said of the first.
        first: String,
    },
    /// The new catalog does not hold what was to be written.
    #[error(
        "the new catalog holds {} archives until event {}, instead of {} until {}: nothing was \
         changed, begin anew",
        found.0, found.1, expected.0, expected.1
    )]
    Incomplete {
        /// Files that proved themselves, and the last event.
        expected: (u64, i64),
        /// The same of what is in the database itself.
        found: (u64, i64),
    },
}

/// What was done.
#[derive(Debug)]
pub struct Rebuilt {
    /// Runs of which there is a file.
    pub snapshots: usize,
    /// Files that were taken over.
    pub archives: u64,
    /// Their bytes; one that several archives share counts once for each.
    pub bytes: u64,
    /// Files that were not, which the next start moves to quarantine.
    pub left: Vec<LeftAlone>,
    /// Downloads in staging, of which no archive knows any more.
    pub staged: usize,
    /// The old catalog, where there was one.
    pub moved_aside: Option<PathBuf>,
}

/// Rebuilds the catalog. `force`: although there is one. `progress` is told how many bytes of how
/// many were read.
pub async fn rebuild(
    settings: &Settings,
    clock: &Clock,
    disk: Arc<dyn Disk>,
    force: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Rebuilt, ServiceError> {
    let state_dir = &settings.state_dir;
    let no_packages = || RebuildError::NoPackages { path: state_dir.join("vault") };
    if !state_dir.join("vault").is_dir() {
        return Err(no_packages().into());
    }
    create_state_dir(state_dir)?;
    let _lock = StateLock::acquire(state_dir)?;
    let path = state_dir.join(FILE_NAME);
    if !force && path.metadata().is_ok_and(|found| found.len() > 0) {
        return Err(RebuildError::CatalogThere { path }.into());
    }
    let vault = Vault::open(state_dir, Arc::clone(&disk))?;
    let staged: Vec<ArchiveId> = vault.list_staged()?.ours.iter().map(|file| file.id).collect();
    let Gathered { proven, mut left, unreadable } = gather(&vault, progress);
    if let Some(first) = unreadable.first() {
        let (count, first) = (unreadable.len(), first.clone());
        return Err(RebuildError::Unreadable { count, first }.into());
    }
    let mut history = arrange(proven, staged.iter().copied().max().unwrap_or(ArchiveId(0)));
    left.append(&mut history.left);
    if history.snapshots.is_empty() {
        return Err(no_packages().into());
    }
    let now = clock.now();
    let mut rebuilt = Rebuilt {
        snapshots: history.snapshots.len(),
        archives: history.snapshots.iter().map(|snapshot| snapshot.archives.len() as u64).sum(),
        bytes: bytes_of(&history),
        left,
        staged: staged.len(),
        moved_aside: None,
    };
    let folder = Folder { path: state_dir.join(FOLDER), disk: disk.as_ref() };
    folder.begin()?;
    let last = fill(&folder.path, settings, history, &rebuilt, now).await?;
    let copied = check_copy(&folder.path.join(FILE_NAME)).await?;
    let (expected, found) = ((rebuilt.archives, last), (copied.archives, copied.last_seq));
    if found != expected {
        return Err(RebuildError::Incomplete { expected, found }.into());
    }
    // Whoever put the files there may not have made them durable, and the catalog says they are.
    disk.sync_all(state_dir)
        .map_err(|source| VaultError::SyncFailed { path: state_dir.clone(), source })?;
    rebuilt.moved_aside = move_aside(disk.as_ref(), state_dir, now)?;
    folder.put_in_place(&path)?;
    // A reader who may not write there needs the side files; and the daemon shall be able to.
    Catalog::open(state_dir, Access::Deputy).await?.close().await?;
    Ok(rebuilt)
}

fn bytes_of(history: &History) -> u64 {
    let archives = history.snapshots.iter().flat_map(|snapshot| &snapshot.archives);
    archives.map(|archive| archive.found.file.content.bytes).sum()
}

/// The answer is the number of the last event.
async fn fill(
    folder: &Path,
    settings: &Settings,
    history: History,
    rebuilt: &Rebuilt,
    now: Timestamp,
) -> Result<i64, ServiceError> {
    let catalog = Catalog::open(folder, Access::Deputy).await?;
    let filled = enter(&catalog, settings, history, rebuilt, now).await;
    let closed = catalog.close().await;
    let last = filled?;
    closed?;
    Ok(last)
}

async fn enter(
    catalog: &Catalog,
    settings: &Settings,
    history: History,
    rebuilt: &Rebuilt,
    now: Timestamp,
) -> Result<i64, ServiceError> {
    let (archive, snapshot) = history.highest;
    let mut snapshots = history.snapshots.into_iter();
    loop {
        let batch: Vec<_> = snapshots.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        catalog.enter_rebuilt(batch, now).await?;
    }
    catalog.number_above(archive, snapshot, now).await?;
    let notice = Notice::CatalogRebuilt {
        snapshots: rebuilt.snapshots,
        archives: rebuilt.archives,
        bytes: rebuilt.bytes,
        left: rebuilt.left.len(),
    };
    // The policies count as changed: what they would delete is only planned for `policy_grace`.
    record_configuration(catalog, settings, now).await?;
    catalog.notify(vec![notice], now).await?;
    Ok(catalog.last_seq().await?)
}

/// Gives the files of the old catalog other names, by which SQLite still finds them together.
fn move_aside(
    disk: &dyn Disk,
    state_dir: &Path,
    now: Timestamp,
) -> Result<Option<PathBuf>, VaultError> {
    let aside = free_name(state_dir, now);
    let mut moved = None;
    for suffix in SUFFIXES {
        let from = state_dir.join(format!("{FILE_NAME}{suffix}"));
        let to = state_dir.join(format!("{aside}{suffix}"));
        match disk.rename(&from, &to) {
            Ok(()) => {
                // What is left of one whose database is gone is out of the way, and no catalog.
                if suffix.is_empty() {
                    moved = Some(to);
                }
                sync(disk, state_dir)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(VaultError::Io { action: "move aside", path: from, source }),
        }
    }
    Ok(moved)
}

/// `catalog.db.20261124T020000Z.broken`; there may be one of this second.
fn free_name(state_dir: &Path, now: Timestamp) -> String {
    let taken = |name: &str| {
        let is_there = |path: PathBuf| path.symlink_metadata().is_ok();
        SUFFIXES.iter().any(|suffix| is_there(state_dir.join(format!("{name}{suffix}"))))
    };
    let mut name = format!("{FILE_NAME}.{}.broken", now.compact());
    let mut number = 2;
    while taken(&name) {
        name = format!("{FILE_NAME}.{}-{number}.broken", now.compact());
        number += 1;
    }
    name
}

fn sync(disk: &dyn Disk, folder: &Path) -> Result<(), VaultError> {
    let failed = |source| VaultError::SyncFailed { path: folder.to_owned(), source };
    disk.sync_dir(folder).map_err(failed)
}

/// Where the new catalog is made. What lies there from before is worth nothing.
struct Folder<'d> {
    path: PathBuf,
    disk: &'d dyn Disk,
}

impl Folder<'_> {
    fn begin(&self) -> Result<(), VaultError> {
        let failed = |source| VaultError::Io { action: "create", path: self.path.clone(), source };
        self.disk.create_dir(&self.path).map_err(failed)?;
        self.clear()
    }

    fn clear(&self) -> Result<(), VaultError> {
        for suffix in SUFFIXES.into_iter().chain(["-journal"]) {
            let path = self.path.join(format!("{FILE_NAME}{suffix}"));
            match self.disk.remove(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(VaultError::Io { action: "remove", path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All of it is in the database itself (`check_copy` reads nothing else), which was synced.
    fn put_in_place(&self, target: &Path) -> Result<(), VaultError> {
        let made = self.path.join(FILE_NAME);
        let failed = |source| VaultError::Io { action: "put in place", path: made.clone(), source };
        self.disk.rename(&made, target).map_err(failed)?;
        sync(self.disk, target.parent().unwrap_or(target))?;
        self.clear()?;
        // An empty folder that stays is a blemish and no more.
        drop(std::fs::remove_dir(&self.path));
        Ok(())
    }
}
