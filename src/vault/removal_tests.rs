//! What may be removed, and what keeps it.

use std::fs::File;

use sha2::{Digest, Sha256};

use super::super::disk::tests::Bench;
use super::super::{CheckError, DamageReason, ExtractError};
use super::*;
use crate::model::{Content, Format, Method, Sha256Digest};

const PATH: &str = "prod/nightly/2026/01/x.zip";

/// A bench with one stored file of these bytes, recorded as it lies there.
fn with_file(bytes: &[u8]) -> (Bench, StoredFile) {
    let bench = Bench::new();
    bench.put(&format!("vault/{PATH}"), bytes);
    let sha256 = Sha256Digest(Sha256::digest(bytes).into());
    let file = StoredFile {
        path: PATH.to_owned(),
        content: Content { bytes: bytes.len() as u64, sha256 },
        format: Format::Zip,
        method: Method::Store,
        inode: Some(fs::metadata(bench.path("vault").join(PATH)).unwrap().ino()),
    };
    (bench, file)
}

fn is_there(bench: &Bench) -> bool {
    bench.path("vault").join(PATH).exists()
}

#[test]
fn the_file_that_was_stored_is_not_read_again() {
    let (bench, mut file) = with_file(b"12345");
    // What would be found out by reading.
    file.content.sha256 = Sha256Digest([0; 32]);
    bench.vault.remove_stored(&file).unwrap();
    assert!(!is_there(&bench));
}

#[test]
fn a_copy_of_it_proves_itself_by_its_content() {
    for inode in [None, Some(u64::MAX)] {
        let (bench, file) = with_file(b"12345");
        bench.vault.remove_stored(&StoredFile { inode, ..file }).unwrap();
        assert!(!is_there(&bench));
    }
}

#[test]
fn another_file_of_the_same_length_stays() {
    for inode in [None, Some(u64::MAX)] {
        let (bench, mut file) = with_file(b"12345");
        file.inode = inode;
        file.content.sha256 = Sha256Digest([0; 32]);
        let refused = bench.vault.remove_stored(&file).unwrap_err();
        assert!(matches!(refused, VaultError::ContentDiffers { .. }), "{refused:?}");
        assert!(is_there(&bench));
        assert_eq!(bench.disk.take_log(), "");
    }
}

#[test]
fn who_reads_a_file_keeps_it() {
    let (bench, file) = with_file(b"12345");
    let leases = [bench.vault.lease(&file).unwrap(), bench.vault.lease(&file).unwrap()];
    for lease in leases {
        let refused = bench.vault.remove_stored(&file).unwrap_err();
        assert!(matches!(refused, VaultError::BeingRead { .. }), "{refused:?}");
        assert!(refused.to_string().ends_with("is being read; deletion is tried again"));
        assert!(is_there(&bench));
        drop(lease);
    }
    bench.vault.remove_stored(&file).unwrap();
    assert!(!is_there(&bench));
    let gone = bench.vault.lease(&file).unwrap_err();
    assert!(matches!(gone, CheckError::Damaged(DamageReason::Missing)), "{gone:?}");
}

#[test]
fn who_comes_while_it_is_removed_is_told() {
    let (bench, file) = with_file(b"12345");
    let deleter = File::open(bench.path("vault").join(PATH)).unwrap();
    deleter.try_lock().unwrap();
    for refused in [bench.vault.lease(&file).err(), bench.vault.check(&file, file.content).err()] {
        let told = matches!(refused, Some(CheckError::Failed(VaultError::BeingRemoved { .. })));
        assert!(told, "{refused:?}");
    }
}

#[test]
fn nothing_is_read_through_a_link() {
    let (bench, file) = with_file(b"12345");
    let path = bench.path("vault").join(PATH);
    fs::rename(&path, bench.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(bench.path("elsewhere"), &path).unwrap();
    let refused = bench.vault.lease(&file).unwrap_err();
    assert!(matches!(refused, CheckError::Damaged(DamageReason::NotAFile)), "{refused:?}");
    let refused = bench.vault.extract(&file, file.content, &mut io::sink()).unwrap_err();
    assert!(matches!(refused, ExtractError::Damaged(DamageReason::NotAFile)), "{refused:?}");
    let refused = bench.vault.remove_stored(&file).unwrap_err();
    assert!(matches!(refused, VaultError::UnsafePath { .. }), "{refused:?}");
    assert!(bench.path("elsewhere").exists());
}
