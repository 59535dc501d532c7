//! A long package that does not shrink needs no second file either: it is written behind the place
//! of the bytes that its zip begins with, and these are filled in once all of it has come. Then
//! `a34.part` is sealed (`sealing.rs`), and no byte of the package was written twice.
//!
//! It is done only where the length of the package is known before. This module must never touch
//! the package itself once it is written, and never take a place that was held for a zip that is
//! finished. A crash before the sync leaves a beginning; what of it proves itself whole is taken
//! out of its frame by [`Vault::salvage`].

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;

use super::container::{Layout, choose};
use super::frame::{self, package_offset};
use super::inside::Slice;
use super::likeness::content_of;
use super::meter::BUFFER;
use super::sealing::{Received, Sealed, Sealing};
use super::staging::{Receiver, StagedKind, described, sniff};
use super::{CheckError, Manifest, PackJob, Vault, VaultError, examine, io_error, whole};
use crate::model::{ArchiveId, Content, Format, Method, Sha256Digest, Timestamp};

/// More than any front has, in bytes.
const LONGEST_FRONT: u64 = 64 << 10;

/// How a package is to be stored whose length is known.
#[derive(Clone, Debug)]
pub struct Framing {
    /// What is known of it before it has come.
    pub sealing: Sealing,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// A frame that waits for its package.
#[derive(Debug)]
pub(super) struct Framed {
    framing: Framing,
    format: Format,
    /// Where the package begins in the file.
    offset: u64,
    /// Of the package so far.
    pub(super) checksum: crc32fast::Hasher,
}

impl Receiver {
    /// Prepares for a package that begins so. If it is one to be stored as it is, its place in the
    /// zip is kept for it; else nothing is done. To be called before any [`Receiver::write`].
    pub fn frame(&mut self, framing: Framing, beginning: &[Bytes]) -> Result<(), VaultError> {
        let beginning = beginning.concat();
        let (length, options) = (beginning.len() as u64, framing.sealing.job.options);
        let sample = &mut io::Cursor::new(&beginning);
        let method = choose(sample, length, options).map_err(io_error("sample", &self.part))?;
        if method != Method::Store {
            return Ok(());
        }
        let format = sniff(&beginning);
        // Of the same length as the one that will be written, which knows its digest.
        let nothing = Content { bytes: framing.bytes, sha256: Sha256Digest([0; 32]) };
        let job = framing.sealing.job.clone().of(nothing, format);
        let manifest = job.manifest_bytes()?;
        let checksum = crc32fast::Hasher::new();
        let sealed = frame::Sealed { crc32: 0, packed: framing.bytes, raw: framing.bytes };
        let front = Layout::of(&job, &manifest, Method::Store).frame().front(sealed);
        self.put_plainly(&front)?;
        let offset = front.len() as u64;
        self.framed = Some(Box::new(Framed { framing, format, offset, checksum }));
        Ok(())
    }

    /// The body is complete, at `at`: makes it durable, sealed if it was framed and nothing is odd
    /// about it, else as [`Receiver::finish`] does.
    pub fn complete(mut self, at: Timestamp) -> Result<Received, VaultError> {
        self.flush()?;
        let Some(framed) = self.framed.take() else {
            return self.finish().map(Received::Staged);
        };
        let content = self.content();
        let Framing { sealing, bytes } = framed.framing.clone();
        let job = sealing.job.of(content, framed.format).downloaded_at(at);
        let manifest = job.manifest_bytes()?;
        let sealed =
            frame::Sealed { crc32: framed.checksum.clone().finalize(), packed: bytes, raw: bytes };
        let layout = Layout::of(&job, &manifest, Method::Store);
        let front = layout.frame().front(sealed);
        if content.bytes != bytes || front.len() as u64 != framed.offset {
            return self.unframed(&framed, content);
        }
        let mut package = package_in(&self.part, framed.offset, bytes)?;
        if !matches!(whole::flaw(&mut package, framed.format), Ok(None)) {
            return self.unframed(&framed, content);
        }
        // What its whole length says, its beginning may not have said.
        let method = choose(&mut package, bytes, job.options);
        if !matches!(method, Ok(Method::Store)) {
            match self.vault.unframe(self.id, framed.offset, bytes) {
                Ok(()) => return self.came_out(&framed, content),
                // Better stored as it is than not at all.
                Err(error) if error.is_out_of_space() && !error.is_fatal() => {
                    tracing::warn!(path = %self.part.display(),
                        "a package that shrinks is stored as it came: there is no room to pack it");
                }
                Err(error) => return Err(error),
            }
        }
        self.put_plainly(&layout.frame().back(sealed))?;
        let rewritten =
            self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(&front));
        rewritten.map_err(io_error("write", &self.part))?;
        let stored = self.sync_and_read_back(&job, &manifest)?;
        let digest = content_of(package, content, framed.format, sealing.max_inflated);
        let content_sha256 = digest.map_err(io_error("read", &self.part))?;
        Ok(Received::Sealed(Sealed::of(job, stored, Method::Store, content_sha256)))
    }

