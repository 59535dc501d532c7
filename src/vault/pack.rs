//! From the package in staging to the finished zip in the vault.
//!
//! The same package, manifest and options give the same bytes. This module must never touch the
//! package in staging, never let a file appear in `vault/` that was not read back and compared, and
//! never overwrite one there. A crash before the last rename leaves only a `.zip` in staging, which
//! the next call discards; a crash after it leaves a finished file that the next call recognises by
//! its bytes and adopts.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::container::{Layout, WriteError, choose};
use super::meter::measure;
use super::staging::StagedKind;
use super::{CheckError, DamageReason, Manifest, Vault, VaultError, examine, io_error};
use crate::model::{ArchiveId, Content, Format, StoredFile, Timestamp};
use crate::settings::Pack;

/// One package to be packed.
#[derive(Clone, Debug)]
pub struct PackJob {
    /// Whose `a34.raw` it is.
    pub id: ArchiveId,
    /// What was downloaded.
    pub raw: Content,
    /// What it looks like.
    pub format: Format,
    /// Where it goes, relative to `vault/`: see [`Vault::relative_path`].
    pub path: String,
    /// What the stored file shall say of itself.
    pub manifest: Manifest,
    /// How to compress.
    pub options: Pack,
}

impl PackJob {
    /// The same for a package that has come by now.
    #[must_use]
    pub fn of(mut self, raw: Content, format: Format) -> Self {
        (self.raw, self.format) = (raw, format);
        self.manifest.raw_bytes = raw.bytes;
        self.manifest.raw_sha256 = raw.sha256;
        self.manifest.format = format;
        format.entry_name().clone_into(&mut self.manifest.entry);
        self
    }

    /// The same for a package that came at this moment.
    pub(super) const fn downloaded_at(mut self, at: Timestamp) -> Self {
        self.manifest.downloaded_at = at;
        self
    }

    pub(super) fn manifest_bytes(&self) -> Result<Vec<u8>, VaultError> {
        let json = |source| VaultError::Manifest { path: self.path.clone(), source };
        self.manifest.to_json().map_err(json)
    }
}

impl Vault {
    /// Packs `staging/a34.raw` into the vault, durable on return. The `.raw` stays until the caller
    /// has recorded the stored file and calls [`Vault::discard_staged`]. A sealed package is read
    /// to its end and gets its name; there is no `.raw` of it.
    ///
    /// Time goes into deflating (or, when storing, the checksum), then into fsync, then into
    /// reading back: two digests, and inflating. The package is not hashed while it is packed,
    /// because reading back proves more: what lies in the vault is what was downloaded.
    pub fn pack(&self, job: &PackJob) -> Result<StoredFile, VaultError> {
        let manifest = &job.manifest;
        if manifest.raw() != job.raw
            || manifest.format != job.format
            || manifest.entry != job.format.entry_name()
        {
            return Err(VaultError::ManifestDiffers { path: job.path.clone() });
        }
        let target = self.resolve(&job.path)?;
        let raw = self.staged_path(job.id, StagedKind::Raw);
        if examine(&raw)?.is_none()
            && let Some((manifest, file)) = self.sealed(job.id)?
        {
            if manifest.raw() != job.raw || file.path != job.path {
                return Err(VaultError::ManifestDiffers { path: job.path.clone() });
            }
            return self.store_sealed(job.id, &file);
        }
        let packed = self.staged_path(job.id, StagedKind::Zip);
        let stored = match self.finish_ahead(job, &raw, &packed) {
            Ok(None) => self.write_packed(job, &raw, &packed),
            Ok(Some(stored)) => Ok(stored),
            Err(error) => Err(error),
        };
        let stored = stored.inspect_err(|error| {
            // Gives the space back at once; the next call would discard it anyhow. After a failed
            // sync nothing more is done to the disk.
            if !error.is_fatal() {
                let _ = self.inner.disk.remove(&packed);
            }
        })?;
        self.place(&packed, &target, stored)
    }

