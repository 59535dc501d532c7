//! Paths, removal, quarantine and the lock.

use std::ops::ControlFlow;

use sha2::{Digest, Sha256};

use super::disk::tests::{Bench, mode};
use super::*;
use crate::model::{Content, Format, Method, Sha256Digest};

/// A file that holds so many of the first digits.
fn stored(path: &str, bytes: u64) -> StoredFile {
    let length = usize::try_from(bytes).unwrap();
    let sha256 = Sha256Digest(Sha256::digest(&b"12345"[..length]).into());
    let content = Content { bytes, sha256 };
    let (format, method) = (Format::Zip, Method::Store);
    StoredFile { path: path.to_owned(), content, format, method, inode: None }
}

const UNSAFE: [&str; 13] = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "../x.zip",
    "a/../../x.zip",
    "a/./x.zip",
    "./a/x.zip",
    "a//x.zip",
    "a/x.zip/",
    "/",
    "a/..",
    "a\0b",
];

#[test]
fn opening_makes_the_folders_once() {
    let bench = Bench::new();
    for folder in ["vault", "staging", "quarantine"] {
        assert_eq!(mode(&bench.path(folder)), 0o750, "{folder}");
    }
    Vault::open(bench.dir.path(), Arc::new(OsDisk)).unwrap();
    assert!(bench.vault.free_bytes().unwrap() > 0);
    let file = bench.path("file");
    fs::write(&file, "").unwrap();
    assert!(Vault::open(&file, Arc::new(OsDisk)).is_err());
}

#[test]
fn paths_are_made_of_names_and_numbers() {
    let path = Vault::relative_path(
        &"prod".parse().unwrap(),
        &"nightly".parse().unwrap(),
        "2026-01-02T23:59:59.999Z".parse().unwrap(),
        SnapshotId(12),
        3,
    );
    assert_eq!(path, "prod/nightly/2026/01/20260102T235959Z-s12-3.zip");
    let bench = Bench::new();
    assert_eq!(bench.vault.resolve(&path).unwrap(), bench.path("vault").join(&path));
    for early in ["0001-02-03T00:00:00Z", "9999-12-30T00:00:00Z"] {
        let path = Vault::relative_path(
            &"a".parse().unwrap(),
            &"b".parse().unwrap(),
            early.parse().unwrap(),
            SnapshotId(1),
            1,
        );
        assert_eq!(path.len(), "a/b/YYYY/MM/YYYYMMDDTHHMMSSZ-s1-1.zip".len(), "{path}");
    }
}

#[test]
fn no_path_leads_out_of_the_vault() {
    let bench = Bench::new();
    bench.put("x.zip", b"12345");
    let vault = bench.path("vault");
    for path in UNSAFE {
        assert!(bench.vault.stored_path(&stored(path, 5)).starts_with(&vault), "{path:?}");
        let refused = bench.vault.remove_stored(&stored(path, 5));
        assert!(matches!(refused, Err(VaultError::UnsafePath { .. })), "{path:?}: {refused:?}");
    }
    std::os::unix::fs::symlink(bench.dir.path(), vault.join("link")).unwrap();
    std::os::unix::fs::symlink(bench.path("x.zip"), vault.join("x.zip")).unwrap();
    for path in ["link/x.zip", "x.zip", "link"] {
        let refused = bench.vault.remove_stored(&stored(path, 5));
        assert!(matches!(refused, Err(VaultError::UnsafePath { .. })), "{path:?}: {refused:?}");
    }
    assert!(bench.path("x.zip").exists());
}

