//! A download on its way to the disk, and what a dead process left of one.
//!
//! `a34.part` is being received, or is a package that was sealed (`sealing.rs`); `a34.raw` is whole
//! and durable, `a34.zip` is being packed. This module must never give the name `.raw` to anything
//! but a whole package whose bytes are synced, and never discard what may be whole. A crash before
//! the rename leaves a `.part`, which [`Vault::inspect_staged`] adopts only if it proves itself
//! complete; after it, a `.raw`, which stands for the package without another GET.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::DiskFile;
use super::framing::Framed;
use super::meter::{BUFFER, Meter, measure};
use super::{Vault, VaultError, error, examine, io_error, whole};
use crate::model::{ArchiveId, Content, Format};

/// How often a full disk is tried again.
const LOOK: Duration = Duration::from_millis(100);
/// What cannot be known of JSON whose end nobody saw. Nothing that means anything is missing.
const MAYBE_SHORTER: &str = "nobody saw its end: white space there may be missing";
/// As many bytes as tell the formats apart.
const FIRST_BYTES: usize = 8;

/// A whole package, durable in staging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    /// How much and what.
    pub content: Content,
    /// What it looks like.
    pub format: Format,
    /// What does not look whole about it, or is not known to be.
    pub flaw: Option<&'static str>,
}

/// What is left of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagedEvidence {
    /// The whole package, durable now.
    Whole(Staged),
    /// A beginning, or something that cannot prove that it is whole.
    Partial {
        /// What had arrived.
        bytes: u64,
    },
    /// No file.
    Nothing,
}

/// The stage that a file in staging is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StagedKind {
    /// Being received.
    Part,
    /// Received.
    Raw,
    /// Being packed.
    Zip,
}

impl StagedKind {
    const ALL: [Self; 3] = [Self::Part, Self::Raw, Self::Zip];

    const fn extension(self) -> &'static str {
        match self {
            Self::Part => "part",
            Self::Raw => "raw",
            Self::Zip => "zip",
        }
    }
}

/// A file of ours in staging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StagedFile {
    /// The archive that it belongs to.
    pub id: ArchiveId,
    /// How far it is.
    pub kind: StagedKind,
}

/// Everything that lies in staging.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StagingContents {
    /// Files with a name of ours, in order.
    pub ours: Vec<StagedFile>,
    /// Anything else, as absolute paths in order.
    pub foreign: Vec<PathBuf>,
}

/// Guesses from the first bytes what a package is.
pub fn sniff(first: &[u8]) -> Format {
    // A zip begins with its first entry, or with its end when it is empty.
    if first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06") {
        return Format::Zip;
    }
    let text = first.strip_prefix(whole::BYTE_ORDER_MARK).unwrap_or(first);
    match text.iter().find(|byte| !whole::is_json_space(**byte)) {
        Some(b'{' | b'[') => Format::Json,
        _ => Format::Other,
    }
}

impl Vault {
    /// Prepares to receive the package of `id`. On return an empty file of ours is durable in
    /// staging, which proves before the one GET is sent that the disk takes one.
    ///
    /// The rest of an earlier attempt is discarded, unless it is the whole package: that is
    /// [`VaultError::AlreadyStaged`], and [`Vault::inspect_staged`] adopts it.
    pub fn receive(&self, id: ArchiveId) -> Result<Receiver, VaultError> {
        let raw = self.staged_path(id, StagedKind::Raw);
        if examine(&raw)?.is_some() {
            return Err(VaultError::AlreadyStaged { path: raw });
        }
        let part = self.staged_path(id, StagedKind::Part);
        if examine(&part)?.is_some() {
            // A sealed one is a whole zip as well.
            if self.is_whole_part(id)? {
                return Err(VaultError::AlreadyStaged { path: part });
            }
            self.remove_if_there(&part)?;
        }
        let file = self.inner.disk.create_new(&part).map_err(io_error("create", &part))?;
        self.sync_dir(&self.inner.staging)?;
        Ok(Receiver {
            vault: self.clone(),
            id,
            part,
            raw,
            file,
            buffer: Vec::new(),
            meter: Meter::default(),
            first: Vec::with_capacity(FIRST_BYTES),
            written: 0,
            patience: Duration::ZERO,
            broken: false,
            framed: None,
        })
    }

