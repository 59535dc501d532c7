//! Plans, and what becomes of them: the daemon does what `plan` and the catalog say it will, a
//! policy can be tried without touching anything, and one that does what nobody expected of it
//! deletes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use roma_archived::engine::{Foresight, Retention, foresee};
use roma_archived::model::Timestamp;
use roma_archived::retention::{Count, CountRule, Period, Policy, Verdict};
use roma_sim::{ContentSpec, JobState, Knobs};
use serde_json::Value;

use crate::support::stage::Stage;
use crate::support::world::{Setup, World, name};

const SCHEDULE: &str = "0 */6 * * *";
const TRASH: Duration = Duration::from_hours(48);

fn keep(rules: &[(Option<Period>, u32)]) -> Policy {
    let rule = |(period, count): &(Option<Period>, u32)| CountRule {
        period: *period,
        count: Count::Limited(*count),
    };
    let counts = rules.iter().map(rule).collect();
    Policy { counts, trash: TRASH, policy_grace: Duration::ZERO, ..Policy::default() }
}

async fn plan(world: &World) -> Foresight {
    let policy = world.setup.policy.clone();
    let retention = Retention {
        instance: name("prod"),
        export: name("nightly"),
        policy_hash: policy.to_string(),
        policy,
        zone: jiff::tz::TimeZone::UTC,
        schedule: Some(SCHEDULE.parse().unwrap()),
        suspended: None,
    };
    foresee(&world.catalog, &retention, world.now(), None).await.unwrap()
}

/// When each snapshot went to the trash.
async fn trashed(world: &World) -> BTreeMap<i64, Timestamp> {
    let select = "SELECT snapshot_id || ' ' || min(at) FROM events \
                  WHERE event = 'snapshot_trashed' GROUP BY snapshot_id";
    let rows = world.column(select).await;
    let pair = |row: &String| {
        let (id, at) = row.split_once(' ').unwrap();
        (id.parse().unwrap(), at.parse().unwrap())
    };
    rows.iter().map(pair).collect()
}

#[tokio::test]
async fn every_snapshot_goes_when_it_was_said_to() {
    let policy = keep(&[(None, 3), (Some(Period::Day), 4)]);
    let setup = Setup { schedule: Some(SCHEDULE), policy, ..Setup::default() };
    let mut world = World::new(setup).await;
    world.live_through(Duration::from_hours(24 * 6)).await;
    let foresight = plan(&world).await;
    let expected = &foresight.expected_delete_at;
    assert_eq!(expected.len(), 6, "{:?}", foresight.verdicts);
    // The catalog says the same to everybody else.
    let select = "SELECT id || ' ' || expected_delete_at FROM snapshots \
                  WHERE state = 'complete' ORDER BY id";
    let told: Vec<String> = expected.iter().map(|(id, at)| format!("{} {at}", id.0)).collect();
    assert_eq!(world.column(select).await, told);
    world.live_through(Duration::from_hours(24 * 6)).await;
    let trashed = trashed(&world).await;
    for (id, files_go) in expected {
        let went = trashed[&id.0];
        let late = went.plus(TRASH).since(*files_go);
        // The export itself and the pause before a sweep take a moment.
        assert!(went.plus(TRASH) >= *files_go && late < Duration::from_mins(5), "{id}: {went}");
    }
    world.check_oracle().await;
}

#[tokio::test]
async fn the_deed_is_the_plan() {
    let setup = Setup { schedule: Some(SCHEDULE), policy: keep(&[(None, 20)]), ..Setup::default() };
    let mut world = World::new(setup).await;
    world.live_through(Duration::from_hours(24 * 4)).await;
    world.setup.policy = keep(&[(Some(Period::Day), 2)]);
    let foresight = plan(&world).await;
    let mut doomed: Vec<i64> =
        foresight.verdicts.iter().filter(|v| !v.keep).map(|v| v.id.0).collect();
    doomed.sort_unstable();
    assert!(doomed.len() > 8, "{:?}", foresight.verdicts);
    let mut world = world.restart().await;
    world.live_through(Duration::from_mins(1)).await;
    assert_eq!(trashed(&world).await.into_keys().collect::<Vec<_>>(), doomed);
    let select = "SELECT kept_because FROM snapshots WHERE state = 'complete' ORDER BY id DESC";
    let kept: Vec<String> =
        foresight.verdicts.iter().filter(|v| v.keep).map(Verdict::words).collect();
    assert_eq!(world.column(select).await, kept);
}

