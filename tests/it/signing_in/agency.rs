//! The keys of the machine's agency: both modes of the metadata service, renewal before the end,
//! and what is told when there are none.

use std::time::Duration;

use roma_archived::lifecycle::FailureClass;
use roma_sim::knobs::{AgencySpelling, MetadataMode};
use roma_sim::{ContentSpec, Endpoint, Fault, JobState, Knobs};

use super::{MINUTE, client, count, sign_in_by};
use crate::support::stage::Stage;
use crate::support::world::{Setup, SignIn, World, name};

const HOUR: Duration = Duration::from_hours(1);

fn setup(change: impl FnOnce(&mut Knobs)) -> Setup {
    let mut knobs = Knobs::default();
    change(&mut knobs);
    Setup { knobs, sign_in: SignIn::Agency, ..Setup::default() }
}

fn asked(world: &World, endpoint: Endpoint) -> u64 {
    world.simulator.world().ledger().count_all(endpoint)
}

#[tokio::test]
async fn whole_lives_in_every_mode_of_the_service() {
    for (mode, spelling, tokens) in [
        (MetadataMode::Plain, AgencySpelling::Ecs, 1),
        (MetadataMode::Plain, AgencySpelling::Other, 1),
        (MetadataMode::Hardened, AgencySpelling::Ecs, 1),
        (MetadataMode::Cce, AgencySpelling::Other, 1),
    ] {
        let mut world = World::new(setup(|knobs| {
            knobs.metadata = mode;
            knobs.agency_spelling = spelling;
        }))
        .await;
        world.export().await;
        for _ in 0..10 {
            let job = world.job(JobState::Ready, ContentSpec::Assets);
            world.watch(&job.job_id).await;
        }
        world.settle().await;
        assert_eq!(world.states().await, vec!["stored"; 11], "{mode:?}");
        assert_eq!(asked(&world, Endpoint::MetadataToken), tokens, "{mode:?}");
        assert_eq!(count(&world, Endpoint::SecurityKey, 200), 1, "{mode:?}: once for all calls");
        assert_eq!(asked(&world, Endpoint::Token), 0, "{mode:?}: nobody signed in to IAM");
        world.check_oracle().await;
    }
}

/// Any failure of the question for a token means that none is wanted; it is asked again in a day.
#[tokio::test]
async fn a_service_without_tokens_is_asked_again_after_a_day() {
    let (prod, hour) = (name("prod"), |hours: u32| HOUR * hours);
    for fault in [Fault::status(405), Fault::status(503), Fault::Empty200] {
        let world = World::new(setup(|_| {})).await;
        world.simulator.world().script(Endpoint::MetadataToken, fault.clone());
        let (roma, start) = (client(&world), world.now());
        roma.ready_credential(&prod, start).await.unwrap();
        world.clock.set(start.plus(hour(23) + 30 * MINUTE));
        roma.ready_credential(&prod, world.now()).await.unwrap();
        assert_eq!(count(&world, Endpoint::SecurityKey, 200), 2, "renewed before the end");
        assert_eq!(asked(&world, Endpoint::MetadataToken), 1, "{fault:?}");
        // It has become a hardened one meanwhile, and its keys run out.
        world.simulator.world().knobs_mut().metadata = MetadataMode::Hardened;
        world.clock.set(start.plus(hour(47)));
        roma.ready_credential(&prod, world.now()).await.unwrap();
        assert_eq!(asked(&world, Endpoint::MetadataToken), 2, "{fault:?}");
        assert_eq!(count(&world, Endpoint::SecurityKey, 401), 0, "{fault:?}");
    }
}

/// The service becomes a hardened one, or forgets its tokens, between two renewals.
#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let prod = name("prod");
    for before in [MetadataMode::Plain, MetadataMode::Hardened] {
        let world = World::new(setup(|knobs| {
            knobs.metadata = before;
            knobs.agency_lifetime_s = 3_600;
        }))
        .await;
        let (roma, start) = (client(&world), world.now());
        roma.ready_credential(&prod, start).await.unwrap();
        world.simulator.world().knobs_mut().metadata = MetadataMode::Hardened;
        world.simulator.world().forget_metadata_tokens();
        world.clock.set(start.plus(31 * MINUTE));
        roma.ready_credential(&prod, world.now()).await.unwrap();
        assert_eq!(count(&world, Endpoint::SecurityKey, 401), 1, "{before:?}");
        assert_eq!(asked(&world, Endpoint::MetadataToken), 2, "{before:?}");
        // One that is refused for good is no reason to go on asking.
        world.clock.set(start.plus(100 * MINUTE));
        let refused = Fault::status(401);
        world.simulator.world().script_always(Endpoint::SecurityKey, refused);
        let seen = asked(&world, Endpoint::SecurityKey);
        for seconds in 0..300 {
            let now = world.now().plus(Duration::from_secs(seconds));
            roma.ready_credential(&prod, now).await.unwrap_err();
        }
        assert_eq!(asked(&world, Endpoint::SecurityKey), seen + 2, "{before:?}");
    }
}

