//! Long packages that do not shrink: framed, cut off, taken out again, failing at every operation.

use std::fs;
use std::io::Cursor;

use super::*;
use crate::settings::{Pack, PackMethod};
use crate::vault::disk::tests::{Bench, Fault, json, random};
use crate::vault::manifest::tests::manifest_of;
use crate::vault::meter::measure;
use crate::vault::staging::StagedEvidence;

const ID: ArchiveId = ArchiveId(34);
const LONG: usize = 700_000;

fn moment() -> Timestamp {
    "2026-11-24T02:01:09Z".parse().unwrap()
}

/// The job as the engine knows it before the package has come.
fn framing(bytes: &[u8], method: PackMethod) -> Framing {
    let raw = Content { bytes: 0, sha256: Sha256Digest([0; 32]) };
    let manifest = manifest_of(raw, Format::Other);
    let options = Pack { method, ..Pack::default() };
    let path = manifest.place();
    let job = PackJob { id: ID, raw, format: Format::Other, path, manifest, options };
    Framing { sealing: Sealing { job, max_inflated: u64::MAX }, bytes: bytes.len() as u64 }
}

fn begin(vault: &Vault, bytes: &[u8], framing: Framing) -> Result<Receiver, VaultError> {
    let mut receiver = vault.receive(ID)?;
    let beginning = Bytes::copy_from_slice(&bytes[..bytes.len().min(BUFFER + 1)]);
    receiver.frame(framing, &[beginning])?;
    for piece in bytes.chunks(60_000) {
        receiver.write(piece)?;
    }
    Ok(receiver)
}

fn receive(vault: &Vault, bytes: &[u8], method: PackMethod) -> Result<Received, VaultError> {
    begin(vault, bytes, framing(bytes, method))?.complete(moment())
}

/// What is stored of the same package by the way that others take.
fn packed(bytes: &[u8], method: PackMethod) -> Vec<u8> {
    let bench = Bench::new();
    let mut receiver = bench.vault.receive(ID).unwrap();
    receiver.write(bytes).unwrap();
    let staged = receiver.finish().unwrap();
    let job = framing(bytes, method).sealing.job.of(staged.content, staged.format);
    let file = bench.vault.pack(&job.downloaded_at(moment())).unwrap();
    fs::read(bench.vault.stored_path(&file)).unwrap()
}

/// A zip of so many bytes, about, which does not shrink.
fn long_zip(length: usize) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("a", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&random(1, length)).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn no_byte_of_a_package_is_written_twice() {
    let bench = Bench::new();
    let Received::Sealed(sealed) =
        receive(&bench.vault, &random(2, LONG), PackMethod::Auto).unwrap()
    else {
        panic!()
    };
    let golden = "\
create_new staging/a34.part
sync_dir staging
write staging/a34.part
sync staging/a34.part";
    assert_eq!(bench.disk.take_log(), golden);
    let file = bench.vault.store_sealed(ID, &sealed.file).unwrap();
    bench.vault.check(&file, sealed.staged.content).unwrap();
    assert!(fs::read_dir(bench.path("staging")).unwrap().next().is_none());
}

#[test]
fn it_becomes_the_file_that_it_would_have_become_by_the_longer_way() {
    for package in [random(3, LONG), long_zip(LONG), random(4, 5 << 20)] {
        for method in [PackMethod::Auto, PackMethod::Store] {
            let bench = Bench::new();
            let received = receive(&bench.vault, &package, method).unwrap();
            let Received::Sealed(sealed) = received else { panic!("{received:?}") };
            assert_eq!(sealed.staged.content, measure(&mut &package[..]).unwrap());
            let file = bench.vault.store_sealed(ID, &sealed.file).unwrap();
            let stored = fs::read(bench.vault.stored_path(&file)).unwrap();
            assert!(stored == packed(&package, method));
        }
    }
}

#[test]
fn what_is_no_package_for_a_frame_is_staged_as_it_came() {
    let shrinks_later = [random(5, 2 * BUFFER), json(4 << 20)].concat();
    let cut_zip = [&b"PK\x03\x04"[..], &random(6, LONG)].concat();
    for package in [json(LONG), shrinks_later, cut_zip] {
        let bench = Bench::new();
        let received = receive(&bench.vault, &package, PackMethod::Auto).unwrap();
        let Received::Staged(staged) = received else { panic!("{received:?}") };
        assert!(fs::read(bench.path("staging/a34.raw")).unwrap() == package);
        assert_eq!(staged.content, measure(&mut &package[..]).unwrap());
        assert_eq!(bench.vault.list_staged().unwrap().ours.len(), 1);
        let again = bench.vault.inspect_staged(ID).unwrap();
        assert_eq!(again, StagedEvidence::Whole(staged));
    }
}