    /// Makes the file durable and reads it back meanwhile: what is read is what the kernel holds,
    /// before the sync as after it.
    fn sync_and_read_back(
        &mut self,
        job: &PackJob,
        manifest: &[u8],
    ) -> Result<Content, VaultError> {
        let Self { vault, part, file, .. } = self;
        let (synced, read) = std::thread::scope(|scope| {
            let syncing = scope.spawn(|| file.sync());
            let read = vault.read_back(job, manifest, part);
            (syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), read)
        });
        synced.map_err(|source| VaultError::SyncFailed { path: part.clone(), source })?;
        read.map_err(|error| match error {
            CheckError::Failed(error) => error,
            CheckError::Damaged(source) => VaultError::CopyDiffers { path: part.clone(), source },
        })
    }

    /// Takes the package out of the frame, which is not the right one for it.
    fn unframed(self, framed: &Framed, content: Content) -> Result<Received, VaultError> {
        self.vault.unframe(self.id, framed.offset, content.bytes)?;
        self.came_out(framed, content)
    }

    fn came_out(&self, framed: &Framed, content: Content) -> Result<Received, VaultError> {
        let raw = self.vault.staged_path(self.id, StagedKind::Raw);
        let mut file = File::open(&raw).map_err(io_error("read", &raw))?;
        Ok(Received::Staged(described(content, framed.format, &mut file)))
    }
}

fn package_in(path: &Path, offset: u64, bytes: u64) -> Result<Slice, VaultError> {
    let file = File::open(path).map_err(io_error("read", path))?;
    Ok(Slice::new(file, offset, bytes))
}

impl Vault {
    /// Whether what was received of an archive is whole, as it came or in a frame that waits.
    pub(super) fn is_whole_part(&self, id: ArchiveId) -> Result<bool, VaultError> {
        let part = self.staged_path(id, StagedKind::Part);
        let failed = io_error("read", &part);
        Ok(whole::is_whole(&part).map_err(failed)? || self.framed_part(id)?.is_some())
    }

    /// Takes a package that proves itself whole out of a frame that was never finished; `true`: it
    /// is durable as `a34.raw` now.
    pub(super) fn salvage(&self, id: ArchiveId) -> Result<bool, VaultError> {
        let Some((offset, bytes)) = self.framed_part(id)? else { return Ok(false) };
        self.unframe(id, offset, bytes)?;
        Ok(true)
    }

    /// Where a whole package lies in a frame that waits for it, and how long it is.
    fn framed_part(&self, id: ArchiveId) -> Result<Option<(u64, u64)>, VaultError> {
        let part = self.staged_path(id, StagedKind::Part);
        let Some(found) = examine(&part)?.filter(std::fs::Metadata::is_file) else {
            return Ok(None);
        };
        let failed = || io_error("read", &part);
        let mut front = Vec::new();
        let mut file = File::open(&part).map_err(failed())?;
        (&mut file).take(LONGEST_FRONT).read_to_end(&mut front).map_err(failed())?;
        let Some(offset) = package_offset(&front).filter(|_| is_front_of(id, &front)) else {
            return Ok(None);
        };
        let bytes = found.len().saturating_sub(offset);
        let mut package = Slice::new(file, offset, bytes);
        let is_whole = whole::is_whole_in(&mut package).map_err(failed())?;
        Ok(is_whole.then_some((offset, bytes)))
    }

    /// Copies a package out of its frame: `a34.part` is gone afterwards, and `a34.raw` is durable.
    /// Killed before that, the frame is there still.
    fn unframe(&self, id: ArchiveId, offset: u64, bytes: u64) -> Result<(), VaultError> {
        let [part, raw, copy] = [StagedKind::Part, StagedKind::Raw, StagedKind::Zip]
            .map(|kind| self.staged_path(id, kind));
        tracing::info!(path = %part.display(), "a package is taken out of its frame");
        self.forget_ahead(id);
        self.remove_if_there(&copy)?;
        let disk = &self.inner.disk;
        let mut file = disk.create_new(&copy).map_err(io_error("create", &copy))?;
        let mut package = package_in(&part, offset, bytes)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = package.read(&mut buffer).map_err(io_error("read", &part))?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).map_err(io_error("write", &copy))?;
        }
        file.sync().map_err(|source| VaultError::SyncFailed { path: copy.clone(), source })?;
        disk.rename(&copy, &raw).map_err(io_error("rename", &copy))?;
        self.sync_dir(&self.inner.staging)?;
        self.remove_if_there(&part)
    }
}

/// Whether it was made for this archive: ROMA may send anything, also the beginning of a zip of
/// ours.
fn is_front_of(id: ArchiveId, front: &[u8]) -> bool {
    let json = front.iter().position(|byte| *byte == b'{').map(|at| &front[at..]);
    let mut manifests = json
        .into_iter()
        .flat_map(|json| serde_json::Deserializer::from_slice(json).into_iter::<Manifest>());
    manifests.next().is_some_and(|manifest| {
        manifest.is_ok_and(|found| found.archive_id == id && found.app == Manifest::APP)
    })
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
