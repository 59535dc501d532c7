//! Removes stored files: the only place where a file of the vault ends.
//!
//! It must never remove what is not the file that was stored (the recorded path, a regular file,
//! the recorded length, and either the recorded inode or the recorded content), never go through a
//! symbolic link, and never take a file away under somebody who reads it. Only the one name goes: a
//! file that other archives share stays for them. A crash before the unlink leaves
//! the file, one after it a folder that is synced by the next call; both are the same call again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use super::lease::{is_link, is_same, open_plain, try_exclusive};
use super::meter::measure;
use super::{Vault, VaultError, examine, io_error};
use crate::model::StoredFile;

impl Vault {
    /// Unlinks a stored file and makes that durable; one that is gone already is a success. Folders
    /// of months and years that became empty go as well, if that is possible.
    pub fn remove_stored(&self, file: &StoredFile) -> Result<(), VaultError> {
        self.remove_all_stored(std::slice::from_ref(file))?.pop().unwrap_or(Ok(()))
    }

    /// [`Vault::remove_stored`] for many files with one sync a folder; one answer for each file.
    /// Fails as a whole only when a sync failed, after which none of the removals is certain.
    pub fn remove_all_stored(
        &self,
        files: &[StoredFile],
    ) -> Result<Vec<Result<(), VaultError>>, VaultError> {
        let mut folders = Vec::new();
        let mut results = Vec::with_capacity(files.len());
        for file in files {
            results.push(self.unlink_stored(file).map(|folder| folders.push(folder)));
        }
        folders.sort();
        folders.dedup();
        for folder in &folders {
            self.sync_names(folder)?;
        }
        for folder in &folders {
            self.remove_empty_folders(folder);
        }
        Ok(results)
    }

    /// The folder that is to be synced, whether or not it still exists.
    fn unlink_stored(&self, file: &StoredFile) -> Result<PathBuf, VaultError> {
        let refused = || VaultError::UnsafePath { path: file.path.clone() };
        let path = self.resolve(&file.path)?;
        let folder = path.parent().ok_or_else(refused)?.to_owned();
        // Only folders of our own making lead to a file: never unlink through a link.
        for ancestor in folder.ancestors().take_while(|a| *a != self.inner.vault) {
            if examine(ancestor)?.is_some_and(|found| !found.is_dir()) {
                return Err(refused());
            }
        }
        match examine(&path)? {
            Some(found) if !found.is_file() => return Err(refused()),
            Some(_) => self.unlink_ours(&path, file)?,
            // Synced all the same: the process that removed it may have died before it did that.
            None => {}
        }
        Ok(folder)
    }

    /// Unlinks the file that has this name, once it is certain that it is the one that was stored
    /// and that nobody reads it. A file of another inode, for instance after the state directory
    /// was copied or came back from a backup, has to prove it by its content.
    fn unlink_ours(&self, path: &Path, file: &StoredFile) -> Result<(), VaultError> {
        // Before the file is opened, and until it is closed.
        let _alone = self.unlinking();
        let mut opened = match open_plain(path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if is_link(&error) => {
                return Err(VaultError::UnsafePath { path: file.path.clone() });
            }
            Err(error) => return Err(io_error("open", path)(error)),
        };
        let found = opened.metadata().map_err(io_error("examine", path))?;
        // Held until the name is gone.
        if !try_exclusive(&opened).map_err(io_error("lock", path))? {
            return Err(VaultError::BeingRead { path: path.to_owned() });
        }
        if found.len() != file.content.bytes {
            let (recorded, found) = (file.content.bytes, found.len());
            return Err(VaultError::SizeDiffers { path: path.to_owned(), recorded, found });
        }
        if file.inode != Some(found.ino()) {
            let content = measure(&mut opened).map_err(io_error("read", path))?;
            if content != file.content {
                let (recorded, found) = (file.content, content);
                return Err(VaultError::ContentDiffers { path: path.to_owned(), recorded, found });
            }
        }
        // Reading may have taken its time.
        match examine(path)? {
            None => Ok(()),
            Some(now) if is_same(&now, &found) => self.remove_if_there(path),
            Some(_) => Err(io_error("remove", path)(io::Error::other(
                "another file has had its name since a moment ago",
            ))),
        }
    }

    fn unlinking(&self) -> MutexGuard<'_, ()> {
        // It guards nothing that a thread could have left half done.
        self.inner.unlinking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries to remove the folder of a month and then of its year. One that comes back after a
    /// power cut is only an empty folder, so nothing is synced and no failure matters.
    fn remove_empty_folders(&self, month: &Path) {
        let mut durable = self.folders();
        let below_vault = month.ancestors().take_while(|a| *a != self.inner.vault);
        for folder in below_vault.take(2) {
            if fs::remove_dir(folder).is_err() {
                return;
            }
            durable.remove(folder);
        }
    }

    /// Makes removals from a folder durable, also if it became empty and was removed meanwhile:
    /// then what has to last is that it is gone from the nearest folder that is still there.
    pub(super) fn sync_names(&self, folder: &Path) -> Result<(), VaultError> {
        let _folders_stay = self.folders();
        let there = folder.ancestors().find(|folder| folder.is_dir());
        self.sync_dir(there.unwrap_or(&self.inner.vault))
    }
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
