//! Whether an unfinished download is provably complete, by its own structure.
//!
//! Used when nobody is left who saw the end of the body. It must never say yes to the mere
//! beginning of a package, nor to one with a hole in it (a power cut leaves zeros); a no costs
//! only a second look at the server. Works in bounded memory and time on any bytes whatever. It
//! only reads, so a crash means nothing here.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::IgnoredAny;
use zip::read::{ArchiveOffset, Config, ZipReadOptions};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::meter::BUFFER;
use super::sniff;
use crate::model::Format;

/// Some programs put it before JSON text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// A larger directory is not read, because the reader holds it in memory, several times its size.
/// This is enough for more than 100,000 entries; ROMA exports at most 100 assets.
const MAX_DIRECTORY: u64 = 16 << 20;
/// Entries that claim to inflate to more than this are not read: about a quarter of an hour of
/// work. Deflate alone bounds it to 1,032 times the file, and overlapping entries are refused, but
/// a start must not wait for days because 64 GiB of zeros were sent. The largest package allowed by
/// default reaches it only if it shrank to a sixteenth.
const MAX_INFLATED: u64 = 1 << 40;
/// Of a zip, in bytes: its reader jumps about, and packages are small, mostly.
const READ_AHEAD: usize = 64 << 10;
/// Deeper JSON is not read, because the reader holds one byte of memory for each level.
const MAX_DEPTH: u64 = 10_000;

/// Whether the file is one complete zip archive, ending where the file ends and with every entry
/// readable, or one complete JSON object or array. Fails only if the disk cannot be read.
///
/// JSON may have lost white space at its end: then nothing that means anything is missing.
pub(super) fn is_whole(path: &Path) -> io::Result<bool> {
    is_whole_in(&mut File::open(path)?)
}

/// [`is_whole`] of what is read here.
pub(super) fn is_whole_in(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut first = Vec::new();
    file.take(8).read_to_end(&mut first)?;
    let proof = match sniff(&first) {
        Format::Zip => is_whole_zip(file),
        Format::Json => is_whole_json(file),
        Format::Other => Ok(false),
    };
    match proof {
        // Readers report broken content as errors too; only the disk's own count.
        Err(error) if error.raw_os_error().is_none() => Ok(false),
        proof => proof,
    }
}

/// What the last bytes of a package say against it, which came whole as far as the transfer can
/// tell: a server that announced too few bytes, for instance, has sent a beginning. A look, no
/// proof: of a large package no more than its end is read.
pub(super) fn flaw(
    file: &mut (impl Read + Seek),
    format: Format,
) -> io::Result<Option<&'static str>> {
    Ok(match format {
        Format::Zip if find_directory(file)?.is_none() => {
            Some("it begins like a zip archive and does not end like one")
        }
        Format::Json if json_end(file)? == End::Open => {
            Some("it begins like a JSON document and does not end like one")
        }
        Format::Zip | Format::Json | Format::Other => None,
    })
}

/// A zip that begins and ends with the file and whose headers agree: no two entries have the same
/// name or share bytes. `None` also if its directory is longer than so many bytes. What is wrong
/// with a zip may come as an error without a number of the operating system, too.
pub(super) fn open_strictly<R: Read + Seek>(
    file: R,
    max_directory: u64,
) -> io::Result<Option<ZipArchive<BufReader<R>>>> {
    let mut reader = BufReader::with_capacity(READ_AHEAD, file);
    let directory = find_directory(&mut reader)?;
    let Some(directory) = directory.filter(|directory| directory.size <= max_directory) else {
        return Ok(None);
    };
    // Known(0): bytes before the archive would mean that its beginning is not the file's.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, reader).map_err(unwrap_io)?;
    if archive.central_directory_start() != directory.start
        || archive.comment().len() as u64 != directory.comment
    {
        return Ok(None);
    }
    archive.validate_header_consistency().map_err(unwrap_io)?;
    Ok(Some(archive))
}

