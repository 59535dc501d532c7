//! A rejected credential pauses its account: all of it, visibly, no other, not for ever, and at
//! nobody's expense.

use std::time::Duration;

use roma_sim::{ContentSpec, Endpoint, Fault, JobState, Knobs, UnauthorizedKind, defaults};
use rustix::process::Signal;
use serde_json::Value;

use super::{MINUTE, count, with_keys};
use crate::support::binary;
use crate::support::process::Process;
use crate::support::stage::Stage;
use crate::support::world::{Setup, World};

const PAUSES: &str = "SELECT event FROM events WHERE event LIKE 'account_%' ORDER BY seq";

fn refused(kind: UnauthorizedKind) -> Fault {
    Fault::Unauthorized { kind }
}

#[tokio::test]
async fn what_waits_for_a_pause_uses_up_no_attempt() {
    let mut world = World::new(with_keys()).await;
    world.put_secret("secret-key", "mistyped");
    for _ in 0..30 {
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        world.watch(&job.job_id).await;
    }
    world.export().await;
    // Fewer probes than the attempts of the run, which makes them all.
    world.live_through(100 * MINUTE).await;
    let probes = count(&world, Endpoint::Apps, 401) + count(&world, Endpoint::Job, 401);
    assert!((15..=19).contains(&probes), "{probes}: one in five minutes and a half");
    let pauses = world.column(PAUSES).await;
    assert!(pauses.iter().all(|event| event == "account_paused"), "{pauses:?}");
    assert!(pauses.len() as u64 >= probes - 1, "{} pauses, {probes} probes", pauses.len());
    // Every attempt that counts was a call that was made.
    let counted = "SELECT count(*) FROM events WHERE event LIKE '%_postponed' \
                   AND json_extract(detail, '$.failure.class') <> 'paused'";
    assert_eq!(world.column(counted).await, [probes.to_string()]);
    let failed = "SELECT count(*) FROM events WHERE event = 'planning_failed'";
    assert_eq!(world.column(failed).await, ["0"]);
    assert!(world.engine.summary().contains("account ops paused"), "{}", world.engine.summary());
    let reason = "SELECT DISTINCT json_extract(detail, '$.account') || ': ' || \
                  (json_extract(detail, '$.reason') LIKE '%verify aksk signature fail%') \
                  FROM events WHERE event = 'account_paused'";
    assert_eq!(world.column(reason).await, ["ops: 1"]);
    world.put_secret("secret-key", defaults::SECRET_KEY);
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 31]);
    assert_eq!(world.column(PAUSES).await.last().unwrap(), "account_resumed");
    world.check_oracle().await;
}

/// Whatever the daemon is asked to do after a restart, the pause that it was in goes on.
#[tokio::test]
async fn a_pause_outlasts_a_restart() {
    let mut world = World::new(with_keys()).await;
    world.put_secret("secret-key", "mistyped");
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    world.watch(&job.job_id).await;
    world.run_due().await;
    assert_eq!(count(&world, Endpoint::Job, 401), 1);
    assert_eq!(world.column(PAUSES).await, ["account_paused"]);
    for _ in 0..5 {
        world = world.restart().await;
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        world.watch(&job.job_id).await;
        world.live_through(MINUTE).await;
        assert_eq!(count(&world, Endpoint::Job, 401), 1);
    }
    world.put_secret("secret-key", defaults::SECRET_KEY);
    world = world.restart().await;
    world.settle().await;
    assert_eq!(world.column(PAUSES).await, ["account_paused", "account_resumed"]);
    assert_eq!(world.states().await, vec!["stored"; 6]);
    // And what is over is over.
    let world = world.restart().await;
    assert!(!world.engine.summary().contains("paused"), "{}", world.engine.summary());
    world.check_oracle().await;
}

/// The one GET is not what finds out whether the credential is accepted again.
#[tokio::test]
async fn a_harmless_call_tries_before_a_package_is_fetched() {
    let mut world = World::new(with_keys()).await;
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    world.watch(&job.job_id).await;
    let locked = || refused(UnauthorizedKind::AkLocked);
    world.simulator.world().script_always(Endpoint::Download, locked());
    // The first look at the job finds the package, and then nothing is accepted any more.
    world.run_due().await;
    world.simulator.world().script_always(Endpoint::Job, locked());
    world.live_through(60 * MINUTE).await;
    assert_eq!(count(&world, Endpoint::Download, 401), 1, "the first refusal");
    assert!(count(&world, Endpoint::Job, 401) >= 9);
    assert_eq!(world.states().await, ["ready"]);
    assert_eq!(world.archive(1).await.downloads, 0);
    world.simulator.world().clear_faults();
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    world.check_oracle().await;
}

