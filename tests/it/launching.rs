//! From a due export to a running job: refusals, throttling, waiting for one's turn, and the answer
//! that never came.

use std::time::Duration;

use roma_sim::{Effect, Endpoint, Fault, Knobs, UnauthorizedKind, defaults};

use crate::support::world::{Setup, World};

#[tokio::test]
async fn a_due_export_becomes_a_stored_snapshot() {
    let setup = Setup { schedule: Some("0 2 * * *"), ..Setup::default() };
    let mut world = World::new(setup).await;
    world.live_through(Duration::from_hours(15)).await;
    assert_eq!(world.states().await, ["stored"]);
    let scheduled = world.column("SELECT scheduled_at FROM archives").await;
    assert_eq!(scheduled, ["2026-11-25T02:00:00.000Z"]);
    let next = world.column("SELECT next_due_at FROM exports WHERE name = 'nightly'").await;
    assert_eq!(next, ["2026-11-26T02:00:00.000Z"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn runs_missed_while_the_daemon_was_down_collapse_into_one() {
    let setup = Setup { schedule: Some("0 2 * * *"), ..Setup::default() };
    let world = World::new(setup).await;
    world.clock.advance(Duration::from_hours(24 * 10));
    let mut world = world.restart().await;
    world.settle().await;
    let taken = world.column("SELECT taken_at FROM snapshots").await;
    assert_eq!(taken, ["2026-12-04T02:00:00.000Z"]);
}

#[tokio::test]
async fn a_large_instance_takes_several_jobs_one_after_the_other() {
    let mut world = World::new(Setup::default()).await;
    world.simulator.world().resize_instance(defaults::INSTANCE_ID, 90, 171);
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored", "stored", "stored"]);
    assert_eq!(world.column("SELECT state FROM snapshots").await, ["complete"]);
    let mut asked = Vec::new();
    for export in world.simulator.world().ledger().exports() {
        assert!(export.apps.len() + export.tasks.len() <= 100);
        asked.extend(export.apps.iter().chain(&export.tasks).cloned());
    }
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 261);
    world.check_oracle().await;
}

#[tokio::test]
async fn another_running_job_is_a_wait_and_no_failure() {
    let mut world = World::new(Setup::default()).await;
    {
        let mut server = world.simulator.world();
        for _ in 0..30 {
            let busy = Fault::refusal(400, "ROMA.00010012");
            server.script(Endpoint::Export, busy);
        }
    }
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    let waits = world.events(1).await.iter().filter(|e| *e == "request_postponed").count();
    assert_eq!(waits, 30);
}

#[tokio::test]
async fn a_throttled_request_waits_as_long_as_the_server_asks() {
    let mut world = World::new(Setup::default()).await;
    let throttle = Fault::Throttle { retry_after: Some("120".to_owned()) };
    world.simulator.world().script(Endpoint::Export, throttle);
    let start = world.now();
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    assert!(world.now().since(start) >= Duration::from_mins(2));
    world.check_oracle().await;
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_at_once() {
    let mut world = World::new(Setup::default()).await;
    let expired = Fault::Unauthorized { kind: UnauthorizedKind::ExpiredToken };
    world.simulator.world().script(Endpoint::Job, expired);
    let job = world.job(roma_sim::JobState::Ready, roma_sim::ContentSpec::Assets);
    let id = world.watch(&job.job_id).await;
    world.run_due().await;
    let archive = world.archive(id.0).await;
    // The token of a file cannot be renewed by us: the account pauses until somebody puts a new
    // one there, and the package waits untouched.
    assert_eq!(archive.state.word().as_str(), "running");
    let error = archive.last_error.unwrap();
    assert!(error.contains("put a new one there"), "{error}");
    assert!(archive.not_before.since(world.now()) >= Duration::from_mins(5));
}

#[tokio::test]
async fn an_unanswered_request_is_lost_and_exported_again() {
    for effect in [Effect::Before, Effect::After] {
        let knobs = Knobs { job_duration_ms: 60_000, ..Knobs::default() };
        let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
        world.simulator.world().script(Endpoint::Export, Fault::CloseBeforeHead { effect });
        world.export().await;
        world.settle().await;
        assert_eq!(world.states().await, ["lost", "stored"], "{effect:?}");
        assert_eq!(world.archive(2).await.replaces.map(|id| id.0), Some(1));
        assert_eq!(world.column("SELECT state FROM snapshots").await, ["complete"]);
        world.check_oracle().await;
    }
}

#[tokio::test]
async fn losses_are_made_good_only_so_often() {
    let mut world = World::new(Setup::default()).await;
    let hang_up = Fault::CloseBeforeHead { effect: Effect::Before };
    world.simulator.world().script_always(Endpoint::Export, hang_up);
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost", "lost", "lost", "lost"]);
    assert_eq!(world.column("SELECT state FROM snapshots").await, ["incomplete"]);
    let error = world.column("SELECT last_error FROM exports WHERE name = 'nightly'").await;
    assert!(error[0].contains("start the export job"), "{error:?}");
}

#[tokio::test]
async fn a_refused_request_fails_visibly_and_is_not_repeated() {
    let mut world = World::new(Setup::default()).await;
    let refused = Fault::refusal(400, "ROMA.1006");
    world.simulator.world().script(Endpoint::Export, refused);
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["failed"]);
    assert_eq!(world.column("SELECT state FROM snapshots").await, ["incomplete"]);
    assert_eq!(world.simulator.world().ledger().count_all(Endpoint::Export), 1);
}

#[tokio::test]
async fn a_list_that_cannot_be_read_postpones_the_run() {
    let mut world = World::new(Setup::default()).await;
    {
        let mut server = world.simulator.world();
        server.script(Endpoint::Apps, Fault::status(503));
        server.script(Endpoint::Tasks, Fault::MalformedJson);
    }
    world.export().await;
    world.run_due().await;
    let error = world.column("SELECT last_error FROM exports WHERE name = 'nightly'").await;
    assert!(error[0].contains("503"), "{error:?}");
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    let events = "SELECT event FROM events WHERE archive_id IS NULL ORDER BY seq";
    let events = world.column(events).await;
    assert_eq!(events.iter().filter(|e| *e == "planning_postponed").count(), 2, "{events:?}");
}

#[tokio::test]
async fn an_empty_instance_starts_no_job() {
    let mut world = World::new(Setup::default()).await;
    world.simulator.world().resize_instance(defaults::INSTANCE_ID, 0, 0);
    world.export().await;
    world.settle().await;
    assert_eq!(world.column("SELECT state FROM snapshots").await, ["incomplete"]);
    assert_eq!(world.simulator.world().ledger().count_all(Endpoint::Export), 0);
}
