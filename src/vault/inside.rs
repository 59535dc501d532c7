//! Looks into a stored package: which entries it has, and the bytes of each of them.
//!
//! What it opens is the package that was downloaded, to the last bit, or nothing. What a package
//! says of itself is believed only as far as it is harmless: a name in it never becomes a path,
//! nothing is read twice over by entries that share bytes, and memory does not grow with it. A
//! package that is no readable zip has one entry, which is itself, so that nothing is out of reach.
//! It only reads, so a crash means nothing here.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use zip::read::ZipReadOptions;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::extract::ReadError;
use super::meter::{BUFFER, Meter, measure};
use super::whole::{open_strictly, unwrap_io};
use super::{DamageReason, Vault, VaultError, io_error};
use crate::model::{Content, Format, StoredFile};

/// A larger directory is not read: it is held in memory, several times its size. Enough for some
/// 30,000 entries; ROMA exports at most 100 assets (contract 1).
const MAX_DIRECTORY: u64 = 4 << 20;

const STORE: &str = "store";
const DEFLATE: &str = "deflate";

/// Why nobody can look into a package.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The file is not what was stored.
    #[error(transparent)]
    Damaged(#[from] DamageReason),
    /// The disk did not let it be read.
    #[error(transparent)]
    Failed(#[from] VaultError),
    /// A package that is packed has to be unpacked to look into it.
    #[error(
        "cannot keep a copy of {bytes} bytes in {} meanwhile: name a folder with more room in \
         TMPDIR",
        folder.display()
    )]
    Copy {
        /// Length of the package.
        bytes: u64,
        /// Where the copy was to lie.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Why the bytes of an entry are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It stands under a password, which is not ours to know.
    #[error("it is encrypted: a zip tool that asks for its password can open the package")]
    Encrypted,
    /// It is packed in a way that this program does not know.
    #[error("it is packed with {0}, which this program does not unpack: a zip tool may")]
    Method(String),
    /// It came so: the package is the one that was downloaded.
    #[error("the package came from ROMA with this entry broken: {0}")]
    Broken(String),
    /// The disk failed.
    #[error("cannot read the package")]
    Disk(#[source] io::Error),
    /// The receiving side refused more.
    #[error("cannot write the entry out")]
    Output(#[source] io::Error),
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Bytes.
    File,
    /// The name of a folder, with nothing in it.
    Folder,
    /// A symbolic link; its bytes are where it points.
    Link,
    /// Bytes under a password.
    Encrypted,
}

impl EntryKind {
    /// The word for it in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Link => "link",
            Self::Encrypted => "encrypted",
        }
    }
}

/// What a package says of one of its entries. Nothing of it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageEntry {
    /// As it stands in the package: any text at all.
    pub name: String,
    /// Length of what is in it.
    pub bytes: u64,
    /// Length in the package; none for a package that is its own entry.
    pub packed_bytes: Option<u64>,
    /// Wall clock of whoever made the zip, in no particular zone.
    pub modified: Option<String>,
    /// Checksum of what is in it.
    pub crc32: Option<u32>,
    /// How it is packed.
    pub method: Option<String>,
    /// What it is.
    pub kind: EntryKind,
}

impl PackageEntry {
    fn can_be_unpacked(&self) -> bool {
        self.method.as_deref().is_none_or(|method| [STORE, DEFLATE].contains(&method))
    }
}

/// An open package.
#[derive(Debug)]
pub struct Inside {
    package: Opened,
    entries: Vec<PackageEntry>,
    flaw: Option<String>,
}

#[derive(Debug)]
enum Opened {
    Zip(Box<ZipArchive<BufReader<Slice>>>),
    Whole(Slice),
}

impl Vault {
    /// Opens the package of a stored file, after its digest was compared with `raw`, what was
    /// downloaded. Whoever calls it has a lease on the file.
    pub fn look_inside(&self, file: &StoredFile, raw: Content) -> Result<Inside, LookError> {
        let path = self.stored_path(file);
        let source = self.source(&path, file.format, raw);
        let (opened, start) = source.unwrap(raw).map_err(|error| match error {
            ReadError::Damaged(reason) => LookError::Damaged(reason),
            ReadError::Disk(error) => io_error("read", &path)(error).into(),
            ReadError::Output(source) => {
                LookError::Copy { bytes: raw.bytes, folder: std::env::temp_dir(), source }
            }
        })?;
        let slice = Slice::new(opened, start, raw.bytes);
        Inside::open(slice, file.format).map_err(|error| io_error("read", &path)(error).into())
    }
}

impl Inside {
    /// Fails only if the disk cannot be read.
    fn open(slice: Slice, format: Format) -> io::Result<Self> {
        let mut flaw = None;
        if format == Format::Zip {
            match open_zip(slice.again()?) {
                Ok((zip, entries)) => {
                    return Ok(Self { package: Opened::Zip(Box::new(zip)), entries, flaw });
                }
                // Readers report broken content as errors too; only the disk's own count.
                Err(error) if error.raw_os_error().is_some() => return Err(error),
                Err(error) => flaw = Some(error.to_string()),
            }
        }
        let itself = PackageEntry {
            name: format.entry_name().to_owned(),
            bytes: slice.length,
            packed_bytes: None,
            modified: None,
            crc32: None,
            method: None,
            kind: EntryKind::File,
        };
        Ok(Self { package: Opened::Whole(slice), entries: vec![itself], flaw })
    }

