//! Looking into packages of every kind, most of all into those that lie.

use std::fs;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::settings::{Pack, PackMethod};
use crate::vault::disk::tests::{Bench, json, random};

const PATH: &str = "prod/nightly/2026/11/x.zip";

fn zip_of(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn stored(bench: &Bench, package: &[u8], method: PackMethod) -> (StoredFile, Content) {
    bench.store(PATH, package, Pack { method, ..Pack::default() })
}

fn inside_as(package: &[u8], method: PackMethod) -> Inside {
    let bench = Bench::new();
    let (file, raw) = stored(&bench, package, method);
    // The folder goes with the bench; what is open stays readable.
    bench.vault.look_inside(&file, raw).unwrap()
}

fn inside(package: &[u8]) -> Inside {
    inside_as(package, PackMethod::Store)
}

fn bytes_of(inside: &mut Inside, number: usize) -> Result<Vec<u8>, EntryError> {
    let mut bytes = Vec::new();
    inside.read(number, &mut bytes).map(|_| bytes)
}

fn names(inside: &Inside) -> Vec<&str> {
    inside.entries().iter().map(|entry| entry.name.as_str()).collect()
}

/// Where each of the two headers of the first entry begins.
fn headers(zip: &[u8]) -> [usize; 2] {
    let central = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    [0, central]
}

#[test]
fn entries_are_read_whether_the_package_is_packed_or_not() {
    let texts: [&[u8]; 3] = [&json(900), b"", &random(5, 70_000)];
    let entries = [("apps/a.json", texts[0]), ("empty", texts[1]), ("b.bin", texts[2])];
    for inner in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        for outer in [PackMethod::Store, PackMethod::Deflate] {
            let mut inside = inside_as(&zip_of(&entries, inner), outer);
            assert_eq!(names(&inside), ["apps/a.json", "empty", "b.bin"]);
            assert_eq!(inside.flaw(), None);
            // In any order, and more than once.
            for number in [2, 0, 1, 0] {
                assert_eq!(bytes_of(&mut inside, number).unwrap(), texts[number]);
                assert_eq!(inside.entries()[number].bytes, texts[number].len() as u64);
            }
            assert!(matches!(bytes_of(&mut inside, 3), Err(EntryError::Broken(_))));
        }
    }
}

#[test]
fn a_package_that_is_no_zip_is_its_own_entry() {
    for (package, name) in [(json(300), "package.json"), (random(7, 3_000), "package.bin")] {
        for method in [PackMethod::Store, PackMethod::Deflate] {
            let mut inside = inside_as(&package, method);
            assert_eq!(names(&inside), [name]);
            assert_eq!(inside.flaw(), None);
            for _ in 0..2 {
                assert_eq!(bytes_of(&mut inside, 0).unwrap(), package);
            }
            assert_eq!(inside.measure_packed(0).unwrap().bytes, package.len() as u64);
        }
    }
}

#[test]
fn names_in_a_package_are_text_and_no_paths() {
    let evil = ["../../../etc/passwd", "/etc/shadow", "C:\\x", "a\x1b[2Jb", "..", "-rf", "n\nl"];
    let entries: Vec<(&str, &[u8])> = evil.iter().map(|name| (*name, &b"x"[..])).collect();
    let mut inside = inside(&zip_of(&entries, CompressionMethod::Stored));
    assert_eq!(names(&inside), evil);
    for number in 0..evil.len() {
        assert_eq!(bytes_of(&mut inside, number).unwrap(), b"x");
    }
}

#[test]
fn folders_and_links_are_told_from_files() {
    let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    zip.add_directory("apps/", options).unwrap();
    zip.add_symlink("link", "/etc/passwd", options).unwrap();
    let mut inside = inside(&zip.finish().unwrap().into_inner());
    let kinds: Vec<EntryKind> = inside.entries().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Folder, EntryKind::Link]);
    assert_eq!(bytes_of(&mut inside, 1).unwrap(), b"/etc/passwd", "nobody follows it");
}