/// 40 minutes before the end, or half-way through a short life: never on every call.
#[tokio::test]
async fn keys_are_renewed_in_time_and_no_sooner() {
    let prod = name("prod");
    for (lifetime_s, renewed_after) in
        [(86_400, 23 * HOUR + 20 * MINUTE), (3_600, 30 * MINUTE), (600, 5 * MINUTE)]
    {
        let world = World::new(setup(|knobs| knobs.agency_lifetime_s = lifetime_s)).await;
        let (roma, start) = (client(&world), world.now());
        roma.ready_credential(&prod, start).await.unwrap();
        let before = start.plus(renewed_after).minus(Duration::from_secs(1));
        for now in [start.plus(renewed_after / 2), before] {
            world.clock.set(now);
            roma.list_apps(&prod, now).await.unwrap();
        }
        assert_eq!(asked(&world, Endpoint::SecurityKey), 1, "{lifetime_s}");
        world.clock.set(start.plus(renewed_after));
        roma.list_apps(&prod, world.now()).await.unwrap();
        assert_eq!(asked(&world, Endpoint::SecurityKey), 2, "{lifetime_s}");
        assert_eq!(count(&world, Endpoint::Apps, 401), 0, "{lifetime_s}");
    }
}

/// A service that is away when keys are to be renewed holds nothing up while they are good, and
/// none that are about to end are used.
#[tokio::test]
async fn the_old_keys_serve_while_the_service_is_away() {
    let world = World::new(setup(|knobs| knobs.agency_lifetime_s = 3_600)).await;
    let (roma, prod, start) = (client(&world), name("prod"), world.now());
    roma.ready_credential(&prod, start).await.unwrap();
    world.simulator.world().script_always(Endpoint::SecurityKey, Fault::status(503));
    for minutes in 30..50 {
        let now = start.plus(minutes * MINUTE);
        world.clock.set(now);
        roma.ready_credential(&prod, now).await.unwrap();
        roma.list_apps(&prod, now).await.unwrap();
    }
    let asked_so_far = asked(&world, Endpoint::SecurityKey);
    assert!((10..=22).contains(&asked_so_far), "{asked_so_far}: once a minute");
    let now = start.plus(50 * MINUTE);
    let error = roma.ready_credential(&prod, now).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Transient, "{error}");
    world.simulator.world().clear_faults();
    roma.ready_credential(&prod, now).await.unwrap();
}

/// Days pass, keys come and go, and a package that waits is fetched with keys that are good.
#[tokio::test]
async fn a_package_that_waits_for_days_is_fetched_with_good_keys() {
    let mut world = World::new(setup(|knobs| {
        knobs.agency_lifetime_s = 3_600;
        knobs.job_duration_ms = 3 * 3_600_000;
    }))
    .await;
    world.export().await;
    world.settle().await;
    world.simulator.world().script(Endpoint::Download, Fault::status(503));
    world.export().await;
    world.live_through(26 * HOUR).await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored", "stored"]);
    let refused = [Endpoint::Apps, Endpoint::Export, Endpoint::Job, Endpoint::Download];
    assert_eq!(refused.map(|endpoint| count(&world, endpoint, 401)), [0; 4]);
    world.check_oracle().await;
}

/// Keys that are withdrawn early are replaced after one refusal.
#[tokio::test]
async fn keys_that_were_withdrawn_are_replaced() {
    let mut world = World::new(setup(|_| {})).await;
    world.export().await;
    world.settle().await;
    world.simulator.world().revoke_agency_keys();
    let before = world.now();
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored", "stored"]);
    assert_eq!(count(&world, Endpoint::Apps, 401), 1);
    assert!(world.now().since(before) < MINUTE);
}

#[tokio::test]
async fn a_machine_without_an_agency_is_told_so_and_asks_rarely() {
    for (mode, fault) in [
        (MetadataMode::Plain, None),
        (MetadataMode::Hardened, None),
        (MetadataMode::Plain, Some(Fault::status(404))),
    ] {
        let world = World::new(setup(|knobs| {
            knobs.metadata = mode;
            knobs.agency_user = None;
        }))
        .await;
        if let Some(fault) = fault {
            world.simulator.world().script_always(Endpoint::SecurityKey, fault);
        }
        let (roma, prod, start) = (client(&world), name("prod"), world.now());
        let first = roma.ready_credential(&prod, start).await.unwrap_err();
        assert_eq!(first.class, FailureClass::Permanent);
        for seconds in 0..330 {
            let now = start.plus(Duration::from_secs(seconds));
            let error = roma.ready_credential(&prod, now).await.unwrap_err();
            assert_eq!(error.class, FailureClass::Paused);
            let told = error.to_string();
            assert!(told.contains("give this machine an agency"), "{told}");
        }
        assert_eq!(asked(&world, Endpoint::SecurityKey), 1, "{mode:?}");
    }
}

/// The address can be overridden, and a proxy is never asked for it.
#[test]
fn the_compiled_program_takes_keys_from_the_service_and_no_proxy() {
    let stage = Stage::new(Knobs::default(), "min_free_space = \"1MiB\"\n");
    sign_in_by(&stage, "auth = \"agency\"\n");
    let run = |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        command.env("ROMA_ARCHIVED_METADATA_ENDPOINT", stage.simulator.url());
        // Nobody listens there; calls to loopback addresses of ROMA itself go past it.
        for (variable, value) in [("HTTP_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "")] {
            command.env(variable, value).env(variable.to_lowercase(), value);
        }
        command.output().unwrap()
    };
    let doctor = run(&["doctor"]);
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(told.contains("gives keys of an agency"), "{told}");
    let count = stage.simulator.world().ledger().count(Endpoint::SecurityKey, 200);
    assert_eq!(count, 1, "{told}");
    let wrong = stage
        .command(&["check-config"])
        .env("ROMA_ARCHIVED_METADATA_ENDPOINT", "169.254.169.254")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(78));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("ROMA_ARCHIVED_METADATA_ENDPOINT: is not a URL"), "{told}");
}
