//! Reading back: every kind of damage is seen, and nothing else is.

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;
use crate::model::Format;
use crate::settings::{Pack, PackMethod};
use crate::vault::VaultError;
use crate::vault::disk::tests::{Bench, json, random};
use crate::vault::meter::measure;

const PATH: &str = "prod/nightly/2026/11/x.zip";

fn store(bench: &Bench, bytes: &[u8], method: PackMethod) -> (StoredFile, Content) {
    bench.store(PATH, bytes, Pack { method, ..Pack::default() })
}

fn damage(bench: &Bench, file: &StoredFile, raw: Content) -> DamageReason {
    match bench.vault.check(file, raw) {
        Err(CheckError::Damaged(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_changed_bit_anywhere_is_seen() {
    for method in [PackMethod::Store, PackMethod::Deflate] {
        let bench = Bench::new();
        let (file, raw) = store(&bench, &json(300), method);
        let path = bench.vault.stored_path(&file);
        let bytes = fs::read(&path).unwrap();
        let on_disk = File::options().write(true).open(&path).unwrap();
        for (n, byte) in bytes.iter().enumerate() {
            on_disk.write_all_at(&[byte ^ 4], n as u64).unwrap();
            damage(&bench, &file, raw);
            on_disk.write_all_at(&[*byte], n as u64).unwrap();
        }
        bench.vault.check(&file, raw).unwrap();
    }
}

#[test]
fn each_damage_has_its_reason() {
    let bench = Bench::new();
    let (file, raw) = store(&bench, &random(1, 2000), PackMethod::Auto);
    let path = bench.vault.stored_path(&file);
    let bytes = fs::read(&path).unwrap();
    let size = bytes.len() as u64;

    let wrong_raw = measure(&mut &b"other"[..]).unwrap();
    let expected = DamageReason::PackageDiffers { recorded: wrong_raw, found: raw };
    assert_eq!(damage(&bench, &file, wrong_raw), expected);

    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let expected = DamageReason::SizeDiffers { recorded: size, found: size - 1 };
    assert_eq!(damage(&bench, &file, raw), expected);

    // The unused extra permission bits of the last directory entry: nothing else notices.
    let mut bad = bytes.clone();
    let directory = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    bad[directory + 41] ^= 1;
    fs::write(&path, &bad).unwrap();
    let found = measure(&mut &bad[..]).unwrap();
    let expected = DamageReason::DigestDiffers { recorded: file.content, found };
    assert_eq!(damage(&bench, &file, raw), expected);

    fs::write(&path, vec![0; bytes.len()]).unwrap();
    assert!(matches!(damage(&bench, &file, raw), DamageReason::Unreadable(_)));
    fs::remove_file(&path).unwrap();
    assert_eq!(damage(&bench, &file, raw), DamageReason::Missing);
    fs::create_dir(&path).unwrap();
    assert_eq!(damage(&bench, &file, raw), DamageReason::NotAFile);
}

#[test]
fn extracting_says_when_the_package_is_not_the_one() {
    let bench = Bench::new();
    let bytes = random(2, 3 * BUFFER);
    let (file, raw) = store(&bench, &bytes, PackMethod::Store);
    let mut out = Vec::new();
    bench.vault.extract(&file, raw, &mut out).unwrap();
    assert!(out == bytes);

    // Much longer than recorded: reading ends soon.
    let short = measure(&mut &b"other"[..]).unwrap();
    let mut out = Vec::new();
    let error = bench.vault.extract(&file, short, &mut out).unwrap_err();
    assert!(matches!(error, ExtractError::Damaged(DamageReason::PackageDiffers { .. })));
    assert!(out.len() <= BUFFER);

    let path = bench.vault.stored_path(&file);
    let mut bad = fs::read(&path).unwrap();
    bad[2 * BUFFER] ^= 1;
    fs::write(&path, bad).unwrap();
    let error = bench.vault.extract(&file, raw, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ExtractError::Damaged(_)), "{error:?}");
    fs::remove_file(&path).unwrap();
    let error = bench.vault.extract(&file, raw, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ExtractError::Damaged(DamageReason::Missing)), "{error:?}");
}

#[test]
fn a_receiving_side_that_fails_is_not_damage() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bench = Bench::new();
    let (file, raw) = store(&bench, b"{}", PackMethod::Auto);
    let error = bench.vault.extract(&file, raw, &mut Full).unwrap_err();
    assert!(matches!(error, ExtractError::Output(_)), "{error:?}");
}

#[test]
fn a_disk_that_cannot_be_read_is_not_damage() {
    let bench = Bench::new();
    let (file, raw) = store(&bench, b"{}", PackMethod::Auto);
    // The system's error is neither "missing" nor "broken".
    let file = StoredFile { path: format!("prod/{}.zip", "x".repeat(300)), ..file };
    let error = bench.vault.check(&file, raw).unwrap_err();
    assert!(matches!(error, CheckError::Failed(VaultError::Io { .. })), "{error:?}");
}

#[test]
fn a_stored_file_speaks_for_itself() {
    let bench = Bench::new();
    let bytes = json(3000);
    let (file, raw) = store(&bench, &bytes, PackMethod::Auto);
    let (manifest, described) = bench.vault.describe(PATH).unwrap();
    assert_eq!((manifest.raw(), described), (raw, file.clone()));
    assert_eq!(file.format, Format::Json);
    let error = bench.vault.describe("../staging/x").unwrap_err();
    assert!(matches!(error, CheckError::Failed(VaultError::UnsafePath { .. })));
    bench.put("vault/foreign.zip", b"foreign");
    let error = bench.vault.describe("foreign.zip").unwrap_err();
    assert!(matches!(error, CheckError::Damaged(DamageReason::Unreadable(_))));
    let error = bench.vault.describe("nothing.zip").unwrap_err();
    assert!(matches!(error, CheckError::Damaged(DamageReason::Missing)));
}

#[test]
fn a_manifest_without_end_is_not_read() {
    let bench = Bench::new();
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    zip.start_file(Manifest::ENTRY, zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&vec![b' '; 2 << 20]).unwrap();
    bench.put("vault/x.zip", &zip.finish().unwrap().into_inner());
    let error = bench.vault.describe("x.zip").unwrap_err();
    assert!(matches!(error, CheckError::Damaged(DamageReason::Unreadable(_))), "{error:?}");
}