    /// In the order in which the package has them.
    pub fn entries(&self) -> &[PackageEntry] {
        &self.entries
    }

    /// Why a package that begins like a zip is taken as one entry.
    pub fn flaw(&self) -> Option<&str> {
        self.flaw.as_deref()
    }

    /// Writes the bytes of the entry with this number to `out`. Whether they are right is known
    /// only at the end, so an error may follow bytes already written.
    pub fn read(&mut self, number: usize, out: &mut dyn Write) -> Result<Content, EntryError> {
        let Some(entry) = self.entries.get(number) else {
            return Err(EntryError::Broken("there is no such entry".to_owned()));
        };
        match &mut self.package {
            Opened::Whole(slice) => {
                slice.at = 0;
                pour(slice, out)
            }
            Opened::Zip(_) if entry.kind == EntryKind::Encrypted => Err(EntryError::Encrypted),
            Opened::Zip(_) if !entry.can_be_unpacked() => {
                Err(EntryError::Method(entry.method.clone().unwrap_or_default()))
            }
            Opened::Zip(zip) => {
                let options = ZipReadOptions::new().enforce_header_consistency(true);
                let mut reader = zip.by_index_with_options(number, options).map_err(refused)?;
                let content = pour(&mut reader, out)?;
                if content.bytes != entry.bytes {
                    let (found, said) = (content.bytes, entry.bytes);
                    let reason = format!("it has {found} bytes, {said} were announced");
                    return Err(EntryError::Broken(reason));
                }
                Ok(content)
            }
        }
    }

    /// Measures an entry as it lies in the package, for one whose bytes are not to be had.
    pub fn measure_packed(&mut self, number: usize) -> Result<Content, EntryError> {
        match &mut self.package {
            Opened::Whole(slice) => {
                slice.at = 0;
                measure(slice).map_err(broken)
            }
            Opened::Zip(zip) => {
                let mut reader = zip.by_index_raw(number).map_err(refused)?;
                measure(&mut reader).map_err(broken)
            }
        }
    }
}

/// An error without a number of the operating system says what is wrong with the zip.
fn open_zip(slice: Slice) -> io::Result<(ZipArchive<BufReader<Slice>>, Vec<PackageEntry>)> {
    let zip = open_strictly(slice, MAX_DIRECTORY)?.ok_or_else(|| {
        io::Error::other("its directory is not where a zip has it, or too long to be read")
    })?;
    let mut entries = Vec::with_capacity(zip.len());
    for number in 0..zip.len() {
        let entry = zip.by_index_data(number).map_err(unwrap_io)?;
        let kind = match (entry.encrypted(), entry.is_dir(), entry.is_symlink()) {
            (true, ..) => EntryKind::Encrypted,
            (_, true, _) => EntryKind::Folder,
            (_, _, true) => EntryKind::Link,
            _ => EntryKind::File,
        };
        entries.push(PackageEntry {
            name: entry.name().map_err(unwrap_io)?.into_owned(),
            bytes: entry.size(),
            packed_bytes: Some(entry.compressed_size()),
            modified: entry.last_modified().map(|time| time.to_string()),
            crc32: Some(entry.crc32()),
            method: Some(word(entry.compression())),
            kind,
        });
    }
    Ok((zip, entries))
}

fn word(method: CompressionMethod) -> String {
    match method {
        CompressionMethod::Stored => STORE.to_owned(),
        CompressionMethod::Deflated => DEFLATE.to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

fn pour(reader: &mut dyn Read, out: &mut dyn Write) -> Result<Content, EntryError> {
    let mut meter = Meter::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        // The reader compares the checksum when it comes to the end.
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(meter.content()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        meter.update(&buffer[..count]);
        out.write_all(&buffer[..count]).map_err(EntryError::Output)?;
    }
}

fn refused(error: ZipError) -> EntryError {
    match error {
        ZipError::Io(error) => broken(error),
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => EntryError::Encrypted,
        error => EntryError::Broken(error.to_string()),
    }
}

fn broken(error: io::Error) -> EntryError {
    if error.raw_os_error().is_some() {
        EntryError::Disk(error)
    } else {
        EntryError::Broken(error.to_string())
    }
}

/// A part of a file, read as if it were one.
#[derive(Debug)]
pub(super) struct Slice {
    file: File,
    start: u64,
    length: u64,
    at: u64,
}

impl Slice {
    pub(super) const fn new(file: File, start: u64, length: u64) -> Self {
        Self { file, start, length, at: 0 }
    }

    /// The same part, at its beginning.
    fn again(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, at: 0, ..*self })
    }
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.at);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        // At a place of its own: the file may be open more than once.
        let count = self.file.read_at(&mut buffer[..wanted], self.start + self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Slice {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let target = match position {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        // Far behind the end `start + at` would not fit.
        let fits = target.filter(|at| self.start.checked_add(*at).is_some());
        self.at = fits.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
#[path = "inside_tests.rs"]
mod tests;
