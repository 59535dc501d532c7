//! Reads stored files back: for a person who wants the package, for the check that it is still
//! what it was, and right after packing.
//!
//! It must never report as good what it did not read to the end, and never follow a name that
//! stands inside a zip. It only reads, so a crash means nothing here.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use zip::read::{ArchiveOffset, Config, ZipReadOptions};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::aside::Aside;
use super::crew::Permits;
use super::following::Followed;
use super::frame::Sealed;
use super::lease::{is_link, open_plain};
use super::manifest::Manifest;
use super::meter::{BUFFER, Meter};
use super::{CheckError, DamageReason, ExtractError, Vault, io_error};
use crate::model::{Content, Format, Method, StoredFile};

/// A manifest is well below a KiB; more than this is not read.
const MAX_MANIFEST: u64 = 1 << 20;
/// A file up to this length is read at once, in bytes.
const SHORT: u64 = 1 << 20;
/// The least that is read at once of a package, in bytes.
const PIECE: usize = 32 << 10;

impl Vault {
    /// Writes the package to `out`, byte for byte as ROMA sent it. `raw` is what was downloaded;
    /// whether it matches is known only at the end, so an error may follow bytes already written.
    pub fn extract(
        &self,
        file: &StoredFile,
        raw: Content,
        out: &mut dyn Write,
    ) -> Result<(), ExtractError> {
        let path = self.stored_path(file);
        match self.source(&path, file.format, raw).read(false, out) {
            Ok(reading) => Ok(reading.expect_package(raw)?),
            Err(ReadError::Damaged(reason)) => Err(reason.into()),
            Err(ReadError::Disk(error)) => Err(io_error("read", &path)(error).into()),
            Err(ReadError::Output(error)) => Err(ExtractError::Output(error)),
        }
    }

    /// Reads a stored file to its end and compares it with its record and with `raw`, what was
    /// downloaded.
    pub fn check(&self, file: &StoredFile, raw: Content) -> Result<(), CheckError> {
        self.look(file)?;
        // Also for the daemon's own reading: a file is not taken away under it.
        let _lease = self.lease(file)?;
        let path = self.stored_path(file);
        let reading = self.source(&path, file.format, raw).read_quietly()?;
        if reading.whole != file.content {
            let (recorded, found) = (file.content, reading.whole);
            return Err(DamageReason::DigestDiffers { recorded, found }.into());
        }
        Ok(reading.expect_package(raw)?)
    }

    /// [`Vault::describe`] without any doubt about the name.
    pub(super) fn describe_plain(
        &self,
        path: &Path,
        relative: &str,
    ) -> Result<(Manifest, StoredFile), CheckError> {
        let manifest = read_manifest(path)?;
        let (raw, format) = (manifest.raw(), manifest.format);
        let reading = self.source(path, format, raw).read_quietly()?;
        let (content, method) = (reading.whole, reading.method);
        reading.expect_package(raw)?;
        let path = relative.to_owned();
        Ok((manifest, StoredFile { path, content, format, method, inode: None }))
    }

    /// A file that holds the package `raw`, to be read on this machine.
    pub(super) fn source<'a>(&'a self, path: &'a Path, format: Format, raw: Content) -> Source<'a> {
        let cores = self.inner.stock.cores();
        Source { path, entry: format.entry_name(), limit: raw.bytes, cores }
    }
}

/// What is to be read.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    /// The name of the package in the zip.
    pub(super) entry: &'a str,
    /// The recorded length of the package: reading ends soon after it, whatever the zip says.
    pub(super) limit: u64,
    /// Where a second thread may come from.
    cores: &'a Permits,
}

/// What was read.
pub(super) struct Reading {
    /// The zip itself; its bytes only as far as they were read if that was not asked for.
    pub(super) whole: Content,
    pub(super) package: Content,
    pub(super) manifest: Vec<u8>,
    pub(super) method: Method,
}

pub(super) enum ReadError {
    Damaged(DamageReason),
    /// The operating system's own words.
    Disk(io::Error),
    Output(io::Error),
}

impl From<ZipError> for ReadError {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::Io(error) => error.into(),
            error => Self::Damaged(DamageReason::Unreadable(error.to_string())),
        }
    }
}

impl From<io::Error> for ReadError {
    /// Readers report broken content as errors of this type too; those bear no system's number.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            Self::Damaged(DamageReason::Missing)
        } else if is_link(&error) {
            Self::Damaged(DamageReason::NotAFile)
        } else if error.raw_os_error().is_none() {
            Self::Damaged(DamageReason::Unreadable(error.to_string()))
        } else {
            Self::Disk(error)
        }
    }
}

