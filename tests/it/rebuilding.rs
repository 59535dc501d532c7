//! `rebuild` of the real binary and of the library: the catalog from the vault alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roma_archived::catalog::{Access, Catalog, FILE_NAME};
use roma_archived::clock::Clock;
use roma_archived::config;
use roma_archived::service;
use roma_archived::vault::{Disk, OsDisk, StateLock};
use roma_sim::{ContentSpec, Endpoint, JobState, Knobs};
use serde_json::Value;

use crate::support::faulty_disk::{Fault, FaultyDisk};
use crate::support::platter::Platter;
use crate::support::stage::Stage;

/// Of an archive, what its file says; `docs/operations.md` lists the rest.
const ARCHIVES: &str = "\
SELECT json_array(id, snapshot_id, export, instance, part, job_id, package_id, state, scheduled_at,
    ready_at, downloaded_at, raw_bytes, raw_sha256, stored_bytes, stored_sha256, format, method,
    path, attempts, next_attempt_at, last_error, same_as)
FROM archives WHERE state = 'stored' ORDER BY id";
const SNAPSHOTS: &str = "\
SELECT json_array(id, export, instance, taken_at, state, parts, parts_stored, raw_bytes,
    stored_bytes)
FROM snapshots WHERE state = 'complete' ORDER BY id";

fn run(stage: &Stage, arguments: &[&str], code: i32) -> String {
    let output = stage.command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn watch(stage: &mut Stage, contents: &[ContentSpec]) {
    let jobs = contents.iter().map(|c| stage.create(JobState::Ready, c.clone()).job_id).collect();
    stage.watch(jobs).unwrap();
}

/// Two exports, adopted jobs of every kind, one of which is lost, and one that was deleted.
fn life(more: &str) -> Stage {
    let mut stage = Stage::new(Knobs::default(), more);
    let contents = [
        ContentSpec::Random { bytes: 3_000 },
        ContentSpec::Json { bytes: 9_000 },
        ContentSpec::Zip { bytes: 5_000 },
    ];
    watch(&mut stage, &contents);
    let lost = stage.create(JobState::Finished, contents[0].clone()).job_id;
    stage.watch(vec![lost]).unwrap();
    stage.settle().unwrap();
    run(&stage, &["export", "nightly"], 0);
    stage.settle().unwrap();
    assert_eq!(stage.column("SELECT count(*) FROM archives WHERE state = 'stored'"), ["4"]);
    stage
}

fn catalog_files(stage: &Stage) -> Vec<PathBuf> {
    let all = std::fs::read_dir(&stage.state).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = all
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(FILE_NAME))
        .collect();
    all.sort();
    all
}

fn forget_what_is_kept_aside(stage: &Stage) {
    for path in catalog_files(stage) {
        if path.to_str().unwrap().contains(".broken") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

fn lose_catalog(stage: &Stage) {
    for path in catalog_files(stage) {
        std::fs::remove_file(path).unwrap();
    }
}

/// Every file below a folder with its content.
fn everything(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = std::fs::read(&path).unwrap();
                found.insert(path, content);
            }
        }
    }
    found
}

