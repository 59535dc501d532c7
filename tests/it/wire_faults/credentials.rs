//! Refused credentials: one renewal, then a pause that is longer than the locks of IAM and the
//! gateway. The server's ledger counts the sign-ins.

use std::time::Duration;

use roma_archived::lifecycle::FailureClass;
use roma_archived::model::Timestamp;
use roma_archived::roma::Roma;
use roma_archived::settings::{Account, Limits, Tls};
use roma_sim::{ContentSpec, Endpoint, Fault, JobState, UnauthorizedKind};

use super::{client, instance, password};
use crate::support::world::{Setup, SignIn, World, name};

const MINUTE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(330);

const KINDS: [UnauthorizedKind; 7] = [
    UnauthorizedKind::ExpiredToken,
    UnauthorizedKind::BadToken,
    UnauthorizedKind::BadSignature,
    UnauthorizedKind::ClockSkew,
    UnauthorizedKind::AkLocked,
    UnauthorizedKind::AkUnknown,
    UnauthorizedKind::WrongTokenAs400,
];

fn signing_in() -> Setup {
    Setup { sign_in: SignIn::Password, ..Setup::default() }
}

fn count(world: &World, endpoint: Endpoint) -> u64 {
    world.simulator.world().ledger().count_all(endpoint)
}

/// One sign-in, one renewal, two refused calls; then nothing for more than five minutes; and all is
/// well as soon as the credential is accepted again.
#[tokio::test]
async fn every_kind_of_401_is_one_renewal_and_then_a_pause() {
    for kind in KINDS {
        for endpoint in [Endpoint::Export, Endpoint::Job, Endpoint::Download, Endpoint::Apps] {
            let of = format!("{kind:?} {endpoint:?}");
            let mut world = World::new(signing_in()).await;
            world.simulator.world().script_always(endpoint, Fault::Unauthorized { kind });
            world.export().await;
            world.run_due().await;
            world.live_through(5 * MINUTE).await;
            assert_eq!(count(&world, endpoint), 2, "{of}");
            assert_eq!(count(&world, Endpoint::Token), 2, "{of}");
            world.live_through(PAUSE).await;
            // Once more with a new token, and no more than once.
            assert_eq!(count(&world, endpoint), 3, "{of}");
            assert!(count(&world, Endpoint::Token) <= 3, "{of}");
            world.simulator.world().clear_faults();
            world.settle().await;
            assert_eq!(world.states().await, ["stored"], "{of}");
            world.check_oracle().await;
        }
    }
}

/// However many jobs there are, the account signs in as if there were one.
#[tokio::test]
async fn many_jobs_share_the_renewal_and_the_pause() {
    let mut world = World::new(signing_in()).await;
    for _ in 0..20 {
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        world.watch(&job.job_id).await;
    }
    let refused = Fault::Unauthorized { kind: UnauthorizedKind::AkLocked };
    world.simulator.world().script_always(Endpoint::Job, refused);
    world.run_due().await;
    let asked = count(&world, Endpoint::Job);
    assert!(asked <= 40, "{asked}");
    world.live_through(5 * MINUTE).await;
    assert_eq!(count(&world, Endpoint::Token), 2);
    assert_eq!(count(&world, Endpoint::Job), asked, "the pause is everybody's");
    world.simulator.world().clear_faults();
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 20]);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_in_five_minutes() {
    let mut world = World::new(signing_in()).await;
    for _ in 0..20 {
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        world.watch(&job.job_id).await;
    }
    std::fs::write(world.path("password"), "mistyped").unwrap();
    world.live_through(5 * MINUTE).await;
    assert_eq!(count(&world, Endpoint::Token), 1);
    world.live_through(60 * MINUTE).await;
    assert!(count(&world, Endpoint::Token) <= 12, "{}", count(&world, Endpoint::Token));
    assert_eq!(world.states().await, vec!["running"; 20]);
    std::fs::write(world.path("password"), roma_sim::defaults::PASSWORD).unwrap();
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 20]);
}

