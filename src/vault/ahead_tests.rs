//! Packing ahead: the same bytes as packing afterwards, and nothing else is ever used.

use std::fs;

use super::*;
use crate::model::{Content, Sha256Digest};
use crate::settings::Pack;
use crate::vault::disk::tests::{Bench, Fault, json, random};
use crate::vault::manifest::tests::manifest_of;
use crate::vault::{Receiver, Staged};

const ID: ArchiveId = ArchiveId(34);

fn job(raw: Content) -> PackJob {
    PackJob {
        id: ID,
        raw,
        format: Format::Json,
        path: "prod/nightly/2026/11/x.zip".to_owned(),
        manifest: manifest_of(raw, Format::Json),
        options: Pack { level: 2.try_into().unwrap(), ..Pack::default() },
    }
}

/// As much as is known before the package is there.
fn draft(bytes: usize) -> PackJob {
    let raw = Content { bytes: bytes as u64, sha256: Sha256Digest([0; 32]) };
    let mut draft = job(raw);
    draft.manifest.downloaded_at = "2026-11-24T02:00:00Z".parse().unwrap();
    draft
}

fn package() -> Vec<u8> {
    json(usize::try_from(PACKED_AHEAD_FROM).unwrap() + 12_345)
}

/// A download of the package under way, half of it there, and its follower.
fn begun(bench: &Bench, package: &[u8], draft: PackJob) -> (Receiver, Option<Follower>) {
    let mut receiver = bench.vault.receive(ID).unwrap();
    let follower = bench.vault.pack_ahead(draft);
    receiver.write(&package[..package.len() / 2]).unwrap();
    (receiver, follower)
}

fn finished(mut receiver: Receiver, package: &[u8], follower: Option<Follower>) -> Staged {
    receiver.write(&package[package.len() / 2..]).unwrap();
    let staged = receiver.finish().unwrap();
    if let Some(follower) = follower {
        follower.whole();
    }
    staged
}

/// The bytes of the stored file, packed and checked.
fn stored(bench: &Bench, job: &PackJob) -> Vec<u8> {
    let file = bench.vault.pack(job).unwrap();
    bench.vault.check(&file, job.raw).unwrap();
    assert!(!bench.path("staging/a34.zip").exists());
    assert!(bench.vault.inner.ahead.lock().is_empty());
    fs::read(bench.vault.stored_path(&file)).unwrap()
}

fn packed_afterwards(package: &[u8], job: &PackJob) -> Vec<u8> {
    let bench = Bench::new();
    let mut receiver = bench.vault.receive(ID).unwrap();
    receiver.write(package).unwrap();
    receiver.finish().unwrap();
    stored(&bench, job)
}

/// How often the zip was begun.
fn begun_zips(bench: &Bench) -> usize {
    bench.disk.take_log().matches("create_new staging/a34.zip").count()
}

#[test]
fn it_is_finished_with_the_package_and_has_the_same_bytes() {
    let bench = Bench::new();
    let package = package();
    let (receiver, follower) = begun(&bench, &package, draft(package.len()));
    assert!(follower.is_some());
    let staged = finished(receiver, &package, follower);
    let job = job(staged.content);
    let bytes = stored(&bench, &job);
    assert_eq!(begun_zips(&bench), 1);
    assert!(bytes == packed_afterwards(&package, &job));
}

#[test]
fn only_what_is_large_and_will_shrink_is_packed_ahead() {
    let bench = Bench::new();
    drop(bench.vault.receive(ID).unwrap());
    let length = package().len();
    assert!(bench.vault.pack_ahead(draft(length - 20_000)).is_none());
    assert!(bench.vault.pack_ahead(PackJob { format: Format::Zip, ..draft(length) }).is_none());
    let mut stored = draft(length);
    stored.options.method = PackMethod::Store;
    assert!(bench.vault.pack_ahead(stored).is_none());
    assert!(bench.vault.pack_ahead(PackJob { id: ArchiveId(35), ..draft(length) }).is_none());
    drop(bench.vault.pack_ahead(draft(length)).unwrap());
    bench.vault.forget_ahead(ID);
    assert!(bench.vault.inner.ahead.lock().is_empty());
}

#[test]
fn what_turns_out_otherwise_is_packed_anew() {
    let text = package();
    let noise = [b"{".to_vec(), random(1, text.len())].concat();
    let other_begin = [b"<html>".to_vec(), text.clone()].concat();
    let half = [&text[..2 << 20], &random(2, text.len())].concat();
    for package in [noise, other_begin, half] {
        let bench = Bench::new();
        let (receiver, follower) = begun(&bench, &package, draft(package.len()));
        let staged = finished(receiver, &package, follower);
        let mut job = job(staged.content);
        job.format = staged.format;
        job.manifest = manifest_of(staged.content, staged.format);
        assert!(stored(&bench, &job) == packed_afterwards(&package, &job));
    }
}