#[tokio::test]
async fn a_policy_that_fails_its_test_deletes_nothing() {
    let setup = Setup {
        schedule: Some(SCHEDULE),
        policy: keep(&[(None, 1)]),
        suspended: Some("test 1 fails".to_owned()),
        ..Setup::default()
    };
    let mut world = World::new(setup).await;
    world.live_through(Duration::from_hours(24 * 2)).await;
    assert!(world.states().await.iter().all(|state| state == "stored"));
    let kept = world.column("SELECT kept_because FROM snapshots WHERE id = 1").await;
    assert_eq!(
        kept,
        ["no rule keeps it (nearest last: 1 newer), deletion is suspended: test 1 fails"]
    );
}

/// Five adopted jobs, stored.
fn stage(retention: &str) -> Stage {
    let mut stage = Stage::new(Knobs::default(), &format!("[retention]\n{retention}"));
    for _ in 0..5 {
        let job = stage.create(JobState::Ready, ContentSpec::Json { bytes: 3_000 }).job_id;
        stage.watch(vec![job]).unwrap();
    }
    stage.settle().unwrap();
    stage
}

fn reconfigure(stage: &Stage, from: &str, to: &str) {
    let text = std::fs::read_to_string(&stage.config).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&stage.config, text.replace(from, to)).unwrap();
}

/// Runs a command and gives back what it says, on both ways.
#[track_caller]
fn run(stage: &Stage, arguments: &[&str], code: i32) -> (String, String) {
    let output = stage.command(arguments).output().unwrap();
    let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(code), "{}\n{}", texts[0], texts[1]);
    let [stdout, stderr] = texts;
    (stdout, stderr)
}

#[track_caller]
fn says(stage: &Stage, arguments: &[&str], code: i32, words: &[&str]) {
    let (stdout, _) = run(stage, arguments, code);
    for word in words {
        assert!(stdout.contains(word), "no `{word}` in\n{stdout}");
    }
}

#[test]
fn a_policy_can_be_tried_without_touching_anything() {
    let stage = stage("keep_last = 9\n");
    says(&stage, &["plan"], 0, &["watched of prod: keep_last=9", "all 5 snapshots stay", "s5"]);
    let other = stage.scratch().join("other.toml");
    std::fs::write(&other, "[retention]\nkeep_last = 2\ntrash = \"1h\"\n").unwrap();
    let before = stage.column("SELECT count(*) FROM events");
    let trial = ["plan", "--export", "watched", "--policy", other.to_str().unwrap()];
    says(
        &stage,
        &trial,
        0,
        &[
            "3 of 5 snapshots go to the trash",
            "nothing goes for 24 h (policy_grace)",
            "delete   s3",
            "no rule keeps it (nearest last: 2 newer)",
            "keep     s4",
        ],
    );
    assert_eq!(stage.column("SELECT count(*) FROM events"), before);
    let arguments = ["plan", "--json", "--at", "2099-01-01", "--export", "watched"];
    let answer: Value = serde_json::from_str(&run(&stage, &arguments, 0).0).unwrap();
    assert_eq!(answer["at"], "2099-01-01T00:00:00.000Z");
    let verdicts = answer["exports"][0]["verdicts"].as_array().unwrap();
    assert_eq!(verdicts.len(), 5);
    assert_eq!((&verdicts[4]["snapshot_id"], &verdicts[4]["verdict"]), (&1.into(), &"keep".into()));
    assert_eq!(verdicts[4]["reasons"], serde_json::json!(["last 5/9"]));

    for (arguments, code, words) in [
        (&["plan", "--export", "nope"][..], 64, "no such export is configured"),
        (&["plan", "--at", "yesterday"], 64, "is neither a date"),
        (&["plan", "--policy", "/does/not/exist"], 78, "cannot read the configuration"),
    ] {
        let (_, stderr) = run(&stage, arguments, code);
        assert!(stderr.contains(words), "{stderr}");
    }
    std::fs::write(&other, "[retention]\nkeep_lats = 2\n[limits]\n").unwrap();
    let (_, wrong) = run(&stage, &["plan", "--policy", other.to_str().unwrap()], 78);
    assert!(wrong.contains("did you mean `keep_last`?"), "{wrong}");
    assert!(wrong.contains("limits: there is no such key"), "{wrong}");
}

