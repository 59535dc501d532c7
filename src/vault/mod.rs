//! The files: `vault/` holds what is finished, `staging/` what is not, `quarantine/` what nobody
//! knows; `reserve` keeps a little room back.
//!
//! A package comes in through a [`Receiver`], becomes durable as `staging/a34.raw`, is packed into
//! a zip, read back, and appears in `vault/` by one rename; one that is not to be packed is written
//! as its zip at once (`sealing`, `framing`). Any file there is therefore whole. This
//! module must never overwrite or throw away a file that may be the only copy of something, never
//! make a path of anything but our own numbers and configured names, and never report as durable
//! what was not synced. Every crash leaves either the state before or the state after an operation,
//! or a leftover in `staging/` from which the same call starts again.
//!
//! Everything here blocks, so it belongs on a blocking thread; [`spawn_receiver`] brings its own.

use std::collections::HashSet;
use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Name, SnapshotId, StoredFile, Timestamp};

mod ahead;
mod aside;
mod container;
mod crew;
mod damage;
mod deflate;
mod disk;
mod error;
mod extract;
mod following;
mod frame;
mod framing;
mod inside;
mod intake;
mod lease;
mod likeness;
mod lock;
mod manifest;
mod meter;
mod pack;
mod place;
mod removal;
mod reserve;
mod sealing;
mod share;
mod staging;
mod survey;
mod syncing;
mod whole;

pub use ahead::{Follower, PACKED_AHEAD_FROM};
pub use damage::{CheckError, DamageReason, ExtractError};
pub use disk::{Disk, DiskFile, OsDisk, SyncFileError};
pub use error::VaultError;
pub use framing::Framing;
pub use inside::{EntryError, EntryKind, Inside, LookError, PackageEntry};
pub use intake::{Chunk, spawn_receiver};
pub use lease::Lease;
pub use lock::{LockError, StateLock};
pub use manifest::Manifest;
pub use pack::PackJob;
pub use place::Place;
pub use sealing::{LONGEST_SEALED, Received, Sealed, Sealing};
pub use share::Shared;
pub use staging::{
    Receiver, Staged, StagedEvidence, StagedFile, StagedKind, StagingContents, sniff,
};
pub use survey::Found;
use syncing::Syncs;

/// The folders of one state directory. Cheap to clone; all clones share what they know.
#[derive(Clone, Debug)]
pub struct Vault {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state_dir: PathBuf,
    vault: PathBuf,
    staging: PathBuf,
    quarantine: PathBuf,
    disk: Arc<dyn Disk>,
    /// Folders of the vault whose own names are known to be durable. Held while folders come and
    /// go, so that an emptied folder is not removed under a file on its way into it.
    folders: Mutex<HashSet<PathBuf>>,
    /// Held while a name goes: all names of a file share one lock, and removals of two of them
    /// would take each other for somebody who reads it.
    unlinking: Mutex<()>,
    /// What packing and reading back may use of the machine, all together.
    stock: deflate::Stock,
    ahead: ahead::AheadOfAll,
    syncs: Syncs,
}

