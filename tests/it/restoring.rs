//! The way back: what `restore` sends, what it refuses to send, and what it leaves on record.

use std::process::Output;

use roma_sim::{ContentSpec, Effect, Endpoint, Fault, JobState, Knobs, defaults};
use serde_json::Value;

use crate::support::stage::Stage;

const TARGET: &str = "f2f2f2f2-0a37-4f04-8856-4101b08cc5e2";

/// A second instance of the same account, `dr`, and a third name for the first one, `alias`.
fn stage(knobs: Knobs) -> Stage {
    let instance = |name: &str, id: &str| {
        format!(
            "[[instance]]\nname = \"{name}\"\naccount = \"ops\"\nendpoint = \"URL\"\n\
             project_id = \"{}\"\ninstance_id = \"{id}\"\n",
            defaults::PROJECT_ID
        )
    };
    let more = format!(
        "min_free_space = \"1MiB\"\n{}{}",
        instance("dr", TARGET),
        instance("alias", defaults::INSTANCE_ID)
    );
    let stage = Stage::new(knobs, &more);
    let text = std::fs::read_to_string(&stage.config).unwrap();
    std::fs::write(&stage.config, text.replace("URL", &stage.simulator.url())).unwrap();
    stage.add_empty_instance(TARGET, "dr");
    stage
}

/// One night of the instance `prod`, whose 250 assets make three parts.
fn with_a_snapshot(knobs: Knobs) -> Stage {
    let stage = stage(knobs);
    stage.simulator.world().resize_instance(defaults::INSTANCE_ID, 20, 230);
    assert_eq!(stage.run(&["export", "nightly"]).code, Some(0));
    stage.settle().unwrap();
    assert_eq!(stage.column("SELECT state FROM archives"), ["stored"; 3]);
    stage
}

fn restore(stage: &Stage, arguments: &[&str]) -> Output {
    let mut all = vec!["restore"];
    all.extend(arguments);
    stage.command(&all).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// What the server's ledger says of imports: instance, bytes and digest of each.
fn imports(stage: &Stage) -> Vec<(String, String, u64, String)> {
    let world = stage.simulator.world();
    let imports = world.ledger().imports().iter();
    imports
        .map(|i| (i.instance_id.clone(), i.file_name.clone(), i.bytes, i.sha256.clone()))
        .collect()
}

#[test]
fn a_snapshot_goes_to_another_instance_byte_for_byte_and_part_by_part() {
    let stage = with_a_snapshot(Knobs::default());
    let (code, text) = said(&restore(&stage, &["s1", "--instance", "dr"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Nothing was sent; --yes does it"), "{text}");
    assert_eq!(imports(&stage), [], "a dry run");

    let arguments = ["s1", "--instance", "dr", "--mode", "merge", "--prefix", "dr_", "--yes"];
    let (code, text) = said(&restore(&stage, &arguments));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("s1 is restored into dr"), "{text}");
    let imports = imports(&stage);
    let recorded = "SELECT concat_ws(' ', part, raw_bytes, raw_sha256) FROM archives ORDER BY part";
    let sent: Vec<String> = (1..)
        .zip(&imports)
        .map(|(part, (_, _, bytes, sha256))| format!("{part} {bytes} {sha256}"))
        .collect();
    assert_eq!(sent, stage.column(recorded));
    assert!(imports.iter().all(|(instance, ..)| instance == TARGET));
    let names: Vec<&str> = imports.iter().map(|(_, name, ..)| name.as_str()).collect();
    assert_eq!(names, ["s1-1.zip", "s1-2.zip", "s1-3.zip"]);
    {
        let world = stage.simulator.world();
        let ledger = world.ledger();
        let import = &ledger.imports()[0];
        assert_eq!((import.mode.as_str(), import.prefix.as_deref()), ("Merge", Some("dr_")));
        assert_eq!(import.datasource_overwrite, None);
        assert_eq!(ledger.most_jobs_at_once(defaults::USER), 1);
        // What came from the server and what went to it are the same bytes.
        let packages: Vec<&str> =
            ledger.packages().iter().map(roma_sim::PackageRecord::sha256).collect();
        assert!(imports.iter().all(|(.., sha256)| packages.contains(&sha256.as_str())));
    }
    let events = "SELECT event FROM events WHERE event LIKE 'restore%' ORDER BY seq";
    let one = ["restore_started", "restore_accepted", "restore_finished"];
    assert_eq!(stage.column(events), one.repeat(3));

    // The next one is warned.
    let (_, text) = said(&restore(&stage, &["s1", "--instance", "dr"]));
    assert!(text.contains("a2 was restored into dr before"), "{text}");
    assert_eq!(stage.audit().findings, Vec::<String>::new());
}

#[test]
fn nothing_goes_into_its_own_source_unless_that_is_meant() {
    let stage = with_a_snapshot(Knobs::default());
    for name in ["prod", "alias"] {
        let (code, text) = said(&restore(&stage, &["a1", "--instance", name, "--yes"]));
        assert_eq!(code, Some(64), "{text}");
        assert!(text.contains("--into-source"), "{text}");
    }
    let (code, text) = said(&restore(&stage, &["a1", "--instance", "nowhere", "--yes"]));
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("configured: prod, dr, alias"), "{text}");
    assert_eq!(imports(&stage), []);
    let arguments = ["a1", "--instance", "alias", "--into-source", "--yes", "--json"];
    let output = restore(&stage, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output).1);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["dry_run"], &answer["mode"]), (&Value::Bool(false), &"AddNew".into()));
    assert_eq!(answer["parts"][0]["job_id"], stage.simulator.world().ledger().imports()[0].job_id);
}

