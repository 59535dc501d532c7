//! The plan acted on: what goes, goes to the trash first and leaves a tombstone; the newest stays.

use std::time::Duration;

use roma_archived::retention::{Count, CountRule, Policy};
use roma_sim::ContentSpec;

use crate::support::world::{Setup, World};

fn keep_last(count: u32) -> Policy {
    Policy {
        counts: vec![CountRule { period: None, count: Count::Limited(count) }],
        trash: Duration::from_hours(48),
        ..Policy::default()
    }
}

async fn nightly_for(days: u64, policy: Policy) -> World {
    let setup = Setup { schedule: Some("0 2 * * *"), policy, ..Setup::default() };
    let mut world = World::new(setup).await;
    world.live_through(Duration::from_hours(24 * days)).await;
    world
}

#[tokio::test]
async fn old_snapshots_go_through_the_trash_and_leave_tombstones() {
    let world = nightly_for(10, keep_last(3)).await;
    let states = world.column("SELECT state FROM snapshots ORDER BY id").await;
    let expected = [vec!["deleted"; 5], vec!["trashed"; 2], vec!["complete"; 3]].concat();
    assert_eq!(states, expected);
    let reasons = world.column("SELECT kept_because FROM snapshots ORDER BY id DESC LIMIT 3").await;
    assert_eq!(reasons, ["last 1/3", "last 2/3", "last 3/3"]);
    // A tombstone still says what it was.
    let digests = "SELECT count(*) FROM archives WHERE state = 'deleted' \
                   AND length(raw_sha256) = 64 AND path IS NOT NULL AND deleted_at IS NOT NULL";
    assert_eq!(world.column(digests).await, ["5"]);
    let waits = "SELECT count(*) FROM snapshots WHERE state = 'trashed' \
                 AND expected_delete_at > '2026-12-04'";
    assert_eq!(world.column(waits).await, ["2"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn nothing_is_removed_without_a_recorded_decision() {
    let world = nightly_for(8, keep_last(2)).await;
    let bare = "SELECT count(*) FROM events AS gone WHERE event = 'file_deleted' AND NOT EXISTS (
        SELECT 1 FROM events AS decided WHERE decided.archive_id = gone.archive_id
        AND decided.event = 'deletion_started' AND decided.seq < gone.seq)";
    assert_eq!(world.column(bare).await, ["0"]);
    let removed = "SELECT count(*) > 0 FROM events WHERE event = 'file_deleted'";
    assert_eq!(world.column(removed).await, ["1"]);
}

#[tokio::test]
async fn an_empty_policy_keeps_everything() {
    let world = nightly_for(6, Policy::default()).await;
    assert_eq!(world.states().await, vec!["stored"; 6]);
}

#[tokio::test]
async fn a_shrunken_newest_snapshot_suspends_deletion() {
    let setup = Setup { schedule: Some("0 2 * * *"), policy: keep_last(2), ..Setup::default() };
    let mut world = World::new(setup).await;
    let content = |bytes| ContentSpec::Random { bytes };
    world.simulator.world().knobs_mut().default_content = content(100_000);
    world.live_through(Duration::from_hours(48)).await;
    world.simulator.world().knobs_mut().default_content = content(1_000);
    world.live_through(Duration::from_hours(24)).await;
    assert_eq!(world.states().await, vec!["stored"; 3]);
    let kept = world.column("SELECT kept_because FROM snapshots WHERE id = 1").await;
    assert!(kept[0].contains("shrunk"), "{kept:?}");
}

#[tokio::test]
async fn a_snapshot_of_several_parts_goes_as_one() {
    let setup = Setup { schedule: Some("0 2 * * *"), policy: keep_last(1), ..Setup::default() };
    let mut world = World::new(setup).await;
    world.simulator.world().resize_instance(roma_sim::defaults::INSTANCE_ID, 50, 200);
    world.live_through(Duration::from_hours(24 * 6)).await;
    let events = "SELECT DISTINCT event FROM events WHERE archive_id IS NULL ORDER BY event";
    let events = world.column(events).await;
    assert!(events.contains(&"snapshot_trashed".to_owned()), "{events:?}");
    assert!(!events.contains(&"snapshot_incomplete".to_owned()), "{events:?}");
    world.check_oracle().await;
}

#[tokio::test]
async fn a_file_that_is_not_what_was_recorded_is_not_deleted() {
    let mut world =
        World::new(Setup { schedule: Some("0 2 * * *"), policy: keep_last(1), ..Setup::default() })
            .await;
    world.live_through(Duration::from_hours(24 * 2)).await;
    let path = world.column("SELECT path FROM archives WHERE state = 'trashed'").await.remove(0);
    let file = world.path("vault").join(path);
    std::fs::write(&file, b"somebody put this here").unwrap();
    world.live_through(Duration::from_hours(24 * 3)).await;
    assert_eq!(world.states().await[0], "damaged");
    assert_eq!(std::fs::read(&file).unwrap(), b"somebody put this here");
}
