//! `ack` of the real binary: a loss that nobody can make good is seen, and `status` is content;
//! what comes back after all comes back, and what is lost anew is told anew.

use std::path::PathBuf;

use roma_sim::{ContentSpec, JobState, Knobs};
use serde_json::{Value, json};

use crate::support::stage::Stage;

fn answer(stage: &Stage, arguments: &[&str], code: i32) -> Value {
    let output = stage.command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} {output:?}"))
}

fn said(stage: &Stage, arguments: &[&str], code: i32) -> String {
    let output = stage.command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn ids(value: &Value, key: &str) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|entry| entry[key].as_i64().unwrap()).collect()
}

/// Two lost packages (somebody else has fetched them) and a stored one, with its file.
fn stage() -> (Stage, PathBuf) {
    let mut stage = Stage::new(Knobs::default(), "");
    let content = ContentSpec::Random { bytes: 3_000 };
    let jobs = [JobState::Finished, JobState::Finished, JobState::Ready]
        .map(|state| stage.create(state, content.clone()).job_id);
    stage.watch(jobs.to_vec()).unwrap();
    stage.settle().unwrap();
    assert_eq!(stage.column("SELECT state FROM archives ORDER BY id"), ["lost", "lost", "stored"]);
    let path = stage.column("SELECT path FROM archives WHERE id = 3").remove(0);
    let path = stage.state.join("vault").join(path);
    (stage, path)
}

