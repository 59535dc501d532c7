//! What makes two packages the same, and what does not.

use std::io::{Cursor, Seek, SeekFrom, Write};

use proptest::prelude::*;
use proptest::sample::Index;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::*;
use crate::vault::disk::tests::{Bench, json, random};

const PLENTY: u64 = 1 << 30;

/// How an entry is written, which is not what it is.
#[derive(Clone, Debug)]
struct Dress {
    method: CompressionMethod,
    level: i64,
    year: u16,
    wide: bool,
    comment: String,
}

fn plain() -> Dress {
    let method = CompressionMethod::Deflated;
    Dress { method, level: 6, year: 1980, wide: false, comment: String::new() }
}

type Entries = Vec<(String, Vec<u8>)>;

fn write<'e>(entries: impl IntoIterator<Item = (&'e (String, Vec<u8>), &'e Dress)>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for ((name, bytes), dress) in entries {
        let deflated = dress.method == CompressionMethod::Deflated;
        let options = SimpleFileOptions::default()
            .compression_method(dress.method)
            .compression_level(deflated.then_some(dress.level))
            .last_modified_time(DateTime::from_date_and_time(dress.year, 2, 3, 4, 5, 6).unwrap())
            .large_file(dress.wide);
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(bytes).unwrap();
        zip.set_comment(dress.comment.clone()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn zip_of(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let dress = plain();
    write(entries.iter().map(|entry| (entry, &dress)))
}

fn digest_up_to(bytes: &[u8], max_inflated: u64) -> Option<Sha256Digest> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    content_of_zip(&file, max_inflated).unwrap()
}

fn digest(bytes: &[u8]) -> Option<Sha256Digest> {
    digest_up_to(bytes, PLENTY)
}

fn some_entries() -> impl Strategy<Value = Entries> {
    let name = "[a-c]{1,3}(/[a-cä]{1,2})?";
    let bytes = prop::collection::vec(0..4_u8, 0..200);
    prop::collection::btree_map(name, bytes, 1..8).prop_map(|map| map.into_iter().collect())
}

fn some_dress() -> impl Strategy<Value = Dress> {
    let method = prop_oneof![Just(CompressionMethod::Stored), Just(CompressionMethod::Deflated)];
    (method, 1..=9_i64, 1980..=2107_u16, any::<bool>(), "[a-z]{0,5}").prop_map(
        |(method, level, year, wide, comment)| Dress { method, level, year, wide, comment },
    )
}

/// Something that makes other content of the same entries.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, Index),
    Longer(Index),
    Name(Index),
    More,
    Less(Index),
    Swap(Index, Index),
}

fn some_change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        (index(), index()).prop_map(|(entry, byte)| Change::Byte(entry, byte)),
        index().prop_map(Change::Longer),
        index().prop_map(Change::Name),
        Just(Change::More),
        index().prop_map(Change::Less),
        (index(), index()).prop_map(|(one, other)| Change::Swap(one, other)),
    ]
}

