//! From the package in staging to the finished zip in the vault.
//!
//! The same package, manifest and options give the same bytes. This module must never touch the
//! package in staging, never let a file appear in `vault/` that was not read back and compared, and
//! never overwrite one there. A crash before the last rename leaves only a `.zip` in staging, which
//! the next call discards; a crash after it leaves a finished file that the next call recognises by
//! its bytes and adopts.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::disk::DiskFile;
use super::extract::Source;
use super::meter::{BUFFER, measure};
use super::staging::StagedKind;
use super::{CheckError, DamageReason, Manifest, Vault, VaultError, examine, io_error};
use crate::model::{ArchiveId, Content, Format, Method, StoredFile, Timestamp};
use crate::settings::{Pack, PackMethod};

/// A package that is at least so long gets 64-bit sizes, which old tools cannot read. Below it even
/// a deflated package that grew (by 0.03 % at most) and the directory behind it stay under 4 GiB.
const ZIP64_FROM: u64 = (4 << 30) - (16 << 20);
/// `auto` deflates so much of the package, three times, to see whether it shrinks, in bytes.
const SAMPLE: u64 = 64 * 1024;
/// `auto` deflates what shrinks below so many percent.
const WORTHWHILE_PERCENT: u64 = 95;
/// Higher levels find hardly more in a sample and take much longer to see that nothing shrinks.
const SAMPLE_LEVEL: u32 = 3;

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

impl Vault {
    /// Packs `staging/a34.raw` into the vault, durable on return. The `.raw` stays until the caller
    /// has recorded the stored file and calls [`Vault::discard_staged`].
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
        let packed = self.staged_path(job.id, StagedKind::Zip);
        self.remove_if_there(&packed)?;
        let stored = self.write_packed(job, &raw, &packed).inspect_err(|error| {
            // Gives the space back at once; the next call would discard it anyhow. After a failed
            // sync nothing more is done to the disk.
            if !error.is_fatal() {
                let _ = self.inner.disk.remove(&packed);
            }
        })?;
        self.place(&packed, &target, stored.content)?;
        Ok(stored)
    }

    /// Writes the zip in staging, makes it durable and reads it back.
    fn write_packed(
        &self,
        job: &PackJob,
        raw: &Path,
        packed: &Path,
    ) -> Result<StoredFile, VaultError> {
        let json = |source| VaultError::Manifest { path: job.path.clone(), source };
        let manifest = job.manifest.to_json().map_err(json)?;
        let mut package = open_raw(raw, job.raw)?;
        let method =
            choose(&mut package, job.raw.bytes, job.options).map_err(io_error("read", raw))?;
        let file = self.inner.disk.create_new(packed).map_err(io_error("create", packed))?;
        let layout = Layout {
            manifest: &manifest,
            entry: job.format.entry_name(),
            method,
            level: job.options.level.get(),
            modified: zip_time(job.manifest.downloaded_at),
            bytes: job.raw.bytes,
        };
        let mut file = match layout.write(&mut package, file) {
            Ok(file) => file,
            Err(WriteError::Raw(error)) => return Err(io_error("read", raw)(error)),
            Err(WriteError::Zip(error)) => return Err(io_error("write", packed)(error)),
            Err(WriteError::Length) => {
                return Err(VaultError::StagedChanged { path: raw.to_owned(), recorded: job.raw });
            }
        };
        file.sync().map_err(|source| VaultError::SyncFailed { path: packed.to_owned(), source })?;
        drop(file);
        let content = read_back(job, &manifest, packed, raw)?;
        Ok(StoredFile { path: job.path.clone(), content, format: job.format, method })
    }

    /// Gives the finished zip its name in the vault.
    fn place(&self, packed: &Path, target: &Path, content: Content) -> Result<(), VaultError> {
        let parent = target.parent().unwrap_or(target);
        let result = self.move_in(packed, target)?;
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            if same_content(target, content)? {
                // Packed before, and never recorded.
                self.sync_dir(parent)?;
                return self.remove_if_there(packed);
            }
            self.quarantine(target, "unexpected")?;
            self.move_in(packed, target)?.map_err(io_error("store", target))?;
        } else {
            result.map_err(io_error("store", target))?;
        }
        self.sync_dir(parent)
    }
}

