//! `doctor` finds what is wrong before a backup is needed, says what helps, and starts nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use roma_sim::{Endpoint, Fault, Knobs, defaults};
use serde_json::Value;

use crate::support::stage::Stage;

/// What it says, and its exit code.
fn doctor(stage: &Stage) -> (Option<i32>, Vec<Value>) {
    let output = stage.command(&["doctor", "--json"]).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), answer["checks"].as_array().unwrap().clone())
}

/// `found` of the checks with this verdict, each with its remedy.
fn with(checks: &[Value], verdict: &str) -> Vec<String> {
    let such = checks.iter().filter(|check| check["verdict"] == verdict);
    such.map(|check| {
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {} -> {}", text("subject"), text("found"), text("remedy"))
    })
    .collect()
}

fn change(stage: &Stage, from: &str, to: &str) {
    let text = std::fs::read_to_string(&stage.config).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&stage.config, text.replace(from, to)).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[track_caller]
fn assert_one(lines: &[String], words: &[&str]) {
    let fits = |line: &&String| words.iter().all(|word| line.contains(word));
    assert_eq!(lines.iter().filter(fits).count(), 1, "{words:?} in {lines:?}");
}

fn stage() -> Stage {
    let stage = Stage::new(Knobs::default(), "min_free_space = \"1MiB\"\n");
    assert_eq!(stage.run(&["export", "nightly"]).code, Some(0));
    stage.settle().unwrap();
    stage
}

#[test]
fn where_all_is_well_nothing_is_wrong_and_nothing_is_started() {
    let stage = stage();
    let calls = |stage: &Stage| {
        let world = stage.simulator.world();
        let ledger = world.ledger();
        [Endpoint::Export, Endpoint::Download, Endpoint::Import].map(|e| ledger.count_all(e))
    };
    let before = calls(&stage);
    let (code, checks) = doctor(&stage);
    assert_eq!((code, with(&checks, "error")), (Some(0), Vec::new()));
    let well = with(&checks, "ok");
    for words in [
        &["account ops", "a token is in"][..],
        &["instance prod", "found as `prod`, RUNNING"],
        &["instance prod", "12 applications seen"],
        &["instance prod", "30 tasks seen"],
        &["instance prod", "jobs may be read"],
        &["instance prod", "last job ended"],
        &["clock", "ROMA's at most"],
        &["disk", "free"],
        &["modes", "nobody but the service"],
        &["export nightly of prod", "newest snapshot of"],
    ] {
        assert_one(&well, words);
    }
    assert_eq!(calls(&stage), before);
}

#[test]
fn each_thing_that_is_wrong_is_named_with_its_remedy() {
    let stage = stage();
    change(&stage, defaults::INSTANCE_ID, "not-this-one");
    change(&stage, "[limits]\n", "rpo = \"1s\"\n[limits]\n");
    change(&stage, "\"1MiB\"", "\"900TiB\"");
    chmod(&stage.config, 0o622);
    chmod(&stage.state.join("vault"), 0o755);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let (code, checks) = doctor(&stage);
    assert_eq!(code, Some(1));
    let wrong = with(&checks, "error");
    for words in [
        &["configuration", "mode 0622", "chmod go-w"][..],
        &["modes", "vault has mode 0755", "chmod 750"],
        &["disk", "min_free_space", "make room"],
        &["not-this-one is not among", defaults::INSTANCE_ID, "copy instance_id"],
        &["objective (rpo) missed", "roma-archived status"],
    ] {
        assert_one(&wrong, words);
    }
    // One that is refused is asked nothing else.
    chmod(&stage.scratch().join("token"), 0o644);
    let (_, checks) = doctor(&stage);
    let wrong = with(&checks, "error");
    assert_one(&wrong, &["account ops", "mode 0644", "chmod 640"]);
    assert!(!wrong.iter().any(|line| line.contains("instance prod")), "{wrong:?}");
}

#[test]
fn rights_and_servers_that_fail_are_told_apart() {
    let stage = stage();
    let refused = |error_code: &str| Fault::refusal(400, error_code);
    {
        let mut world = stage.simulator.world();
        world.script_always(Endpoint::Apps, refused("ROMA.1006"));
        world.script_always(Endpoint::Job, refused("ROMA.00012001"));
        world.script_always(Endpoint::Tasks, Fault::status(503));
    }
    let (code, checks) = doctor(&stage);
    assert_eq!(code, Some(1));
    let wrong = with(&checks, "error");
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert_one(&wrong, &["ROMA.1006", "roma:assets:export"]);
    assert_one(&wrong, &["read the job", "ROMA.00012001", "roma:assets:export"]);
    assert_one(&wrong, &["503", "look at the endpoint"]);
    // A vintage that answers 400 for a job it does not know refuses no right.
    {
        let mut world = stage.simulator.world();
        world.clear_faults();
        world.script_always(Endpoint::Job, refused("ROMA.00013000"));
    }
    assert_eq!(with(&doctor(&stage).1, "error"), Vec::<String>::new());
}
