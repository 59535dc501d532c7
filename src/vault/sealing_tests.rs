//! Short packages: sealed, found by the next process, failing at every operation.

use std::fs;

use super::*;
use crate::model::{Content, Format};
use crate::settings::{Pack, PackMethod};
use crate::vault::disk::tests::{Bench, Fault, json, random};
use crate::vault::manifest::tests::manifest_of;
use crate::vault::meter::{BUFFER, measure};
use crate::vault::staging::StagedEvidence;

const ID: ArchiveId = ArchiveId(34);
const NO_LIMIT: u64 = u64::MAX;

fn options(method: PackMethod) -> Pack {
    Pack { method, ..Pack::default() }
}

/// The job as the engine knows it before the package has come.
fn job_to_come(options: Pack) -> PackJob {
    let raw = Content { bytes: 0, sha256: Sha256Digest([0; 32]) };
    let manifest = manifest_of(raw, Format::Other);
    PackJob { id: ID, raw, format: Format::Other, path: manifest.place(), manifest, options }
}

fn receive(vault: &Vault, bytes: &[u8], options: Pack) -> Result<Received, VaultError> {
    let mut receiver = vault.receive(ID)?;
    receiver.write(bytes)?;
    receiver.seal(Sealing { job: job_to_come(options), max_inflated: NO_LIMIT })
}

fn sealed(bench: &Bench, bytes: &[u8], options: Pack) -> Sealed {
    match receive(&bench.vault, bytes, options).unwrap() {
        Received::Sealed(sealed) => sealed,
        Received::Staged(staged) => panic!("{staged:?}"),
    }
}

/// What is stored of the same package by the way that large ones take.
fn packed(bytes: &[u8], options: Pack) -> (StoredFile, Vec<u8>, Option<Sha256Digest>) {
    let bench = Bench::new();
    let mut receiver = bench.vault.receive(ID).unwrap();
    receiver.write(bytes).unwrap();
    let staged = receiver.finish().unwrap();
    let job = job_to_come(options).of(staged.content, staged.format);
    let digest =
        bench.vault.content_of_staged(ID, staged.content, staged.format, NO_LIMIT).unwrap();
    let file = bench.vault.pack(&job).unwrap();
    let zip = fs::read(bench.vault.stored_path(&file)).unwrap();
    (file, zip, digest)
}

fn small_zip() -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("a.json", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&json(5000)).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_short_package_is_written_once_and_synced_once() {
    let bench = Bench::new();
    let sealed = sealed(&bench, &random(1, 100_000), Pack::default());
    bench.vault.store_sealed(ID, &sealed.file).unwrap();
    let golden = "\
create_new staging/a34.part
sync_dir staging
write staging/a34.part
sync staging/a34.part
create_dir vault/prod
sync_dir vault
create_dir vault/prod/nightly
sync_dir vault/prod
create_dir vault/prod/nightly/2026
sync_dir vault/prod/nightly
create_dir vault/prod/nightly/2026/11
sync_dir vault/prod/nightly/2026
rename staging/a34.part vault/prod/nightly/2026/11/20261124T020000Z-s12-1.zip
sync_dir vault/prod/nightly/2026/11";
    assert_eq!(bench.disk.take_log(), golden);
}

#[test]
fn it_becomes_the_file_that_it_would_have_become_by_the_longer_way() {
    let packages = [b"x".to_vec(), Vec::new(), b"<html>".to_vec(), small_zip(), json(200_000)];
    for package in packages.into_iter().chain([random(2, BUFFER - 1)]) {
        for method in [PackMethod::Auto, PackMethod::Store, PackMethod::Deflate] {
            let (expected, zip, digest) = packed(&package, options(method));
            let mut bench = Bench::new();
            let sealed = sealed(&bench, &package, options(method));
            assert_eq!((sealed.content_sha256, digest.is_some()), (digest, true));
            assert_eq!(sealed.staged.content, measure(&mut &package[..]).unwrap());
            let file = bench.vault.store_sealed(ID, &sealed.file).unwrap();
            assert_eq!(fs::read(bench.vault.stored_path(&file)).unwrap(), zip);
            assert_eq!(StoredFile { inode: expected.inode, ..file }, expected);
            bench.reopen();
            assert_eq!(bench.vault.inspect_staged(ID).unwrap(), StagedEvidence::Nothing);
        }
    }
}