impl Reading {
    pub(super) fn expect_package(&self, recorded: Content) -> Result<(), DamageReason> {
        if self.package == recorded {
            return Ok(());
        }
        Err(DamageReason::PackageDiffers { recorded, found: self.package })
    }
}

impl Source<'_> {
    pub(super) fn read_quietly(&self) -> Result<Reading, CheckError> {
        self.read(true, &mut io::sink()).map_err(checked(self.path))
    }

    /// Reads manifest and package, and with `whole` the digest of the zip itself on the way: each
    /// byte of the file is read once. Time goes into the two digests and the inflating.
    fn read(&self, whole: bool, out: &mut dyn Write) -> Result<Reading, ReadError> {
        let mut archive = open(self.path, whole)?;
        let manifest = manifest_of(&mut archive)?;
        let method = self.method(&mut archive)?;
        let mut buffer = self.buffer();
        let package = self.copy(&mut archive, out, &mut buffer)?;
        let whole = archive.into_inner().finish(&mut buffer)?;
        Ok(Reading { whole, package, manifest, method })
    }

    /// What [`Source::read_quietly`] says of a file whose package was read back as it was written:
    /// everything else of it is compared now, and every byte of it read once more.
    pub(super) fn read_rest(&self, followed: &Followed) -> Result<Reading, CheckError> {
        self.try_read_rest(followed).map_err(checked(self.path))
    }

    fn try_read_rest(&self, followed: &Followed) -> Result<Reading, ReadError> {
        let Followed { package, sealed, begin, packed_crc32 } = *followed;
        let mut archive = open(self.path, false)?;
        let manifest = manifest_of(&mut archive)?;
        let method = self.method(&mut archive)?;
        let entry = archive.by_name_with_options(self.entry, strict())?;
        let told =
            Sealed { crc32: entry.crc32(), packed: entry.compressed_size(), raw: entry.size() };
        let is_there = entry.data_start() == Some(begin);
        drop(entry);
        let mut file = archive.into_inner().file;
        file.rewind()?;
        let (mut whole, mut buffer) = (Meter::default(), vec![0; BUFFER]);
        let mut read = |file: &mut dyn Read| {
            let mut crc32 = crc32fast::Hasher::new();
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    return Ok::<_, io::Error>(crc32.finalize());
                }
                whole.update(&buffer[..count]);
                crc32.update(&buffer[..count]);
            }
        };
        read(&mut (&file).take(begin))?;
        let crc32 = read(&mut (&file).take(sealed.packed))?;
        read(&mut &file)?;
        if told != sealed || !is_there || crc32 != packed_crc32 {
            let reason = "the package in it is not as it was written".to_owned();
            return Err(ReadError::Damaged(DamageReason::Unreadable(reason)));
        }
        Ok(Reading { whole: whole.content(), package, manifest, method })
    }

    /// The package in a file in which it can be read in any order, and where it begins there: in
    /// the stored file itself if it lies there as it is, else in a copy without a name. Its digest
    /// is compared in either case.
    pub(super) fn unwrap(&self, raw: Content) -> Result<(File, u64), ReadError> {
        let mut archive = open(self.path, false)?;
        let mut buffer = self.buffer();
        let compare = |found: Content| {
            if found == raw {
                return Ok(());
            }
            Err(ReadError::Damaged(DamageReason::PackageDiffers { recorded: raw, found }))
        };
        match self.method(&mut archive)? {
            Method::Store => {
                compare(self.copy(&mut archive, &mut io::sink(), &mut buffer)?)?;
                let package = archive.by_name_with_options(self.entry, strict())?;
                let start = package.data_start().ok_or_else(|| {
                    let reason = "nobody knows where the package begins in it";
                    ReadError::Damaged(DamageReason::Unreadable(reason.to_owned()))
                })?;
                drop(package);
                Ok((archive.into_inner().file, start))
            }
            Method::Deflate => {
                let mut copy = tempfile::tempfile().map_err(ReadError::Output)?;
                compare(self.copy(&mut archive, &mut copy, &mut buffer)?)?;
                Ok((copy, 0))
            }
        }
    }

    /// No longer than is of use: a large one costs more than reading a short package.
    fn buffer(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.limit).unwrap_or(BUFFER).clamp(PIECE, BUFFER)]
    }

    fn method(&self, archive: &mut ZipArchive<Hashed>) -> Result<Method, ReadError> {
        match archive.by_name_with_options(self.entry, strict())?.compression() {
            CompressionMethod::Stored => Ok(Method::Store),
            CompressionMethod::Deflated => Ok(Method::Deflate),
            other => {
                let reason = DamageReason::Unreadable(format!("method {other} is not ours"));
                Err(ReadError::Damaged(reason))
            }
        }
    }

    fn copy(
        &self,
        archive: &mut ZipArchive<Hashed>,
        out: &mut dyn Write,
        buffer: &mut [u8],
    ) -> Result<Content, ReadError> {
        let mut package = archive.by_name_with_options(self.entry, strict())?;
        std::thread::scope(|scope| {
            let mut meter = Aside::new(scope, self.cores);
            while meter.bytes() <= self.limit {
                let count = package.read(buffer)?;
                if count == 0 {
                    break;
                }
                meter.update(&buffer[..count]);
                out.write_all(&buffer[..count]).map_err(ReadError::Output)?;
            }
            Ok(meter.content())
        })
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, CheckError> {
    let json = open(path, false)
        .and_then(|mut archive| manifest_of(&mut archive))
        .map_err(checked(path))?;
    Manifest::from_json(&json)
        .map_err(|error| DamageReason::Unreadable(format!("its manifest: {error}")).into())
}

fn checked(path: &Path) -> impl FnOnce(ReadError) -> CheckError {
    move |error| match error {
        ReadError::Damaged(reason) => reason.into(),
        ReadError::Disk(error) | ReadError::Output(error) => io_error("read", path)(error).into(),
    }
}

fn strict() -> ZipReadOptions<'static> {
    ZipReadOptions::new().enforce_header_consistency(true)
}