/// One call that comes too often holds up all of the account for as long as the server wishes.
#[tokio::test]
async fn an_account_that_asks_too_often_slows_down() {
    let mut world = World::new(Setup::default()).await;
    for _ in 0..40 {
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        world.watch(&job.job_id).await;
    }
    let throttle = Fault::Throttle { retry_after: Some("120".to_owned()) };
    world.simulator.world().script_always(Endpoint::Job, throttle);
    world.run_due().await;
    let first = count(&world, Endpoint::Job, 429);
    assert!(first <= 32, "{first}: what was under way");
    world.live_through(119 * MINUTE / 60).await;
    assert_eq!(count(&world, Endpoint::Job, 429), first);
    world.live_through(20 * MINUTE).await;
    let asked = count(&world, Endpoint::Job, 429) - first;
    assert!((4..=11).contains(&asked), "{asked}: one in two minutes, and then more rarely");
    world.simulator.world().clear_faults();
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 40]);
    assert_eq!(world.column(PAUSES).await.last().unwrap(), "account_resumed");
    world.check_oracle().await;
}

/// Looks again and again until it is so; the daemon works in real time here.
fn wait_until(what: &str, daemon: &mut Process, is_so: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        assert!(!daemon.has_ended(), "the daemon is gone: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came: {what}");
}

/// A second account whose token nobody knows, with an instance of its own.
fn with_a_second_account() -> Stage {
    let mut stage = Stage::new(Knobs::default(), "min_free_space = \"1MiB\"\n");
    let token = stage.scratch().join("stale");
    binary::write_private(&token, "a-stale-token");
    let text = std::fs::read_to_string(&stage.config).unwrap();
    let second = format!(
        "[[account]]\nname = \"second\"\nauth = \"token\"\ntoken_file = \"{}\"\n\
         [[instance]]\nname = \"other\"\naccount = \"second\"\nendpoint = \"{}\"\n\
         project_id = \"{}\"\ninstance_id = \"{}\"\n[[export]]\n",
        token.display(),
        stage.simulator.url(),
        defaults::PROJECT_ID,
        defaults::INSTANCE_ID,
    );
    std::fs::write(&stage.config, text.replacen("[[export]]\n", &second, 1)).unwrap();
    let jobs: Vec<String> = (0..3)
        .map(|_| stage.create(JobState::Ready, ContentSpec::Zip { bytes: 2_000 }).job_id)
        .collect();
    let other = [&["watch", "other"][..], &[&jobs[0], &jobs[1]]].concat();
    assert_eq!(stage.run(&other).code, Some(0));
    stage.watch(vec![jobs[2].clone()]).unwrap();
    stage
}

#[test]
fn two_accounts_where_one_is_refused_and_the_other_goes_on() {
    let stage = with_a_second_account();
    let stored = "SELECT id FROM archives WHERE state = 'stored' AND instance = 'prod'";
    let paused = "SELECT json_extract(detail, '$.account') FROM events \
                  WHERE event = 'account_paused'";
    let mut daemon = stage.start(&["run"]);
    wait_until("the first account's package", &mut daemon, || stage.column(stored).len() == 1);
    wait_until("the second account's pause", &mut daemon, || stage.column(paused) == ["second"]);
    let told = stage.command(&["status", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["paused_accounts"][0]["account"], "second", "{told}");
    let reason = told["paused_accounts"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("401") && !reason.contains("a-stale-token"), "{reason}");
    let text = stage.command(&["status"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("paused accounts") && text.contains("second"), "{text}");
    daemon.signal(Signal::TERM);
    let ended = daemon.wait(MINUTE);
    assert_eq!(ended.code, Some(0), "{}", ended.story());
    assert!(ended.stderr.contains("second: account paused"), "{}", ended.stderr);

    // A restart is no reason to ask again, and none to hold up the other account.
    let refusals = || stage.simulator.world().ledger().count(Endpoint::Job, 401);
    let before = refusals();
    assert!((1..=2).contains(&before), "{before}: what was sent at the same time");
    let job = stage.create(JobState::Ready, ContentSpec::Zip { bytes: 2_000 }).job_id;
    assert_eq!(stage.run(&["watch", "prod", &job]).code, Some(0));
    let mut daemon = stage.start(&["run"]);
    wait_until("another package", &mut daemon, || stage.column(stored).len() == 2);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(MINUTE).code, Some(0));
    assert_eq!(refusals(), before);
    let attempts = "SELECT sum(attempts) FROM archives WHERE instance = 'other'";
    assert_eq!(stage.column(attempts), [before.to_string()], "what only waits tries nothing");
    assert_eq!(stage.column(paused), ["second"]);
}