/// What ROMA would refuse is not found out when half of a snapshot is imported.
#[test]
fn what_roma_would_refuse_is_refused_before_anything_is_sent() {
    let mut stage = stage(Knobs::default());
    let large = stage.create(JobState::Ready, ContentSpec::Zip { bytes: 12_100_000 }).job_id;
    let json = stage.create(JobState::Ready, ContentSpec::Json { bytes: 3_000 }).job_id;
    stage.watch(vec![large, json]).unwrap();
    stage.settle().unwrap();
    let (code, text) = said(&restore(&stage, &["a1", "--instance", "dr", "--yes"]));
    assert_eq!(code, Some(65), "{text}");
    assert!(text.contains("12 MB") && text.contains("extract a1 -o s1-1.zip"), "{text}");
    let (code, text) = said(&restore(&stage, &["a2", "--instance", "dr", "--yes"]));
    assert_eq!(code, Some(65), "{text}");
    assert!(text.contains("a2 is no zip but json"), "{text}");
    assert_eq!(imports(&stage), []);
}

#[test]
fn a_file_that_changed_is_not_sent() {
    let stage = with_a_snapshot(Knobs::default());
    let path = stage.column("SELECT path FROM archives WHERE id = 3").remove(0);
    let path = stage.state.join("vault").join(path);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (code, text) = said(&restore(&stage, &["s1", "--instance", "dr", "--yes"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("cannot extract a3"), "{text}");
    assert_eq!(imports(&stage), [], "not even the parts that are whole");
}

/// An answer that is lost leaves an import that may run: it is not sent again, and says so.
#[test]
fn a_lost_answer_is_never_followed_by_a_second_import() {
    let stage = with_a_snapshot(Knobs::default());
    let lost = Fault::BadGateway { code: 504, effect: Effect::After };
    stage.simulator.world().script(Endpoint::Import, lost);
    let (code, text) = said(&restore(&stage, &["s1", "--instance", "dr", "--yes"]));
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("nobody knows whether the package of a1 is being imported"), "{text}");
    assert!(text.contains("0 of 3 parts are imported"), "{text}");
    assert_eq!(imports(&stage).len(), 1);
    let events = "SELECT event FROM events WHERE event LIKE 'restore%' ORDER BY seq";
    assert_eq!(stage.column(events), ["restore_started", "restore_failed"]);
}

#[test]
fn refusals_that_pass_are_waited_for_and_others_end_it() {
    let stage = with_a_snapshot(Knobs::default());
    {
        let mut world = stage.simulator.world();
        world.script(Endpoint::Import, Fault::Throttle { retry_after: Some("0".to_owned()) });
        world.script(Endpoint::Import, Fault::refusal(400, "ROMA.10012"));
        world.script(Endpoint::Job, Fault::status(500));
    }
    let (code, text) = said(&restore(&stage, &["a1", "--instance", "dr", "--yes"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("a1: waits, next try at"), "{text}");
    assert_eq!(imports(&stage).len(), 1);
    stage.simulator.world().script(Endpoint::Import, Fault::refusal(403, "ROMA.1006"));
    let (code, text) = said(&restore(&stage, &["a1", "--instance", "dr", "--yes"]));
    assert_eq!(code, Some(77), "{text}");
    assert!(text.contains("the package of a1 is not imported"), "{text}");
    assert_eq!(imports(&stage).len(), 1);
}

/// A package that waits at ROMA may be thrown away when another job begins.
#[test]
fn an_import_does_not_begin_while_a_package_waits() {
    let mut stage = with_a_snapshot(Knobs::default());
    let waiting = stage.create(JobState::Ready, ContentSpec::Zip { bytes: 3_000 }).job_id;
    stage.watch(vec![waiting]).unwrap();
    let (code, text) = said(&restore(&stage, &["a1", "--instance", "dr", "--yes"]));
    assert_eq!(code, Some(75), "{text}");
    assert!(text.contains("a4 is running") && text.contains("run --once"), "{text}");
    assert_eq!(imports(&stage), []);
    stage.settle().unwrap();
    let (code, text) = said(&restore(&stage, &["a1", "--instance", "dr", "--yes"]));
    assert_eq!(code, Some(0), "{text}");
}
