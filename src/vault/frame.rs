//! The zip's own bytes around a package: what stands before it and what stands behind.
//!
//! They are written here because no zip writer takes a package that is deflated already, or stored
//! before anybody knows its checksum. Exactly two entries, `manifest.json` and the package; 64-bit
//! sizes only where they must be. This module must never put anything of the moment or the machine
//! into them. It holds no file, so a crash means nothing here.

use zip::DateTime;

use super::Manifest;
use crate::model::{Format, Method};

/// A package that is at least so long gets 64-bit sizes, which old tools cannot read. Below it even
/// a deflated package that grew (by 0.03 % at most) and the directory behind it stay under 4 GiB.
const ZIP64_FROM: u64 = (4 << 30) - (16 << 20);
/// Stands for a number whose 64 bits stand elsewhere.
const ELSEWHERE: u32 = u32::MAX;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
/// The fixed part of a local header, in bytes.
const LOCAL_LENGTH: usize = 30;
/// The extra field that holds 64-bit sizes.
const SIZES_64: u16 = 1;
/// Of the format's versions the first one that knows plain files, deflate, 64-bit sizes.
const VERSIONS: (u16, u16, u16) = (10, 20, 45);
/// Written on Unix, the first byte of a version; an ordinary file that the owner writes and the
/// group reads.
const UNIX: (u16, u32) = (3 << 8, 0o100_640 << 16);

/// What is known of the package only once it has gone by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The checksum of the package.
    pub(super) crc32: u32,
    /// Its length in the zip.
    pub(super) packed: u64,
    /// Its own length.
    pub(super) raw: u64,
}

/// Everything that decides the frame, but for what [`Sealed`] says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// The manifest; until it is known, anything that is as long.
    pub(super) manifest: &'a [u8],
    /// The name of the package in the zip.
    pub(super) entry: &'static str,
    /// How the package lies there.
    pub(super) method: Method,
    /// The time of both entries.
    pub(super) modified: DateTime,
    /// Whether the package gets 64-bit sizes: see [`needs_zip64`].
    pub(super) zip64: bool,
}

/// Whether a package of so many bytes needs 64-bit sizes.
pub(super) const fn needs_zip64(bytes: u64) -> bool {
    bytes >= ZIP64_FROM
}

impl Frame<'_> {
    /// All bytes before the package. Their number depends only on the length of the manifest, the
    /// name of the entry and `zip64`, so that a front which says nothing yet (`Sealed::default()`)
    /// may hold the place of the real one while the package is written behind it.
    pub(super) fn front(&self, sealed: Sealed) -> Vec<u8> {
        let mut bytes = Bytes::default();
        let (manifest, package) = self.entries(sealed);
        manifest.local(&mut bytes);
        bytes.0.extend_from_slice(self.manifest);
        package.local(&mut bytes);
        bytes.0
    }

    /// All bytes behind the package.
    pub(super) fn back(&self, sealed: Sealed) -> Vec<u8> {
        let mut bytes = Bytes::default();
        let (manifest, package) = self.entries(sealed);
        let second = manifest.local_length() + self.manifest.len() as u64;
        let start = second + package.local_length() + sealed.packed;
        manifest.central(&mut bytes, 0);
        package.central(&mut bytes, second);
        let length = bytes.0.len() as u64;
        // The directory itself is small, but it may begin beyond what 32 bits can say.
        let far = start > ELSEWHERE.into();
        if far {
            end_64(&mut bytes, package.version(), start, length);
        }
        bytes.0.extend_from_slice(&END);
        bytes.u16s(&[0, 0, 2, 2]);
        bytes.u32s(&[if far { ELSEWHERE } else { narrow(length) }, narrow(start)]);
        // No comment.
        bytes.u16s(&[0]);
        bytes.0
    }

    fn entries(&self, sealed: Sealed) -> (Entry<'_>, Entry<'_>) {
        let length = self.manifest.len() as u64;
        let manifest = Entry {
            name: Manifest::ENTRY,
            // Stored, so that even a broken file tells a person what it was.
            method: Method::Store,
            modified: self.modified,
            zip64: false,
            sealed: Sealed { crc32: crc32fast::hash(self.manifest), packed: length, raw: length },
        };
        let package = Entry {
            name: self.entry,
            method: self.method,
            modified: self.modified,
            zip64: self.zip64,
            sealed,
        };
        (manifest, package)
    }
}