fn is_whole_zip(file: impl Read + Seek) -> io::Result<bool> {
    let Some(mut archive) = open_strictly(file, MAX_DIRECTORY)? else { return Ok(false) };
    let mut inflated = 0_u64;
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(unwrap_io)?;
        inflated = inflated.saturating_add(entry.size());
        // A stored entry whose sizes differ, too, is not what it says.
        let stored = entry.compression() == CompressionMethod::Stored;
        if inflated > MAX_INFLATED || (stored && entry.size() != entry.compressed_size()) {
            return Ok(false);
        }
    }
    let mut buffer = vec![0; BUFFER];
    for index in 0..archive.len() {
        let options = ZipReadOptions::new().enforce_header_consistency(true);
        let mut entry = archive.by_index_with_options(index, options).map_err(unwrap_io)?;
        let (size, mut read) = (entry.size(), 0);
        // The reader compares the checksum when it comes to the end.
        loop {
            match entry.read(&mut buffer)? {
                0 => break,
                count => read += count as u64,
            }
        }
        if read != size {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Keeps the operating system's own errors recognisable.
pub(super) fn unwrap_io(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        error => error.into(),
    }
}

/// Where a zip's central directory lies, by the record at the very end of the file.
struct Directory {
    start: u64,
    /// Its length, in bytes.
    size: u64,
    /// Length of the comment behind the record, in bytes.
    comment: u64,
}

/// Length of the end record without its comment.
const END_RECORD: usize = 22;
/// Length of the record that says where the end record with 64-bit numbers lies.
const END64_LOCATOR: usize = 20;
/// Length of that record, unless a later version of the format extends it.
const END64_RECORD: usize = 56;

/// `None` unless an end record ends with the file, and the directory ends with the end record.
fn find_directory(reader: &mut (impl Read + Seek)) -> io::Result<Option<Directory>> {
    let length = reader.seek(SeekFrom::End(0))?;
    let tail_start = length.saturating_sub(END_RECORD as u64 + u64::from(u16::MAX));
    reader.seek(SeekFrom::Start(tail_start))?;
    let mut tail = Vec::new();
    reader.read_to_end(&mut tail)?;
    let is_end = |record: &[u8]| {
        record.starts_with(b"PK\x05\x06")
            && number(record, 20, 2) == Some((record.len() - END_RECORD) as u64)
    };
    let last = tail.len().checked_sub(END_RECORD);
    let found = last.and_then(|last| (0..=last).rev().find(|&at| is_end(&tail[at..])));
    let Some(at) = found else { return Ok(None) };
    let end = tail_start + at as u64;
    let record = &tail[at..];
    let (size, start) = (number(record, 12, 4), number(record, 16, 4));
    let (Some(mut size), Some(mut start)) = (size, start) else { return Ok(None) };
    let mut directory_end = end;
    // Any number that does not fit is written as all ones, and then there is a 64-bit record.
    let entries = number(record, 10, 2);
    if size == 0xffff_ffff || start == 0xffff_ffff || entries == Some(0xffff) {
        let Some(wide) = read_end64(reader, end)? else { return Ok(None) };
        (size, start, directory_end) = wide;
    }
    let ends_there = start.checked_add(size) == Some(directory_end);
    let comment = (record.len() - END_RECORD) as u64;
    Ok(ends_there.then_some(Directory { start, size, comment }))
}

/// Size and start of the directory, and where its 64-bit end record begins.
fn read_end64(reader: &mut (impl Read + Seek), end: u64) -> io::Result<Option<(u64, u64, u64)>> {
    let Some(locator_at) = end.checked_sub(END64_LOCATOR as u64) else { return Ok(None) };
    let mut locator = [0; END64_LOCATOR];
    reader.seek(SeekFrom::Start(locator_at))?;
    reader.read_exact(&mut locator)?;
    let at = number(&locator, 8, 8).unwrap_or(u64::MAX);
    let fits =
        at.checked_add(END64_RECORD as u64).is_some_and(|record_end| record_end <= locator_at);
    if !locator.starts_with(b"PK\x06\x07") || !fits {
        return Ok(None);
    }
    let mut record = [0; END64_RECORD];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut record)?;
    let wide = (number(&record, 40, 8), number(&record, 48, 8));
    let ((Some(size), Some(start)), true) = (wide, record.starts_with(b"PK\x06\x06")) else {
        return Ok(None);
    };
    Ok(Some((size, start, at)))
}

/// A little-endian number of at most eight bytes.
fn number(record: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = record.get(at..at + width)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// White space between JSON tokens.
pub(super) const fn is_json_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// How a JSON document ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a closing bracket, as an object or an array does.
    Closed,
    /// With anything else: something is missing.
    Open,
    /// So much white space that what stands before it was not looked at.
    Unseen,
}

fn json_end(file: &mut (impl Read + Seek)) -> io::Result<End> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(match tail.iter().rev().find(|byte| !is_json_space(**byte)) {
        Some(b'}' | b']') => End::Closed,
        Some(_) => End::Open,
        None => End::Unseen,
    })
}

fn is_whole_json(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    // Most cut documents show it at once.
    if json_end(file)? == End::Open {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let mut mark = Vec::new();
    (&mut reader).take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut mark)?;
    if mark == BYTE_ORDER_MARK {
        mark.clear();
    }
    let guarded =
        DepthGuard { inner: io::Cursor::new(mark).chain(reader), depth: 0, text: Text::Outside };
    // The parser reads byte by byte, so there is a buffer on both sides of the guard.
    let mut parser = serde_json::Deserializer::from_reader(BufReader::new(guarded));
    serde::Deserialize::deserialize(&mut parser)
        .and_then(|IgnoredAny| parser.end())
        .map_err(io::Error::from)?;
    Ok(true)
}

/// Fails when brackets are nested too deeply.
struct DepthGuard<R> {
    inner: R,
    depth: u64,
    text: Text,
}

/// Brackets inside strings do not count.
#[derive(Clone, Copy)]
enum Text {
    Outside,
    Inside,
    AfterBackslash,
}

impl<R: Read> Read for DepthGuard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        for byte in &buffer[..count] {
            self.text = match (self.text, byte) {
                (Text::Outside, b'"') | (Text::AfterBackslash, _) => Text::Inside,
                (Text::Inside, b'"') => Text::Outside,
                (Text::Inside, b'\\') => Text::AfterBackslash,
                (text, _) => text,
            };
            match (self.text, byte) {
                (Text::Outside, b'[' | b'{') => self.depth += 1,
                (Text::Outside, b']' | b'}') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        if self.depth > MAX_DEPTH {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "nested too deeply"));
        }
        Ok(count)
    }
}

#[cfg(test)]
#[path = "whole_tests.rs"]
mod tests;
