//! The frame against the writer of the `zip` crate, which wrote it once.

use std::io::{self, Seek, SeekFrom, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, System, ZipArchive, ZipWriter};

use super::*;
use crate::vault::disk::tests::{json, random};

const MANIFEST: &[u8] = b"{\n  \"schema_version\": 1\n}\n";

fn frame(method: Method, zip64: bool) -> Frame<'static> {
    let modified = DateTime::from_date_and_time(2026, 11, 24, 2, 1, 6).unwrap();
    Frame { manifest: MANIFEST, entry: "package.json", method, modified, zip64 }
}

/// What the `zip` crate makes of the same.
fn options(frame: &Frame<'_>, package: bool) -> SimpleFileOptions {
    let (method, level) = match frame.method {
        Method::Deflate if package => (CompressionMethod::Deflated, Some(6)),
        _ => (CompressionMethod::Stored, None),
    };
    SimpleFileOptions::default()
        .compression_method(method)
        .compression_level(level)
        .last_modified_time(frame.modified)
        .unix_permissions(0o640)
        .system(System::Unix)
        .large_file(frame.zip64 && package)
}

fn by_zip_crate<W: Write + Seek>(frame: &Frame<'_>, package: &[u8], sink: W) -> W {
    let mut zip = ZipWriter::new(sink);
    zip.start_file(Manifest::ENTRY, options(frame, false)).unwrap();
    zip.write_all(frame.manifest).unwrap();
    zip.start_file(frame.entry, options(frame, true)).unwrap();
    zip.write_all(package).unwrap();
    zip.finish().unwrap()
}

fn packed(method: Method, package: &[u8]) -> Vec<u8> {
    if method == Method::Store {
        return package.to_vec();
    }
    let level = flate2::Compression::new(6);
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
    encoder.write_all(package).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn it_is_what_the_zip_crate_writes() {
    for package in [Vec::new(), b"x".to_vec(), json(100_000), random(1, 100_000)] {
        for method in [Method::Store, Method::Deflate] {
            for zip64 in [false, true] {
                let frame = frame(method, zip64);
                let packed = packed(method, &package);
                let sealed = Sealed {
                    crc32: crc32fast::hash(&package),
                    packed: packed.len() as u64,
                    raw: package.len() as u64,
                };
                let ours = [frame.front(sealed), packed, frame.back(sealed)].concat();
                let theirs = by_zip_crate(&frame, &package, io::Cursor::new(Vec::new()));
                let theirs = theirs.into_inner();
                assert!(ours == theirs, "{method:?}, zip64 {zip64}: {} bytes", package.len());
                let mut archive = ZipArchive::new(io::Cursor::new(ours)).unwrap();
                archive.validate_header_consistency().unwrap();
            }
        }
    }
}

/// A file with a hole: as soon as a package has filled what stands before it, the writer finds
/// itself far behind.
struct Holed {
    bytes: Vec<u8>,
    before: u64,
    hole: u64,
    at: u64,
}

impl Write for Holed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at = if self.at > self.before { self.at - self.hole } else { self.at };
        let at = usize::try_from(at).unwrap();
        self.bytes.resize(self.bytes.len().max(at + bytes.len()), 0);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len() as u64;
        if self.at == self.before {
            self.at += self.hole;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Holed {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.at = match position {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(step) => self.at.checked_add_signed(step).unwrap(),
            SeekFrom::End(step) => {
                (self.bytes.len() as u64 + self.hole).checked_add_signed(step).unwrap()
            }
        };
        Ok(self.at)
    }
}

#[test]
fn what_lies_beyond_4_gib_has_its_directory_found() {
    let package = random(2, 1000);
    let frame = frame(Method::Store, true);
    let front = frame.front(Sealed::default()).len() as u64;
    let edge = u64::from(u32::MAX) - front - 1000;
    for hole in [edge - 1, edge, edge + 1, 10 << 30] {
        let sink = Holed { bytes: Vec::new(), before: front + 1000, hole, at: 0 };
        let theirs = by_zip_crate(&frame, &package, sink).bytes;
        let sealed = Sealed { crc32: crc32fast::hash(&package), packed: 1000 + hole, raw: 1000 };
        let ours = [frame.front(sealed), package.clone(), frame.back(sealed)].concat();
        assert!(ours == theirs, "a hole of {hole} bytes");
    }
}

#[test]
fn a_front_that_says_nothing_yet_is_as_long_and_leads_to_the_package() {
    let sealed = Sealed { crc32: 0xdead_beef, packed: 5 << 30, raw: 6 << 30 };
    for (method, zip64) in [(Method::Store, false), (Method::Deflate, false), (Method::Store, true)]
    {
        let known = frame(method, zip64);
        let dummy = vec![b' '; MANIFEST.len()];
        let front = Frame { manifest: &dummy, ..known }.front(Sealed::default());
        assert_eq!(front.len(), known.front(sealed).len());
        for front in [&front, &known.front(sealed)] {
            let begun = [front, &b"{\"a\": 1"[..]].concat();
            assert_eq!(package_offset(front), Some(front.len() as u64));
            assert_eq!(package_offset(&begun), Some(front.len() as u64));
            for end in 0..front.len() {
                assert_eq!(package_offset(&front[..end]), None);
            }
        }
    }
}

#[test]
fn other_files_have_no_package_in_them() {
    let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
    for name in ["manifest.json", "other.json"] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(&json(1000)).unwrap();
    }
    let zip = zip.finish().unwrap().into_inner();
    for bytes in [&b""[..], b"{}", b"PK\x03\x04", &zip, &random(1, 10_000)] {
        assert_eq!(package_offset(bytes), None);
    }
    let mut front = frame(Method::Store, false).front(Sealed::default());
    front[18..22].copy_from_slice(&[0xff; 4]);
    assert_eq!(package_offset(&front), None);
}

#[test]
fn only_large_packages_get_64_bit_sizes() {
    assert!(!needs_zip64(0) && !needs_zip64((4 << 30) - (17 << 20)));
    assert!(needs_zip64((4 << 30) - (64 << 10)) && needs_zip64(u64::MAX));
}
