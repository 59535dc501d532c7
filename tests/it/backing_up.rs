//! `backup` of the real binary: a consistent copy beside a working daemon, from which the service
//! starts again; nothing is touched but the copy.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use roma_archived::catalog::FILE_NAME;
use roma_sim::{ContentSpec, JobState, Knobs};
use rustix::process::Signal;
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use crate::support::stage::Stage;

const PATIENCE: Duration = Duration::from_mins(1);

fn run(stage: &Stage, arguments: &[&str], code: i32) -> String {
    let output = stage.command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    String::from_utf8(if code == 0 { output.stdout } else { output.stderr }).unwrap()
}

fn back_up(stage: &Stage, more: &[&str]) -> Value {
    let arguments = [&["backup", "--json"], more].concat();
    serde_json::from_str(&run(stage, &arguments, 0)).unwrap()
}

fn jobs(stage: &mut Stage, count: usize) {
    let content = ContentSpec::Random { bytes: 3_000 };
    let jobs = (0..count).map(|_| stage.create(JobState::Ready, content.clone()).job_id);
    let jobs = jobs.collect();
    stage.watch(jobs).unwrap();
}

fn stage(count: usize) -> Stage {
    let mut stage = Stage::new(Knobs::default(), "");
    jobs(&mut stage, count);
    stage.settle().unwrap();
    stage
}

/// One column of a copy, read as somebody who has only the file.
fn ask(stage: &Stage, copy: &Path, sql: &str) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(copy).read_only(true).immutable(true);
    stage.runtime.block_on(async {
        let mut db = options.connect().await.unwrap();
        let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        let rows = query.fetch_all(&mut db).await.unwrap();
        db.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    })
}

/// Names, lengths, owners and times of a folder's files; but for the locks, whose time is that of
/// whoever last read the catalog.
fn faces(folder: &Path) -> BTreeMap<PathBuf, (u64, u32, u32, i64)> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            let is_locks = entry.path().extension().is_some_and(|end| end == "db-shm");
            let time = if is_locks { 0 } else { found.mtime_nsec() };
            (entry.path(), (found.len(), found.uid(), found.mode(), time))
        })
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_is_whole_private_and_the_catalog_is_not_touched() {
    let stage = stage(3);
    let copy = stage.scratch().join("copy.db");
    let before = faces(&stage.state);
    let told = back_up(&stage, &[copy.to_str().unwrap()]);
    assert_eq!(faces(&stage.state), before, "the state directory was written to");
    let found = copy.metadata().unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o640);
    let number = |sql: &str| stage.column(sql)[0].parse::<i64>().unwrap();
    assert_eq!(told["path"], copy.to_str().unwrap());
    assert_eq!(told["bytes"], found.len());
    assert_eq!((&told["archives"], &told["snapshots"]), (&3.into(), &3.into()));
    assert_eq!(told["last_event_seq"], number("SELECT max(seq) FROM events"));
    assert_eq!(told["schema_version"], 1);
    let rows = "SELECT a.id || a.state || a.raw_sha256 || (SELECT count(*) FROM events) \
                FROM archives AS a ORDER BY a.id";
    assert_eq!(ask(&stage, &copy, rows), stage.column(rows));
    let text = run(&stage, &["backup", copy.to_str().unwrap(), "--force"], 0);
    assert!(text.contains("3 snapshots with 3 archives, until 20"), "{text}");
    assert_eq!(names(stage.scratch()).iter().filter(|name| name.contains("partial")).count(), 0);
}

#[test]
fn what_would_destroy_something_is_refused() {
    let stage = stage(1);
    let copy = stage.scratch().join("copy.db");
    std::fs::write(&copy, "mine").unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let link = stage.scratch().join("link");
    std::os::unix::fs::symlink(&stage.state, &link).unwrap();
    let catalog = stage.state.join(FILE_NAME);
    let before = std::fs::read(&catalog).unwrap();
    for (target, more, code, expected) in [
        (path(&copy), &[][..], 73, "it exists already; --force replaces it"),
        (path(&catalog), &["--force"], 64, "is in the state directory"),
        (path(&stage.state), &[], 64, "is in the state directory"),
        (path(&link.join("lock")), &["--force"], 64, "is in the state directory"),
        (path(&stage.state.join("vault/x.db")), &[], 64, "is in the state directory"),
        (path(&stage.scratch().join("none/copy.db")), &[], 73, "No such file or directory"),
        (format!("{}/", path(&stage.scratch().join("none"))), &[], 64, "there is no folder"),
        (path(&copy), &["--keep", "3"], 64, "--keep needs a folder"),
        (path(stage.scratch()), &["--keep", "0"], 64, "invalid value"),
    ] {
        let arguments = [&["backup", &target], more].concat();
        let text = run(&stage, &arguments, code);
        assert!(text.contains(expected), "{target}: {text}");
    }
    assert_eq!(std::fs::read(&copy).unwrap(), b"mine");
    assert_eq!(std::fs::read(&catalog).unwrap(), before);
    assert!(names(stage.scratch()).iter().all(|name| !name.contains("partial")));
}