    /// Writes the zip in staging, makes it durable and reads it back.
    fn write_packed(
        &self,
        job: &PackJob,
        raw: &Path,
        packed: &Path,
    ) -> Result<StoredFile, VaultError> {
        self.remove_if_there(packed)?;
        let manifest = job.manifest_bytes()?;
        let mut package = open_raw(raw, job.raw)?;
        let method =
            choose(&mut package, job.raw.bytes, job.options).map_err(io_error("read", raw))?;
        let file = self.inner.disk.create_new(packed).map_err(io_error("create", packed))?;
        let layout = Layout::of(job, &manifest, method);
        let mut file = match layout.write(&self.inner.stock, &mut package, file) {
            Ok(file) => file,
            Err(WriteError::Raw(error)) => return Err(io_error("read", raw)(error)),
            Err(WriteError::Zip(error)) => return Err(io_error("write", packed)(error)),
            Err(WriteError::Length) => {
                return Err(VaultError::StagedChanged { path: raw.to_owned(), recorded: job.raw });
            }
        };
        file.sync().map_err(|source| VaultError::SyncFailed { path: packed.to_owned(), source })?;
        drop(file);
        let content = match self.read_back(job, &manifest, packed) {
            Ok(content) => content,
            Err(CheckError::Failed(error)) => return Err(error),
            Err(CheckError::Damaged(source)) => return Err(whose_fault(job, source, packed, raw)?),
        };
        Ok(StoredFile { path: job.path.clone(), content, format: job.format, method, inode: None })
    }

    /// The content of the packed file, once it has been read to its end and compared.
    pub(super) fn read_back(
        &self,
        job: &PackJob,
        manifest: &[u8],
        packed: &Path,
    ) -> Result<Content, CheckError> {
        let reading = self.source(packed, job.format, job.raw).read_quietly()?;
        if reading.manifest != manifest {
            return Err(DamageReason::ManifestDiffers.into());
        }
        reading.expect_package(job.raw)?;
        Ok(reading.whole)
    }

    /// Gives the finished zip its name in the vault.
    pub(super) fn place(
        &self,
        packed: &Path,
        target: &Path,
        file: StoredFile,
    ) -> Result<StoredFile, VaultError> {
        let parent = target.parent().unwrap_or(target);
        let result = self.move_in(packed, target)?;
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            if same_content(target, file.content)? {
                // Packed before, and never recorded.
                self.sync_dir(parent)?;
                self.remove_if_there(packed)?;
            } else {
                self.quarantine(target, "unexpected")?;
                self.move_in(packed, target)?.map_err(io_error("store", target))?;
                self.sync_dir(parent)?;
            }
        } else {
            result.map_err(io_error("store", target))?;
            self.sync_dir(parent)?;
        }
        let inode = examine(target)?.map(|found| found.ino());
        Ok(StoredFile { inode, ..file })
    }
}

/// Either the copy is wrong or it is a faithful copy of something else: a look at the source tells.
fn whose_fault(
    job: &PackJob,
    source: DamageReason,
    packed: &Path,
    raw: &Path,
) -> Result<VaultError, VaultError> {
    let mut package = open_raw(raw, job.raw)?;
    if measure(&mut package).map_err(io_error("read", raw))? != job.raw {
        return Ok(VaultError::StagedChanged { path: raw.to_owned(), recorded: job.raw });
    }
    Ok(VaultError::CopyDiffers { path: packed.to_owned(), source })
}

/// Opens the package, if it is still there and as long as it was.
pub(super) fn open_raw(path: &Path, recorded: Content) -> Result<File, VaultError> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    match opened {
        Ok((bytes, file)) if bytes == recorded.bytes => Ok(file),
        Ok(_) => Err(VaultError::StagedChanged { path: path.to_owned(), recorded }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(VaultError::StagedGone { path: path.to_owned() })
        }
        Err(error) => Err(io_error("read", path)(error)),
    }
}

fn same_content(path: &Path, content: Content) -> Result<bool, VaultError> {
    if examine(path)?.is_none_or(|found| !found.is_file() || found.len() != content.bytes) {
        return Ok(false);
    }
    let found = File::open(path).and_then(|mut file| measure(&mut file));
    Ok(found.map_err(io_error("read", path))? == content)
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
