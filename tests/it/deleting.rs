//! Deletion touches only what is ours, and takes nothing away under somebody who reads it.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use roma_archived::clock::ManualClock;
use roma_archived::engine::Keeper;
use roma_archived::retention::{Count, CountRule, Policy};
use roma_sim::{ContentSpec, JobState, Knobs};
use rustix::process::Signal;
use sha2::{Digest, Sha256};

use crate::support::stage::Stage;
use crate::support::world::{START, Setup, World};

const DAY: Duration = Duration::from_hours(24);
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(20);

/// Two nights, of which the first lies in the trash; and the file of that one.
async fn with_trash() -> (World, std::path::PathBuf) {
    let policy = Policy {
        counts: vec![CountRule { period: None, count: Count::Limited(1) }],
        trash: Duration::from_hours(48),
        ..Policy::default()
    };
    let mut world =
        World::new(Setup { schedule: Some("0 2 * * *"), policy, ..Setup::default() }).await;
    world.live_through(DAY * 2).await;
    assert_eq!(world.states().await, ["trashed", "stored"]);
    let path = world.column("SELECT path FROM archives WHERE id = 1").await.remove(0);
    let path = world.path("vault").join(path);
    (world, path)
}

/// The same bytes, or others, under the same name, as a backup would bring them back.
fn replace(path: &std::path::Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    let copy = path.with_extension("copy");
    std::fs::write(&copy, bytes).unwrap();
    std::fs::rename(copy, path).unwrap();
}

#[tokio::test]
async fn a_file_from_a_backup_is_ours_if_it_has_the_recorded_content() {
    let (mut world, path) = with_trash().await;
    let recorded = world.archive(1).await.state.holding().unwrap().file.inode;
    let inode = |path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    assert_eq!(recorded, Some(inode(&path)));
    replace(&path, |_| {});
    assert_ne!(recorded, Some(inode(&path)));
    world.live_through(DAY * 3).await;
    assert_eq!(world.states().await[0], "deleted");
    assert!(!path.exists());
    let tombstone = "SELECT concat_ws(' ', length(raw_sha256), length(stored_sha256), \
                     json_extract(detail, '$.deletion.reason'), \
                     json_extract(detail, '$.deletion.policy')) \
                     FROM archives AS a JOIN events AS e ON e.archive_id = a.id \
                     WHERE a.id = 1 AND event = 'deletion_decided'";
    let tombstone = world.column(tombstone).await.remove(0);
    assert!(tombstone.starts_with("64 64 no rule keeps it"), "{tombstone}");
    assert!(tombstone.contains(" keep_last=1 "), "what identifies the policy: {tombstone}");
    world.check_oracle().await;
}

#[tokio::test]
async fn another_file_of_the_same_length_is_not_deleted() {
    let (mut world, path) = with_trash().await;
    let mut kept = Vec::new();
    replace(&path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        kept.clone_from(bytes);
    });
    world.live_through(DAY * 3).await;
    assert_eq!(world.states().await[0], "damaged");
    assert_eq!(std::fs::read(&path).unwrap(), kept);
    let error = world.archive(1).await.last_error.unwrap();
    assert!(error.contains("refusing to remove") && error.contains("SHA-256"), "{error}");
}

#[tokio::test]
async fn a_deletion_waits_for_whoever_reads_and_then_goes_on() {
    let (mut world, path) = with_trash().await;
    let held = world.archive(1).await.state.holding().unwrap().file.clone();
    let lease = world.vault.lease(&held).unwrap();
    world.live_through(DAY * 3).await;
    let waiting = world.archive(1).await;
    assert_eq!(waiting.state.word().as_str(), "deleting");
    assert!(waiting.attempts > 1 && waiting.not_before > world.now());
    let why = waiting.last_error.unwrap();
    assert!(why.ends_with("is being read; deletion is tried again"), "{why}");
    assert!(path.exists());
    let tried = world.events(1).await.iter().filter(|e| *e == "deletion_postponed").count();
    assert!((2..500).contains(&tried), "{tried} attempts are recorded");
    drop(lease);
    world.live_through(Duration::from_hours(1)).await;
    assert_eq!(world.states().await[0], "deleted");
    assert!(!path.exists());
    world.check_oracle().await;
}