#[test]
fn a_loss_that_was_seen_makes_status_content_and_stays_what_it_is() {
    let (stage, _) = stage();
    let status = answer(&stage, &["status", "--json"], 1);
    assert_eq!(ids(&status["unsettled_losses"], "id"), [1, 2]);
    let seen = answer(&stage, &["ack", "a1", "--reason", " fetched by hand ", "--json"], 0);
    let at = seen["acknowledged"][0]["acknowledged_at"].as_str().unwrap();
    assert_eq!(
        seen["acknowledged"],
        json!([{ "archive_id": 1, "state": "lost", "acknowledged_at": at }])
    );
    assert_eq!((&seen["reason"], &seen["settled_before"]), (&json!("fetched by hand"), &json!([])));
    assert_eq!(seen["schema_version"], 1);
    let status = answer(&stage, &["status", "--json"], 1);
    assert_eq!(ids(&status["unsettled_losses"], "id"), [2]);

    // A snapshot stands for all that it has lost.
    let text = said(&stage, &["ack", "s2"], 0);
    assert!(text.starts_with("a2 is acknowledged: lost, "), "{text}");
    assert!(said(&stage, &["status"], 0).ends_with("all is well\n"));
    let events = "SELECT count(*) FROM events";
    let before = stage.column(events);
    for id in ["a1", "s2"] {
        let text = said(&stage, &["ack", id], 0);
        assert!(text.contains("was acknowledged before, at 20"), "{text}");
    }
    assert_eq!(stage.column(events), before, "once is enough");

    let shown = answer(&stage, &["show", "a1", "--json"], 0);
    assert_eq!(shown["archive"]["state"], "lost");
    assert_eq!(shown["archive"]["acknowledged_at"], at);
    let event = shown["events"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&event["event"], &event["to_state"]),
        (&"loss_acknowledged".into(), &"lost".into())
    );
    assert!(event["detail"].as_str().unwrap().contains(r#""reason":"fetched by hand""#), "{event}");
    let snapshots = "SELECT state FROM snapshots ORDER BY id";
    assert_eq!(stage.column(snapshots), ["incomplete", "incomplete", "complete"]);
}

#[test]
fn only_what_is_lost_or_damaged_can_be_acknowledged() {
    let (stage, _) = stage();
    for (arguments, code, expected) in [
        (&["ack", "a3"][..], 65, "a3 is stored: there is no loss to acknowledge"),
        (&["ack", "s3"], 65, "no part of s3 is lost or damaged: there is no loss to acknowledge"),
        (&["ack", "a9"], 65, "there is no a9 in the catalog"),
        (&["ack", "34"], 64, "is not an id"),
        (&["ack", "a1", "--reason", "  "], 64, "--reason says why, in 1 to 500 characters"),
    ] {
        let text = said(&stage, arguments, code);
        assert!(text.contains(expected), "{arguments:?} {text}");
    }
    assert_eq!(
        stage.column("SELECT count(*) FROM events WHERE event = 'loss_acknowledged'"),
        ["0"]
    );
}

/// The first loss of a part is settled by what stands in for it, at whatever distance.
#[test]
fn the_last_of_several_attempts_settles_those_before_it() {
    let (stage, _) = stage();
    let job = stage.column("SELECT job_id FROM archives WHERE id = 1").remove(0);
    assert_eq!(stage.run(&["watch", "prod", &job, "--again"]).code, Some(0));
    stage.settle().unwrap();
    assert_eq!(
        stage.column("SELECT replaces FROM archives WHERE state = 'lost' AND id > 3"),
        ["1"]
    );
    let status = answer(&stage, &["status", "--json"], 1);
    assert_eq!(ids(&status["unsettled_losses"], "id"), [1, 2, 4]);
    said(&stage, &["ack", "a4"], 0);
    let status = answer(&stage, &["status", "--json"], 1);
    assert_eq!(ids(&status["unsettled_losses"], "id"), [2]);
    let text = said(&stage, &["ack", "a1"], 0);
    assert!(text.contains("a1 is lost and settled"), "{text}");
}

#[test]
fn damage_is_seen_once_and_told_again_when_it_happens_again() {
    let (stage, path) = stage();
    said(&stage, &["ack", "s1"], 0);
    said(&stage, &["ack", "s2"], 0);
    let away = stage.scratch().join("away.zip");
    std::fs::rename(&path, &away).unwrap();
    said(&stage, &["verify", "a3"], 1);
    let status = answer(&stage, &["status", "--json"], 1);
    assert_eq!(ids(&status["damaged"], "id"), [3]);
    said(&stage, &["ack", "a3"], 0);
    said(&stage, &["status"], 0);
    // The daemon finds the same again at its start, and says nothing new.
    stage.settle().unwrap();
    said(&stage, &["status"], 0);

    std::fs::rename(&away, &path).unwrap();
    said(&stage, &["verify", "a3"], 0);
    let row = "SELECT state || coalesce(acknowledged_at, '') FROM archives WHERE id = 3";
    assert_eq!(stage.column(row), ["stored"]);
    std::fs::remove_file(&path).unwrap();
    said(&stage, &["verify", "a3"], 1);
    let status = answer(&stage, &["status", "--json"], 1);
    assert_eq!(ids(&status["damaged"], "id"), [3]);
}

/// Whoever has seen that a file grew has not seen that it went.
#[test]
fn worse_damage_than_was_seen_is_told_anew() {
    let (stage, path) = stage();
    said(&stage, &["ack", "s1"], 0);
    said(&stage, &["ack", "s2"], 0);
    let grown = [std::fs::read(&path).unwrap(), b"xx".to_vec()].concat();
    std::fs::write(&path, grown).unwrap();
    said(&stage, &["verify", "a3"], 1);
    said(&stage, &["ack", "a3"], 0);
    said(&stage, &["verify", "a3"], 1);
    said(&stage, &["status"], 0);

    std::fs::remove_file(&path).unwrap();
    said(&stage, &["verify", "--all"], 1);
    let status = answer(&stage, &["status", "--json"], 1);
    assert_eq!(ids(&status["damaged"], "id"), [3]);
    let error = status["damaged"][0]["last_error"].as_str().unwrap();
    assert!(error.starts_with("the file is missing"), "{error}");
    let told = "SELECT count(*) FROM events WHERE archive_id = 3 AND event = 'file_damaged'";
    assert_eq!(stage.column(told), ["2"]);
    said(&stage, &["verify", "--all"], 1);
    assert_eq!(stage.column(told), ["2"], "the same damage is told once");
}