fn open(path: &Path, whole: bool) -> Result<ZipArchive<Hashed>, ReadError> {
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut file = open_plain(path)?;
    let mut short = None;
    let length = file.metadata()?.len();
    if length <= SHORT {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
        file.read_to_end(&mut bytes)?;
        short = Some(Cursor::new(bytes));
    }
    let hashed = Hashed { file, short, at: 0, meter: whole.then(Meter::default) };
    Ok(ZipArchive::with_config(config, hashed)?)
}

fn manifest_of(archive: &mut ZipArchive<Hashed>) -> Result<Vec<u8>, ReadError> {
    let mut json = Vec::new();
    let entry = archive.by_name_with_options(Manifest::ENTRY, strict())?;
    // One byte more than allowed, so that a longer one cannot pass for a whole one.
    entry.take(MAX_MANIFEST + 1).read_to_end(&mut json)?;
    if json.len() as u64 > MAX_MANIFEST {
        return Err(ReadError::Damaged(DamageReason::Unreadable("its manifest is huge".into())));
    }
    Ok(json)
}

/// A file whose bytes are hashed in order, each once, while a zip reader jumps about in it. The
/// reader comes by them in order but for the directory at the end, so nearly nothing is read twice.
struct Hashed {
    file: File,
    /// All of a short file: a zip reader jumps about in it several times for each entry.
    short: Option<Cursor<Vec<u8>>>,
    at: u64,
    meter: Option<Meter>,
}

impl Hashed {
    /// The content of the whole file, of which what the zip reader left out is read now.
    fn finish(mut self, buffer: &mut [u8]) -> io::Result<Content> {
        let hashed = self.meter.as_ref().map_or(0, Meter::bytes);
        if self.meter.is_some() {
            self.seek(SeekFrom::Start(hashed))?;
            while self.read(buffer)? > 0 {}
        }
        Ok(self.meter.unwrap_or_default().content())
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.short {
            Some(bytes) => bytes.read(buffer)?,
            None => self.file.read(buffer)?,
        };
        let start = self.at;
        self.at += count as u64;
        if let Some(meter) = &mut self.meter
            && let Some(known) = meter.bytes().checked_sub(start)
            && let Ok(known) = usize::try_from(known)
            && known < count
        {
            meter.update(&buffer[known..count]);
        }
        Ok(count)
    }
}

impl Seek for Hashed {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.at = match &mut self.short {
            Some(bytes) => bytes.seek(position)?,
            None => self.file.seek(position)?,
        };
        Ok(self.at)
    }
}

#[cfg(test)]
#[path = "extract_tests.rs"]
mod tests;