/// Opens the package, if it is still there and as long as it was.
fn open_raw(path: &Path, recorded: Content) -> Result<File, VaultError> {
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

/// The content of the packed file, once it has been read to its end and compared.
fn read_back(
    job: &PackJob,
    manifest: &[u8],
    packed: &Path,
    raw: &Path,
) -> Result<Content, VaultError> {
    let entry = job.format.entry_name();
    let source = Source { path: packed, entry, limit: job.raw.bytes };
    let differs = match source.read_quietly() {
        Ok(reading) if reading.manifest != manifest => DamageReason::ManifestDiffers,
        Ok(reading) => match reading.expect_package(job.raw) {
            Ok(()) => return Ok(reading.whole),
            Err(reason) => reason,
        },
        Err(CheckError::Damaged(reason)) => reason,
        Err(CheckError::Failed(error)) => return Err(error),
    };
    // Either the copy is wrong or it is a faithful copy of something else: look at the source.
    let mut package = open_raw(raw, job.raw)?;
    if measure(&mut package).map_err(io_error("read", raw))? != job.raw {
        return Err(VaultError::StagedChanged { path: raw.to_owned(), recorded: job.raw });
    }
    Err(VaultError::CopyDiffers { path: packed.to_owned(), source: differs })
}

fn same_content(path: &Path, content: Content) -> Result<bool, VaultError> {
    if examine(path)?.is_none_or(|found| !found.is_file() || found.len() != content.bytes) {
        return Ok(false);
    }
    let found = File::open(path).and_then(|mut file| measure(&mut file));
    Ok(found.map_err(io_error("read", path))? == content)
}

/// How the package shall lie in the zip; looks into it if that is the question.
fn choose(package: &mut File, bytes: u64, options: Pack) -> io::Result<Method> {
    match options.method {
        PackMethod::Store => Ok(Method::Store),
        PackMethod::Deflate => Ok(Method::Deflate),
        PackMethod::Auto if bytes == 0 => Ok(Method::Store),
        PackMethod::Auto => {
            let method = if shrinks(package, bytes, options.level.get())? {
                Method::Deflate
            } else {
                Method::Store
            };
            package.seek(SeekFrom::Start(0))?;
            Ok(method)
        }
    }
}

/// Whether samples of the package shrink enough. They come from the middle of each third: the end
/// of a zip is its directory, which shrinks although nothing else does.
fn shrinks(package: &mut File, bytes: u64, level: u32) -> io::Result<bool> {
    let offsets = if bytes <= 3 * SAMPLE {
        vec![(0, bytes)]
    } else {
        [1, 3, 5].map(|sixth| ((bytes - SAMPLE) / 6 * sixth, SAMPLE)).to_vec()
    };
    let level = Compression::new(level.min(SAMPLE_LEVEL));
    let (mut read, mut shrunk) = (0, 0);
    for (offset, length) in offsets {
        package.seek(SeekFrom::Start(offset))?;
        let mut encoder = DeflateEncoder::new(Count(0), level);
        read += io::copy(&mut Read::take(&mut *package, length), &mut encoder)?;
        shrunk += encoder.finish()?.0;
    }
    Ok(shrunk * 100 < read * WORTHWHILE_PERCENT)
}

/// Counts and forgets.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Zip times have a resolution of two seconds and begin in 1980; what lies outside becomes that.
fn zip_time(time: Timestamp) -> DateTime {
    let time = time.to_jiff().to_zoned(jiff::tz::TimeZone::UTC);
    let narrow = |number: i8| u8::try_from(number).unwrap_or(0);
    DateTime::from_date_and_time(
        u16::try_from(time.year()).unwrap_or(0),
        narrow(time.month()),
        narrow(time.day()),
        narrow(time.hour()),
        narrow(time.minute()),
        narrow(time.second()),
    )
    .unwrap_or(DateTime::DEFAULT)
}

/// Everything that decides the bytes of the zip, but for the package itself.
struct Layout<'a> {
    manifest: &'a [u8],
    entry: &'static str,
    method: Method,
    level: u32,
    modified: DateTime,
    /// Length of the package.
    bytes: u64,
}

