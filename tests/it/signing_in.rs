//! Accounts that sign their requests, with a key pair or as a machine's agency, against a server
//! that works every signature out for itself.

use std::time::Duration;

use roma_archived::clock::ManualClock;
use roma_archived::lifecycle::{Effect, FailureClass};
use roma_archived::model::{JobId, PackageId};
use roma_archived::roma::{ImportMode, ImportOptions, Roma, RomaError};
use roma_archived::settings::{Account, Instance, Limits, Tls};
use roma_sim::{ContentSpec, Endpoint, JobState, KeySpec, Knobs, defaults};

use crate::support::binary;
use crate::support::stage::Stage;
use crate::support::world::{START, Setup, SignIn, World, auth, name};

mod agency;
mod pauses;

const MINUTE: Duration = Duration::from_mins(1);

fn with_keys() -> Setup {
    Setup { sign_in: SignIn::Keys, ..Setup::default() }
}

/// A client of its own, which has never sent anything.
fn client(world: &World) -> Roma {
    let instance = Instance {
        name: name("prod"),
        account: name("ops"),
        endpoint: world.simulator.url().parse().unwrap(),
        project_id: defaults::PROJECT_ID.to_owned(),
        instance_id: defaults::INSTANCE_ID.to_owned(),
    };
    let account = Account { name: name("ops"), auth: auth(&world.ground) };
    Roma::new(&[account], &[instance], &Limits::default(), &Tls::default()).unwrap()
}

fn count(world: &World, endpoint: Endpoint, status: u16) -> u64 {
    world.simulator.world().ledger().count(endpoint, status)
}

/// Failed signatures of the default key in a row, and whether it is locked.
fn failures(world: &World) -> (u32, bool) {
    world.simulator.world().key_failures(defaults::ACCESS_KEY, world.simulator.now_ms())
}

#[tokio::test]
async fn a_whole_life_is_signed() {
    let mut world = World::new(with_keys()).await;
    world.export().await;
    for _ in 0..20 {
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        world.watch(&job.job_id).await;
    }
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 21]);
    assert_eq!(count(&world, Endpoint::Token, 201), 0, "nobody signed in to IAM");
    assert_eq!(failures(&world), (0, false));
    world.check_oracle().await;
}

/// Every kind of address and body: odd ids, queries that need encoding, a form.
#[tokio::test]
async fn every_call_is_signed_as_it_goes_over_the_wire() {
    let world = World::new(with_keys()).await;
    let (roma, prod, now) = (client(&world), name("prod"), world.now());
    assert_eq!(roma.list_apps(&prod, now).await.unwrap().ids.len(), defaults::APPS);
    assert_eq!(roma.list_tasks(&prod, now).await.unwrap().ids.len(), defaults::TASKS);
    assert_eq!(roma.listed_instances(&prod, now).await.unwrap().len(), 1);
    let iam = world.simulator.url().parse().unwrap();
    let found = async |named: &str| roma.projects(&prod, (&iam, named), now).await.unwrap();
    assert_eq!(found(defaults::PROJECT_NAME).await, [defaults::PROJECT_ID]);
    assert!(found("a b+c/d&e=f%20~*'() ü😀").await.is_empty());
    for odd in ["a/../b", "a b+c", "ü-😀", "%2F", "*'()!~", "a;b?c=d&e"] {
        // The service is asked, and does not know it: the gateway had no objection.
        let package = PackageId::new(odd).unwrap();
        let error = roma.open_package(&prod, &package, now).await.unwrap_err();
        assert_eq!(error.class, FailureClass::Gone, "{odd}: {error}");
        let job = JobId::new(odd).unwrap();
        let error = roma.job(&prod, &job, now).await.unwrap_err();
        assert_eq!(error.class, FailureClass::Gone, "{odd}: {error}");
    }
    let options = ImportOptions {
        mode: ImportMode::Merge,
        prefix: Some("a b+ü".to_owned()),
        overwrite_datasources: true,
    };
    let package = (ContentSpec::Zip { bytes: 3_000 }, "s1-1.zip");
    let zip = {
        let job = world.job(JobState::Ready, package.0);
        let id = PackageId::new(job.package_id.unwrap()).unwrap();
        let mut stream = roma.open_package(&prod, &id, now).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        bytes
    };
    roma.import_package(&prod, (package.1, zip), &options, now).await.unwrap();
    let imports = world.simulator.world().ledger().imports().to_vec();
    assert_eq!(imports[0].prefix.as_deref(), Some("a b+ü"));
    assert_eq!(failures(&world), (0, false));
}

async fn refusal(world: &World) -> RomaError {
    let error = client(world).list_apps(&name("prod"), world.now()).await.unwrap_err();
    assert_eq!((error.class, error.effect), (FailureClass::Unauthorized, Effect::NotDone));
    error
}

/// What is wrong with a signature is found by the server, and told.
#[tokio::test]
async fn a_wrong_signature_is_refused() {
    let world = World::new(with_keys()).await;
    client(&world).list_apps(&name("prod"), world.now()).await.unwrap();
    world.put_secret("secret-key", "sim-secret-kez");
    assert!(refusal(&world).await.to_string().contains("verify aksk signature fail"));
    world.put_secret("secret-key", defaults::SECRET_KEY);
    world.put_secret("access-key", "NOBODYSKEY");
    assert!(refusal(&world).await.to_string().contains("ak not exist"));
    world.put_secret("access-key", defaults::ACCESS_KEY);
    client(&world).list_apps(&name("prod"), world.now()).await.unwrap();
}