#[test]
fn a_zip_that_contradicts_itself_is_one_entry_with_all_its_bytes() {
    let good = zip_of(&[("one", b"1"), ("two", b"2")], CompressionMethod::Stored);
    let named_twice = {
        let mut zip = good.clone();
        let mut at = 0;
        while let Some(found) = zip[at..].windows(3).position(|window| window == b"two") {
            zip[at + found..at + found + 3].copy_from_slice(b"one");
            at += found + 3;
        }
        zip
    };
    let renamed_in_front = {
        let mut zip = good.clone();
        zip[30..33].copy_from_slice(b"eno");
        zip
    };
    let cut = good[..good.len() - 5].to_vec();
    let followed = [&good[..], b"more"].concat();
    for package in [named_twice, renamed_in_front, cut, followed, b"PK\x03\x04".repeat(9)] {
        let mut inside = inside(&package);
        let name = names(&inside)[0].to_owned();
        assert!(inside.entries().len() == 1 && name.starts_with("package."), "{name}");
        assert_eq!(inside.flaw().is_some(), name == "package.zip", "{:?}", inside.flaw());
        assert_eq!(bytes_of(&mut inside, 0).unwrap(), package);
    }
}

#[test]
fn an_entry_that_cannot_be_read_says_why_and_spoils_no_other() {
    let entries: [(&str, &[u8]); 2] = [("locked", b"some bytes"), ("open", b"other bytes")];
    let good = zip_of(&entries, CompressionMethod::Stored);
    let patched = |offsets: [usize; 2], value: u8| {
        let mut zip = good.clone();
        for (header, offset) in headers(&zip).into_iter().zip(offsets) {
            zip[header + offset] = value;
        }
        zip
    };
    let broken = {
        let mut zip = good.clone();
        let at = zip.windows(4).position(|window| window == b"some").unwrap();
        zip[at] ^= 1;
        zip
    };
    for (package, word) in [
        (patched([6, 8], 1), "encrypted"),
        (patched([8, 10], 93), "packed with"),
        (broken, "broken"),
    ] {
        let mut inside = inside(&package);
        let error = bytes_of(&mut inside, 0).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(bytes_of(&mut inside, 1).unwrap(), b"other bytes");
        assert_eq!(inside.measure_packed(0).unwrap().bytes, 10);
    }
}

#[test]
fn what_inflates_to_much_more_is_read_in_pieces() {
    /// Keeps no more than the longest piece.
    struct Longest(usize, u64);
    impl Write for Longest {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.max(bytes.len());
            self.1 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let zeros = vec![0; 32 << 20];
    let package = zip_of(&[("bomb", &zeros)], CompressionMethod::Deflated);
    assert!(package.len() < 64 << 10);
    let mut longest = Longest(0, 0);
    inside(&package).read(0, &mut longest).unwrap();
    assert_eq!((longest.0, longest.1), (BUFFER, 32 << 20));
}

#[test]
fn a_file_that_is_not_what_was_stored_is_not_opened() {
    for method in [PackMethod::Store, PackMethod::Deflate] {
        let bench = Bench::new();
        let package = zip_of(&[("a", &random(3, 5_000))], CompressionMethod::Stored);
        let (file, raw) = stored(&bench, &package, method);
        let path = bench.vault.stored_path(&file);
        let good = fs::read(&path).unwrap();
        let mut changed = good.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&path, &changed).unwrap();
        let refused = bench.vault.look_inside(&file, raw);
        assert!(matches!(refused, Err(LookError::Damaged(_))), "{refused:?}");
        fs::remove_file(&path).unwrap();
        let missing = bench.vault.look_inside(&file, raw).unwrap_err();
        assert!(matches!(missing, LookError::Damaged(DamageReason::Missing)), "{missing:?}");
        fs::write(&path, &good).unwrap();
        bench.vault.look_inside(&file, raw).unwrap();
    }
}

#[test]
fn a_slice_is_read_and_sought_like_a_file() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before|inside|after").unwrap();
    let mut slice = Slice { file, start: 7, length: 6, at: 0 };
    let mut text = String::new();
    slice.read_to_string(&mut text).unwrap();
    assert_eq!(text, "inside");
    assert_eq!(slice.seek(SeekFrom::End(-2)).unwrap(), 4);
    text.clear();
    slice.read_to_string(&mut text).unwrap();
    assert_eq!(text, "de");
    assert_eq!(slice.seek(SeekFrom::Current(-5)).unwrap(), 1);
    assert!(slice.seek(SeekFrom::Current(-2)).is_err());
    assert!(slice.seek(SeekFrom::End(i64::MIN)).is_err());
    slice.seek(SeekFrom::End(100)).unwrap();
    assert_eq!(slice.read(&mut [0; 4]).unwrap(), 0);
    assert!(slice.seek(SeekFrom::Start(u64::MAX)).is_err());
}
