//! The bytes of a stored zip: `manifest.json`, then the package, plain enough for any tool.
//!
//! The same package, manifest and options give the same bytes, in one pass and in memory that does
//! not grow with the package. This module must never put anything of the moment or the machine into
//! the zip. It knows no paths; a crash leaves half a file in staging.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use zip::DateTime;

use super::PackJob;
use super::deflate::{Open, Stock};
use super::frame::{Frame, Sealed, needs_zip64};
use super::meter::BUFFER;
use crate::model::{Method, Timestamp};
use crate::settings::{Pack, PackMethod};

/// `auto` deflates pieces of the package to see whether it shrinks: so long each, in bytes, ...
const SAMPLE: u64 = 16 * 1024;
/// ... or so long in a package of less than one such share, where sampling would else be most of
/// the work, ...
const SHORT_SAMPLE: u64 = 4 * 1024;
/// ... one for each of so many bytes, ...
const SAMPLE_EVERY: u64 = 1 << 20;
/// ... and so many in all: two milliseconds of work for a large package, half of one for a small.
const SAMPLES: (u64, u64) = (3, 16);
/// `auto` deflates what shrinks below so many percent.
const WORTHWHILE_PERCENT: u64 = 95;
/// The levels that are used for sampling: higher ones find hardly more in a small piece.
const SAMPLE_LEVELS: (u32, u32) = (2, 3);
/// How the package shall lie in the zip; looks into it if that is the question.
pub(super) fn choose(
    package: &mut (impl Read + Seek),
    bytes: u64,
    options: Pack,
) -> io::Result<Method> {
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
fn shrinks(package: &mut (impl Read + Seek), bytes: u64, level: u32) -> io::Result<bool> {
    let count = (bytes / SAMPLE_EVERY).clamp(SAMPLES.0, SAMPLES.1);
    let sample = if bytes < SAMPLE_EVERY { SHORT_SAMPLE } else { SAMPLE };
    let (count, length) = if bytes <= count * sample { (1, bytes) } else { (count, sample) };
    let level = Compression::new(level.clamp(SAMPLE_LEVELS.0, SAMPLE_LEVELS.1));
    let (mut read, mut shrunk) = (0, 0);
    let mut encoder = match SAMPLER.take() {
        Some((of, encoder)) if of == level => encoder,
        _ => DeflateEncoder::new(Count(0), level),
    };
    for number in 0..count {
        let offset = (bytes - length) * (2 * number + 1) / (2 * count);
        package.seek(SeekFrom::Start(offset))?;
        read += io::copy(&mut Read::take(&mut *package, length), &mut encoder)?;
        shrunk += encoder.reset(Count(0))?.0;
    }
    SAMPLER.set(Some((level, encoder)));
    Ok(shrunk * 100 < read * WORTHWHILE_PERCENT)
}

thread_local! {
    /// The last encoder that took samples here: to make one costs more than what it does for a
    /// short package.
    static SAMPLER: Cell<Option<(Compression, DeflateEncoder<Count>)>> = const { Cell::new(None) };
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

impl<'a> Layout<'a> {
    pub(super) fn of(job: &PackJob, manifest: &'a [u8], method: Method) -> Self {
        Self {
            manifest,
            entry: job.format.entry_name(),
            method,
            level: job.options.level.get(),
            modified: zip_time(job.manifest.downloaded_at),
            bytes: job.raw.bytes,
        }
    }

    /// Writes all of it; what is returned still has to be synced.
    pub(super) fn write<W: Write + Seek>(
        &self,
        stock: &Stock,
        package: &mut dyn Read,
        file: W,
    ) -> Result<W, WriteError> {
        let front = self.frame().front(Sealed::default());
        let mut out = Out::new(file);
        out.put(&front).map_err(WriteError::Zip)?;
        let crc32 = self.copy(stock, package, &mut out)?;
        let packed = out.bytes() - front.len() as u64;
        let sealed = Sealed { crc32, packed, raw: self.bytes };
        out.seal(&self.frame(), sealed).map_err(WriteError::Zip)
    }

    pub(super) fn frame(&self) -> Frame<'_> {
        Frame {
            manifest: self.manifest,
            entry: self.entry,
            method: self.method,
            modified: self.modified,
            zip64: needs_zip64(self.bytes),
        }
    }

    /// Copies or deflates the package, and says what its checksum is.
    fn copy<W: Write + Seek>(
        &self,
        stock: &Stock,
        package: &mut dyn Read,
        out: &mut Out<W>,
    ) -> Result<u32, WriteError> {
        match self.method {
            Method::Store => store(package, self.bytes, out),
            Method::Deflate => {
                stock.deflate(self.level, (package, &Open), self.bytes, &mut |piece| out.put(piece))
            }
        }
    }
}

fn store<W: Write + Seek>(
    package: &mut dyn Read,
    bytes: u64,
    out: &mut Out<W>,
) -> Result<u32, WriteError> {
    let mut checksum = crc32fast::Hasher::new();
    let mut left = bytes;
    let length = usize::try_from(left).unwrap_or(usize::MAX).saturating_add(1).min(BUFFER);
    let mut buffer = vec![0; length];
    loop {
        let count = package.read(&mut buffer).map_err(WriteError::Raw)?;
        if count == 0 {
            break;
        }
        left = left.checked_sub(count as u64).ok_or(WriteError::Length)?;
        checksum.update(&buffer[..count]);
        out.put(&buffer[..count]).map_err(WriteError::Zip)?;
    }
    if left > 0 { Err(WriteError::Length) } else { Ok(checksum.finalize()) }
}

/// The zip on its way to the disk. One that fits into the buffer is written at once.
pub(super) struct Out<W> {
    file: W,
    /// What follows the bytes that are written.
    buffer: Vec<u8>,
    written: u64,
}

impl<W: Write + Seek> Out<W> {
    pub(super) const fn new(file: W) -> Self {
        Self { file, buffer: Vec::new(), written: 0 }
    }

    fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// How much of it the file holds.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() < BUFFER {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest, and the front in its place.
    pub(super) fn seal(mut self, frame: &Frame<'_>, sealed: Sealed) -> io::Result<W> {
        let front = frame.front(sealed);
        let at_once = self.written == 0 && self.buffer.len() >= front.len();
        if at_once {
            self.buffer[..front.len()].copy_from_slice(&front);
        }
        self.buffer.extend_from_slice(&frame.back(sealed));
        self.flush()?;
        if !at_once {
            self.file.rewind()?;
            self.file.write_all(&front)?;
        }
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_of_what_a_zip_can_say_become_its_first() {
        for text in ["1979-12-31T23:59:59Z", "2108-01-01T00:00:00Z", "0000-01-01T00:00:00Z"] {
            assert_eq!(zip_time(text.parse().unwrap()), DateTime::DEFAULT);
        }
        let leap_day = zip_time("2024-02-29T13:14:59Z".parse().unwrap());
        assert_eq!(leap_day.to_string(), "2024-02-29 13:14:58");
    }
}
