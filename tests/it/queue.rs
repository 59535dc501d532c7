//! One after the other: runs of one export, and jobs of one account.

use std::time::Duration;

use roma_archived::model::SnapshotId;
use roma_sim::{ContentSpec, Endpoint, Fault, JobSpec, JobState, Knobs, defaults};

use crate::support::world::{Setup, World};

const HOUR: Duration = Duration::from_hours(1);

fn slow(hours: i64, schedule: Option<&'static str>) -> Setup {
    let knobs = Knobs { job_duration_ms: hours * 3_600_000, ..Knobs::default() };
    Setup { knobs, schedule, ..Setup::default() }
}

/// Events of runs, and when they happened.
async fn story(world: &World) -> Vec<String> {
    let select = "SELECT concat_ws(' ', substr(at, 12, 5), 's' || snapshot_id, event, \
                  json_extract(detail, '$.behind'), json_extract(detail, '$.runs')) FROM events \
                  WHERE event IN ('snapshot_opened', 'run_queued', 'run_collapsed', \
                  'parts_planned', 'snapshot_complete') ORDER BY seq";
    world.column(select).await
}

#[tokio::test]
async fn a_run_waits_for_the_one_before_and_does_for_all_that_fall_due_meanwhile() {
    let mut world = World::new(slow(3, Some("30 * * * *"))).await;
    world.live_through(4 * HOUR).await;
    let story = story(&world).await;
    let expected = [
        "12:30 s1 snapshot_opened",
        "12:30 s1 parts_planned",
        "13:30 s2 snapshot_opened",
        "13:30 s2 run_queued 1",
        "14:30 s2 run_collapsed 1",
        "15:30 s2 run_collapsed 1",
    ];
    assert_eq!(story[..6], expected, "{story:#?}");
    assert!(story[6].ends_with("s1 snapshot_complete"), "{story:#?}");
    assert!(story[7].ends_with("s2 parts_planned"), "{story:#?}");
    let due = world.column("SELECT next_due_at FROM exports WHERE name = 'nightly'").await;
    assert_eq!(due, ["2026-11-24T16:30:00.000Z"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_restart_keeps_the_order() {
    let mut world = World::new(slow(3, None)).await;
    assert_eq!(world.export().await.behind, None);
    world.run_due().await;
    let second = world.export().await;
    assert_eq!((second.behind, second.joined), (Some(SnapshotId(1)), false));
    let mut world = world.restart().await;
    world.run_due().await;
    let third = world.export().await;
    assert_eq!((third.id, third.joined), (second.id, true), "one that waits is enough");
    assert_eq!(world.column("SELECT id FROM snapshots WHERE parts IS NULL").await, ["2"]);
    world.settle().await;
    assert_eq!(world.column("SELECT state FROM snapshots").await, ["complete", "complete"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_once_and_told() {
    let mut world = World::new(Setup { schedule: Some("0 2 * * *"), ..Setup::default() }).await;
    world.live_through(15 * HOUR).await;
    let ground = world.leave().await;
    ground.clock.advance(73 * HOUR);
    let never = std::future::pending();
    let Ok(mut world) = ground.try_enter(never).await else { panic!("it starts") };
    world.run_due().await;
    let runs = world.column("SELECT taken_at FROM snapshots ORDER BY id").await;
    assert_eq!(runs, ["2026-11-25T02:00:00.000Z", "2026-11-28T02:00:00.000Z"]);
    let story = story(&world).await;
    assert!(story.contains(&"04:00 s2 run_collapsed 2".to_owned()), "{story:#?}");
    world.check_oracle().await;
}

/// Somebody works in the console with the daemon's own user.
#[tokio::test]
async fn an_account_that_is_busy_is_waited_for_by_all_parts_together_and_for_a_day() {
    let mut world = World::new(slow(30, None)).await;
    {
        let now = world.simulator.now_ms();
        let mut server = world.simulator.world();
        server.resize_instance(defaults::INSTANCE_ID, 0, 450);
        let content = ContentSpec::Assets;
        let spec = JobSpec { user: None, state: JobState::Running, content };
        server.create_job(defaults::INSTANCE_ID, spec, now);
    }
    world.export().await;
    world.live_through(HOUR).await;
    let waiting = world.column("SELECT last_error FROM archives WHERE state = 'scheduled'").await;
    assert!(waiting.iter().any(|why| why.contains("waits since")), "{waiting:?}");
    assert_eq!(world.column("SELECT last_failure_at FROM exports").await, ["null", "null"]);
    world.settle().await;
    let causes = "SELECT json_extract(detail, '$.cause') FROM events \
                  WHERE event = 'request_refused'";
    assert_eq!(world.column(causes).await, vec!["account_busy"; 5]);
    assert_eq!(world.states().await, vec!["failed"; 5]);
    let asked = world.simulator.world().ledger().count_all(Endpoint::Export);
    assert!((280..700).contains(&asked), "{asked}");
    world.check_oracle().await;
}

/// The code is what tells a wait from a refusal for good.
#[tokio::test]
async fn a_refusal_that_breaks_off_before_its_code_is_no_refusal_for_good() {
    for fault in [Fault::CutBody { bytes: 9 }, Fault::ResetAfter { bytes: 9 }] {
        let mut world = World::new(slow(2, None)).await;
        let content = ContentSpec::Assets;
        let spec = JobSpec { user: None, state: JobState::Running, content };
        let now = world.simulator.now_ms();
        {
            let mut server = world.simulator.world();
            server.create_job(defaults::INSTANCE_ID, spec, now);
            server.script(Endpoint::Export, fault);
        }
        world.export().await;
        world.settle().await;
        assert_eq!(world.states().await, ["stored"]);
        let classes = "SELECT json_extract(detail, '$.failure.class') FROM events \
                       WHERE event = 'request_postponed' ORDER BY seq LIMIT 2";
        assert_eq!(world.column(classes).await, ["transient", "busy"]);
        world.check_oracle().await;
    }
}

#[tokio::test]
async fn the_wait_ends_with_the_job_of_the_other() {
    let mut world = World::new(slow(2, None)).await;
    let content = ContentSpec::Assets;
    let spec = JobSpec { user: None, state: JobState::Running, content };
    let now = world.simulator.now_ms();
    world.simulator.world().create_job(defaults::INSTANCE_ID, spec, now);
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    assert_eq!(world.archive(1).await.busy_since, None);
    world.check_oracle().await;
}
