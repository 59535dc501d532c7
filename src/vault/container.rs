//! The bytes of a stored zip: `manifest.json`, then the package, plain enough for any tool.
//!
//! The same package, manifest and options give the same bytes, in one pass and in memory that does
//! not grow with the package. This module must never put anything of the moment or the machine into
//! the zip. It knows no paths; a crash leaves half a file in staging.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::Manifest;
use super::disk::DiskFile;
use super::meter::BUFFER;
use crate::model::{Method, Timestamp};
use crate::settings::{Pack, PackMethod};

/// A package that is at least so long gets 64-bit sizes, which old tools cannot read. Below it even
/// a deflated package that grew (by 0.03 % at most) and the directory behind it stay under 4 GiB.
const ZIP64_FROM: u64 = (4 << 30) - (16 << 20);
/// `auto` deflates pieces of the package to see whether it shrinks: so long each, in bytes, ...
const SAMPLE: u64 = 16 * 1024;
/// ... one for each of so many bytes, ...
const SAMPLE_EVERY: u64 = 1 << 20;
/// ... and so many in all: two milliseconds of work for a large package, half of one for a small.
const SAMPLES: (u64, u64) = (3, 16);
/// `auto` deflates what shrinks below so many percent.
const WORTHWHILE_PERCENT: u64 = 95;
/// The levels that are used for sampling: higher ones find hardly more in a small piece.
const SAMPLE_LEVELS: (u32, u32) = (2, 3);
/// The levels that are used for packing. The fastest of zlib-rs knows no way out for what does not
/// shrink and lets it grow by up to an eighth; the next is as fast on text and has one.
const LEVELS: (u32, u32) = (2, 9);

/// How the package shall lie in the zip; looks into it if that is the question.
pub(super) fn choose(package: &mut File, bytes: u64, options: Pack) -> io::Result<Method> {
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

/// Whether samples of the package shrink enough. Each comes from the middle of its share of the
/// package: the very end of a zip is its directory, which shrinks although nothing else does.
fn shrinks(package: &mut File, bytes: u64, level: u32) -> io::Result<bool> {
    let count = (bytes / SAMPLE_EVERY).clamp(SAMPLES.0, SAMPLES.1);
    let (count, length) = if bytes <= count * SAMPLE { (1, bytes) } else { (count, SAMPLE) };
    let level = Compression::new(level.clamp(SAMPLE_LEVELS.0, SAMPLE_LEVELS.1));
    let (mut read, mut shrunk) = (0, 0);
    let mut encoder = DeflateEncoder::new(Count(0), level);
    for number in 0..count {
        let offset = (bytes - length) * (2 * number + 1) / (2 * count);
        package.seek(SeekFrom::Start(offset))?;
        read += io::copy(&mut Read::take(&mut *package, length), &mut encoder)?;
        shrunk += encoder.reset(Count(0))?.0;
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
pub(super) fn zip_time(time: Timestamp) -> DateTime {
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
pub(super) struct Layout<'a> {
    pub(super) manifest: &'a [u8],
    pub(super) entry: &'static str,
    pub(super) method: Method,
    pub(super) level: u32,
    pub(super) modified: DateTime,
    /// Length of the package.
    pub(super) bytes: u64,
}

pub(super) enum WriteError {
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
    pub(super) fn write(
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
            Method::Deflate => {
                (CompressionMethod::Deflated, Some(self.level.clamp(LEVELS.0, LEVELS.1).into()))
            }
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
mod tests {
    use super::*;

    #[test]
    fn only_large_packages_get_64_bit_sizes() {
        assert!(!needs_zip64(0) && !needs_zip64((4 << 30) - (17 << 20)));
        assert!(needs_zip64((4 << 30) - (64 << 10)) && needs_zip64(u64::MAX));
    }

    #[test]
    fn times_outside_of_what_a_zip_can_say_become_its_first() {
        for text in ["1979-12-31T23:59:59Z", "2108-01-01T00:00:00Z", "0000-01-01T00:00:00Z"] {
            assert_eq!(zip_time(text.parse().unwrap()), DateTime::DEFAULT);
        }
        let leap_day = zip_time("2024-02-29T13:14:59Z".parse().unwrap());
        assert_eq!(leap_day.to_string(), "2024-02-29 13:14:58");
    }
}