    /// Looks at what is left of the download of `id`, and adopts it if it is the whole package:
    /// when this says `Whole`, the package is durable as `a34.raw`, or sealed. Reads the file once
    /// or twice.
    pub fn inspect_staged(&self, id: ArchiveId) -> Result<StagedEvidence, VaultError> {
        let raw = self.staged_path(id, StagedKind::Raw);
        let is_unfinished = examine(&raw)?.is_none();
        if is_unfinished {
            let part = self.staged_path(id, StagedKind::Part);
            let Some(found) = examine(&part)? else { return Ok(StagedEvidence::Nothing) };
            if let Some((manifest, _)) = self.sealed(id)? {
                self.sync_file(&part)?;
                self.sync_dir(&self.inner.staging)?;
                let (content, format) = (manifest.raw(), manifest.format);
                return Ok(StagedEvidence::Whole(Staged { content, format, flaw: None }));
            }
            if whole::is_whole(&part).map_err(io_error("read", &part))? {
                // A dead process wrote it; whether it still synced it nobody knows.
                self.sync_file(&part)?;
                self.inner.disk.rename(&part, &raw).map_err(io_error("rename", &part))?;
            } else if !self.salvage(id)? {
                return Ok(StagedEvidence::Partial { bytes: found.len() });
            }
        }
        // The rename may be as young as a process that died before its sync.
        self.sync_dir(&self.inner.staging)?;
        let mut staged = measure_staged(&raw).map_err(io_error("read", &raw))?;
        if is_unfinished && staged.format == Format::Json {
            staged.flaw = staged.flaw.or(Some(MAYBE_SHORTER));
        }
        Ok(StagedEvidence::Whole(staged))
    }

    /// Removes whatever staging holds of `id`: only once the package is recorded as stored, or
    /// given up. A file that a power cut brings back is discarded again by recovery.
    pub fn discard_staged(&self, id: ArchiveId) -> Result<(), VaultError> {
        self.forget_ahead(id);
        StagedKind::ALL
            .into_iter()
            .try_for_each(|kind| self.remove_if_there(&self.staged_path(id, kind)))
    }

    /// Moves whatever staging holds of `id` to quarantine: of a package that is given up, a person
    /// may still make something.
    pub fn quarantine_staged(&self, id: ArchiveId, why: &str) -> Result<(), VaultError> {
        self.forget_ahead(id);
        for kind in StagedKind::ALL {
            let path = self.staged_path(id, kind);
            if examine(&path)?.is_some() {
                self.quarantine(&path, why)?;
            }
        }
        Ok(())
    }

    /// What lies in staging, ours and foreign.
    pub fn list_staged(&self) -> Result<StagingContents, VaultError> {
        let folder = &self.inner.staging;
        let mut contents = StagingContents::default();
        for entry in fs::read_dir(folder).map_err(io_error("list", folder))? {
            let entry = entry.map_err(io_error("list", folder))?;
            let is_file = entry.file_type().map_err(io_error("list", folder))?.is_file();
            match entry.file_name().to_str().and_then(parse_staged_name) {
                Some(ours) if is_file => contents.ours.push(ours),
                _ => contents.foreign.push(entry.path()),
            }
        }
        contents.ours.sort();
        contents.foreign.sort();
        Ok(contents)
    }

    /// Where a file in staging lies.
    pub fn staged_path(&self, id: ArchiveId, kind: StagedKind) -> PathBuf {
        self.inner.staging.join(format!("{id}.{}", kind.extension()))
    }
}

fn parse_staged_name(name: &str) -> Option<StagedFile> {
    let (stem, extension) = name.split_once('.')?;
    let kind = StagedKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    let id = ArchiveId(stem.strip_prefix('a')?.parse().ok()?);
    (id.to_string() == stem).then_some(StagedFile { id, kind })
}

fn measure_staged(path: &Path) -> io::Result<Staged> {
    let mut file = File::open(path)?;
    let mut first = Vec::with_capacity(FIRST_BYTES);
    (&mut file).take(FIRST_BYTES as u64).read_to_end(&mut first)?;
    let content = measure(&mut first.as_slice().chain(&file))?;
    Ok(described(content, sniff(&first), &mut file))
}