impl Vault {
    /// The folders as they are, without touching them: for commands that only read.
    pub fn at(state_dir: &Path, disk: Arc<dyn Disk>) -> Self {
        let inner = Inner {
            state_dir: state_dir.to_owned(),
            vault: state_dir.join("vault"),
            staging: state_dir.join("staging"),
            quarantine: state_dir.join("quarantine"),
            disk,
            folders: Mutex::default(),
            unlinking: Mutex::default(),
            stock: deflate::Stock::new(),
            ahead: ahead::AheadOfAll::default(),
            syncs: Syncs::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Creates what is missing of `vault/`, `staging/` and `quarantine/` in `state_dir`, which must
    /// exist, and makes it durable.
    pub fn open(state_dir: &Path, disk: Arc<dyn Disk>) -> Result<Self, VaultError> {
        let vault = Self::at(state_dir, disk);
        let inner = &vault.inner;
        let mut device = None;
        for folder in [&inner.vault, &inner.staging, &inner.quarantine] {
            inner.disk.create_dir(folder).map_err(io_error("create", folder))?;
            let found = fs::metadata(folder).map_err(io_error("examine", folder))?.dev();
            if *device.get_or_insert(found) != found {
                return Err(VaultError::OtherFileSystem { path: folder.clone() });
            }
        }
        vault.sync_dir(state_dir)?;
        Ok(vault)
    }

    /// Where a stored file lies. Always below `vault/`: whatever in the record is not a plain name
    /// is left out.
    pub fn stored_path(&self, file: &StoredFile) -> PathBuf {
        let mut path = self.inner.vault.clone();
        path.extend(
            Path::new(&file.path).components().filter(|c| matches!(c, Component::Normal(_))),
        );
        path
    }

    /// What can still be written, in bytes.
    pub fn free_bytes(&self) -> Result<u64, VaultError> {
        let folder = &self.inner.staging;
        self.inner.disk.free_bytes(folder).map_err(io_error("ask for free space in", folder))
    }

    /// `<instance>/<export>/<YYYY>/<MM>/<YYYYMMDDTHHMMSSZ>-s<snapshot>-<part>.zip`, relative to
    /// `vault/`, in UTC.
    pub fn relative_path(
        instance: &Name,
        export: &Name,
        taken_at: Timestamp,
        snapshot: SnapshotId,
        part: u32,
    ) -> String {
        let month = taken_at.to_jiff().strftime("%Y/%m");
        format!("{instance}/{export}/{month}/{}-{snapshot}-{part}.zip", taken_at.compact())
    }

    /// Moves a file that nobody knows out of `vault/` or `staging/` into `quarantine/`, under a
    /// name that begins with `why` and is still free. It may be the only copy of something, so that
    /// its bytes are durable as well as its move on return; where they cannot be made so, it stays.
    pub fn quarantine(&self, path: &Path, why: &str) -> Result<PathBuf, VaultError> {
        let inner = &self.inner;
        let refused = || VaultError::UnsafePath { path: path.display().to_string() };
        let ours = [&inner.vault, &inner.staging]
            .into_iter()
            .any(|folder| path.strip_prefix(folder).is_ok_and(is_plain));
        let (true, Some(folder), Some(name)) = (ours, path.parent(), path.file_name()) else {
            return Err(refused());
        };
        // Nothing is moved that lies behind a link: it may be anywhere.
        let is_below = |folder: &&Path| **folder != inner.vault && **folder != inner.staging;
        for ancestor in folder.ancestors().take_while(is_below) {
            if examine(ancestor)?.is_some_and(|found| !found.is_dir()) {
                return Err(refused());
            }
        }
        if examine(path)?.is_some_and(|found| found.is_file()) {
            match self.sync_file(path) {
                // Of somebody else, who has seen to that.
                Err(VaultError::Io { source, .. })
                    if source.kind() == io::ErrorKind::PermissionDenied => {}
                result => result?,
            }
        }
        let why: String =
            why.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        for number in 0_u32.. {
            let mut free = std::ffi::OsString::from(&why);
            free.push(if number == 0 { "-".to_owned() } else { format!("-{number}-") });
            free.push(name);
            let target = inner.quarantine.join(free);
            match inner.disk.rename(path, &target) {
                Ok(()) => {
                    self.sync_dir(&inner.quarantine)?;
                    self.sync_names(folder)?;
                    return Ok(target);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error("quarantine", path)(error)),
            }
        }
        Err(refused())
    }

    /// The absolute form of a path relative to `vault/`, which must be plain.
    fn resolve(&self, relative: &str) -> Result<PathBuf, VaultError> {
        // Going through text again shows doubled and trailing slashes and single dots.
        let path: PathBuf = Path::new(relative).components().collect();
        if is_plain(&path) && path.as_os_str() == relative && !relative.contains('\0') {
            Ok(self.inner.vault.join(path))
        } else {
            Err(VaultError::UnsafePath { path: relative.to_owned() })
        }
    }

    /// [`Vault::put_in`] for a file that has another name until then.
    fn move_in(&self, from: &Path, target: &Path) -> Result<io::Result<()>, VaultError> {
        self.put_in(target, |disk| disk.rename(from, target))
    }

    /// Makes the folders that lead to `target`, each durable in its parent, and puts something
    /// there that is whole. The caller syncs the last folder.
    fn put_in(
        &self,
        target: &Path,
        put: impl FnOnce(&dyn Disk) -> io::Result<()>,
    ) -> Result<io::Result<()>, VaultError> {
        let mut durable = self.folders();
        let mut missing: Vec<&Path> = target
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != self.inner.vault && !durable.contains(*folder))
            .collect();
        while let Some(folder) = missing.pop() {
            // One that exists may be as young as a process that died before its sync.
            self.inner.disk.create_dir(folder).map_err(io_error("create", folder))?;
            if let Some(parent) = folder.parent() {
                self.sync_dir(parent)?;
            }
            durable.insert(folder.to_owned());
        }
        let there = put(self.inner.disk.as_ref());
        if there.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            // Somebody removed a folder behind our back: look again next time.
            durable.clear();
        }
        Ok(there)
    }

    fn folders(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        // The set holds only what is certain, wherever a thread died.
        self.inner.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the content of a file durable that a dead process or somebody else wrote. Only where
    /// something may be lost is that fatal; a file that cannot be read or rewritten is one file.
    fn sync_file(&self, path: &Path) -> Result<(), VaultError> {
        self.inner.disk.sync_file(path).map_err(|error| match error {
            SyncFileError::Refused { action, source } => io_error(action, path)(source),
            SyncFileError::Failed(source) => {
                VaultError::SyncFailed { path: path.to_owned(), source }
            }
        })
    }

    fn sync_dir(&self, folder: &Path) -> Result<(), VaultError> {
        let failed = |source| VaultError::SyncFailed { path: folder.to_owned(), source };
        self.inner.syncs.share(folder, || self.inner.disk.sync_dir(folder)).map_err(failed)
    }

    fn remove_if_there(&self, path: &Path) -> Result<(), VaultError> {
        match self.inner.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// At least one component, and all of them names.
fn is_plain(path: &Path) -> bool {
    path.components().next().is_some()
        && path.components().all(|component| matches!(component, Component::Normal(_)))
}

/// What has this name, without following a link.
fn examine(path: &Path) -> Result<Option<fs::Metadata>, VaultError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("examine", path)(error)),
    }
}

/// Turns an answer of the operating system into an error that says what was tried on what.
fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VaultError {
    let path = path.to_owned();
    move |source| VaultError::Io { action, path, source }
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