enum WriteError {
    /// The package cannot be read.
    Raw(io::Error),
    /// The zip cannot be written.
    Zip(io::Error),
    /// The package ended early or went on.
    Length,
}

impl From<ZipError> for WriteError {
    fn from(error: ZipError) -> Self {
        Self::Zip(match error {
            ZipError::Io(error) => error,
            error => error.into(),
        })
    }
}

impl Layout<'_> {
    /// Writes all of it; what is returned still has to be synced.
    fn write(
        &self,
        package: &mut dyn Read,
        file: Box<dyn DiskFile>,
    ) -> Result<Box<dyn DiskFile>, WriteError> {
        let sink = BufWriter::with_capacity(BUFFER, Sink { file, at: 0, end: 0, failed: false });
        let mut zip = ZipWriter::new(sink);
        // Stored, so that even a broken file tells a person what it was.
        zip.start_file(Manifest::ENTRY, self.options(Method::Store, 0))?;
        zip.write_all(self.manifest).map_err(WriteError::Zip)?;
        zip.start_file(self.entry, self.options(self.method, self.bytes))?;
        let mut buffer = vec![0; BUFFER];
        let mut left = self.bytes;
        loop {
            let count = package.read(&mut buffer).map_err(WriteError::Raw)?;
            if count == 0 {
                break;
            }
            left = left.checked_sub(count as u64).ok_or(WriteError::Length)?;
            zip.write_all(&buffer[..count]).map_err(WriteError::Zip)?;
        }
        if left > 0 {
            return Err(WriteError::Length);
        }
        let sink =
            zip.finish()?.into_inner().map_err(|error| WriteError::Zip(error.into_error()))?;
        Ok(sink.file)
    }

    fn options(&self, method: Method, bytes: u64) -> SimpleFileOptions {
        let (method, level) = match method {
            Method::Store => (CompressionMethod::Stored, None),
            Method::Deflate => (CompressionMethod::Deflated, Some(i64::from(self.level.min(9)))),
        };
        SimpleFileOptions::default()
            .compression_method(method)
            .compression_level(level)
            .last_modified_time(self.modified)
            .unix_permissions(0o640)
            .system(System::Unix)
            .large_file(needs_zip64(bytes))
    }
}

const fn needs_zip64(bytes: u64) -> bool {
    bytes >= ZIP64_FROM
}

/// The file under the zip writer. After a failure it swallows the rest: the zip writer tries to
/// complete its file when it is dropped, and would complain on standard error.
struct Sink {
    file: Box<dyn DiskFile>,
    /// Kept up after a failure too: the zip writer takes differences of it.
    at: u64,
    /// The end of the file so far.
    end: u64,
    failed: bool,
}

impl Sink {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        let again = |error: &io::Error| error.kind() == io::ErrorKind::Interrupted;
        if result.as_ref().is_err_and(|error| !again(error)) {
            self.failed = true;
            // It may have been on its way back from patching a header.
            self.at = self.end;
        }
        result
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = if self.failed {
            bytes.len()
        } else {
            let result = self.file.write(bytes);
            self.note(result)?
        };
        self.at += count as u64;
        self.end = self.end.max(self.at);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.failed {
            return Ok(());
        }
        let result = self.file.flush();
        self.note(result)
    }
}

impl Seek for Sink {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.at = if self.failed {
            match position {
                SeekFrom::Start(at) => at,
                SeekFrom::Current(step) => self.at.saturating_add_signed(step),
                SeekFrom::End(_) => self.at,
            }
        } else {
            let result = self.file.seek(position);
            self.note(result)?
        };
        Ok(self.at)
    }
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