#[test]
fn a_long_package_and_one_that_looks_cut_are_staged_as_they_came() {
    let cut_zip = [&b"PK\x03\x04"[..], &random(3, 500)].concat();
    for package in [random(4, BUFFER + 1), cut_zip, b"{\"apps\": [".to_vec()] {
        let bench = Bench::new();
        let received = receive(&bench.vault, &package, Pack::default()).unwrap();
        assert!(matches!(received, Received::Staged(_)), "{received:?}");
        assert_eq!(fs::read(bench.path("staging/a34.raw")).unwrap(), package);
    }
}

#[test]
fn the_next_process_finds_it_and_stores_the_same() {
    for package in [small_zip(), json(100_000), random(5, 1000)] {
        for method in [PackMethod::Store, PackMethod::Deflate] {
            let (expected, zip, digest) = packed(&package, options(method));
            let mut bench = Bench::new();
            let sealed = sealed(&bench, &package, options(method));
            bench.reopen();
            assert!(matches!(bench.vault.receive(ID), Err(VaultError::AlreadyStaged { .. })));
            let evidence = bench.vault.inspect_staged(ID).unwrap();
            assert_eq!(evidence, StagedEvidence::Whole(sealed.staged));
            let Staged { content, format, .. } = sealed.staged;
            let found = bench.vault.content_of_staged(ID, content, format, NO_LIMIT).unwrap();
            assert_eq!(found, digest);
            let file = bench.vault.pack(&job_to_come(options(method)).of(content, format)).unwrap();
            assert_eq!(file.content, expected.content);
            assert_eq!(fs::read(bench.vault.stored_path(&file)).unwrap(), zip);
            assert!(fs::read_dir(bench.path("staging")).unwrap().next().is_none());
        }
    }
}

/// ROMA may send anything, also a zip of ours: it is a package like any other.
#[test]
fn a_zip_of_ours_that_is_of_another_archive_is_a_package() {
    let (_, zip, _) = packed(b"other", Pack::default());
    let bench = Bench::new();
    let mut receiver = bench.vault.receive(ArchiveId(35)).unwrap();
    receiver.write(&zip).unwrap();
    drop(receiver);
    let evidence = bench.vault.inspect_staged(ArchiveId(35)).unwrap();
    let StagedEvidence::Whole(staged) = evidence else { panic!("{evidence:?}") };
    assert_eq!(staged.content, measure(&mut &zip[..]).unwrap());
}

#[test]
fn what_was_written_wrong_is_written_again_as_it_came() {
    let bench = Bench::new();
    let package = random(6, 5000);
    let mut receiver = bench.vault.receive(ID).unwrap();
    receiver.write(&package).unwrap();
    bench.disk.fail_at(0, Fault::Lie);
    let sealing = Sealing { job: job_to_come(Pack::default()), max_inflated: NO_LIMIT };
    let came = receiver.seal(sealing).unwrap();
    assert!(bench.disk.heal());
    assert!(matches!(came, Received::Staged(_)), "{came:?}");
    assert_eq!(fs::read(bench.path("staging/a34.raw")).unwrap(), package);
    let content = measure(&mut &package[..]).unwrap();
    bench.vault.pack(&job_to_come(Pack::default()).of(content, Format::Other)).unwrap();
}

/// Whatever fails, and whether it fails once or the process dies there: the package is found, or
/// nothing of it is taken for one.
#[test]
fn no_failure_leaves_anything_but_the_package_or_a_beginning() {
    let package = small_zip();
    for fault in [Fault::Once, Fault::Dead] {
        for n in 0.. {
            let mut bench = Bench::new();
            bench.disk.fail_at(n, fault);
            let stored = receive(&bench.vault, &package, Pack::default()).and_then(|received| {
                let Received::Sealed(sealed) = received else { panic!("{received:?}") };
                bench.vault.store_sealed(ID, &sealed.file)
            });
            if !bench.disk.heal() {
                stored.unwrap();
                break;
            }
            bench.reopen();
            let there = bench.path("vault").join(job_to_come(Pack::default()).path).exists();
            match bench.vault.inspect_staged(ID).unwrap() {
                StagedEvidence::Whole(staged) => {
                    let job = job_to_come(Pack::default()).of(staged.content, staged.format);
                    let file = bench.vault.pack(&job).unwrap();
                    bench.vault.check(&file, staged.content).unwrap();
                    assert_eq!(staged.content, measure(&mut &package[..]).unwrap());
                }
                _ if there => assert!(n > 4, "stored before it was synced: {n} {fault:?}"),
                _ => {
                    let again = receive(&bench.vault, &package, Pack::default()).unwrap();
                    assert!(matches!(again, Received::Sealed(_)));
                }
            }
        }
    }
}
