//! Pins and the way back from the trash: what is pinned is never deleted, whoever decided when, and
//! what is brought back stays.

use std::time::Duration;

use roma_archived::catalog::{CatalogError, Change, Pin, Refusal, Unpin};
use roma_archived::lifecycle::{Deletion, Event, StateWord};
use roma_archived::model::{SnapshotId, Timestamp};
use roma_archived::retention::{Count, CountRule, Policy};
use roma_sim::{ContentSpec, JobState, Knobs};
use rustix::process::Signal;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::support::stage::Stage;
use crate::support::world::{Setup, World, name};

const DAY: Duration = Duration::from_hours(24);
const TRASH: Duration = Duration::from_hours(48);
const PATIENCE: Duration = Duration::from_mins(1);

/// A run each night, of which the newest is kept.
async fn nights(count: u32) -> World {
    let policy = Policy {
        counts: vec![CountRule { period: None, count: Count::Limited(1) }],
        trash: TRASH,
        ..Policy::default()
    };
    let mut world =
        World::new(Setup { schedule: Some("0 2 * * *"), policy, ..Setup::default() }).await;
    world.live_through(DAY * count).await;
    world
}

fn pin(snapshot: i64, until: Option<Timestamp>) -> Pin {
    Pin {
        snapshot: SnapshotId(snapshot),
        name: name("manual"),
        reason: "audit".to_owned(),
        by: "ops".to_owned(),
        until,
    }
}

async fn snapshots(world: &World) -> Vec<String> {
    world.column("SELECT state FROM snapshots ORDER BY id").await
}