#[test]
fn what_was_announced_otherwise_is_packed_anew() {
    let package = package();
    for announced in [package.len() - 1, package.len() + 1, 10 * package.len()] {
        let bench = Bench::new();
        let (receiver, follower) = begun(&bench, &package, draft(announced));
        let job = job(finished(receiver, &package, follower).content);
        stored(&bench, &job);
    }
    for change in 0..3 {
        let bench = Bench::new();
        let mut draft = draft(package.len());
        match change {
            0 => draft.manifest.instance_id = None,
            1 => draft.options.level = 3.try_into().unwrap(),
            _ => drop(draft.manifest.ready_at.take()),
        }
        let (receiver, follower) = begun(&bench, &package, draft);
        let job = job(finished(receiver, &package, follower).content);
        let bytes = stored(&bench, &job);
        assert_eq!(begun_zips(&bench), 2);
        assert!(bytes == packed_afterwards(&package, &job));
    }
}

#[test]
fn a_package_that_does_not_come_leaves_nothing() {
    let bench = Bench::new();
    let package = package();
    let (receiver, follower) = begun(&bench, &package, draft(package.len()));
    drop(receiver);
    drop(follower);
    bench.vault.forget_ahead(ID);
    assert!(!bench.path("staging/a34.zip").exists());
    assert!(bench.vault.inner.ahead.lock().is_empty());
    // And the next attempt is packed ahead like the first.
    bench.vault.discard_staged(ID).unwrap();
    let (receiver, follower) = begun(&bench, &package, draft(package.len()));
    let job = job(finished(receiver, &package, follower).content);
    bench.disk.take_log();
    stored(&bench, &job);
}

#[test]
fn a_package_that_nobody_wants_any_more_is_not_packed_to_its_end() {
    let bench = Bench::new();
    let package = package();
    let (receiver, follower) = begun(&bench, &package, draft(package.len()));
    finished(receiver, &package, follower);
    bench.vault.discard_staged(ID).unwrap();
    assert!(bench.vault.inner.ahead.lock().is_empty());
    assert_eq!(bench.vault.list_staged().unwrap().ours, []);
}

#[test]
fn bytes_that_changed_on_the_way_are_never_stored() {
    let bench = Bench::new();
    let package = package();
    let (receiver, follower) = begun(&bench, &package, draft(package.len()));
    let job = job(finished(receiver, &package, follower).content);
    wait_for_end(&bench);
    // Something writes into the zip after it was read back.
    let zip = bench.path("staging/a34.zip");
    let mut bytes = fs::read(&zip).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&zip, bytes).unwrap();
    assert!(stored(&bench, &job) == packed_afterwards(&package, &job));
    assert_eq!(begun_zips(&bench), 2);
}

#[test]
fn what_the_disk_refuses_is_done_anew_but_for_a_sync() {
    let package = package();
    for (operation, is_fatal) in [(0, false), (1, false), (2, true)] {
        let bench = Bench::new();
        let (receiver, follower) = begun(&bench, &package, draft(package.len()));
        let job = job(finished(receiver, &package, follower).content);
        wait_for_end(&bench);
        // The directory, the front, the sync.
        bench.disk.fail_at(operation, Fault::Once);
        match bench.vault.pack(&job) {
            Ok(file) => bench.vault.check(&file, job.raw).unwrap(),
            Err(error) => assert!(is_fatal && error.is_fatal(), "{operation}: {error:?}"),
        }
        assert!(bench.disk.heal());
        assert_eq!(bench.path("vault").join(&job.path).exists(), !is_fatal);
        stored(&bench, &job);
    }
}

#[test]
fn where_the_disk_refuses_the_zip_it_is_packed_afterwards() {
    let bench = Bench::new();
    let package = package();
    fs::create_dir(bench.path("staging/a34.zip")).unwrap();
    let (receiver, follower) = begun(&bench, &package, draft(package.len()));
    while !bench.vault.inner.ahead.lock().is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    fs::remove_dir(bench.path("staging/a34.zip")).unwrap();
    let job = job(finished(receiver, &package, follower).content);
    assert!(stored(&bench, &job) == packed_afterwards(&package, &job));
}

fn wait_for_end(bench: &Bench) {
    let ahead = bench.vault.inner.ahead.lock().get(&ID).cloned().unwrap();
    while !ahead.state().has_ended {
        thread::sleep(Duration::from_millis(1));
    }
}
