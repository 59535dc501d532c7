//! One file, several names: who gets one, what it proves, and what is left when one goes.

use std::fs;
use std::sync::Arc;
use std::thread;

use sha2::{Digest, Sha256};

use super::*;
use crate::model::{Format, Sha256Digest};
use crate::settings::Pack;
use crate::vault::disk::tests::{Bench, Fault, json};
use crate::vault::{DamageReason, Disk, DiskFile, OsDisk, SyncFileError};

const FIRST: &str = "prod/nightly/2026/11/20261130T020000Z-s12-1.zip";
const SECOND: &str = "prod/nightly/2026/12/20261201T020000Z-s13-1.zip";

/// A bench with one package in its vault.
fn with_stored() -> (Bench, StoredFile, Content) {
    let bench = Bench::new();
    let (file, raw) = bench.store(FIRST, &json(5000), Pack::default());
    bench.disk.take_log();
    (bench, file, raw)
}

fn shared(bench: &Bench, file: &StoredFile, raw: Content) -> StoredFile {
    match bench.vault.share(file, raw, SECOND).unwrap() {
        Shared::Yes(file) => file,
        Shared::No(error) => panic!("{error}"),
    }
}

#[test]
fn each_name_holds_the_package_and_the_last_one_takes_it_along() {
    let (bench, first, raw) = with_stored();
    let second = shared(&bench, &first, raw);
    let log = bench.disk.take_log();
    let expected = format!(
        "create_dir vault/prod/nightly/2026/12\nsync_dir vault/prod/nightly/2026\n\
         link vault/{FIRST} vault/{SECOND}\nsync_dir vault/prod/nightly/2026/12"
    );
    assert_eq!(log, expected);
    assert_eq!(second, StoredFile { path: SECOND.to_owned(), ..first.clone() });
    assert!(bench.vault.is_shared(&first, &second));
    for file in [&first, &second] {
        bench.vault.check(file, raw).unwrap();
        let mut bytes = Vec::new();
        bench.vault.extract(file, raw, &mut bytes).unwrap();
        assert_eq!(bytes, json(5000));
    }
    bench.vault.remove_stored(&first).unwrap();
    assert!(!bench.vault.stored_path(&first).exists());
    assert!(!bench.vault.is_shared(&first, &second) && bench.vault.is_shared(&second, &second));
    bench.vault.check(&second, raw).unwrap();
    bench.vault.remove_stored(&second).unwrap();
    assert_eq!(fs::read_dir(bench.path("vault/prod/nightly")).unwrap().count(), 0);
}

#[test]
fn a_damaged_file_gets_no_further_name() {
    let (bench, first, raw) = with_stored();
    let path = bench.vault.stored_path(&first);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = bench.vault.share(&first, raw, SECOND).unwrap_err();
    assert!(matches!(refused, CheckError::Damaged(_)), "{refused:?}");
    fs::remove_file(&path).unwrap();
    let refused = bench.vault.share(&first, raw, SECOND).unwrap_err();
    assert!(matches!(refused, CheckError::Damaged(DamageReason::Missing)), "{refused:?}");
    assert_eq!(bench.disk.take_log(), "");
}

#[test]
fn a_package_that_is_another_than_recorded_is_not_shared() {
    let (bench, first, raw) = with_stored();
    let other = Content { sha256: Sha256Digest([7; 32]), ..raw };
    let refused = bench.vault.share(&first, other, SECOND).unwrap_err();
    assert!(matches!(refused, CheckError::Damaged(DamageReason::PackageDiffers { .. })));
    assert_eq!(bench.disk.take_log(), "");
}