#[test]
fn what_is_stored_is_known_again_and_the_service_goes_on() {
    let mut stage = life("");
    let (archives, snapshots) = (stage.column(ARCHIVES), stage.column(SNAPSHOTS));
    let extract = |stage: &Stage, name: &str| {
        let target = stage.scratch().join(name);
        run(stage, &["extract", "a2", "-o", target.to_str().unwrap()], 0);
        std::fs::read(target).unwrap()
    };
    let package = extract(&stage, "before");
    let vault = everything(&stage.state.join("vault"));
    lose_catalog(&stage);

    // Nobody takes the packages for nobody's.
    for arguments in [&["run", "--once"][..], &["export", "nightly"]] {
        let text = run(&stage, arguments, 65);
        assert!(text.contains("let `roma-archived rebuild` make it anew"), "{text}");
    }
    let told: Value = serde_json::from_str(&run(&stage, &["rebuild", "--json"], 0)).unwrap();
    assert_eq!((&told["archives"], &told["snapshots"]), (&4.into(), &4.into()));
    assert_eq!((&told["moved_aside"], &told["staged_files"]), (&Value::Null, &0.into()));
    assert_eq!(told["left"], serde_json::json!([]));
    assert_eq!(told["bytes"], vault.values().map(|file| file.len() as u64).sum::<u64>());
    assert_eq!(stage.column(ARCHIVES), archives);
    assert_eq!(stage.column(SNAPSHOTS), snapshots);
    assert_eq!(extract(&stage, "after"), package);
    assert_eq!(everything(&stage.state.join("vault")), vault);
    assert!(!stage.state.join("rebuild").exists());
    // A reader of the group, who may not make them, needs all three.
    assert_eq!(catalog_files(&stage).len(), 3);
    run(&stage, &["verify", "--all"], 0);
    run(&stage, &["status"], 0);

    let whole = "SELECT json_extract(detail, '$.archives') FROM events WHERE event = \
                 'catalog_rebuilt'";
    assert_eq!(stage.column(whole), ["4"]);
    let origins = "SELECT count(*) FROM events WHERE event = 'snapshot_opened' AND \
                   json_extract(detail, '$.origin') = 'rebuild'";
    assert_eq!(stage.column(origins), ["4"]);
    // Numbers go on, and what is new is stored as ever.
    watch(&mut stage, &[ContentSpec::Json { bytes: 700 }]);
    run(&stage, &["export", "nightly"], 0);
    stage.settle().unwrap();
    let newest = stage.column(
        "SELECT id FROM archives WHERE stored_at > (SELECT max(at) FROM \
                               events WHERE event = 'catalog_rebuilt')",
    );
    let known: i64 = archives.iter().map(|row| number(row)).max().unwrap();
    assert_eq!(newest.len(), 2);
    assert!(newest.iter().all(|id| id.parse::<i64>().unwrap() > known), "{newest:?} {known}");
    assert_eq!(&stage.column(ARCHIVES)[..4], archives);
    let gets = stage.simulator.world().ledger().count_all(Endpoint::Download);
    stage.settle().unwrap();
    assert_eq!(stage.simulator.world().ledger().count_all(Endpoint::Download), gets);
    assert_eq!(std::fs::read_dir(stage.state.join("quarantine")).unwrap().count(), 0);
}

fn number(row: &str) -> i64 {
    let row: Value = serde_json::from_str(row).unwrap();
    row[0].as_i64().unwrap()
}