/// Where the package begins in a file with such a front, final or holding a place. `None`: `bytes`
/// are not the beginning of one, or do not reach as far.
pub(super) fn package_offset(bytes: &[u8]) -> Option<u64> {
    let (name, manifest) = parse_local(bytes)?;
    if name != Manifest::ENTRY.as_bytes() {
        return None;
    }
    let length = u32::from_le_bytes(bytes.get(18..22)?.try_into().ok()?);
    let second = manifest.checked_add(usize::try_from(length).ok()?)?;
    let (name, package) = parse_local(bytes.get(second..)?)?;
    let ours = [Format::Zip, Format::Json, Format::Other].map(Format::entry_name);
    ours.iter().any(|ours| ours.as_bytes() == name).then_some((second + package) as u64)
}

/// The name in a local header, and the header's length.
fn parse_local(bytes: &[u8]) -> Option<(&[u8], usize)> {
    if !bytes.starts_with(&LOCAL) {
        return None;
    }
    let length =
        |at: usize| Some(usize::from(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let end_of_name = LOCAL_LENGTH + length(26)?;
    let end = end_of_name + length(28)?;
    (bytes.len() >= end).then(|| (&bytes[LOCAL_LENGTH..end_of_name], end))
}

/// One entry of the zip.
struct Entry<'a> {
    name: &'a str,
    method: Method,
    modified: DateTime,
    zip64: bool,
    sealed: Sealed,
}

impl Entry<'_> {
    /// The version of the format that a reader must know.
    fn version(&self) -> u16 {
        let (plain, deflate, zip64) = VERSIONS;
        match self.method {
            _ if self.zip64 => zip64,
            Method::Store => plain,
            Method::Deflate => deflate,
        }
    }

    fn local(&self, bytes: &mut Bytes) {
        bytes.0.extend_from_slice(&LOCAL);
        self.common(bytes);
        bytes.0.extend_from_slice(self.name.as_bytes());
        self.extra(bytes);
    }

    fn local_length(&self) -> u64 {
        let mut bytes = Bytes::default();
        self.local(&mut bytes);
        bytes.0.len() as u64
    }

    fn central(&self, bytes: &mut Bytes, offset: u64) {
        let (system, mode) = UNIX;
        bytes.0.extend_from_slice(&CENTRAL);
        bytes.u16s(&[system | self.version()]);
        self.common(bytes);
        // No comment, the first disk, and nothing to say of what is inside.
        bytes.u16s(&[0, 0, 0]);
        bytes.u32s(&[mode, narrow(offset)]);
        bytes.0.extend_from_slice(self.name.as_bytes());
        self.extra(bytes);
    }

    /// What both headers hold.
    fn common(&self, bytes: &mut Bytes) {
        let method = match self.method {
            Method::Store => 0,
            Method::Deflate => 8,
        };
        bytes.u16s(&[
            self.version(),
            0,
            method,
            self.modified.timepart(),
            self.modified.datepart(),
        ]);
        let Sealed { crc32, packed, raw } = self.sealed;
        let size = |size| if self.zip64 { ELSEWHERE } else { narrow(size) };
        bytes.u32s(&[crc32, size(packed), size(raw)]);
        let extra = if self.zip64 { 20 } else { 0 };
        bytes.u16s(&[narrow_name(self.name), extra]);
    }

    fn extra(&self, bytes: &mut Bytes) {
        if self.zip64 {
            bytes.u16s(&[SIZES_64, 16]);
            bytes.u64s(&[self.sealed.raw, self.sealed.packed]);
        }
    }
}

/// The end of the directory for what begins beyond 4 GiB, and where that end is.
fn end_64(bytes: &mut Bytes, version: u16, start: u64, length: u64) {
    bytes.0.extend_from_slice(&END_64);
    // The length of the rest of this record.
    bytes.u64s(&[44]);
    bytes.u16s(&[version, version]);
    bytes.u32s(&[0, 0]);
    bytes.u64s(&[2, 2, length, start]);
    bytes.0.extend_from_slice(&LOCATOR_64);
    bytes.u32s(&[0]);
    bytes.u64s(&[start + length]);
    bytes.u32s(&[1]);
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(ELSEWHERE)
}

/// Names are our own and short.
fn narrow_name(name: &str) -> u16 {
    u16::try_from(name.len()).unwrap_or(u16::MAX)
}

/// Numbers as a zip holds them.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16s(&mut self, numbers: &[u16]) {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    fn u32s(&mut self, numbers: &[u32]) {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    fn u64s(&mut self, numbers: &[u64]) {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
