//! What does not change from night to night is one file with a name for each night: each night has
//! its own row, its own proof of life, and its file for as long as it needs it.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roma_archived::catalog::Change;
use roma_archived::clock::Clock;
use roma_archived::engine::{Finding, Keeper};
use roma_archived::lifecycle::{Deletion, Event};
use roma_archived::retention::{Count, CountRule, Policy};
use roma_archived::vault::{Shared, Vault};
use roma_sim::{ContentSpec, JobState, Knobs};
use sha2::{Digest, Sha256};

use crate::reconcile::{back_up, restore};
use crate::support::disk::Linkless;
use crate::support::world::{Setup, World};

const DAY: Duration = Duration::from_hours(24);
const SAME_AS: &str = "SELECT coalesce('a' || same_as, '-') FROM archives ORDER BY id";

/// A nightly export of assets that change once in so many nights; 0: never.
fn nightly(changes_every: u64) -> Setup {
    let default_content = ContentSpec::Steady { changes_every };
    let knobs = Knobs { default_content, ..Knobs::default() };
    Setup { knobs, schedule: Some("0 2 * * *"), ..Setup::default() }
}

async fn nights(setup: Setup, count: u32) -> World {
    let mut world = World::new(setup).await;
    world.live_through(DAY * count).await;
    world
}

async fn paths(world: &World) -> Vec<PathBuf> {
    let paths = world.column("SELECT path FROM archives ORDER BY id").await;
    paths.iter().map(|path| world.path("vault").join(path)).collect()
}

/// How many names its file has.
fn names(path: &PathBuf) -> u64 {
    std::fs::metadata(path).unwrap().nlink()
}

fn flip(path: &PathBuf) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn keeper(world: &World) -> Keeper {
    let clock = Clock::Manual(world.clock.clone());
    Keeper::new(world.catalog.clone(), world.vault.clone(), clock)
}

async fn read(world: &World, id: i64) -> Finding {
    keeper(world).read(world.archive(id).await).await.unwrap()
}

async fn compare(world: &World) {
    keeper(world).reconcile(&mut |_| {}).await.unwrap();
}

/// Somebody, or a policy long ago, wants the file gone.
async fn delete(world: &mut World, id: i64) {
    let deletion = Deletion { reason: "a test".to_owned(), policy: None };
    let purge_at = world.now();
    let event = Event::DeletionDecided { deletion, purge_at };
    let change = Change::new(world.archive(id).await, event);
    world.catalog.commit(change, world.now()).await.unwrap();
    world.engine.look_again();
    world.run_due().await;
    assert_eq!(world.archive(id).await.state.word().as_str(), "deleted");
}

/// The digest of what `extract` gives.
async fn extracted(world: &World, id: i64) -> String {
    let archive = world.archive(id).await;
    let held = archive.state.holding().unwrap();
    let mut bytes = Vec::new();
    world.vault.extract(&held.file, held.raw, &mut bytes).unwrap();
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    roma_archived::model::Sha256Digest(digest).to_string()
}