/// There is no room for the package twice, and it is here only.
#[test]
fn a_package_that_cannot_be_taken_out_is_stored_as_it_came() {
    let bench = Bench::new();
    let package = [random(7, 2 * BUFFER), json(4 << 20)].concat();
    let receiver = begin(&bench.vault, &package, framing(&package, PackMethod::Auto)).unwrap();
    // What is left of the package is written, then a second file is begun.
    bench.disk.fail_at(3, Fault::Once);
    let came = receiver.complete(moment()).unwrap();
    assert!(bench.disk.heal());
    let Received::Sealed(sealed) = came else { panic!("{came:?}") };
    let file = bench.vault.store_sealed(ID, &sealed.file).unwrap();
    bench.vault.check(&file, measure(&mut &package[..]).unwrap()).unwrap();
}

#[test]
fn a_whole_package_whose_end_nobody_saw_is_taken_out_of_its_frame() {
    let package = long_zip(LONG);
    let mut bench = Bench::new();
    drop(begin(&bench.vault, &package, framing(&package, PackMethod::Auto)).unwrap());
    bench.reopen();
    assert!(matches!(bench.vault.receive(ID), Err(VaultError::AlreadyStaged { .. })));
    let StagedEvidence::Whole(staged) = bench.vault.inspect_staged(ID).unwrap() else { panic!() };
    assert_eq!(staged.content, measure(&mut &package[..]).unwrap());
    assert!(fs::read(bench.path("staging/a34.raw")).unwrap() == package);
}

#[test]
fn a_beginning_in_a_frame_is_a_beginning() {
    for package in [random(8, LONG), long_zip(LONG)] {
        let mut bench = Bench::new();
        let part = &package[..LONG / 2];
        drop(begin(&bench.vault, part, framing(&package, PackMethod::Auto)).unwrap());
        bench.reopen();
        let evidence = bench.vault.inspect_staged(ID).unwrap();
        assert!(matches!(evidence, StagedEvidence::Partial { .. }), "{evidence:?}");
        assert!(bench.vault.receive(ID).is_ok());
    }
}

/// ROMA may send anything, also what looks like a frame of ours.
#[test]
fn a_frame_that_is_of_another_archive_is_part_of_the_package() {
    let package = long_zip(LONG);
    let bench = Bench::new();
    drop(begin(&bench.vault, &package, framing(&package, PackMethod::Auto)).unwrap());
    let of_another = fs::read(bench.path("staging/a34.part")).unwrap();
    bench.put("staging/a35.part", &of_another);
    let evidence = bench.vault.inspect_staged(ArchiveId(35)).unwrap();
    assert!(matches!(evidence, StagedEvidence::Partial { .. }), "{evidence:?}");
}

/// Whatever fails, and whether it fails once or the process dies there: the package is found, or
/// nothing of it is taken for one.
#[test]
fn no_failure_leaves_anything_but_the_package_or_a_beginning() {
    let package = long_zip(LONG);
    let (content, mut found) = (measure(&mut &package[..]).unwrap(), 0);
    for fault in [Fault::Once, Fault::Dead] {
        for n in 0.. {
            let mut bench = Bench::new();
            bench.disk.fail_at(n, fault);
            let stored = receive(&bench.vault, &package, PackMethod::Auto).and_then(|received| {
                let Received::Sealed(sealed) = received else { panic!("{received:?}") };
                bench.vault.store_sealed(ID, &sealed.file)
            });
            if !bench.disk.heal() {
                stored.unwrap();
                break;
            }
            bench.reopen();
            let job = framing(&package, PackMethod::Auto).sealing.job;
            let there = bench.path("vault").join(&job.path).exists();
            match bench.vault.inspect_staged(ID).unwrap() {
                StagedEvidence::Whole(staged) => {
                    assert_eq!(staged.content, content);
                    let file = bench.vault.pack(&job.of(content, Format::Zip)).unwrap();
                    bench.vault.check(&file, content).unwrap();
                    found += 1;
                }
                _ if there => assert!(n > 8, "stored before it was synced: {n} {fault:?}"),
                _ => {
                    let again = receive(&bench.vault, &package, PackMethod::Auto).unwrap();
                    assert!(matches!(again, Received::Sealed(_)));
                }
            }
        }
    }
    assert!(found > 10, "{found}");
}
