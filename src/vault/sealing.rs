//! A package that is short enough to be held in memory needs no second file: once it has come
//! whole, it is written at once as the zip that it will be stored as, and hence synced once.
//!
//! `a34.part` then is no beginning any more but a *sealed* package: a finished zip of ours whose
//! manifest names the archive. It must be taken for one only after every byte of it was read and
//! compared with that manifest, and must never be written over. A crash before its sync leaves a
//! beginning, as it does of any download; a crash after it leaves the package, which
//! [`Vault::inspect_staged`] and [`Vault::pack`] find.

use std::io::Cursor;

use super::container::{Layout, WriteError, choose};
use super::extract::ReadError;
use super::inside::Slice;
use super::likeness::content_of;
use super::meter::{BUFFER, Meter};
use super::staging::{Receiver, Staged, StagedKind};
use super::{CheckError, Manifest, PackJob, Vault, VaultError, examine, io_error, whole};
use crate::model::{ArchiveId, Content, Method, Sha256Digest, StoredFile, Timestamp};

/// How a package is to be stored that is short enough to be sealed.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// What is known of it before it has come; its content and format are filled in.
    pub job: PackJob,
    /// See [`Vault::content_of_staged`].
    pub max_inflated: u64,
}

/// What a download came to; durable in staging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The package as it came, as `a34.raw`.
    Staged(Staged),
    /// The package in its zip, as `a34.part`.
    Sealed(Sealed),
}

/// A sealed package, read back and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// What came.
    pub staged: Staged,
    /// What it lies in, and where that goes: see [`Vault::store_sealed`].
    pub file: StoredFile,
    /// See [`Vault::content_of_staged`].
    pub content_sha256: Option<Sha256Digest>,
    /// When it came, as its manifest says.
    pub downloaded_at: Timestamp,
}

impl Sealed {
    /// The package of `job` in a file with the content `stored`.
    pub(super) fn of(
        job: PackJob,
        stored: Content,
        method: Method,
        content_sha256: Option<Sha256Digest>,
    ) -> Self {
        let PackJob { raw, format, path, manifest, .. } = job;
        let staged = Staged { content: raw, format, flaw: None };
        let file = StoredFile { path, content: stored, format, method, inode: None };
        Self { staged, file, content_sha256, downloaded_at: manifest.downloaded_at }
    }
}

/// No package that is longer is sealed, in bytes; what has come of it is written by pieces.
pub const LONGEST_SEALED: usize = BUFFER;

impl Receiver {
    /// The body is complete: makes it durable, sealed if it is short and nothing is odd about it,
    /// else as [`Receiver::finish`] does.
    pub fn seal(mut self, sealing: Sealing) -> Result<Received, VaultError> {
        // Once bytes are on the disk, they lie there as they came.
        if self.written > 0 || self.broken {
            return self.finish().map(Received::Staged);
        }
        let format = self.format();
        let body = std::mem::take(&mut self.buffer);
        if !matches!(whole::flaw(&mut Cursor::new(&body), format), Ok(None)) {
            self.buffer = body;
            return self.finish().map(Received::Staged);
        }
        let mut meter = Meter::default();
        meter.update(&body);
        let content = meter.content();
        let job = sealing.job.of(content, format);
        let manifest = job.manifest_bytes()?;
        let (method, zip) = self.vault.container(&job, &manifest, &body)?;
        self.put_plainly(&zip)?;
        drop(zip);
        let failed = |source| VaultError::SyncFailed { path: self.part.clone(), source };
        self.file.sync().map_err(failed)?;
        let stored = match self.vault.read_back(&job, &manifest, &self.part) {
            Ok(stored) => stored,
            // It is durable, and what could not be read now may be read later.
            Err(CheckError::Failed(error)) => return Err(error),
            Err(CheckError::Damaged(_)) => {
                // The package is in memory still: it is written once more, as it came.
                self.begin_anew()?;
                self.buffer = body;
                return self.finish().map(Received::Staged);
            }
        };
        let digest = content_of(Cursor::new(&body), content, format, sealing.max_inflated);
        let content_sha256 = digest.map_err(io_error("read", &self.part))?;
        Ok(Received::Sealed(Sealed::of(job, stored, method, content_sha256)))
    }

