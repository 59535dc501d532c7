//! Looks at what lies in the vault: whether a stored file is there, what else is, and what a file
//! says of itself.
//!
//! It must never follow a link, never open anything but a regular file (opening a pipe would wait
//! for ever), and never take a disk that refuses to be read for a file that is gone. Looking
//! changes nothing, so a crash means nothing here.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{CheckError, DamageReason, Manifest, StagedKind, Vault, VaultError, examine, io_error};
use crate::model::{ArchiveId, StoredFile};

/// What was found below `vault/`; folders are walked through, not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Relative to `vault/`; anybody may have chosen it.
    pub path: PathBuf,
    /// Its length in bytes; `None` for a link, a pipe or whatever else is no file.
    pub bytes: Option<u64>,
}

impl Vault {
    /// Whether a stored file is where it belongs, with the length that was recorded: nothing is
    /// read. [`Vault::check`] reads it.
    pub fn look(&self, file: &StoredFile) -> Result<(), CheckError> {
        let path = self.stored_path(file);
        self.folders_lead_to(&path)?;
        match examine(&path)? {
            None => Err(DamageReason::Missing.into()),
            Some(found) if !found.is_file() => Err(DamageReason::NotAFile.into()),
            Some(found) if found.len() != file.content.bytes => {
                let (recorded, found) = (file.content.bytes, found.len());
                Err(DamageReason::SizeDiffers { recorded, found }.into())
            }
            Some(_) => Ok(()),
        }
    }

    /// Only folders of our own making lead to a file, never links.
    pub(super) fn folders_lead_to(&self, path: &Path) -> Result<(), CheckError> {
        let mut folders: Vec<&Path> =
            path.ancestors().skip(1).take_while(|a| *a != self.inner.vault).collect();
        while let Some(folder) = folders.pop() {
            match examine(folder)? {
                None => return Err(DamageReason::Missing.into()),
                Some(found) if !found.is_dir() => return Err(DamageReason::Obstructed.into()),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Shows everything below `vault/` but folders, in no particular order and in memory that does
    /// not grow with their number, until `visit` breaks off. A folder that cannot be read goes to
    /// `trouble`, and the walk goes on.
    pub fn survey(
        &self,
        visit: &mut dyn FnMut(Found) -> ControlFlow<()>,
        trouble: &mut dyn FnMut(VaultError),
    ) {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let absolute = self.inner.vault.join(&folder);
            let entries = match fs::read_dir(&absolute) {
                Ok(entries) => entries,
                // Emptied and removed since its name was read.
                Err(error) if is_gone(&error) && folder != Path::new("") => continue,
                Err(error) => {
                    trouble(io_error("list", &absolute)(error));
                    continue;
                }
            };
            for entry in entries {
                let looked = entry.and_then(|entry| Ok((entry.file_name(), entry.metadata()?)));
                let (name, found) = match looked {
                    Ok(looked) => looked,
                    Err(error) if is_gone(&error) => continue,
                    Err(error) => {
                        trouble(io_error("examine", &absolute)(error));
                        continue;
                    }
                };
                let path = folder.join(name);
                if found.is_dir() {
                    // Where `vault/` is a file system of its own: its, and for root only.
                    if path == Path::new("lost+found") {
                        continue;
                    }
                    folders.push(path);
                    continue;
                }
                let bytes = found.is_file().then_some(found.len());
                if visit(Found { path, bytes }).is_break() {
                    return;
                }
            }
        }
    }

    /// Whether not a single file lies in `vault/`: then its disk may not be mounted.
    pub fn is_bare(&self) -> bool {
        let mut bare = true;
        let mut visit = |found: Found| {
            if found.bytes.is_none() {
                return ControlFlow::Continue(());
            }
            bare = false;
            ControlFlow::Break(())
        };
        self.survey(&mut visit, &mut |_| {});
        bare
    }

    /// Whether anything has this name below `vault/`, by its path relative to it.
    pub fn is_there(&self, relative: &Path) -> Result<bool, VaultError> {
        Ok(examine(&self.inner.vault.join(relative))?.is_some())
    }

    /// What a file of the vault says of itself, by its path relative to `vault/`: the record to
    /// rebuild a lost catalog from. Everything is read and checked against the manifest.
    pub fn describe(&self, relative: &str) -> Result<(Manifest, StoredFile), CheckError> {
        let path = self.resolve(relative)?;
        self.folders_lead_to(&path)?;
        match examine(&path)? {
            None => Err(DamageReason::Missing.into()),
            Some(found) if !found.is_file() => Err(DamageReason::NotAFile.into()),
            Some(found) => {
                let (manifest, file) = self.describe_plain(&path, relative)?;
                Ok((manifest, StoredFile { inode: Some(found.ino()), ..file }))
            }
        }
    }

    /// Makes a file of the vault durable, with the folders that lead to it: somebody else put it
    /// there, or a process that died before its sync.
    pub fn make_durable(&self, relative: &str) -> Result<(), VaultError> {
        let path = self.resolve(relative)?;
        self.sync_file(&path)?;
        let below = path.ancestors().skip(1).take_while(|folder| *folder != self.inner.vault);
        below.chain([self.inner.vault.as_path()]).try_for_each(|folder| self.sync_dir(folder))
    }

    /// Moves a file within `vault/`, both by their paths relative to it, and makes that durable. It
    /// fails where something has the name already.
    pub fn put_in_place(&self, from: &str, to: &str) -> Result<(), VaultError> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        self.move_in(&from, &to)?.map_err(io_error("move", &from))?;
        self.sync_dir(to.parent().unwrap_or(&to))?;
        self.sync_names(from.parent().unwrap_or(&from))
    }

    /// The absolute form of a path relative to `vault/` as [`Vault::survey`] shows it.
    pub fn path_of(&self, found: &Path) -> PathBuf {
        self.inner.vault.join(found)
    }

    /// The device and the number there of a file that was found; its names have the same, and no
    /// other file has: `vault/` may span several devices.
    pub fn number_of(&self, found: &Found) -> Option<(u64, u64)> {
        let found = examine(&self.path_of(&found.path)).ok()??;
        Some((found.dev(), found.ino()))
    }

    /// A path below the state directory as people are shown it: relative to it.
    pub fn shown(&self, path: &Path) -> String {
        let state_dir = self.inner.vault.parent().unwrap_or(Path::new(""));
        path.strip_prefix(state_dir).unwrap_or(path).display().to_string()
    }

    /// Whether the whole package of `id` lies in staging.
    pub fn is_staged(&self, id: ArchiveId) -> Result<bool, VaultError> {
        Ok(examine(&self.staged_path(id, StagedKind::Raw))?.is_some())
    }

    /// How many files and folders lie in `quarantine/`.
    pub fn quarantined(&self) -> Result<u64, VaultError> {
        let folder = &self.inner.quarantine;
        match fs::read_dir(folder) {
            Ok(entries) => Ok(entries.count() as u64),
            Err(error) if is_gone(&error) => Ok(0),
            Err(error) => Err(io_error("list", folder)(error)),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