#[test]
fn removal_is_durable_and_takes_empty_folders_along() {
    let bench = Bench::new();
    let path = "prod/nightly/2026/01/x.zip";
    bench.put(&format!("vault/{path}"), b"12345");
    bench.put("vault/prod/nightly/2026/02/y.zip", b"1");
    let wrong = bench.vault.remove_stored(&stored(path, 4));
    assert!(matches!(wrong, Err(VaultError::SizeDiffers { recorded: 4, found: 5, .. })));
    assert_eq!(bench.disk.take_log(), "");

    bench.vault.remove_stored(&stored(path, 5)).unwrap();
    let log = format!("remove vault/{path}\nsync_dir vault/prod/nightly/2026/01");
    assert_eq!(bench.disk.take_log(), log);
    assert!(!bench.path("vault/prod/nightly/2026/01").exists());

    // Again, as after a crash: a success, and durable although the folder is gone.
    bench.vault.remove_stored(&stored(path, 5)).unwrap();
    assert_eq!(bench.disk.take_log(), "sync_dir vault/prod/nightly/2026");

    bench.vault.remove_stored(&stored("prod/nightly/2026/02/y.zip", 1)).unwrap();
    assert!(!bench.path("vault/prod/nightly/2026").exists());
    assert!(bench.path("vault/prod/nightly").exists());
    bench.vault.remove_stored(&stored("z.zip", 1)).unwrap();
    assert!(bench.path("vault").exists());
}

#[test]
fn many_removals_share_the_syncs() {
    let bench = Bench::new();
    let paths = ["p/e/2026/01/a.zip", "p/e/2026/01/b.zip", "p/e/2026/02/c.zip"];
    for path in paths {
        bench.put(&format!("vault/{path}"), b"12345");
    }
    let mut files: Vec<_> = paths.iter().map(|path| stored(path, 5)).collect();
    files.push(stored("../x", 5));
    let results = bench.vault.remove_all_stored(&files).unwrap();
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, true, false]);
    let log = bench.disk.take_log();
    assert_eq!(log.matches("sync_dir").count(), 2, "{log}");
    assert!(!bench.path("vault/p/e/2026").exists());

    bench.put("vault/p/e/2026/01/a.zip", b"12345");
    bench.disk.fail_at(1, super::disk::tests::Fault::Once);
    let error = bench.vault.remove_all_stored(&files[..1]).unwrap_err();
    assert!(error.is_fatal() && error.is_out_of_space(), "{error:?}");
}

#[test]
fn folders_come_and_go_without_getting_in_the_way() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (vault, staging) = (bench.vault.clone(), bench.path("staging"));
            scope.spawn(move || {
                for round in 0..100 {
                    let from = staging.join(format!("{thread}"));
                    fs::write(&from, b"12345").unwrap();
                    let file = stored(&format!("p/e/2026/0{}/{thread}.zip", 1 + round % 2), 5);
                    let target = vault.resolve(&file.path).unwrap();
                    vault.move_in(&from, &target).unwrap().unwrap();
                    vault.sync_dir(target.parent().unwrap()).unwrap();
                    vault.remove_stored(&file).unwrap();
                }
            });
        }
    });
    assert_eq!(walk(&bench.vault), []);
}

#[test]
fn a_folder_removed_behind_our_back_is_made_again() {
    let bench = Bench::new();
    let target = bench.vault.resolve("p/e/2026/01/x.zip").unwrap();
    let from = bench.path("staging/x");
    fs::write(&from, b"1").unwrap();
    bench.vault.move_in(&from, &target).unwrap().unwrap();
    fs::rename(&target, &from).unwrap();
    fs::remove_dir_all(bench.path("vault/p")).unwrap();
    let missed = bench.vault.move_in(&from, &target).unwrap().unwrap_err();
    assert_eq!(missed.kind(), io::ErrorKind::NotFound);
    bench.vault.move_in(&from, &target).unwrap().unwrap();
    assert!(target.exists());
}

#[test]
fn quarantine_keeps_everything() {
    let bench = Bench::new();
    for (content, name) in
        [("1", "nobody-s-x.zip"), ("2", "nobody-s-1-x.zip"), ("3", "nobody-s-2-x.zip")]
    {
        bench.put("vault/p/x.zip", content.as_bytes());
        let target = bench.vault.quarantine(&bench.path("vault/p/x.zip"), "nobody's").unwrap();
        assert_eq!(target, bench.path("quarantine").join(name));
        assert_eq!(fs::read_to_string(target).unwrap(), content);
    }
    // It may be the only copy, and as young as a process that died before it synced it.
    let first = "sync_file vault/p/x.zip\nrename vault/p/x.zip quarantine/nobody-s-x.zip\n\
                 sync_dir quarantine\nsync_dir vault/p";
    let log = bench.disk.take_log();
    assert!(log.contains(first), "{log}");
    bench.put("staging/odd", b"4");
    bench.vault.quarantine(&bench.path("staging/odd"), "foreign").unwrap();
    for path in ["lock", "vault", "vault/../lock", "quarantine/nobody-s-x.zip"] {
        assert!(bench.vault.quarantine(&bench.path(path), "no").is_err(), "{path}");
    }
}

