use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;
use crate::model::{ArchiveId, Content, Format, Method, Sha256Digest};
use crate::settings::Pack;
use crate::vault::PackJob;
use crate::vault::disk::tests::{Bench, json};
use crate::vault::manifest::tests::manifest_of;

const PATH: &str = "prod/nightly/2026/11/x.zip";

fn stored(path: &str, bytes: u64) -> StoredFile {
    let content = Content { bytes, sha256: Sha256Digest([0; 32]) };
    let (format, method) = (Format::Zip, Method::Store);
    StoredFile { path: path.to_owned(), content, format, method, inode: None }
}

fn damage(bench: &Bench, bytes: u64) -> DamageReason {
    match bench.vault.look(&stored(PATH, bytes)) {
        Err(CheckError::Damaged(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn seen(vault: &Vault) -> (Vec<Found>, usize) {
    let (mut found, mut troubles) = (Vec::new(), 0);
    let mut visit = |entry| {
        found.push(entry);
        ControlFlow::Continue(())
    };
    vault.survey(&mut visit, &mut |_| troubles += 1);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    (found, troubles)
}

#[test]
fn a_look_sees_what_is_not_as_recorded() {
    let bench = Bench::new();
    assert_eq!(damage(&bench, 3), DamageReason::Missing);
    bench.put("vault/prod/nightly/2026/11/x.zip", b"123");
    bench.vault.look(&stored(PATH, 3)).unwrap();
    assert_eq!(damage(&bench, 4), DamageReason::SizeDiffers { recorded: 4, found: 3 });
    let file = bench.path("vault").join(PATH);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(damage(&bench, 3), DamageReason::NotAFile);
    fs::remove_dir(&file).unwrap();
    // A link to the very file is none of ours either.
    bench.put("elsewhere/x.zip", b"123");
    symlink(bench.path("elsewhere/x.zip"), &file).unwrap();
    assert_eq!(damage(&bench, 3), DamageReason::NotAFile);
    let month = bench.path("vault/prod/nightly/2026/11");
    fs::remove_dir_all(&month).unwrap();
    symlink(bench.path("elsewhere"), &month).unwrap();
    assert_eq!(damage(&bench, 3), DamageReason::Obstructed);
    let checked = bench.vault.check(&stored(PATH, 3), stored(PATH, 3).content);
    assert!(matches!(checked, Err(CheckError::Damaged(DamageReason::Obstructed))), "{checked:?}");
}

#[test]
fn a_survey_shows_everything_and_follows_nothing() {
    let bench = Bench::new();
    assert!(bench.vault.is_bare());
    assert_eq!(seen(&bench.vault), (vec![], 0));
    fs::create_dir_all(bench.path("vault/prod/empty")).unwrap();
    bench.put("outside/secret", b"x");
    symlink(bench.path("outside"), bench.path("vault/prod/link")).unwrap();
    let _socket = UnixListener::bind(bench.path("vault/socket")).unwrap();
    assert!(bench.vault.is_bare(), "neither a link nor a socket is a file");
    bench.put("vault/prod/a/x.zip", b"12");
    assert!(!bench.vault.is_bare());
    let found = |path: &str, bytes| Found { path: path.into(), bytes };
    let expected =
        vec![found("prod/a/x.zip", Some(2)), found("prod/link", None), found("socket", None)];
    assert_eq!(seen(&bench.vault), (expected, 0));
    fs::remove_dir_all(bench.path("vault")).unwrap();
    assert_eq!(seen(&bench.vault), (vec![], 1));
    assert!(bench.vault.is_bare());
}

#[test]
fn a_folder_that_cannot_be_read_does_not_hide_the_others() {
    let bench = Bench::new();
    bench.put("vault/a/x.zip", b"1");
    bench.put("vault/b/y.zip", b"1");
    let closed = bench.path("vault/a");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let privileged = fs::read_dir(&closed).is_ok();
    let (found, troubles) = seen(&bench.vault);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o750)).unwrap();
    // Whoever may read everything sees everything.
    let expected = if privileged { (2, 0) } else { (1, 1) };
    assert_eq!((found.len(), troubles), expected);
}

#[test]
fn what_is_found_is_read_whole_and_made_durable() {
    let bench = Bench::new();
    let mut receiver = bench.vault.receive(ArchiveId(34)).unwrap();
    receiver.write(&json(100)).unwrap();
    let staged = receiver.finish().unwrap();
    let job = PackJob {
        id: ArchiveId(34),
        raw: staged.content,
        format: staged.format,
        path: PATH.to_owned(),
        manifest: manifest_of(staged.content, staged.format),
        options: Pack::default(),
    };
    let file = bench.vault.pack(&job).unwrap();
    bench.disk.take_log();
    let (manifest, described) = bench.vault.describe(PATH).unwrap();
    assert_eq!((manifest, described), (job.manifest, file));
    assert_eq!(bench.disk.take_log(), "", "reading changes nothing");
    bench.vault.make_durable(PATH).unwrap();
    let log = bench.disk.take_log();
    let expected = "sync_file vault/prod/nightly/2026/11/x.zip\n\
                    sync_dir vault/prod/nightly/2026/11\nsync_dir vault/prod/nightly/2026\n\
                    sync_dir vault/prod/nightly\nsync_dir vault/prod\nsync_dir vault";
    assert_eq!(log.trim(), expected);
    // Opening a pipe would wait for ever; a link may lead anywhere.
    symlink(bench.path("vault").join(PATH), bench.path("vault/link.zip")).unwrap();
    for path in ["link.zip", "nothing.zip", "../staging/x", "prod"] {
        assert!(bench.vault.describe(path).is_err(), "{path}");
    }
}

#[test]
fn nothing_behind_a_link_is_moved_to_quarantine() {
    let bench = Bench::new();
    bench.put("outside/x.zip", b"1");
    symlink(bench.path("outside"), bench.path("vault/link")).unwrap();
    let refused = bench.vault.quarantine(&bench.path("vault/link/x.zip"), "no");
    assert!(matches!(refused, Err(VaultError::UnsafePath { .. })), "{refused:?}");
    assert_eq!(bench.vault.quarantined().unwrap(), 0);
    // The link itself is moved as it is.
    bench.vault.quarantine(&bench.path("vault/link"), "foreign").unwrap();
    assert_eq!(bench.vault.quarantined().unwrap(), 1);
    assert!(bench.path("outside/x.zip").exists());
}