#[tokio::test]
async fn temporary_keys_bring_their_token_along() {
    let world = World::new(with_keys()).await;
    world.simulator.world().add_key(KeySpec {
        access: "TEMPORARY".to_owned(),
        secret: "temporary-secret".to_owned(),
        user: defaults::USER.to_owned(),
        security_token: Some("gQpjbi1ub3J0aC00jD4Ej.token/with+chars==".to_owned()),
        expires_ms: Some(world.now().plus(60 * MINUTE).as_millis()),
    });
    world.put_secret("access-key", "TEMPORARY");
    world.put_secret("secret-key", "temporary-secret");
    refusal(&world).await;
    world.put_secret("security-token", "gQpjbi1ub3J0aC00jD4Ej.token/with+chars==");
    client(&world).list_apps(&name("prod"), world.now()).await.unwrap();
    world.put_secret("security-token", "another");
    refusal(&world).await;
}

/// New keys are put into the files while the daemon runs, and the old ones are withdrawn.
#[tokio::test]
async fn rotated_keys_are_read_again_when_the_old_ones_are_refused() {
    let mut world = World::new(with_keys()).await;
    world.export().await;
    world.settle().await;
    world.put_secret("access-key", "NEWKEY");
    world.put_secret("secret-key", "new-secret");
    {
        let mut server = world.simulator.world();
        server.remove_key(defaults::ACCESS_KEY);
        server.add_key(KeySpec {
            access: "NEWKEY".to_owned(),
            secret: "new-secret".to_owned(),
            user: defaults::USER.to_owned(),
            security_token: None,
            expires_ms: None,
        });
    }
    let before = world.now();
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored", "stored"]);
    assert_eq!(count(&world, Endpoint::Apps, 401), 1, "one refusal, and then the new keys");
    assert!(world.now().since(before) < MINUTE, "nothing paused");
    world.check_oracle().await;
}

/// However much is to be done, keys that are refused are tried by one call.
#[tokio::test]
async fn wrong_keys_are_not_tried_until_they_are_locked() {
    let mut world = World::new(with_keys()).await;
    world.put_secret("secret-key", "mistyped");
    for _ in 0..40 {
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        world.watch(&job.job_id).await;
    }
    world.live_through(5 * MINUTE).await;
    assert_eq!(count(&world, Endpoint::Job, 401), 1);
    world.live_through(2 * 60 * MINUTE).await;
    let refused = count(&world, Endpoint::Job, 401);
    assert!((15..=25).contains(&refused), "{refused}: one in five minutes and a half");
    assert_eq!(world.states().await, vec!["running"; 40]);
    world.put_secret("secret-key", defaults::SECRET_KEY);
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 40]);
    world.check_oracle().await;
}

/// A signature more than a quarter of an hour off is refused, and the error says what is wrong.
#[tokio::test]
async fn a_clock_that_is_off_is_named() {
    for (minutes, ahead) in [(16, true), (16, false), (14, true), (14, false)] {
        let here: roma_archived::model::Timestamp = START.parse().unwrap();
        let span = Duration::from_mins(minutes);
        let truth = if ahead { here.minus(span) } else { here.plus(span) };
        let truth = Some(ManualClock::new(truth));
        let world = World::new(Setup { truth, ..with_keys() }).await;
        if minutes < 15 {
            client(&world).list_apps(&name("prod"), world.now()).await.unwrap();
            continue;
        }
        let told = refusal(&world).await.to_string();
        let direction = if ahead { "960 s ahead of" } else { "960 s behind" };
        assert!(told.contains("signature expired") && told.contains(direction), "{told}");
    }
}

/// Puts these keys into the section of the account.
fn sign_in_by(stage: &Stage, keys: &str) {
    let text = std::fs::read_to_string(&stage.config).unwrap();
    let start = text.find("auth =").unwrap();
    let end = text.find("[[instance]]").unwrap();
    let text = format!("{}{keys}{}", &text[..start], &text[end..]);
    std::fs::write(&stage.config, text).unwrap();
}

/// Neither in the log nor in anything that the daemon leaves behind.
#[test]
fn the_secret_key_shows_nowhere() {
    let stage = Stage::new(Knobs::default(), "min_free_space = \"1MiB\"\n");
    let file = |name: &str, text: &str| {
        binary::write_private(&stage.scratch().join(name), text);
        stage.scratch().join(name).display().to_string()
    };
    let (access, secret) = (file("ak", defaults::ACCESS_KEY), file("sk", defaults::SECRET_KEY));
    sign_in_by(
        &stage,
        &format!(
            "auth = \"aksk\"\naccess_key_file = \"{access}\"\nsecret_key_file = \"{secret}\"\n"
        ),
    );
    let checked = stage.run(&["check-config"]);
    assert_eq!(checked.code, Some(0), "{}", checked.story());
    assert_eq!(stage.run(&["doctor"]).code, Some(0));
    assert_eq!(stage.run(&["export", "nightly"]).code, Some(0));
    let ended = stage.command(&["run", "--once"]).env("RUST_LOG", "debug").output().unwrap();
    assert!(ended.status.success());
    let log = String::from_utf8(ended.stderr).unwrap() + &String::from_utf8(ended.stdout).unwrap();
    assert!(log.contains("stored"), "{log}");
    let of_state =
        ["catalog.db", "catalog.db-wal"].map(|name| std::fs::read(stage.state.join(name)));
    let left = of_state.into_iter().flatten().flatten().collect::<Vec<u8>>();
    for what in [defaults::SECRET_KEY, "Signature="] {
        assert!(!log.contains(what), "{what} in the log");
        assert!(!left.windows(what.len()).any(|w| w == what.as_bytes()), "{what} in the catalog");
    }
    assert_eq!(stage.column("SELECT state FROM archives"), ["stored"]);
}