#[tokio::test]
async fn a_night_without_a_change_costs_a_name_and_no_room() {
    let world = nights(nightly(0), 3).await;
    assert_eq!(world.states().await, ["stored"; 3]);
    assert_eq!(world.column(SAME_AS).await, ["-", "a1", "a1"]);
    let paths = paths(&world).await;
    assert_eq!(paths.iter().map(names).collect::<Vec<_>>(), [3, 3, 3]);
    // ROMA has sent three packages that differ, in the times of their entries.
    let sent = "SELECT DISTINCT json_extract(detail, '$.raw.sha256') FROM events \
                WHERE event = 'download_finished'";
    assert_eq!(world.column(sent).await.len(), 3);
    let raw = "SELECT DISTINCT raw_sha256 FROM archives";
    assert_eq!(world.column(raw).await, [extracted(&world, 3).await]);
    assert_eq!(world.column("SELECT state FROM snapshots").await, ["complete"; 3]);
    let sizes = world.column("SELECT stored_bytes > 0 FROM snapshots ORDER BY id").await;
    assert_eq!(sizes, ["1", "0", "0"]);
    // The newest one was read to its end before it was shared.
    let proofs = "SELECT archive_id FROM events WHERE event = 'file_verified' ORDER BY seq";
    assert_eq!(world.column(proofs).await, ["1", "2"]);
    let fresh = "SELECT count(*) FROM archives WHERE verified_at >= stored_at";
    assert_eq!(world.column(fresh).await, ["3"]);
    assert_eq!(world.vault.list_staged().unwrap().ours.len(), 0);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_change_is_stored_and_what_follows_shares_that() {
    let world = nights(nightly(3), 6).await;
    assert_eq!(world.column(SAME_AS).await, ["-", "a1", "-", "a3", "a3", "-"]);
    let packages = world.column("SELECT DISTINCT raw_sha256 FROM archives ORDER BY id").await;
    assert_eq!(packages.len(), 3);
    world.check_oracle().await;
}

/// What comes back after a change shares the file that has it still.
#[tokio::test]
async fn the_same_bytes_are_shared_whatever_they_are() {
    let mut world = World::new(Setup::default()).await;
    let one = || ContentSpec::Json { bytes: 900 };
    let raw = || ContentSpec::Raw(b"nobody knows what".to_vec());
    for content in [raw(), one(), raw()] {
        let job = world.job(JobState::Ready, content);
        world.watch(&job.job_id).await;
        world.settle().await;
    }
    assert_eq!(world.states().await, ["stored"; 3]);
    assert_eq!(world.column(SAME_AS).await, ["-", "-", "a1"]);
    let paths = paths(&world).await;
    assert_eq!(paths.iter().map(names).collect::<Vec<_>>(), [2, 1, 2]);
    world.check_oracle().await;
}

#[tokio::test]
async fn the_file_is_handed_on_as_often_as_its_holder_goes() {
    let policy = Policy {
        counts: vec![CountRule { period: None, count: Count::Limited(2) }],
        trash: Duration::ZERO,
        ..Policy::default()
    };
    let mut world = nights(Setup { policy, ..nightly(0) }, 6).await;
    world.live_through(Duration::from_hours(2)).await;
    let states = ["deleted", "deleted", "deleted", "deleted", "stored", "stored"];
    assert_eq!(world.states().await, states);
    assert_eq!(world.column(SAME_AS).await, ["-", "-", "-", "-", "-", "a5"]);
    let handed = "SELECT archive_id || ' from ' || json_extract(detail, '$.from') FROM events \
                  WHERE event = 'file_inherited' ORDER BY seq";
    let handed = world.column(handed).await;
    assert_eq!(handed, ["2 from 1", "3 from 2", "4 from 3", "5 from 4"]);
    let paths = paths(&world).await;
    assert!(paths[..4].iter().all(|path| !path.exists()));
    assert_eq!((names(&paths[4]), names(&paths[5])), (2, 2));
    let sizes = "SELECT stored_bytes > 0 FROM snapshots WHERE id > 4 ORDER BY id";
    assert_eq!(world.column(sizes).await, ["1", "0"]);
    let first = world.column("SELECT raw_sha256 FROM archives WHERE id = 1").await;
    assert_eq!(first, [extracted(&world, 6).await], "what the first night stored");
    world.check_oracle().await;
    // The last one takes it along.
    delete(&mut world, 6).await;
    assert_eq!(names(&paths[4]), 1);
    delete(&mut world, 5).await;
    assert!(!paths[4].exists() && !paths[5].exists());
    let left = std::fs::read_dir(world.path("vault/prod/nightly")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn one_that_only_shares_goes_and_nobody_inherits() {
    let mut world = nights(nightly(0), 4).await;
    for id in [3, 2] {
        delete(&mut world, id).await;
    }
    assert_eq!(world.column(SAME_AS).await, ["-", "-", "-", "a1"]);
    let inherited = "SELECT count(*) FROM events WHERE event = 'file_inherited'";
    assert_eq!(world.column(inherited).await, ["0"]);
    assert_eq!(names(&paths(&world).await[3]), 2);
    world.check_oracle().await;
}

/// Whoever comes back from the trash is what it was.
#[tokio::test]
async fn the_trash_changes_nothing_about_a_file() {
    let policy = Policy {
        counts: vec![CountRule { period: None, count: Count::Limited(1) }],
        trash: DAY * 30,
        ..Policy::default()
    };
    let mut world = nights(Setup { policy, ..nightly(0) }, 3).await;
    assert_eq!(world.states().await, ["trashed", "trashed", "stored"]);
    assert_eq!(world.column(SAME_AS).await, ["-", "a1", "a1"]);
    let pin = roma_archived::catalog::Pin {
        snapshot: roma_archived::model::SnapshotId(2),
        name: "manual".parse().unwrap(),
        reason: "a test".to_owned(),
        by: "somebody".to_owned(),
        until: None,
    };
    world.catalog.undelete(pin, world.now()).await.unwrap();
    assert_eq!(world.states().await, ["trashed", "stored", "stored"]);
    assert_eq!(world.column(SAME_AS).await, ["-", "a1", "a1"]);
    world.live_through(DAY).await;
    assert_eq!(world.column(SAME_AS).await, ["-", "a1", "a1", "a1"]);
    world.check_oracle().await;
}

/// However many names a damaged file has, it is not a good copy under any of them.
#[tokio::test]
async fn damage_of_a_file_is_damage_of_all_that_share_it() {
    for by in ["verify", "comparison", "next night"] {
        let mut world = nights(nightly(0), 3).await;
        let files = paths(&world).await;
        let sound = std::fs::read(&files[0]).unwrap();
        match by {
            "comparison" => std::fs::write(&files[2], &sound[..100]).unwrap(),
            _ => flip(&files[2]),
        }
        match by {
            "verify" => {
                let finding = read(&world, 2).await;
                assert!(matches!(finding, Finding::Damaged { .. }), "{finding:?}");
            }
            "comparison" => compare(&world).await,
            _ => {}
        }
        if by != "next night" {
            assert_eq!(world.states().await, ["damaged"; 3], "{by}");
            assert_eq!(world.column("SELECT state FROM snapshots").await, ["incomplete"; 3]);
        }
        world.live_through(DAY).await;
        // Stored by itself, and shared from then on.
        let states = ["damaged", "damaged", "damaged", "stored"];
        assert_eq!(world.states().await, states, "{by}");
        assert_eq!(world.column(SAME_AS).await, ["-"; 4], "{by}");
        let files = paths(&world).await;
        assert_eq!(names(&files[3]), 1);
        world.live_through(DAY).await;
        assert_eq!(world.column(SAME_AS).await, ["-", "-", "-", "-", "a4"], "{by}");
        // Put back in its place: one file, three names.
        std::fs::write(&files[1], &sound).unwrap();
        compare(&world).await;
        assert_eq!(world.states().await, ["stored"; 5], "{by}");
        assert_eq!(world.column(SAME_AS).await, ["-", "a1", "a1", "-", "a4"], "{by}");
        world.check_oracle().await;
    }
}

#[tokio::test]
async fn a_name_that_is_missing_is_missed_by_its_archive_only() {
    let world = nights(nightly(0), 3).await;
    let files = paths(&world).await;
    std::fs::remove_file(&files[0]).unwrap();
    compare(&world).await;
    assert_eq!(world.states().await, ["damaged", "stored", "stored"]);
    assert_eq!(world.column(SAME_AS).await, ["-", "-", "a2"]);
    let sizes = "SELECT stored_bytes > 0 FROM snapshots ORDER BY id";
    assert_eq!(world.column(sizes).await, ["0", "1", "0"]);
    assert_eq!(extracted(&world, 3).await, extracted(&world, 2).await);
    // It comes back as a copy, as from a backup.
    std::fs::copy(&files[1], &files[0]).unwrap();
    let finding = read(&world, 1).await;
    assert!(matches!(finding, Finding::Restored(_)), "{finding:?}");
    assert_eq!(world.column(SAME_AS).await, ["-", "a1", "a1"]);
    assert_eq!(world.column(sizes).await, ["1", "0", "0"]);
    // They are two files: what happens to one does not happen to the other.
    flip(&files[0]);
    let finding = read(&world, 1).await;
    assert!(matches!(finding, Finding::Damaged { .. }), "{finding:?}");
    assert_eq!(world.states().await, ["damaged", "stored", "stored"]);
    let handed = "SELECT archive_id || ' from ' || json_extract(detail, '$.from') FROM events \
                  WHERE event = 'file_inherited' ORDER BY seq";
    assert_eq!(world.column(handed).await, ["2 from 1", "1 from 2", "2 from 1"]);
    std::fs::copy(&files[1], &files[0]).unwrap();
    read(&world, 1).await;
    world.check_oracle().await;
}

#[tokio::test]
async fn a_disk_without_links_stores_each_night() {
    let world = nights(Setup { disk: Arc::new(Linkless), ..nightly(0) }, 3).await;
    assert_eq!(world.states().await, ["stored"; 3]);
    assert_eq!(world.column(SAME_AS).await, ["-"; 3]);
    let raw = world.column("SELECT DISTINCT raw_sha256 FROM archives").await;
    assert_eq!(raw.len(), 3, "each as ROMA sent it");
    assert!(paths(&world).await.iter().all(|path| names(path) == 1));
    let sizes = "SELECT count(*) FROM snapshots WHERE stored_bytes > 0";
    assert_eq!(world.column(sizes).await, ["3"]);
    world.check_oracle().await;
}

/// The same assets in another part, or for another export, are another thing.
#[tokio::test]
async fn only_what_is_the_same_part_of_the_same_export_is_shared() {
    let content = ContentSpec::Raw(b"the same for all".to_vec());
    let knobs = Knobs { default_content: content.clone(), ..Knobs::default() };
    let mut world = World::new(Setup { knobs, ..Setup::default() }.downloads(1)).await;
    let id = roma_sim::defaults::INSTANCE_ID;
    world.simulator.world().resize_instance(id, 50, 120);
    for _ in 0..2 {
        world.export().await;
        world.settle().await;
        world.clock.advance(Duration::from_mins(1));
    }
    let job = world.job(JobState::Ready, content);
    world.watch(&job.job_id).await;
    world.settle().await;
    let parts = "SELECT export || ' ' || snapshot_id || ' ' || part || ' ' || \
                 coalesce('a' || same_as, '-') FROM archives ORDER BY id";
    let expected =
        ["nightly 1 1 -", "nightly 1 2 -", "nightly 2 1 a1", "nightly 2 2 a2", "watched 3 1 -"];
    assert_eq!(world.column(parts).await, expected);
    world.check_oracle().await;
}

/// The holder goes while somebody reads a file that shares its bytes.
#[tokio::test]
async fn whoever_reads_one_of_them_keeps_all() {
    let mut world = nights(nightly(0), 2).await;
    let second = world.archive(2).await.state.holding().unwrap().file.clone();
    let lease = world.vault.lease(&second).unwrap();
    let deletion = Deletion { reason: "a test".to_owned(), policy: None };
    let event = Event::DeletionDecided { deletion, purge_at: world.now() };
    let change = Change::new(world.archive(1).await, event);
    world.catalog.commit(change, world.now()).await.unwrap();
    world.engine.look_again();
    world.run_due().await;
    assert_eq!(world.states().await, ["deleting", "stored"]);
    // What is about to go counts for nothing any more.
    assert_eq!(world.column(SAME_AS).await, ["-", "-"]);
    drop(lease);
    world.live_through(Duration::from_hours(1)).await;
    assert_eq!(world.states().await, ["deleted", "stored"]);
    assert_eq!(names(&paths(&world).await[1]), 1);
    world.check_oracle().await;
}

/// The file speaks of an archive that an older catalog has lost, under the name of one that shared
/// it, of which that catalog knows nothing.
#[tokio::test]
async fn a_file_that_is_found_under_the_name_of_another_comes_to_its_own_place() {
    let mut world = World::new(Setup::default()).await;
    let content = || ContentSpec::Raw(b"always the same".to_vec());
    let job = world.job(JobState::Ready, content());
    world.watch(&job.job_id).await;
    let backup = back_up(&world).await;
    world.settle().await;
    world.clock.advance(DAY);
    let job = world.job(JobState::Ready, content());
    world.watch(&job.job_id).await;
    world.settle().await;
    assert_eq!(world.column(SAME_AS).await, ["-", "a1"]);
    let places = paths(&world).await;
    delete(&mut world, 1).await;
    let mut world = restore(world, &backup).await;
    world.settle().await;
    compare(&world).await;
    assert_eq!(world.states().await, ["stored"]);
    assert_eq!(paths(&world).await, places[..1]);
    assert!(places[0].exists() && !places[1].exists());
    world.check_oracle().await;
}

/// A daemon died between the link and its record.
#[tokio::test]
async fn a_link_that_nobody_recorded_is_taken_up_or_set_aside() {
    for is_still_there in [true, false] {
        let mut world = nights(nightly(0), 1).await;
        world.live_through(Duration::from_hours(1)).await;
        let first = world.archive(1).await;
        let held = first.state.holding().unwrap().clone();
        let taken_at = "2026-11-26T02:00:00Z".parse().unwrap();
        let snapshot = roma_archived::model::SnapshotId(2);
        let path = Vault::relative_path(&first.instance, &first.export, taken_at, snapshot, 1);
        let linked = world.vault.share(&held.file, held.raw, &path).unwrap();
        assert!(matches!(linked, Shared::Yes(_)), "{linked:?}");
        if !is_still_there {
            delete(&mut world, 1).await;
        }
        world.live_through(DAY).await;
        let last = world.archive(2).await;
        assert_eq!(last.state.holding().unwrap().file.path, path);
        assert_eq!(last.state.word().as_str(), "stored");
        let aside = std::fs::read_dir(world.path("quarantine")).unwrap().count();
        let same_as = world.column(SAME_AS).await;
        let expected = if is_still_there { (["-", "a1"], 0) } else { (["-", "-"], 1) };
        assert_eq!((same_as, aside), (expected.0.map(ToOwned::to_owned).to_vec(), expected.1));
        world.check_oracle().await;
    }
}
