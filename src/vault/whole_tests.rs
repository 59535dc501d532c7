//! What proves itself complete, and that no beginning of it does.

use std::io::{Cursor, Write};

use proptest::prelude::*;
use proptest::sample::select;
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

/// What the end of some bytes says against them.
fn flaw_of(bytes: &[u8]) -> Option<&'static str> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    flaw(&mut file, sniff(&bytes[..bytes.len().min(8)])).unwrap()
}

#[test]
fn the_end_of_a_package_shows_that_it_was_cut() {
    let zip = zip_of(&entries());
    let mut commented = ZipWriter::new(Cursor::new(Vec::new()));
    commented.set_raw_comment(b"made by hand".to_vec().into_boxed_slice()).unwrap();
    fill(&mut commented, &entries());
    let document = json(9_000);
    for whole in [&zip, &zip_of(&[]), &commented.finish().unwrap().into_inner(), &document] {
        assert_eq!(flaw_of(whole), None);
        for cut in [1, 21, 100, 5_000] {
            let Some(length) = whole.len().checked_sub(cut).filter(|length| *length > 8) else {
                continue;
            };
            // A cut may fall behind a bracket, which only a proof can tell.
            let lucky = whole[..length].trim_ascii_end().ends_with(b"}");
            assert_eq!(flaw_of(&whole[..length]).is_some(), !lucky, "{cut} bytes cut");
        }
    }
    // A directory that is too large for the proof is no flaw, and neither is what says nothing.
    assert_eq!(flaw_of(&[b"{}".as_slice(), &[b' '; 5_000]].concat()), None);
    assert_eq!(flaw_of(b"neither zip nor JSON"), None);
    assert_eq!(flaw_of(b""), None);
    assert!(flaw_of(&[&zip[..], b"\n"].concat()).is_some(), "something behind");
}

/// What a reader finds in a zip.
fn contents(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            (entry.name().unwrap().into_owned(), data)
        })
        .collect()
}

fn some_zip() -> impl Strategy<Value = Vec<u8>> {
    let data = prop_oneof![
        (any::<u64>(), 0_usize..3_000).prop_map(|(seed, length)| random(seed, length)),
        (0_usize..3_000).prop_map(json),
    ];
    prop::collection::vec((data, any::<bool>(), any::<bool>()), 0..5).prop_map(|entries| {
        let entries: Vec<_> = entries
            .into_iter()
            .enumerate()
            .map(|(n, (data, packed, wide))| {
                let method =
                    if packed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
                (format!("apps/{n}.json"), data, method, wide)
            })
            .collect();
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, data, method, wide)| (name.as_str(), data.clone(), *method, *wide))
            .collect();
        zip_of(&entries)
    })
}

/// `PROPTEST_CASES` raises the number of cases.
fn cases() -> ProptestConfig {
    let standard = ProptestConfig::default();
    ProptestConfig { cases: standard.cases.max(512), ..standard }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_bytes_get_an_answer(
        start in select(vec![&b""[..], b"PK\x03\x04", b"PK\x05\x06", b"{", b"[\""]),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        end in select(vec![&b""[..], b"}", b"PK\x05\x06"]),
    ) {
        let bytes = [start, &bytes, end].concat();
        let (proven, flaw) = (whole(&bytes), flaw_of(&bytes));
        prop_assert!(!(proven && flaw.is_some()), "{flaw:?}");
    }

    #[test]
    fn a_zip_is_whole_only_as_a_whole(
        zip in some_zip(),
        cut in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 1..100),
    ) {
        prop_assert!(whole(&zip) && flaw_of(&zip).is_none());
        let beginning = &zip[..cut.index(zip.len())];
        prop_assert!(!whole(beginning), "{} of {} bytes", beginning.len(), zip.len());
        prop_assert!(!whole(&[&zip[..], &tail].concat()), "something behind");
    }

    /// A power cut leaves zeros where data had not reached the disk.
    #[test]
    fn a_zip_with_a_hole_is_not_whole(
        zip in some_zip(),
        at in any::<prop::sample::Index>(),
        length in 64_usize..4_096,
    ) {
        let mut hole = zip.clone();
        let start = at.index(zip.len());
        let end = (start + length).min(zip.len());
        hole[start..end].fill(0);
        // Less than that may be a time or a permission, which says nothing about the content.
        if hole != zip && end - start >= 64 {
            prop_assert!(!whole(&hole), "{start}..{end} of {}", zip.len());
        }
    }

    /// What a flipped bit changes is noticed, or is nothing that anybody reads.
    #[test]
    fn a_flipped_bit_changes_no_content_unnoticed(
        zip in some_zip(),
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let mut flipped = zip.clone();
        let at = at.index(zip.len());
        flipped[at] ^= 1 << bit;
        if whole(&flipped) {
            prop_assert_eq!(contents(&flipped), contents(&zip), "byte {}", at);
        }
    }

    #[test]
    fn a_json_document_is_whole_only_as_a_whole(
        length in 2_usize..6_000,
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        hole in 1_usize..600,
        byte in any::<u8>(),
    ) {
        let document = json(length);
        prop_assert!(whole(&document) && flaw_of(&document).is_none());
        let beginning = &document[..cut.index(document.trim_ascii_end().len())];
        prop_assert!(!whole(beginning), "{} of {} bytes", beginning.len(), document.len());
        let mut damaged = document.clone();
        let start = at.index(document.len());
        let end = (start + hole).min(document.len());
        damaged[start..end].fill(0);
        prop_assert!(!whole(&damaged), "zeros at {start}..{end}");
        damaged = document.clone();
        damaged[start] = byte;
        if whole(&damaged) {
            // Inside a string any byte will do, even one that is no text.
            let text = String::from_utf8_lossy(&damaged);
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
        damaged = document;
        damaged.push(byte);
        prop_assert_eq!(whole(&damaged), is_json_space(byte));
    }
}

#[test]
fn only_the_disk_itself_fails() {
    assert!(is_whole(Path::new("/nonexistent")).is_err());
    assert!(is_whole(Path::new("/")).is_err());
}