#[test]
fn a_broken_catalog_is_kept_beside_and_a_whole_one_is_not_touched_unasked() {
    let stage = life("");
    let archives = stage.column(ARCHIVES);
    let path = stage.state.join(FILE_NAME);
    let before = std::fs::read(&path).unwrap();
    let text = run(&stage, &["rebuild"], 73);
    assert!(text.contains("there is a catalog already"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::write(&path, "x".repeat(40_000)).unwrap();
    run(&stage, &["status"], 65);
    let text = run(&stage, &["rebuild", "--force"], 0);
    assert!(text.contains("the one before is kept as "), "{text}");
    assert!(text.contains("forgotten: pins, losses"), "{text}");
    assert_eq!(stage.column(ARCHIVES), archives);
    let aside: Vec<PathBuf> = catalog_files(&stage).into_iter().skip(1).collect();
    let kept = aside.iter().find(|path| path.extension().is_some_and(|end| end == "broken"));
    assert_eq!(std::fs::read(kept.unwrap()).unwrap(), "x".repeat(40_000).as_bytes());
    run(&stage, &["status"], 0);

    // One that is whole, with its log of changes, can be put back. It may be the same second.
    let text = run(&stage, &["rebuild", "--force"], 0);
    let again = text.lines().find_map(|line| line.strip_prefix("the one before is kept as "));
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(again.unwrap());
    let count: i64 = stage.runtime.block_on(async {
        use sqlx::ConnectOptions;
        let mut db = options.connect().await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM archives").fetch_one(&mut db).await.unwrap()
    });
    assert_eq!(count, 4);
}

#[test]
fn what_does_not_prove_itself_is_left_and_told() {
    let stage = life("");
    let paths = stage.column("SELECT path FROM archives WHERE state = 'stored' ORDER BY id");
    let vault = stage.state.join("vault");
    let damaged = vault.join(&paths[1]);
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    std::fs::write(vault.join("notes.txt"), "mine").unwrap();
    let strange = vault.join("prod/watched/2020/01/20200101T000000Z-s99-1.zip");
    std::fs::create_dir_all(strange.parent().unwrap()).unwrap();
    std::fs::copy(vault.join(&paths[0]), &strange).unwrap();
    lose_catalog(&stage);
    let text = run(&stage, &["rebuild"], 1);
    for line in [
        "the catalog has 3 snapshots with 3 archives again",
        &format!("left where it is: vault/{}: it cannot be read as a zip", paths[1]),
        "left where it is: vault/notes.txt: it has no name of a stored package",
        "its manifest says that it belongs at prod/watched/",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(damaged.exists() && strange.exists());
    stage.settle().unwrap();
    assert_eq!(std::fs::read_dir(stage.state.join("quarantine")).unwrap().count(), 3);
    assert_eq!(stage.column("SELECT DISTINCT state FROM archives"), ["stored"]);
}

#[test]
fn nothing_is_rebuilt_beside_a_daemon_or_from_nothing() {
    let stage = Stage::new(Knobs::default(), "");
    let text = run(&stage, &["rebuild"], 65);
    assert!(text.contains("is its disk mounted"), "{text}");
    assert!(!stage.state.exists(), "it made something");
    drop(stage);

    let stage = life("");
    let lock = StateLock::acquire(&stage.state).unwrap();
    let text = run(&stage, &["rebuild", "--force"], 75);
    assert!(text.contains("holds the state directory"), "{text}");
    drop(lock);
    std::fs::rename(stage.state.join("vault"), stage.scratch().join("away")).unwrap();
    std::fs::create_dir(stage.state.join("vault")).unwrap();
    run(&stage, &["rebuild", "--force"], 65);
    assert_eq!(catalog_files(&stage).len(), 3, "the catalog is still there");
    assert_eq!(stage.column("SELECT count(*) FROM archives"), ["5"]);
}

/// Of archives that share a file, the manifest speaks of the first only: the others get new
/// numbers, and their jobs are forgotten. What is stored, and what it counts as, is as it was.
#[test]
fn shared_files_are_shared_again() {
    const SHARED: &str = "\
        SELECT json_array(snapshot_id, part, state, raw_sha256, stored_bytes, path,
            (SELECT path FROM archives AS o WHERE o.id = a.same_as))
        FROM archives AS a ORDER BY snapshot_id, part";
    const SIZES: &str = "\
        SELECT json_array(id, state, substr(taken_at, 1, 19), parts, parts_stored, raw_bytes,
            stored_bytes)
        FROM snapshots ORDER BY id";
    for original_is_there in [true, false] {
        let default_content = ContentSpec::Steady { changes_every: 0 };
        let stage = Stage::new(Knobs { default_content, ..Knobs::default() }, "");
        for _ in 0..3 {
            run(&stage, &["export", "nightly"], 0);
            stage.settle().unwrap();
        }
        let same_as = "SELECT coalesce(same_as, 0) FROM archives ORDER BY id";
        assert_eq!(stage.column(same_as), ["0", "1", "1"]);
        if !original_is_there {
            let path = stage.column("SELECT path FROM archives WHERE id = 1").remove(0);
            std::fs::remove_file(stage.state.join("vault").join(path)).unwrap();
            run(&stage, &["verify", "a1"], 1);
        }
        let skip = usize::from(!original_is_there);
        let (shared, sizes) = (stage.column(SHARED), stage.column(SIZES));
        lose_catalog(&stage);
        run(&stage, &["rebuild"], 0);
        assert_eq!(stage.column(SHARED), shared[skip..]);
        assert_eq!(stage.column(SIZES), sizes[skip..]);
        let jobs = stage.column("SELECT job_id FROM archives ORDER BY snapshot_id");
        assert_eq!(jobs.last().unwrap(), "unknown-s3-1");
        run(&stage, &["verify", "--all"], 0);
        stage.settle().unwrap();
        assert_eq!(stage.column(SHARED), shared[skip..]);
    }
}

/// A job that runs at ROMA, and a package that waits in staging, are known to the lost catalog
/// only: the one is adopted anew, the other kept for a person.
#[test]
fn what_was_under_way_can_be_taken_on_again() {
    let mut stage = life("");
    let job = stage.create(JobState::Ready, ContentSpec::Json { bytes: 4_000 }).job_id;
    stage.watch(vec![job.clone()]).unwrap();
    let next: i64 = stage.column("SELECT max(id) FROM archives")[0].parse().unwrap();
    let raw = stage.state.join(format!("staging/a{}.raw", next + 1));
    std::fs::write(&raw, "the only copy").unwrap();
    lose_catalog(&stage);
    let text = run(&stage, &["rebuild"], 0);
    assert!(text.contains("1 downloads in staging/ belong to no archive any more"), "{text}");
    let text = run(&stage, &["watch", "prod", &job], 0);
    let id = stage.column("SELECT max(id) FROM archives").remove(0);
    assert_eq!(id, (next + 2).to_string(), "not the number of what lies in staging: {text}");
    stage.settle().unwrap();
    let adopted = format!("SELECT state FROM archives WHERE id = {id}");
    assert_eq!(stage.column(&adopted), ["stored"]);
    let kept = stage.state.join(format!("quarantine/orphan-a{}.raw", next + 1));
    assert_eq!(std::fs::read(kept).unwrap(), b"the only copy");
}

/// The policy that would have taken nearly all takes nothing for a day: pins are forgotten.
#[test]
fn no_deletion_follows_at_once() {
    let more = "[retention]\nkeep_last = 1\ntrash = \"1h\"\n";
    let stage = life("");
    lose_catalog(&stage);
    let config = std::fs::read_to_string(&stage.config).unwrap();
    std::fs::write(&stage.config, config + more).unwrap();
    run(&stage, &["rebuild"], 0);
    stage.settle().unwrap();
    assert_eq!(stage.column("SELECT DISTINCT state FROM archives"), ["stored"]);
    let plan = run(&stage, &["plan"], 0);
    assert!(plan.contains("policy"), "{plan}");
    let because = stage.column("SELECT DISTINCT kept_because FROM snapshots").join(" ");
    assert!(because.contains("policy changed"), "{because}");
}

fn settings(stage: &Stage) -> roma_archived::settings::Settings {
    config::load(&stage.config).unwrap().settings
}

async fn rebuild(
    settings: &roma_archived::settings::Settings,
    disk: Arc<dyn Disk>,
) -> Result<u64, service::ServiceError> {
    let mut told = Vec::new();
    let mut progress = |done, total| told.push((done, total));
    let rebuilt = service::rebuild(settings, &Clock::System, disk, true, &mut progress).await?;
    assert!(told.is_sorted() && told.last().is_some_and(|(done, total)| done == total));
    Ok(rebuilt.archives)
}

/// Every durable operation fails once, and the process ends there, as after a kill: either no
/// catalog is there, the old one, or the new one; the same command then makes it good.
#[test]
fn broken_off_anywhere_it_can_be_begun_anew() {
    let stage = life("");
    let archives = stage.column(ARCHIVES);
    let settings = settings(&stage);
    let vault = everything(&stage.state.join("vault"));
    let mut operations = 0;
    let platter = Platter::new(&stage.state);
    for n in 1..100 {
        let faulty = FaultyDisk::new(&platter);
        faulty.plan(n, Fault::Eio);
        let result = stage.runtime.block_on(rebuild(&settings, faulty.disk()));
        if faulty.hits().is_empty() {
            assert_eq!(result.unwrap(), 4);
            break;
        }
        operations = n;
        let story = format!("{n}: {:?} {result:?}", faulty.hits());
        assert!(result.is_err(), "{story}");
        let open = stage.runtime.block_on(Catalog::open(&stage.state, Access::Reader));
        if let Ok(catalog) = open {
            stage.runtime.block_on(catalog.close()).unwrap();
            assert_eq!(stage.column(ARCHIVES), archives, "{story}");
        } else {
            let text = run(&stage, &["run", "--once"], 65);
            assert!(text.contains("there is no catalog"), "{story} {text}");
        }
        let again = stage.runtime.block_on(rebuild(&settings, Arc::new(OsDisk)));
        assert_eq!(again.unwrap(), 4, "{story}");
        assert_eq!(stage.column(ARCHIVES), archives, "{story}");
        assert_eq!(everything(&stage.state.join("vault")), vault, "{story}");
        forget_what_is_kept_aside(&stage);
    }
    assert!(operations >= 8, "{operations}");
    stage.settle().unwrap();
    assert_eq!(stage.column(ARCHIVES), archives);
}

/// A process that is killed at any moment leaves a state from which the same command goes on.
#[test]
fn killed_at_any_moment_it_can_be_begun_anew() {
    let stage = life("");
    let archives = stage.column(ARCHIVES);
    for micros in (0..60).map(|step| step * 1_500) {
        let process = stage.start(&["rebuild", "--force"]);
        std::thread::sleep(std::time::Duration::from_micros(micros));
        drop(process.kill());
        if !stage.state.join(FILE_NAME).exists() {
            run(&stage, &["run", "--once"], 65);
            run(&stage, &["rebuild"], 0);
        }
        assert_eq!(stage.column(ARCHIVES), archives, "{micros}");
        forget_what_is_kept_aside(&stage);
    }
    run(&stage, &["rebuild", "--force"], 0);
    assert_eq!(stage.column(ARCHIVES), archives);
    assert!(!stage.state.join("rebuild").exists());
}