#[test]
fn of_several_copies_in_a_folder_the_newest_are_kept() {
    let stage = stage(1);
    let folder = stage.scratch().join("copies");
    std::fs::create_dir(&folder).unwrap();
    let older = ["roma-catalog-20250101T000000Z.db", "roma-catalog-20260101T000000Z.db"];
    let others = ["roma-catalog-before-update.db", "notes.txt"];
    // The clock has been further once.
    let later = "roma-catalog-29990101T000000Z.db";
    for name in older.into_iter().chain(others).chain([later]) {
        std::fs::write(folder.join(name), "x").unwrap();
    }
    let told = back_up(&stage, &[folder.to_str().unwrap(), "--keep", "3"]);
    let new = told["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(told["removed"], serde_json::json!([folder.join(older[0])]));
    let mut expected = [&others[..], &[older[1], later, &new]].concat();
    expected.sort_unstable();
    assert_eq!(names(&folder), expected);
    let told = back_up(&stage, &[folder.to_str().unwrap(), "--keep", "1", "--force"]);
    let new = told["path"].as_str().unwrap();
    assert!(Path::new(new).exists(), "the one that was just made stays");
    assert_eq!(names(&folder).len(), others.len() + 1);
}

/// Every copy, whenever it was made, is a moment of the catalog, and the service can be begun anew
/// from the last one with what was stored since.
#[test]
fn copies_beside_a_busy_daemon_are_consistent_and_can_be_restored() {
    let mut stage = stage(2);
    let mut daemon = stage.start(&["run"]);
    let mut copies = Vec::new();
    for number in 0..6 {
        jobs(&mut stage, 4);
        let copy = stage.scratch().join(format!("{number}.db"));
        let told = back_up(&stage, &[copy.to_str().unwrap()]);
        let sound = "SELECT count(*) FROM archives AS a WHERE NOT EXISTS (
            SELECT 1 FROM events AS e WHERE e.archive_id = a.id AND e.to_state = a.state)";
        assert_eq!(ask(&stage, &copy, &format!("SELECT CAST(({sound}) AS TEXT)")), ["0"]);
        copies.push((copy, told["archives"].as_i64().unwrap()));
    }
    let all = "SELECT count(*) FROM archives WHERE state = 'stored'";
    let start = std::time::Duration::from_millis(50);
    for _ in 0..600 {
        if stage.column(all) == ["26"] {
            break;
        }
        std::thread::sleep(start);
    }
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    assert_eq!(stage.column(all), ["26"]);
    assert!(copies.is_sorted_by_key(|(_, archives)| *archives), "{copies:?}");

    let (copy, known) = copies.last().unwrap();
    for side in ["-wal", "-shm"] {
        std::fs::remove_file(stage.state.join(format!("{FILE_NAME}{side}"))).unwrap();
    }
    std::fs::copy(copy, stage.state.join(FILE_NAME)).unwrap();
    stage.settle().unwrap();
    assert_eq!(stage.column("SELECT count(*) FROM archives"), [known.to_string()]);
    assert_eq!(stage.column(all), [known.to_string()], "what was on its way was taken back");
    let audit = stage.audit_an_older_catalog();
    assert!(audit.findings.is_empty(), "{:?}", audit.findings);
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// `docs/operations.md` says: the catalog first, the vault after it. Then nothing that the copied
/// catalog knows is missing; the other way round it is.
#[test]
fn of_a_pair_the_catalog_is_copied_first() {
    for catalog_first in [true, false] {
        let mut stage = stage(2);
        let (copy, vault) = (stage.scratch().join("copy.db"), stage.scratch().join("vault"));
        let catalog = |stage: &Stage| drop(back_up(stage, &[copy.to_str().unwrap()]));
        let files = |stage: &Stage| copy_all(&stage.state.join("vault"), &vault);
        if catalog_first {
            catalog(&stage);
        } else {
            files(&stage);
        }
        jobs(&mut stage, 1);
        stage.settle().unwrap();
        if catalog_first {
            files(&stage);
        } else {
            catalog(&stage);
        }

        std::fs::remove_dir_all(&stage.state).unwrap();
        std::fs::create_dir(&stage.state).unwrap();
        std::fs::rename(&vault, stage.state.join("vault")).unwrap();
        std::fs::rename(&copy, stage.state.join(FILE_NAME)).unwrap();
        stage.settle().unwrap();
        let states = stage.column("SELECT state FROM archives ORDER BY id");
        let quarantine = names(&stage.state.join("quarantine"));
        if catalog_first {
            assert_eq!(states, ["stored", "stored"]);
            assert!(quarantine[0].starts_with("unknown-"), "{quarantine:?}");
            assert_eq!(quarantine.len(), 1, "{quarantine:?}");
        } else {
            assert_eq!(states, ["stored", "stored", "damaged"]);
            assert!(quarantine.is_empty(), "{quarantine:?}");
        }
    }
}
