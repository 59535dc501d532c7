//! What a job says of itself, in every vintage, and what is made of it. What each fault of the wire
//! leads to is in `wire_faults`.

use std::time::Duration;

use roma_archived::catalog::{NewSnapshot, Origin};
use roma_sim::knobs::{ArchiveIdPlace, ReasonForm, ReasonKey, Vintage};
use roma_sim::{ContentSpec, Endpoint, Fault, JobReason, JobState, Knobs};

use crate::support::world::{Setup, World, adoption, name};

#[tokio::test]
async fn every_vintage_leads_to_a_stored_package() {
    for vintage in [Vintage::V2022, Vintage::V2025, Vintage::ExampleCasing] {
        for place in [ArchiveIdPlace::Top, ArchiveIdPlace::Entities, ArchiveIdPlace::Both] {
            let mut knobs = Knobs::of_vintage(vintage);
            knobs.archive_id_place = place;
            knobs.job_duration_ms = 30_000;
            let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
            world.export().await;
            world.settle().await;
            assert_eq!(world.states().await, ["stored"], "{vintage:?} {place:?}");
            world.check_oracle().await;
        }
    }
}

#[tokio::test]
async fn an_id_that_is_offered_while_the_job_runs_is_not_fetched() {
    let knobs = Knobs { id_while_running: true, job_duration_ms: 600_000, ..Knobs::default() };
    let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
    world.export().await;
    let start = world.now();
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    assert!(world.now().since(start) >= std::time::Duration::from_mins(10));
    world.check_oracle().await;
}

#[tokio::test]
async fn reasons_of_every_shape_are_kept() {
    for key in [ReasonKey::Reason, ReasonKey::Reasons] {
        for form in [ReasonForm::Array, ReasonForm::Object] {
            let knobs = Knobs { reason_key: Some(key), reason_form: form, ..Knobs::default() };
            let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
            let reason = JobReason {
                resource_type: Some("application".to_owned()),
                resource_name: Some("crm".to_owned()),
                error_code: Some("ROMA.00000101".to_owned()),
                error_msg: Some("could not read it".to_owned()),
            };
            let failed = Fault::FailedWithReasons { reasons: vec![reason] };
            world.simulator.world().script(Endpoint::Job, failed);
            world.export().await;
            world.settle().await;
            assert_eq!(world.states().await, ["failed"], "{key:?} {form:?}");
            let error = world.archive(1).await.last_error.unwrap();
            assert_eq!(error, "application crm ROMA.00000101 could not read it");
        }
    }
}

#[tokio::test]
async fn an_adopted_job_that_nobody_knows_is_a_loss_that_cannot_be_made_good() {
    let mut world = World::new(Setup::default()).await;
    world.watch("no-such-job").await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost"]);
    assert_eq!(world.column("SELECT state FROM snapshots").await, ["incomplete"]);
}

#[tokio::test]
async fn a_stuck_job_ends_at_the_deadline() {
    let mut world = World::new(Setup::default()).await;
    world.simulator.world().script(Endpoint::Job, Fault::StuckRunning);
    world.export().await;
    let start = world.now();
    for _ in 0..30 {
        world.live_through(std::time::Duration::from_hours(1)).await;
    }
    assert!(world.now().since(start) >= std::time::Duration::from_hours(24));
    assert_eq!(world.states().await[0], "lost");
    assert_eq!(world.archive(2).await.replaces.map(|id| id.0), Some(1));
}

#[tokio::test]
async fn trouble_that_is_over_is_no_longer_shown() {
    let knobs = Knobs { job_duration_ms: 3_600_000, ..Knobs::default() };
    let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
    let job = world.job(JobState::Running, ContentSpec::Assets);
    let id = world.watch(&job.job_id).await;
    world.simulator.world().script(Endpoint::Job, Fault::status(503));
    world.live_through(std::time::Duration::from_mins(5)).await;
    assert_eq!(world.archive(id.0).await.last_error, None);
    let events = world.events(id.0).await;
    assert_eq!(events, ["archive_opened", "job_adopted", "poll_postponed", "job_still_running"]);
}