#[test]
fn what_a_dead_process_linked_is_recognised_and_anything_else_stays() {
    let (bench, first, raw) = with_stored();
    let second = shared(&bench, &first, raw);
    assert_eq!(shared(&bench, &first, raw), second);
    let path = bench.vault.stored_path(&second);
    // A copy is another file, though its bytes are the same.
    fs::remove_file(&path).unwrap();
    fs::copy(bench.vault.stored_path(&first), &path).unwrap();
    for bytes in [None, Some(b"somebody's")] {
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let before = fs::read(&path).unwrap();
        let refused = bench.vault.share(&first, raw, SECOND).unwrap();
        assert!(matches!(refused, Shared::No(_)), "{refused:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_path_that_is_not_plain_is_refused() {
    let (bench, first, raw) = with_stored();
    for path in ["../x.zip", "/x.zip", "a//b.zip", ""] {
        let refused = bench.vault.share(&first, raw, path).unwrap_err();
        assert!(matches!(refused, CheckError::Failed(_)), "{path}: {refused:?}");
    }
    assert_eq!(bench.disk.take_log(), "");
}

#[test]
fn after_any_failure_the_same_call_succeeds() {
    let mut n = 0;
    loop {
        for fault in [Fault::Once, Fault::Dead] {
            let (mut bench, first, raw) = with_stored();
            bench.disk.fail_at(n, fault);
            let failed = bench.vault.share(&first, raw, SECOND).is_err();
            if !bench.disk.heal() {
                assert!(!failed && n == 4, "{n} operations");
                return;
            }
            assert!(failed, "operation {n}");
            bench.vault.check(&first, raw).unwrap();
            bench.reopen();
            let second = shared(&bench, &first, raw);
            bench.vault.check(&second, raw).unwrap();
        }
        n += 1;
    }
}

/// A disk that cannot give a file another name, and says why not.
#[derive(Debug)]
struct NoLinks(i32);

impl Disk for NoLinks {
    fn create_new(&self, path: &std::path::Path) -> io::Result<Box<dyn DiskFile>> {
        OsDisk.create_new(path)
    }
    fn sync_file(&self, path: &std::path::Path) -> Result<(), SyncFileError> {
        OsDisk.sync_file(path)
    }
    fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn link(&self, _: &std::path::Path, _: &std::path::Path) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(self.0))
    }
    fn sync_dir(&self, dir: &std::path::Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn remove(&self, path: &std::path::Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn create_dir(&self, path: &std::path::Path) -> io::Result<()> {
        OsDisk.create_dir(path)
    }
    fn free_bytes(&self, dir: &std::path::Path) -> io::Result<u64> {
        OsDisk.free_bytes(dir)
    }
}

#[test]
fn where_no_link_can_be_made_the_answer_is_no_and_trouble_is_trouble() {
    let (bench, first, raw) = with_stored();
    let on = |errno: Errno| {
        let disk = Arc::new(NoLinks(errno.raw_os_error()));
        Vault::open(bench.dir.path(), disk).unwrap().share(&first, raw, SECOND)
    };
    for errno in [Errno::MLINK, Errno::PERM, Errno::OPNOTSUPP, Errno::XDEV, Errno::NOSYS] {
        assert!(matches!(on(errno).unwrap(), Shared::No(_)), "{errno}");
    }
    for errno in [Errno::IO, Errno::NOSPC, Errno::ROFS] {
        assert!(matches!(on(errno).unwrap_err(), CheckError::Failed(_)), "{errno}");
    }
    assert!(!bench.path("vault").join(SECOND).exists());
}

#[test]
fn a_lease_on_one_name_keeps_all_of_them() {
    let (bench, first, raw) = with_stored();
    let second = shared(&bench, &first, raw);
    let lease = bench.vault.lease(&second).unwrap();
    let refused = bench.vault.remove_stored(&first).unwrap_err();
    assert!(matches!(refused, super::super::VaultError::BeingRead { .. }), "{refused:?}");
    drop(lease);
    bench.vault.remove_stored(&first).unwrap();
    // The other name is no reason to take the gone one for readable.
    let gone = bench.vault.lease(&first).unwrap_err();
    assert!(matches!(gone, CheckError::Damaged(DamageReason::Missing)), "{gone:?}");
    bench.vault.lease(&second).unwrap();
}

/// They share one lock, and none of them reads.
#[test]
fn removals_of_several_names_do_not_take_each_other_for_readers() {
    let bench = Bench::new();
    bench.put("vault/prod/x/0.zip", b"12345");
    let sha256 = Sha256Digest(Sha256::digest(b"12345").into());
    let files: Vec<StoredFile> = (0..64)
        .map(|n| StoredFile {
            path: format!("prod/x/{n}.zip"),
            content: Content { bytes: 5, sha256 },
            format: Format::Zip,
            method: crate::model::Method::Store,
            inode: fs::metadata(bench.path("vault/prod/x/0.zip")).ok().map(|found| found.ino()),
        })
        .collect();
    for file in &files[1..] {
        let name = bench.vault.stored_path(file);
        fs::hard_link(bench.path("vault/prod/x/0.zip"), name).unwrap();
    }
    thread::scope(|scope| {
        for some in files.chunks(8) {
            let vault = &bench.vault;
            scope.spawn(move || {
                for file in some {
                    vault.remove_stored(file).unwrap();
                }
            });
        }
    });
    assert!(!bench.path("vault/prod/x").exists());
}