    /// Throws away what was written, which is not what was to be written.
    fn begin_anew(&mut self) -> Result<(), VaultError> {
        let (vault, part) = (&self.vault, &self.part);
        tracing::warn!(path = %part.display(), "what was written reads otherwise: written again");
        vault.remove_if_there(part)?;
        self.file = vault.inner.disk.create_new(part).map_err(io_error("create", part))?;
        self.written = 0;
        vault.sync_dir(&vault.inner.staging)
    }
}

impl Vault {
    /// The zip of a package that is in memory.
    fn container(
        &self,
        job: &PackJob,
        manifest: &[u8],
        body: &[u8],
    ) -> Result<(Method, Vec<u8>), VaultError> {
        let path = || job.path.clone();
        let in_memory = |source| VaultError::Io { action: "pack", path: path().into(), source };
        let method =
            choose(&mut Cursor::new(body), job.raw.bytes, job.options).map_err(in_memory)?;
        let layout = Layout::of(job, manifest, method);
        let zip = Vec::with_capacity(body.len() + manifest.len() + 1024);
        match layout.write(&self.inner.stock, &mut &body[..], Cursor::new(zip)) {
            Ok(zip) => Ok((method, zip.into_inner())),
            Err(WriteError::Raw(error) | WriteError::Zip(error)) => Err(in_memory(error)),
            Err(WriteError::Length) => Err(VaultError::ManifestDiffers { path: path() }),
        }
    }

    /// The sealed package of an archive, read to its end; `None`: staging holds none. Whether its
    /// bytes are durable nobody knows if a dead process wrote them.
    pub(super) fn sealed(
        &self,
        id: ArchiveId,
    ) -> Result<Option<(Manifest, StoredFile)>, VaultError> {
        let part = self.staged_path(id, StagedKind::Part);
        if examine(&part)?.is_none_or(|found| !found.is_file()) {
            return Ok(None);
        }
        match self.describe_plain(&part, "") {
            Ok((manifest, file)) if manifest.archive_id == id && manifest.app == Manifest::APP => {
                let path = manifest.place();
                Ok(Some((manifest, StoredFile { path, ..file })))
            }
            Ok(_) | Err(CheckError::Damaged(_)) => Ok(None),
            Err(CheckError::Failed(error)) => Err(error),
        }
    }

    /// Gives a sealed package its name in the vault, durable on return. Staging holds nothing of it
    /// any more.
    pub fn store_sealed(&self, id: ArchiveId, file: &StoredFile) -> Result<StoredFile, VaultError> {
        let target = self.resolve(&file.path)?;
        self.place(&self.staged_path(id, StagedKind::Part), &target, file.clone())
    }

    /// The digest of what a sealed package contains; `None`: there is none, or it cannot be told.
    pub(super) fn content_of_sealed(
        &self,
        id: ArchiveId,
        max_inflated: u64,
    ) -> Result<Option<Sha256Digest>, VaultError> {
        let part = self.staged_path(id, StagedKind::Part);
        let Some((manifest, _)) = self.sealed(id)? else { return Ok(None) };
        let raw = manifest.raw();
        match self.source(&part, manifest.format, raw).unwrap(raw) {
            Ok((file, start)) => {
                content_of(Slice::new(file, start, raw.bytes), raw, manifest.format, max_inflated)
                    .map_err(io_error("read", &part))
            }
            Err(ReadError::Damaged(_)) => Ok(None),
            Err(ReadError::Disk(error) | ReadError::Output(error)) => {
                Err(io_error("read", &part)(error))
            }
        }
    }
}

#[cfg(test)]
#[path = "sealing_tests.rs"]
mod tests;