/// A user without rights, or a project that does not exist, is no reason to ask IAM for every step.
#[tokio::test]
async fn any_refusal_of_iam_pauses_the_account() {
    let world = World::new(Setup::default()).await;
    let (prod, start) = (name("prod"), world.now());
    for code in [400, 401, 403, 404] {
        let roma = client(&world);
        let before = count(&world, Endpoint::Token);
        world.simulator.world().script(Endpoint::Token, Fault::status(code));
        let first = roma.ready_credential(&prod, start).await.unwrap_err();
        for minutes in 0..5 {
            let now = start.plus(minutes * MINUTE);
            let error = roma.ready_credential(&prod, now).await.unwrap_err();
            assert_eq!(error.class, FailureClass::Paused, "{code}");
            assert_ne!(first.class, FailureClass::Paused, "{code}");
            let left = Duration::from_millis(error.retry_after_ms.unwrap());
            assert_eq!(now.plus(left), start.plus(PAUSE), "{code}");
        }
        assert_eq!(count(&world, Endpoint::Token), before + 1, "{code}");
        roma.ready_credential(&prod, start.plus(PAUSE)).await.unwrap();
    }
    // IAM's own wish, within reason.
    for (wish, pause) in [("120", 2 * MINUTE), ("99999999999999999999", 60 * MINUTE)] {
        let roma = client(&world);
        let throttle = Fault::Throttle { retry_after: Some(wish.to_owned()) };
        world.simulator.world().script(Endpoint::Token, throttle);
        roma.ready_credential(&prod, start).await.unwrap_err();
        let before = count(&world, Endpoint::Token);
        let error = roma.ready_credential(&prod, start.plus(pause / 2)).await.unwrap_err();
        assert_eq!(error.class, FailureClass::Paused);
        assert_eq!(count(&world, Endpoint::Token), before, "{wish}");
        roma.ready_credential(&prod, start.plus(pause)).await.unwrap();
    }
}

/// One instance that refuses everybody is no reason to leave the account's others alone.
#[tokio::test]
async fn an_instance_that_refuses_every_token_pauses_alone() {
    let world = World::new(Setup::default()).await;
    let sick = World::new(Setup::default()).await;
    let refused = Fault::Unauthorized { kind: UnauthorizedKind::BadToken };
    sick.simulator.world().script_always(Endpoint::Apps, refused);
    let url = world.simulator.url();
    let account = Account { name: name("ops"), auth: password(&world, &url) };
    let instances = [instance("prod", &url), instance("sick", &sick.simulator.url())];
    let roma = Roma::new(&[account], &instances, &Limits::default(), &Tls::default()).unwrap();
    for seconds in 0..300 {
        let now = world.now().plus(Duration::from_secs(seconds));
        roma.list_apps(&name("sick"), now).await.unwrap_err();
        roma.list_apps(&name("prod"), now).await.unwrap();
    }
    assert_eq!(count(&sick, Endpoint::Apps), 2);
    assert_eq!(count(&world, Endpoint::Token), 2);
}

/// A clock that is set back makes no token older than it is, and no pause longer.
#[tokio::test]
async fn a_clock_set_back_stretches_neither_a_token_nor_a_pause() {
    let world = World::new(Setup::default()).await;
    let prod = name("prod");
    let later = world.now();
    let weeks = Duration::from_hours(6 * 7 * 24);
    let earlier = later.minus(weeks);
    let roma = client(&world);
    roma.ready_credential(&prod, later).await.unwrap();
    roma.ready_credential(&prod, later.minus(MINUTE)).await.unwrap();
    assert_eq!(count(&world, Endpoint::Token), 1, "a step that waited is no clock set back");
    roma.ready_credential(&prod, earlier).await.unwrap();
    assert_eq!(count(&world, Endpoint::Token), 2, "how old it is nobody knows");
    // And forward: it has run out.
    roma.ready_credential(&prod, earlier.plus(weeks)).await.unwrap();
    assert_eq!(count(&world, Endpoint::Token), 3);
    let roma = client(&world);
    let asks_at = async |now: Timestamp| {
        let before = count(&world, Endpoint::Token);
        world.simulator.world().script(Endpoint::Token, Fault::status(401));
        roma.ready_credential(&prod, now).await.unwrap_err();
        world.simulator.world().clear_faults();
        count(&world, Endpoint::Token) > before
    };
    assert!(asks_at(later).await);
    assert!(!asks_at(later.plus(5 * MINUTE)).await);
    assert!(asks_at(earlier).await, "not for six weeks");
    assert!(!asks_at(earlier.plus(5 * MINUTE)).await);
    assert!(asks_at(earlier.plus(PAUSE)).await);
}
