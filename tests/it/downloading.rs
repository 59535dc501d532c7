//! The once-only download: what arrived whole is stored once, what is consumed is a visible loss
//! that is made good, and no package is asked for a second time without ROMA's word that it is
//! still there. What each single fault of the wire leads to is in `wire_faults`.

use std::time::Duration;

use roma_sim::knobs::{ConsumePoint, SecondGet, Vintage};
use roma_sim::{ContentSpec, Effect, Endpoint, Fault, JobState, Knobs, UnauthorizedKind};

use crate::support::world::{Setup, World};

/// What a fault of the first GET leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Stored by the same archive, however often it had to ask.
    Stored,
    /// Lost, and its replacement stored.
    MadeGood,
}

async fn end_of(fault: Fault, knobs: Knobs) -> End {
    let mut setup = Setup { knobs, ..Setup::default() };
    setup.limits.download_idle_timeout = Duration::from_millis(300);
    setup.limits.max_package_bytes = 4 << 20;
    let mut world = World::new(setup).await;
    world.simulator.world().script(Endpoint::Download, fault.clone());
    world.export().await;
    world.settle().await;
    let states = world.states().await;
    let words: Vec<&str> = states.iter().map(String::as_str).collect();
    // Whatever stays in staging of a lost archive is moved aside at the next start.
    let world = world.restart().await;
    world.check_oracle().await;
    match words.as_slice() {
        ["stored"] => End::Stored,
        ["lost", "stored"] => End::MadeGood,
        other => panic!("{fault:?}: {other:?}"),
    }
}

#[tokio::test]
async fn a_whole_body_counts_although_the_transfer_says_otherwise() {
    // The server deletes the package, says so at once, and announced more bytes than there are.
    let knobs = Knobs { consume_point: ConsumePoint::Request, ..Knobs::of_vintage(Vintage::V2022) };
    assert_eq!(Box::pin(end_of(Fault::LongerLength { extra: 10 }, knobs)).await, End::Stored);
}

/// A server that deletes the package as soon as it is asked for.
fn hasty() -> Knobs {
    Knobs { consume_point: ConsumePoint::Request, ..Knobs::default() }
}

#[tokio::test]
async fn every_answer_to_a_second_get_means_gone() {
    for second in [
        SecondGet::Forbidden403,
        SecondGet::NotFound404,
        SecondGet::NotFound404Bare,
        SecondGet::BadRequest400,
        SecondGet::Ok200Empty,
        SecondGet::Ok200Json,
        SecondGet::Gone410,
    ] {
        let knobs = Knobs { second_get: Some(second), ..hasty() };
        let fault = Fault::BadGateway { code: 504, effect: Effect::After };
        assert_eq!(Box::pin(end_of(fault, knobs)).await, End::MadeGood, "{second:?}");
    }
}

#[tokio::test]
async fn a_refused_credential_pauses_and_leaves_the_package_alone() {
    let mut world = World::new(Setup { knobs: hasty(), ..Setup::default() }).await;
    let refused = Fault::Unauthorized { kind: UnauthorizedKind::BadToken };
    world.simulator.world().script(Endpoint::Download, refused);
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    let id = world.watch(&job.job_id).await;
    world.run_due().await;
    let archive = world.archive(id.0).await;
    assert_eq!(archive.state.word().as_str(), "ready");
    assert!(archive.not_before.since(world.now()) >= Duration::from_mins(5));
    let package = job.package_id.unwrap();
    assert_eq!(world.simulator.world().ledger().completed_gets(&package), 0);
}

#[tokio::test]
async fn many_packages_arrive_through_few_downloads() {
    let mut world = World::new(Setup::default().downloads(3)).await;
    for _ in 0..40 {
        let job = world.job(JobState::Ready, ContentSpec::Random { bytes: 100_000 });
        world.watch(&job.job_id).await;
    }
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 40]);
    world.check_oracle().await;
}

#[tokio::test]
async fn what_is_left_of_a_lost_package_leaves_staging_at_once() {
    // As in 2022, the job itself says that its package is gone: no second GET clears anything away.
    let knobs =
        Knobs { consume_point: ConsumePoint::FirstByte, ..Knobs::of_vintage(Vintage::V2022) };
    let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
    world.simulator.world().script(Endpoint::Download, Fault::CutBody { bytes: 1_000 });
    let job = world.job(JobState::Ready, ContentSpec::Zip { bytes: 4_000 });
    world.watch(&job.job_id).await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost"]);
    assert_eq!(std::fs::read(world.path("quarantine/lost-a1.part")).unwrap().len(), 1_000);
    world.check_oracle().await;
}