/// A slip of a digit would empty the vault; the guards give a day to see it.
#[test]
fn a_slip_in_the_policy_is_told_before_it_costs_anything() {
    let stage = stage("keep_last = 10\n");
    reconfigure(&stage, "keep_last = 10", "keep_last = 1");
    let told = "the retention of watched of prod has changed: 4 of 5 snapshots are to go, from ";
    says(&stage, &["check-config"], 0, &[told, "s1 of", "s4 of", "a pin keeps what it names"]);
    // Before the daemon has seen it: nothing goes at once, then as little as afterwards.
    let grace = "policy changed, only planned until ";
    says(&stage, &["plan", "--export", "watched"], 0, &["all 5 snapshots stay", grace]);
    let (_, log) = run(&stage, &["run", "--once"], 0);
    assert!(log.contains(told), "{log}");
    assert_eq!(stage.column("SELECT DISTINCT state FROM snapshots"), ["complete"]);
    let why = stage.column("SELECT kept_because FROM snapshots WHERE id = 1");
    assert!(why[0].starts_with(
        "no rule keeps it (nearest last: 1 newer), policy changed, only planned until "
    ));
    says(&stage, &["plan"], 0, &["all 5 snapshots stay", "policy changed, only planned until"]);
    // Taken back, it is as if nothing had been.
    reconfigure(&stage, "keep_last = 1", "keep_last = 10");
    stage.settle().unwrap();
    let why = stage.column("SELECT kept_because FROM snapshots WHERE id = 1");
    assert_eq!(why, ["last 5/10"]);
}

#[test]
fn a_failing_test_of_the_policy_is_explained_and_suspends_deletion() {
    let test = "keep_last = 2\n[[retention.test]]\n\
                given = \"daily since 2026-12-01\"\nat = \"2026-12-31\"\n\
                expect = [\"2026-12-31\", \"2026-12-01\"]\n";
    let stage = stage(test);
    says(
        &stage,
        &["check-config"],
        78,
        &[
            "policy test 1 of [retention] fails:",
            "2026-12-31  kept: last 1/2",
            "2026-12-30  kept, not expected: last 2/2",
            "2026-12-01  expected, not kept",
        ],
    );
    let answer: Value =
        serde_json::from_str(&run(&stage, &["check-config", "--json"], 78).0).unwrap();
    assert_eq!(answer["failing_policy_tests"][0]["missing"], serde_json::json!(["2026-12-01"]));
    assert_eq!(stage.column("SELECT DISTINCT state FROM snapshots"), ["complete"]);
    let (_, log) = run(&stage, &["run", "--once"], 0);
    assert!(log.contains("nothing is deleted: test 1"), "{log}");
    says(&stage, &["plan"], 0, &["nothing is deleted: test 1 of the retention policy fails"]);
    reconfigure(&stage, "\"2026-12-01\"]", "\"2026-12-30\"]");
    says(&stage, &["check-config"], 0, &["is valid"]);
    stage.settle().unwrap();
    let states = stage.column("SELECT count(*) FROM snapshots WHERE state = 'trashed'");
    assert_eq!(states, ["3"]);
    // The same rules with another test are another policy.
    let own = test.replace("retention.test", "export.retention.test");
    let export = "[[export]]\nname = \"own\"\ninstance = \"prod\"\n[export.retention]";
    let configured = std::fs::read_to_string(&stage.config).unwrap();
    std::fs::write(&stage.config, format!("{configured}\n{export}\n{own}")).unwrap();
    let told = ["policy test 1 of the retention of own of prod fails:"];
    says(&stage, &["check-config"], 78, &told);
}