/// What made a snapshot dispensable is damaged while it lies in the trash.
#[tokio::test]
async fn what_is_the_newest_good_one_by_now_comes_back_instead() {
    let policy = Policy {
        counts: vec![CountRule { period: None, count: Count::Limited(1) }],
        trash: DAY * 2,
        ..Policy::default()
    };
    let mut world = World::new(Setup { policy, ..Setup::default() }).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_hours(1));
        world.export().await;
        world.settle().await;
    }
    world.live_through(Duration::from_hours(2)).await;
    assert_eq!(world.states().await, ["trashed", "trashed", "stored"]);
    let third = world.archive(3).await;
    std::fs::remove_file(world.vault.stored_path(&third.state.holding().unwrap().file)).unwrap();
    let clock = roma_archived::clock::Clock::Manual(world.clock.clone());
    let keeper = Keeper::new(world.catalog.clone(), world.vault.clone(), clock);
    keeper.read(third).await.unwrap();
    assert_eq!(world.states().await[2], "damaged");
    world.live_through(DAY * 6).await;
    assert_eq!(world.states().await, ["deleted", "stored", "damaged"]);
    let kept = world.column("SELECT kept_because FROM snapshots WHERE id = 2").await;
    assert_eq!(kept, ["last 1/1"]);
    let stale = "SELECT id FROM snapshots WHERE id = 3 AND kept_because IS NOT NULL";
    assert!(world.column(stale).await.is_empty(), "nothing of it is kept");
}

/// Until ROMA is heard again, nothing tells how old anything is.
#[tokio::test]
async fn a_clock_that_jumped_ahead_sends_nothing_to_the_trash() {
    let truth = ManualClock::new(START.parse().unwrap());
    let policy = Policy { max_age: Some(jiff::Span::new().days(30)), ..Policy::default() };
    let setup = Setup { policy, truth: Some(truth.clone()), ..Setup::default() };
    let mut world = World::new(setup).await;
    for _ in 0..3 {
        world.export().await;
        world.settle().await;
    }
    world.live_through(Duration::from_mins(1)).await;
    world.clock.advance(DAY * 60);
    world.live_through(Duration::from_secs(1)).await;
    assert_eq!(world.states().await, ["stored"; 3]);
    let why = world.column("SELECT kept_because FROM snapshots WHERE id = 1").await;
    assert!(why[0].contains("clock not trustworthy: it was set"), "{why:?}");
    // Right after all.
    truth.advance(DAY * 60);
    world.export().await;
    world.live_through(Duration::from_mins(2)).await;
    assert_eq!(world.states().await, ["trashed", "trashed", "trashed", "stored"]);
}

fn wait_for(stage: &Stage, select: &str) {
    let mut waited = Duration::ZERO;
    while stage.column(select) != ["1"] {
        assert!(waited < PATIENCE, "it never becomes true: {select}");
        std::thread::sleep(LOOK);
        waited += LOOK;
    }
}

#[test]
fn an_extract_under_way_is_read_to_its_end() {
    // As much as no pipe holds.
    let content = || ContentSpec::Random { bytes: 1 << 20 };
    let mut stage = Stage::new(Knobs::default(), "[retention]\nkeep_last = 1\ntrash = \"1s\"\n");
    let first = stage.create(JobState::Ready, content());
    stage.watch(vec![first.job_id]).unwrap();
    stage.settle().unwrap();
    let sha256 = stage.column("SELECT raw_sha256 FROM archives WHERE id = 1").remove(0);
    let mut extract = stage.command(&["extract", "a1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = extract.stdout.take().unwrap();
    let mut package = vec![0; 1];
    out.read_exact(&mut package).unwrap();

    let second = stage.create(JobState::Ready, content());
    stage.watch(vec![second.job_id]).unwrap();
    let mut daemon = stage.start(&["run"]);
    wait_for(
        &stage,
        "SELECT count(*) > 0 FROM events WHERE archive_id = 1 AND event = 'deletion_postponed' \
         AND detail LIKE '%is being read%'",
    );
    let late = stage.run(&["extract", "a1", "-o", "/nonexistent"]);
    assert_eq!(late.code, Some(65), "{}", late.story());
    assert!(late.stderr.contains("a1 was deleted: no rule keeps it"), "{}", late.stderr);
    out.read_to_end(&mut package).unwrap();
    assert!(extract.wait().unwrap().success());
    let digest: [u8; 32] = Sha256::digest(&package).into();
    assert_eq!(roma_archived::model::Sha256Digest(digest).to_string(), sha256);
    // Nothing is left that keeps it.
    wait_for(&stage, "SELECT state = 'deleted' FROM archives WHERE id = 1");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    stage.settle().unwrap();
    assert!(stage.audit().findings.is_empty());
}