/// A look at the end of a package that is whole as far as anybody knows. Should the disk not let
/// it be read, then packing will say so: the package is there all the same.
pub(super) fn described(content: Content, format: Format, file: &mut File) -> Staged {
    match whole::flaw(file, format) {
        Ok(Some(flaw)) => Staged { content, format: Format::Other, flaw: Some(flaw) },
        Ok(None) | Err(_) => Staged { content, format, flaw: None },
    }
}

/// Takes one download. Dropped without [`Receiver::finish`], it leaves what has arrived as a
/// `.part`. Blocking: see [`super::spawn_receiver`].
pub struct Receiver {
    pub(super) vault: Vault,
    pub(super) id: ArchiveId,
    pub(super) part: PathBuf,
    raw: PathBuf,
    pub(super) file: Box<dyn DiskFile>,
    /// What has come and is not written yet: all of a short package.
    pub(super) buffer: Vec<u8>,
    meter: Meter,
    first: Vec<u8>,
    /// Bytes that the file holds.
    pub(super) written: u64,
    patience: Duration,
    /// A write failed, so that the file may have a hole: it must never be finished.
    pub(super) broken: bool,
    /// The package lies in a frame.
    pub(super) framed: Option<Box<Framed>>,
}

impl Receiver {
    /// How long each write may wait for room on a full disk. The bytes are nowhere else any more,
    /// and the server waits with it as long as it likes; giving up at once would waste them.
    pub const fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Takes the next bytes of the body.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), VaultError> {
        let wanted = FIRST_BYTES.saturating_sub(self.first.len()).min(bytes.len());
        self.first.extend_from_slice(&bytes[..wanted]);
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() < BUFFER {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.put(bytes)
    }

    /// What has arrived so far, in bytes.
    pub fn bytes(&self) -> u64 {
        self.meter.bytes() + self.buffer.len() as u64
    }

    /// What has arrived so far looks like this; certain after the first eight bytes.
    pub fn format(&self) -> Format {
        sniff(&self.first)
    }

    /// The body is complete: makes it durable as `a34.raw`.
    pub fn finish(mut self) -> Result<Staged, VaultError> {
        self.flush()?;
        let failed = |source| VaultError::SyncFailed { path: self.part.clone(), source };
        self.file.sync().map_err(failed)?;
        let disk = &self.vault.inner.disk;
        disk.rename(&self.part, &self.raw).map_err(io_error("rename", &self.part))?;
        self.vault.sync_dir(&self.vault.inner.staging)?;
        let (content, format) = (self.meter.content(), self.format());
        Ok(match File::open(&self.raw) {
            Ok(mut file) => described(content, format, &mut file),
            Err(_) => Staged { content, format, flaw: None },
        })
    }

    /// What has been written so far.
    pub(super) fn content(&self) -> Content {
        self.meter.content()
    }

    pub(super) fn flush(&mut self) -> Result<(), VaultError> {
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.put(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        result
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), VaultError> {
        if self.broken {
            return Err(VaultError::Incomplete { path: self.part.clone() });
        }
        self.meter.update(bytes);
        if let Some(framed) = &mut self.framed {
            framed.checksum.update(bytes);
        }
        self.put_plainly(bytes)
    }

    /// Writes what is no part of the package.
    pub(super) fn put_plainly(&mut self, bytes: &[u8]) -> Result<(), VaultError> {
        self.write_all(bytes).map_err(|source| {
            self.broken = true;
            io_error("write", &self.part)(source)
        })
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut waited = Duration::ZERO;
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count as u64;
                    bytes = &bytes[count..];
                }
                Err(refusal) if refusal.kind() == io::ErrorKind::Interrupted => {}
                Err(refusal) if error::is_no_room(&refusal) && waited < self.patience => {
                    if waited.is_zero() {
                        tracing::error!(path = %self.part.display(),
                            "the disk is full in the middle of a download: waiting for room");
                    }
                    std::thread::sleep(LOOK);
                    waited += LOOK;
                    // Whatever the refused write left behind is written over.
                    self.file.seek(SeekFrom::Start(self.written))?;
                }
                Err(refusal) => return Err(refusal),
            }
        }
        if !waited.is_zero() {
            tracing::info!(path = %self.part.display(), "the download goes on: there is room");
        }
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Best effort: a body that was whole but for the server's last word proves itself later.
        if !self.broken {
            let _ = self.flush();
        }
    }
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;
