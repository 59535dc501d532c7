//! Room on the disk: what lies in the trash leaves it early when room is short, what waited for
//! room is tried as soon as there is some, and nothing else is touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roma_archived::retention::{Count, CountRule, Policy};
use roma_sim::{ContentSpec, Endpoint, Fault, JobState};

use crate::support::disk::Tight;
use crate::support::world::{Setup, World};

const PLENTY: u64 = 1 << 40;
const MIN_FREE: u64 = 16 << 10;

/// A world in which two packages lie in the trash, for a year, and one is kept.
async fn with_trash(free: &Arc<AtomicU64>) -> World {
    let policy = Policy {
        counts: vec![CountRule { period: None, count: Count::Limited(1) }],
        trash: Duration::from_hours(24 * 365),
        ..Policy::default()
    };
    let disk = Arc::new(Tight::with_gain(free.clone(), 1 << 20));
    let mut setup = Setup { policy, disk, ..Setup::default() };
    setup.limits.min_free_bytes = MIN_FREE;
    let mut world = World::new(setup).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_hours(1));
        world.export().await;
        world.settle().await;
    }
    world.live_through(Duration::from_hours(2)).await;
    assert_eq!(world.states().await, ["trashed", "trashed", "stored"]);
    world
}

#[tokio::test]
async fn what_lies_in_the_trash_leaves_it_early_when_room_is_short() {
    let free = Arc::new(AtomicU64::new(PLENTY));
    let mut world = with_trash(&free).await;
    // One file less is enough: the older one goes, and nothing else.
    free.store(MIN_FREE, Ordering::SeqCst);
    world.live_through(Duration::from_mins(5)).await;
    assert_eq!(world.states().await, ["trashed", "trashed", "stored"], "it is not short yet");
    free.store(MIN_FREE - 1, Ordering::SeqCst);
    world.live_through(Duration::from_hours(1)).await;
    assert_eq!(world.states().await, ["deleted", "trashed", "stored"]);
    let notices = "SELECT event FROM events WHERE snapshot_id IS NULL ORDER BY seq";
    assert_eq!(world.column(notices).await, ["space_short", "space_restored"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn no_room_whatever_never_costs_more_than_the_trash() {
    let free = Arc::new(AtomicU64::new(PLENTY));
    let mut world = with_trash(&free).await;
    for _ in 0..600 {
        free.store(0, Ordering::SeqCst);
        world.live_through(Duration::from_secs(10)).await;
    }
    assert_eq!(world.states().await, ["deleted", "deleted", "stored"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn what_waited_for_room_is_tried_as_soon_as_there_is_some() {
    let free = Arc::new(AtomicU64::new(0));
    let mut setup = Setup { disk: Arc::new(Tight::new(free.clone())), ..Setup::default() };
    setup.limits.min_free_bytes = 1 << 20;
    let mut world = World::new(setup).await;
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    let id = world.watch(&job.job_id).await;
    world.live_through(Duration::from_hours(24)).await;
    let waiting = world.archive(id.0).await;
    assert!(waiting.not_before.since(world.now()) > Duration::from_secs(10));
    // Every attempt takes room for its event: there are few of them.
    assert!(world.events(id.0).await.len() < 24 * 5);
    assert_eq!(world.simulator.world().ledger().count_all(Endpoint::Download), 0);
    free.store(PLENTY, Ordering::SeqCst);
    world.live_through(Duration::from_secs(11)).await;
    assert_eq!(world.states().await, ["stored"]);
}

/// What came of a package that broke off takes room until the next attempt begins; it must not be
/// what keeps that from beginning.
#[tokio::test]
async fn the_rest_of_a_broken_download_does_not_stand_in_its_own_way() {
    const PACKAGE: u64 = 900_000;
    let free = Arc::new(AtomicU64::new(PACKAGE + 200_000));
    let mut setup = Setup { disk: Arc::new(Tight::with_staging(free)), ..Setup::default() };
    setup.limits.min_free_bytes = 500_000;
    let mut world = World::new(setup).await;
    let job = world.job(JobState::Ready, ContentSpec::Random { bytes: PACKAGE });
    world.simulator.world().script(Endpoint::Download, Fault::CutBody { bytes: PACKAGE - 50_000 });
    world.watch(&job.job_id).await;
    world.live_through(Duration::from_hours(1)).await;
    assert_eq!(world.states().await, ["stored"]);
    assert_eq!(world.simulator.world().ledger().count_all(Endpoint::Download), 2);
    world.check_oracle().await;
}