fn refusal<T: std::fmt::Debug>(result: Result<T, CatalogError>) -> Refusal {
    match result {
        Err(CatalogError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_pin_holds_until_it_is_taken_away() {
    let mut world = nights(1).await;
    assert_eq!(world.catalog.pin(pin(1, None), world.now()).await.unwrap(), None);
    world.live_through(DAY * 5).await;
    let expected = ["complete", "deleted", "deleted", "trashed", "trashed", "complete"];
    assert_eq!(snapshots(&world).await, expected);
    let why = world.column("SELECT kept_because FROM snapshots WHERE id = 1").await;
    assert!(why[0].ends_with("pinned: manual"), "{why:?}");

    let unpin = Unpin { snapshot: SnapshotId(1), name: name("manual"), by: "eve".to_owned() };
    let was = world.catalog.unpin(unpin.clone(), world.now()).await.unwrap();
    assert_eq!(was, pin(1, None));
    let none = refusal(world.catalog.unpin(unpin, world.now()).await);
    assert_eq!(none.to_string(), "s1 has no pin `manual`: nothing pins it");
    world.live_through(Duration::from_hours(2)).await;
    assert_eq!(snapshots(&world).await[0], "trashed");
    let told = "SELECT concat_ws(' ', event, json_extract(detail, '$.name'), \
                json_extract(detail, '$.reason'), json_extract(detail, '$.by')) \
                FROM events WHERE event IN ('pinned', 'unpinned') ORDER BY seq";
    assert_eq!(world.column(told).await, ["pinned manual audit ops", "unpinned manual audit eve"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_pin_that_has_expired_holds_nothing() {
    let mut world = nights(1).await;
    let until = world.now().plus(DAY * 3);
    world.catalog.pin(pin(1, Some(until)), world.now()).await.unwrap();
    world.live_through(DAY * 2).await;
    assert_eq!(snapshots(&world).await[0], "complete");
    world.live_through(DAY * 2).await;
    assert_eq!(snapshots(&world).await[0], "trashed");
    world.check_oracle().await;
}

#[tokio::test]
async fn a_second_pin_of_the_same_name_replaces_the_first() {
    let world = nights(1).await;
    let first = pin(1, Some(world.now().plus(DAY)));
    world.catalog.pin(first.clone(), world.now()).await.unwrap();
    let second = Pin { reason: "court order".to_owned(), ..pin(1, None) };
    let replaced = world.catalog.pin(second, world.now()).await.unwrap();
    assert_eq!(replaced, Some(first));
    let other = Pin { name: name("legal"), ..pin(1, None) };
    assert_eq!(world.catalog.pin(other, world.now()).await.unwrap(), None);
    let all = "SELECT concat_ws(' ', name, reason, until, pinned_by) FROM pins ORDER BY name";
    assert_eq!(world.column(all).await, ["legal audit ops", "manual court order ops"]);
}

/// The plan was read, the pin comes, and only then the deletion is to be committed.
#[tokio::test]
async fn a_deletion_that_was_decided_before_the_pin_is_refused() {
    let mut world = nights(1).await;
    let seen = world.archive(1).await;
    world.catalog.pin(pin(1, None), world.now()).await.unwrap();
    let deletion = Deletion { reason: "no rule keeps it".to_owned(), policy: None };
    let purge_at = world.now().plus(TRASH);
    let decided = Change::new(seen.clone(), Event::DeletionDecided { deletion, purge_at });
    let why = refusal(world.catalog.commit_all(vec![decided], world.now()).await);
    assert_eq!(why.to_string(), "s1 is pinned: manual (audit, by ops)");
    assert_eq!(world.archive(1).await, seen, "nothing was changed");
    world.live_through(DAY * 3).await;
    assert_eq!(snapshots(&world).await[0], "complete");
    world.check_oracle().await;
}

/// Sets a pin where the program would not: on what lies in the trash.
async fn pin_behind_its_back(world: &World, snapshot: i64) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.path("catalog.db"));
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    let insert = format!("INSERT INTO internal_pin VALUES ({snapshot}, 'x', 'y', 7, NULL, 'ops')");
    sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn what_is_pinned_is_not_purged_but_comes_back() {
    let mut world = nights(2).await;
    assert_eq!(snapshots(&world).await, ["trashed", "complete"]);
    let refused = refusal(world.catalog.pin(pin(1, None), world.now()).await);
    assert!(refused.to_string().contains("`roma-archived undelete s1`"), "{refused}");
    pin_behind_its_back(&world, 1).await;
    let started = Change::new(world.archive(1).await, Event::DeletionStarted);
    refusal(world.catalog.commit(started, world.now()).await);
    world.live_through(DAY * 3).await;
    assert_eq!(snapshots(&world).await[0], "complete");
    let by = "SELECT json_extract(detail, '$.by') FROM events WHERE event = 'deletion_revoked'";
    assert_eq!(world.column(by).await, ["s1 is pinned: x (y, by ops)"]);
    world.check_oracle().await;
}

fn undelete_pin(world: &World) -> Pin {
    Pin { name: name("undelete"), ..pin(1, Some(world.now().plus(TRASH))) }
}

#[tokio::test]
async fn what_is_brought_back_stays_for_a_while() {
    let mut world = nights(2).await;
    assert_eq!(snapshots(&world).await, ["trashed", "complete"]);
    let wanted = undelete_pin(&world);
    let (back, held) = world.catalog.undelete(wanted.clone(), world.now()).await.unwrap();
    assert_eq!((back.len(), back[0].state.word(), &held), (1, StateWord::Stored, &wanted));
    let row = "SELECT concat_ws(' ', state, pinned, kept_because, expected_delete_at) \
               FROM snapshots WHERE id = 1";
    assert_eq!(world.column(row).await, ["complete 1 undeleted"]);
    let again = refusal(world.catalog.undelete(wanted, world.now()).await);
    let text = "s1 is not in the trash but complete: there is nothing to bring back";
    assert_eq!(again.to_string(), text);
    // The sweep does not take it again, and the purge that was due finds nothing to do, although
    // nobody told the engine.
    world.live_through(Duration::from_hours(47)).await;
    let kept = world.column("SELECT kept_because FROM snapshots WHERE id = 1").await;
    assert!(kept[0].ends_with("pinned: undelete"), "{kept:?}");
    world.live_through(Duration::from_hours(3)).await;
    assert_eq!(snapshots(&world).await[0], "trashed", "the pin has expired");
    world.live_through(TRASH).await;
    assert_eq!(snapshots(&world).await[0], "deleted");
    let late = refusal(world.catalog.undelete(undelete_pin(&world), world.now()).await).to_string();
    let deleted = world.column("SELECT deleted_at FROM archives WHERE id = 1").await;
    assert!(late.contains(&deleted[0]) && late.contains("no rule keeps it"), "{late}");
    let late = refusal(world.catalog.pin(pin(1, None), world.now()).await);
    assert!(matches!(late, Refusal::Deleted { wanted: "pin", .. }), "{late:?}");
    world.check_oracle().await;
}

#[tokio::test]
async fn a_purge_that_comes_second_finds_nothing_to_remove() {
    let mut world = nights(2).await;
    let trashed = world.archive(1).await;
    world.catalog.undelete(undelete_pin(&world), world.now()).await.unwrap();
    // The engine has not heard of it, and the day comes.
    let mut due = undelete_pin(&world);
    due.until = None;
    world.catalog.pin(due, world.now()).await.unwrap();
    world.clock.set(trashed.not_before);
    world.run_due().await;
    assert_eq!(world.states().await[0], "stored");
    assert!(world.events(1).await.contains(&"deletion_revoked".to_owned()));
    world.check_oracle().await;
}

#[tokio::test]
async fn bringing_back_that_comes_second_is_too_late() {
    let world = nights(2).await;
    let started = Change::new(world.archive(1).await, Event::DeletionStarted);
    world.catalog.commit(started, world.now()).await.unwrap();
    let late = refusal(world.catalog.undelete(undelete_pin(&world), world.now()).await);
    assert!(matches!(late, Refusal::BeingDeleted { .. }), "{late:?}");
    assert!(late.to_string().contains("too late"), "{late}");
    let unknown = refusal(world.catalog.pin(pin(9, None), world.now()).await);
    assert_eq!(unknown, Refusal::Unknown(SnapshotId(9)));
}

/// Three packages stored by the binary, of which retention keeps the newest.
fn stage() -> Stage {
    let mut stage = Stage::new(Knobs::default(), "[retention]\nkeep_last = 1\ntrash = \"30d\"\n");
    for _ in 0..3 {
        let job = stage.create(JobState::Ready, ContentSpec::Zip { bytes: 5_000 });
        stage.watch(vec![job.job_id]).unwrap();
    }
    stage
}

fn json(stage: &Stage, arguments: &[&str]) -> Value {
    let output = stage.command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(stage: &Stage, arguments: &[&str]) -> String {
    let output = stage.command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const STATES: &str = "SELECT state FROM archives ORDER BY id";

#[test]
fn the_commands_do_the_same_without_a_daemon() {
    let stage = stage();
    let pinned =
        json(&stage, &["pin", "a2", "--reason", "audit", "--until", "9000-01-01", "--json"]);
    assert_eq!(pinned["snapshot_id"], 2);
    assert_eq!(pinned["until"], "9000-01-01T00:00:00.000Z");
    assert_eq!(pinned["replaced"], Value::Null);
    let by = pinned["pinned_by"].as_str().unwrap();
    assert!(!by.is_empty());
    stage.settle().unwrap();
    assert_eq!(stage.column(STATES), ["trashed", "stored", "stored"]);

    let text = said(&stage, &["pin", "s2", "--reason", "longer"]);
    assert!(text.starts_with("s2 is pinned, without an end: manual (longer)\n"), "{text}");
    assert!(text.contains("is replaced: audit, until 9000-01-01"), "{text}");
    let text = said(&stage, &["show", "s2"]);
    assert!(text.contains("longer") && text.contains("PINNED_BY"), "{text}");
    assert_eq!(json(&stage, &["show", "s2", "--json"])["pins"][0]["pinned_by"], by);

    let text = said(&stage, &["undelete", "a1"]);
    assert!(text.starts_with("s1 is back from the trash: a1\n"), "{text}");
    assert!(text.contains("roma-archived pin s1 --reason"), "{text}");
    assert_eq!(stage.column(STATES), ["stored", "stored", "stored"]);
    assert_eq!(stage.column("SELECT kept_because FROM snapshots WHERE id = 1"), ["undeleted"]);
    stage.settle().unwrap();
    assert_eq!(stage.column(STATES), ["stored", "stored", "stored"]);
    let unpinned = json(&stage, &["unpin", "s1", "--name", "undelete", "--json"]);
    assert_eq!(unpinned["pinned_by"], by);
    stage.settle().unwrap();
    assert_eq!(stage.column(STATES), ["trashed", "stored", "stored"]);
    let back = json(&stage, &["undelete", "s1", "--json"]);
    assert_eq!((&back["archives"], &back["gone"]), (&[1].into(), &Value::Array(Vec::new())));
    assert!(back["kept_until"].is_string());
    assert!(stage.audit().findings.is_empty());

    for (arguments, code, words) in [
        (&["pin", "s1"][..], 64, "--reason"),
        (&["pin", "s1", "--reason", " "], 64, "--reason"),
        (&["pin", "s1", "--reason", "x", "--until", "2020-01-01"], 64, "in the past"),
        (&["pin", "s1", "--reason", "x", "--until", "soon"], 64, "RFC 3339"),
        (&["pin", "s1", "--reason", "x", "--name", "a b"], 64, "cannot be a name"),
        (&["pin", "s9", "--reason", "x"], 65, "there is no s9"),
        (&["pin", "a9", "--reason", "x"], 65, "there is no a9"),
        (&["unpin", "s3"], 65, "s3 has no pin `manual`: nothing pins it"),
        (&["unpin", "s1"], 65, "it has undelete, to be named with --name"),
        (&["undelete", "s3"], 65, "not in the trash but complete"),
    ] {
        let ended = stage.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?} {}", ended.story());
        assert!(ended.stderr.contains(words), "{arguments:?} {}", ended.stderr);
    }
}

#[test]
fn a_plain_day_begins_in_the_configured_zone() {
    let stage = stage();
    let text = std::fs::read_to_string(&stage.config).unwrap();
    std::fs::write(&stage.config, format!("timezone = \"Asia/Tokyo\"\n{text}")).unwrap();
    let pinned = json(&stage, &["pin", "s1", "--reason", "x", "--until", "8999-12-31", "--json"]);
    assert_eq!(pinned["until"], "8999-12-30T15:00:00.000Z");
}

#[test]
fn the_commands_work_beside_a_running_daemon() {
    let stage = stage();
    stage.settle().unwrap();
    assert_eq!(stage.column(STATES), ["trashed", "trashed", "stored"]);
    let mut daemon = stage.start(&["run"]);
    assert_eq!(json(&stage, &["undelete", "s1", "--json"])["archives"], Value::from([1]));
    said(&stage, &["pin", "s1", "--reason", "for good"]);
    let late = stage.run(&["pin", "s2", "--reason", "x"]);
    assert_eq!(late.code, Some(65), "{}", late.story());
    assert!(late.stderr.contains("`roma-archived undelete s2`"), "{}", late.stderr);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    stage.settle().unwrap();
    assert_eq!(stage.column(STATES), ["stored", "trashed", "stored"]);
    assert!(stage.audit().findings.is_empty());
}
