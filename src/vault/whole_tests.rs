//! What proves itself complete, and that no beginning of it does.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;
use crate::vault::disk::tests::{json, random};

fn whole(bytes: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, bytes).unwrap();
    is_whole(&path).unwrap()
}

/// Whether only the whole of it is whole; white space at the end does not count.
fn only_whole_when_complete(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, bytes).unwrap();
    assert!(is_whole(&path).unwrap(), "all {} bytes", bytes.len());
    let file = File::options().write(true).open(&path).unwrap();
    for length in (0..bytes.trim_ascii_end().len()).rev() {
        file.set_len(length as u64).unwrap();
        assert!(!is_whole(&path).unwrap(), "{length} of {} bytes", bytes.len());
    }
}

fn entries() -> Vec<(&'static str, Vec<u8>, CompressionMethod, bool)> {
    vec![
        ("apps/a.json", json(300), CompressionMethod::Deflated, false),
        ("apps/", Vec::new(), CompressionMethod::Stored, false),
        ("empty", Vec::new(), CompressionMethod::Deflated, false),
        (
            "inner.zip",
            zip_of(&[("x", b"inner".to_vec(), CompressionMethod::Stored, false)]),
            CompressionMethod::Stored,
            false,
        ),
        ("wide", random(1, 40), CompressionMethod::Stored, true),
    ]
}

fn fill<W: Write + io::Seek>(
    zip: &mut ZipWriter<W>,
    entries: &[(&str, Vec<u8>, CompressionMethod, bool)],
) {
    for (name, bytes, method, wide) in entries {
        let options = SimpleFileOptions::default().compression_method(*method).large_file(*wide);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
}

fn zip_of(entries: &[(&str, Vec<u8>, CompressionMethod, bool)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    fill(&mut zip, entries);
    zip.finish().unwrap().into_inner()
}

#[test]
fn no_beginning_of_a_zip_is_whole() {
    only_whole_when_complete(&zip_of(&entries()));
    only_whole_when_complete(&zip_of(&[]));
}

#[test]
fn no_beginning_of_a_streamed_zip_is_whole() {
    let mut zip = ZipWriter::new_stream(Vec::new());
    fill(&mut zip, &entries());
    only_whole_when_complete(&zip.finish().unwrap().into_inner());
}

#[test]
fn no_beginning_of_a_zip_with_a_comment_is_whole() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // The comment holds what looks like an end of its own.
    zip.set_raw_comment(zip_of(&[]).into_boxed_slice()).unwrap();
    fill(&mut zip, &entries());
    let bytes = zip.finish().unwrap().into_inner();
    assert!(!whole(&bytes[..bytes.len() - 1]));
    let plain = zip_of(&entries());
    // Cut right before the comment's own end the record says that more must follow.
    assert!(!whole(&bytes[..plain.len()]));
}

#[test]
fn no_beginning_of_a_zip_with_many_entries_is_whole() {
    // More than 16 bits can count: 64-bit records.
    let many: Vec<_> = (0..65_600).map(|n| format!("e{n}")).collect();
    let entries: Vec<_> = many
        .iter()
        .map(|name| (name.as_str(), Vec::new(), CompressionMethod::Stored, false))
        .collect();
    let bytes = zip_of(&entries);
    assert!(whole(&bytes));
    for cut in (1..130).chain([1000, 100_000]) {
        assert!(!whole(&bytes[..bytes.len() - cut]), "{cut} bytes cut");
    }
}

#[test]
fn a_zip_with_anything_wrong_is_not_whole() {
    let bytes = zip_of(&entries());
    for n in 0..bytes.len() {
        let mut hole = bytes.clone();
        hole[n] ^= 0x55;
        let name = |needle: &[u8]| bytes.windows(needle.len()).position(|w| w == needle).unwrap();
        // Times, systems and permissions may differ: the content is what counts. Anything that
        // is read must be right, for which the packed data stand here.
        let data = name(b"apps/a.json") + 11;
        if (data..data + 60).contains(&n) {
            assert!(!whole(&hole), "byte {n}");
        }
    }
    let mut zeros = bytes.clone();
    let middle = bytes.len() / 4;
    zeros[middle..middle + 40].fill(0);
    assert!(!whole(&zeros), "a hole");
    assert!(!whole(&[&bytes[..], b"x"].concat()), "something behind");
    assert!(!whole(&[b"PK\x03\x04", &bytes[..]].concat()), "something before");
    assert!(!whole(&[b"PK\x03\x04", &zip_of(&[])[..]].concat()), "something before an empty one");
}

#[test]
fn a_zip_that_would_inflate_without_end_is_not_read() {
    let mut bytes = zip_of(&[("x", vec![0; 1000], CompressionMethod::Deflated, true)]);
    assert!(whole(&bytes));
    // Both headers claim 2 TiB: the local one in its 64-bit field, the central one has none.
    let small = zip_of(&[("x", vec![0; 100_000], CompressionMethod::Deflated, false)]);
    assert!(whole(&small));
    let at = bytes.windows(8).position(|w| w == 1000_u64.to_le_bytes()).unwrap();
    bytes[at..at + 8].copy_from_slice(&(2_u64 << 40).to_le_bytes());
    assert!(!whole(&bytes));
}

#[test]
fn no_beginning_of_a_json_document_is_whole() {
    only_whole_when_complete(&json(900));
    only_whole_when_complete(b"[{\"a\\\"}]\": \"\\\\\"}, [], {}, null, -1.5e3]");
    only_whole_when_complete("\u{feff}{\"a\": [1, 2]}".as_bytes());
    only_whole_when_complete(b"{}");
    assert!(whole(&[&json(100)[..], &[b'\n'; 5000]].concat()));
}

#[test]
fn what_is_not_one_json_document_is_not_whole() {
    for text in [
        "", "12", "\"text\"", "null", "{}{}", "[1 2]", "[1]]", "{\"a\"}", "[\u{0}]", "{'a': 1}",
        "hello {}", "[1,]",
    ] {
        assert!(!whole(text.as_bytes()), "{text:?}");
    }
    let mut hole = json(9000);
    hole[4000..4100].fill(0);
    assert!(!whole(&hole));
}

#[test]
fn deep_json_is_given_up() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(whole(nested(5_000).as_bytes()));
    assert!(!whole(nested(100_000).as_bytes()));
    // Brackets in text are only text.
    assert!(whole(format!("[\"{}\"]", "[".repeat(100_000)).as_bytes()));
}

#[test]
fn only_the_disk_itself_fails() {
    assert!(is_whole(Path::new("/nonexistent")).is_err());
    assert!(is_whole(Path::new("/")).is_err());
}