#[test]
fn a_walk_sees_every_file() {
    let bench = Bench::new();
    assert_eq!(walk(&bench.vault), []);
    bench.put("vault/a/b/2026/01/x.zip", b"12");
    bench.put("vault/stray", b"");
    std::os::unix::fs::symlink("/", bench.path("vault/a/link")).unwrap();
    let seen = walk(&bench.vault);
    assert_eq!(seen[0], (PathBuf::from("a/b/2026/01/x.zip"), 2));
    assert_eq!(seen[1].0, Path::new("a/link"));
    assert_eq!(seen[2], (PathBuf::from("stray"), 0));
    fs::remove_dir_all(bench.path("vault")).unwrap();
    let mut troubles = 0;
    bench.vault.survey(&mut |_| ControlFlow::Continue(()), &mut |_| troubles += 1);
    assert_eq!(troubles, 1);
}

fn walk(vault: &Vault) -> Vec<(PathBuf, u64)> {
    let mut seen = Vec::new();
    let mut visit = |found: Found| {
        seen.push((found.path, found.bytes.unwrap_or(0)));
        ControlFlow::Continue(())
    };
    vault.survey(&mut visit, &mut |error| panic!("{error}"));
    seen.sort();
    seen
}

#[test]
fn one_daemon_holds_the_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!StateLock::is_held(dir.path()));
    let lock = StateLock::acquire(dir.path()).unwrap();
    assert_eq!(mode(&dir.path().join("lock")), 0o640);
    assert!(StateLock::is_held(dir.path()));
    let Err(LockError::Held { pid }) = StateLock::acquire(dir.path()) else { panic!("held twice") };
    assert_eq!(pid, Some(std::process::id()));
    let text = LockError::Held { pid: Some(7) }.to_string();
    assert_eq!(text, "another daemon (process 7) holds the state directory");
    drop(lock);
    assert!(!StateLock::is_held(dir.path()));
    // A longer number of a dead process leaves nothing behind.
    fs::write(dir.path().join("lock"), "99999999999999999999").unwrap();
    let _lock = StateLock::acquire(dir.path()).unwrap();
    let text = fs::read_to_string(dir.path().join("lock")).unwrap();
    assert_eq!(text, format!("{}\n", std::process::id()));
    let missing = StateLock::acquire(&dir.path().join("no")).unwrap_err();
    assert!(matches!(missing, LockError::Io { .. }));
}

#[test]
fn a_command_is_waited_for_and_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let moment = StateLock::keep_daemons_out(path).unwrap().expect("no daemon works there");
    assert!(!StateLock::is_held(path));
    std::thread::scope(|scope| {
        let daemon = scope.spawn(|| StateLock::acquire(path).unwrap());
        let command = scope.spawn(|| StateLock::keep_daemons_out(path).unwrap().is_some());
        drop(moment);
        // Whichever of the two comes first; the command finds the daemon or does not.
        let lock = daemon.join().unwrap();
        command.join().unwrap();
        assert!(StateLock::keep_daemons_out(path).unwrap().is_none());
        drop(lock);
    });
    assert!(StateLock::keep_daemons_out(path).unwrap().is_some());
}

#[test]
fn errors_name_the_path_and_leave_the_cause_to_the_source() {
    let source = || io::Error::from(io::ErrorKind::PermissionDenied);
    let path = PathBuf::from("/v/x");
    let errors: [&dyn std::error::Error; 3] = [
        &VaultError::Io { action: "create", path: path.clone(), source: source() },
        &VaultError::SyncFailed { path: path.clone(), source: source() },
        &VaultError::CopyDiffers { path, source: DamageReason::ManifestDiffers },
    ];
    for error in errors {
        let (text, cause) = (error.to_string(), error.source().unwrap().to_string());
        assert!(text.contains("/v/x") && !text.contains(&cause), "{text}");
        assert!(text.starts_with(char::is_lowercase), "{text}");
    }
}