#[tokio::test]
async fn two_jobs_that_offer_one_package_fetch_it_once() {
    let mut world = World::new(Setup::default()).await;
    let first = world.job(JobState::Ready, ContentSpec::Assets);
    let second = world.job(JobState::Ready, ContentSpec::Assets);
    let package_id = first.package_id.clone().unwrap();
    let same = Fault::SamePackageIdAsOtherJob { package_id: package_id.clone() };
    world.simulator.world().script_for(Endpoint::Job, &second.job_id, same);
    world.watch(&first.job_id).await;
    world.settle().await;
    world.watch(&second.job_id).await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored", "failed"]);
    assert_eq!(world.simulator.world().ledger().gets(&package_id).len(), 1);
}

#[tokio::test]
async fn a_lost_watched_job_is_asked_about_once_more_when_a_person_says_so() {
    let mut world = World::new(Setup::default()).await;
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    // A proxy that answers for the server, for as long as it takes.
    for _ in 0..3 {
        let unknown = Fault::refusal(404, "ROMA.00000101");
        world.simulator.world().script(Endpoint::Job, unknown);
    }
    world.watch(&job.job_id).await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost"]);
    world.watch(&job.job_id).await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost"], "watching it again changes nothing");
    world.watch_again(&job.job_id).await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost", "stored"]);
    assert_eq!(world.archive(2).await.replaces.map(|id| id.0), Some(1));
    world.check_oracle().await;
}

/// A lost part of an export has been exported again already when a person asks for the first job.
#[tokio::test]
async fn a_lost_part_that_was_made_good_can_be_watched_all_the_same() {
    let mut world = World::new(Setup::default()).await;
    for _ in 0..3 {
        let unknown = Fault::refusal(404, "ROMA.00000101");
        world.simulator.world().script(Endpoint::Job, unknown);
    }
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost", "stored"]);
    let job = world.column("SELECT job_id FROM archives WHERE id = 1").await.remove(0);
    world.watch_again(&job).await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost", "stored", "stored"]);
    let replaces = world.column("SELECT replaces FROM archives ORDER BY id").await;
    assert_eq!(replaces, ["null", "1", "null"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_server_that_shows_what_it_was_sent_gives_no_secret_away() {
    let mut world = World::new(Setup::default()).await;
    let echo = Fault::Status {
        code: 500,
        error_code: None,
        body: Some(format!("you sent X-Auth-Token: {}", roma_sim::defaults::TOKEN)),
        retry_after: None,
        content_type: None,
    };
    world.simulator.world().script(Endpoint::Job, echo);
    world.export().await;
    world.settle().await;
    let told = world.column("SELECT detail FROM events WHERE event = 'poll_postponed'").await;
    assert!(told[0].contains("you sent X-Auth-Token: [redacted]"), "{told:?}");
    world.check_oracle().await;
}

/// A command may have written it while the clock ran ahead, after the daemon noticed that it was
/// set right again.
#[tokio::test]
async fn what_a_command_with_a_clock_ahead_asked_for_is_not_put_off() {
    let mut world = World::new(Setup::default()).await;
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    let ahead = world.now().plus(Duration::from_hours(42 * 24));
    world.catalog.adopt(adoption(&job.job_id), ahead).await.unwrap();
    let new = NewSnapshot {
        instance: name("prod"),
        export: name("nightly"),
        origin: Origin::Command,
        taken_at: ahead,
        next_due: None,
        missed: 0,
    };
    world.catalog.open_snapshot(new, ahead).await.unwrap();
    world.engine.look_again();
    world.run_due().await;
    assert_eq!(world.states().await, ["stored", "stored"]);
}

#[tokio::test]
async fn what_was_asked_for_while_the_clock_ran_ahead_is_due_at_the_next_start() {
    let world = World::new(Setup::default()).await;
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    let ahead = world.now().plus(Duration::from_hours(42 * 24));
    world.catalog.adopt(adoption(&job.job_id), ahead).await.unwrap();
    let mut world = world.restart().await;
    world.run_due().await;
    assert_eq!(world.states().await, ["stored"]);
}