impl Change {
    fn make(&self, entries: &mut Entries) {
        let count = entries.len();
        match self {
            Self::Byte(entry, byte) => {
                let bytes = &mut entries[entry.index(count)].1;
                if !bytes.is_empty() {
                    let at = byte.index(bytes.len());
                    bytes[at] ^= 0x80;
                }
            }
            Self::Longer(entry) => entries[entry.index(count)].1.push(0),
            Self::Name(entry) => entries[entry.index(count)].0.push('x'),
            Self::More => entries.push(("y".to_owned(), Vec::new())),
            Self::Less(entry) => drop(entries.remove(entry.index(count))),
            Self::Swap(one, other) => {
                let (one, other) = (one.index(count), other.index(count));
                let bytes = std::mem::take(&mut entries[one].1);
                let bytes = std::mem::replace(&mut entries[other].1, bytes);
                if one == other {
                    return;
                }
                entries[one].1 = bytes;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Times, order, compression, comments and 64-bit fields are the zip's, not the content's.
    #[test]
    fn what_the_zip_looks_like_does_not_matter(
        (entries, order) in some_entries()
            .prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle())),
        dresses in prop::collection::vec(some_dress(), 8),
    ) {
        let dressed = write(order.iter().zip(&dresses));
        prop_assert!(digest(&dressed).is_some());
        prop_assert_eq!(digest(&dressed), digest(&zip_of(&entries)));
    }

    /// Whatever is in it does.
    #[test]
    fn any_other_content_has_another_digest(entries in some_entries(), change in some_change()) {
        let mut changed = entries.clone();
        change.make(&mut changed);
        let same = digest(&zip_of(&entries)) == digest(&zip_of(&changed));
        prop_assert_eq!(same, entries == changed, "{:?}", change);
    }
}

fn entries() -> Entries {
    let named = |name: &str, bytes| (name.to_owned(), bytes);
    vec![
        named("apps/a.json", json(3000)),
        named("empty", Vec::new()),
        named("random", random(1, 2 << 20)),
    ]
}

/// A boundary between two entries cannot be moved, nor one between a name and a length.
#[test]
fn no_two_lists_of_entries_run_into_one() {
    let one = |names: &[&str]| {
        let entries: Entries = names.iter().map(|n| ((*n).to_owned(), Vec::new())).collect();
        digest(&zip_of(&entries)).unwrap()
    };
    let all = [one(&[]), one(&["ab"]), one(&["a", "b"]), one(&["a"]), one(&["abab"])];
    for (n, digest) in all.iter().enumerate() {
        assert!(!all[..n].contains(digest), "{n}");
    }
}

#[test]
fn what_would_inflate_beyond_the_limit_has_none() {
    let bytes = zip_of(&entries());
    let inflated: usize = entries().iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(digest_up_to(&bytes, inflated as u64).is_some());
    assert_eq!(digest_up_to(&bytes, inflated as u64 - 1), None);
    let bomb = zip_of(&[("zeros".to_owned(), vec![0; 8 << 20])]);
    assert!(bomb.len() < 10_000);
    assert_eq!(digest_up_to(&bomb, 1 << 20), None);
}

#[test]
fn a_directory_that_is_too_long_to_be_held_has_none() {
    let many = |count: usize| -> Entries {
        (0..count).map(|n| (format!("{n:0>200}"), Vec::new())).collect()
    };
    assert!(digest(&zip_of(&many(1000))).is_some());
    let bytes = zip_of(&many(18_000));
    assert!(bytes.len() > 2 * (4 << 20), "{}", bytes.len());
    assert_eq!(digest(&bytes), None);
}

/// Two entries of one name: which of them counts is anybody's guess.
#[test]
fn what_can_be_read_in_two_ways_has_none() {
    let pair = [("one".to_owned(), json(50)), ("two".to_owned(), json(60))];
    let bytes = zip_of(&pair);
    assert!(digest(&bytes).is_some());
    let mut double = bytes.clone();
    for at in 0..double.len() - 3 {
        if &double[at..at + 3] == b"two" {
            double[at..at + 3].copy_from_slice(b"one");
        }
    }
    assert_ne!(double, bytes);
    assert_eq!(digest(&double), None);
    // Their flags say that both are encrypted.
    let mut secret = bytes.clone();
    for at in 0..secret.len() - 4 {
        match &secret[at..at + 4] {
            b"PK\x03\x04" => secret[at + 6] |= 1,
            b"PK\x01\x02" => secret[at + 8] |= 1,
            _ => {}
        }
    }
    assert_eq!(digest(&secret), None);
}

#[test]
fn what_is_not_whole_has_none() {
    let bytes = zip_of(&entries());
    assert!(digest(&bytes).is_some());
    for cut in [1, 10, 22, 100, bytes.len() / 2, bytes.len()] {
        assert_eq!(digest(&bytes[..bytes.len() - cut]), None, "{cut} bytes cut");
    }
    assert_eq!(digest(&[&bytes[..], b"x"].concat()), None, "something behind");
    assert_eq!(digest(&[b"PK\x03\x04", &bytes[..]].concat()), None, "something before");
    let mut hole = bytes.clone();
    let middle = bytes.len() / 2;
    hole[middle] ^= 1;
    assert_eq!(digest(&hole), None, "a wrong checksum");
}

#[test]
fn of_what_is_no_zip_it_is_the_digest_of_the_package() {
    let bench = Bench::new();
    let id = ArchiveId(34);
    let stage = |bytes: &[u8]| {
        let mut receiver = bench.vault.receive(id).unwrap();
        receiver.write(bytes).unwrap();
        let staged = receiver.finish().unwrap();
        let content =
            bench.vault.content_of_staged(id, staged.content, staged.format, PLENTY).unwrap();
        bench.vault.discard_staged(id).unwrap();
        (staged.content.sha256, content)
    };
    for bytes in [json(500), b"something".to_vec(), Vec::new()] {
        let (raw, content) = stage(&bytes);
        assert_eq!(content, Some(raw));
    }
    let (raw, content) = stage(&zip_of(&entries()));
    assert_eq!(content, digest(&zip_of(&entries())));
    assert!(content.is_some() && content != Some(raw));
    // Kept as it came, and said to be no zip: then it is taken as a whole.
    let (raw, content) = stage(b"PK\x03\x04 and no more of it");
    assert_eq!(content, Some(raw));
}

#[test]
fn a_package_that_is_gone_is_no_failure_here() {
    let bench = Bench::new();
    let raw = Content { bytes: 5, sha256: Sha256Digest([0; 32]) };
    let found = bench.vault.content_of_staged(ArchiveId(1), raw, Format::Zip, PLENTY);
    assert_eq!(found.unwrap(), None);
}
