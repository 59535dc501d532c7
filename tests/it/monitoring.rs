//! What the outside hears: the metrics, the dead-man's switch, the webhook. They say what `status`
//! says, and never hold up what they speak of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_parse::{Scrape, Value};
use roma_archived::clock::{Clock, ManualClock, pause};
use roma_archived::health::METRICS;
use roma_archived::service::{self, Options, Rhythm};
use roma_archived::vault::{Disk, OsDisk};
use roma_sim::{ContentSpec, Endpoint, Fault, JobState, Knobs};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio_util::sync::CancellationToken;

use crate::schema;
use crate::support::binary;
use crate::support::disk::Dead;
use crate::support::receiver::{Answer, Receiver};
use crate::support::stage::Stage;

/// Part of every address that is called, and in nothing that is said.
const SECRET: &str = "hook-token-4711";

/// Below `[limits]`; everything is called at the receiver.
fn sections(receiver: Option<&Receiver>, textfile: &Path) -> String {
    let addresses = receiver.map_or(String::new(), |receiver| {
        let (ping, hook) = (format!("/ping/{SECRET}"), format!("/hook/{SECRET}"));
        let (ping, hook) = (receiver.url(&ping), receiver.url(&hook));
        format!("ping_url = \"{ping}\"\nwebhook_url = \"{hook}\"\n")
    });
    let textfile = textfile.display();
    format!(
        "min_free_space = \"1MiB\"\n[metrics]\ntextfile = \"{textfile}\"\n[notify]\n{addresses}"
    )
}

/// A stage with metrics, and a receiver on a runtime of its own.
struct Scene {
    stage: Stage,
    receiver: Receiver,
    textfile: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let receiver = runtime.block_on(Receiver::start());
        let directory = binary::fast_directory();
        let textfile = directory.path().join("roma.prom");
        let more = sections(Some(&receiver), &textfile);
        let stage = Stage::below(directory, Knobs::default(), &more);
        Self { stage, receiver, textfile, _runtime: runtime }
    }

    /// Bodies of what the webhook was told.
    fn told(&self) -> Vec<serde_json::Value> {
        let heard = self.receiver.heard();
        let hook = format!("POST /hook/{SECRET}");
        let told = heard.iter().filter(|request| request.line == hook);
        told.map(|request| serde_json::from_str(&request.body).unwrap()).collect()
    }

    fn pings(&self) -> usize {
        let ping = format!("GET /ping/{SECRET}");
        self.receiver.heard().iter().filter(|request| request.line == ping).count()
    }

    fn metrics(&self) -> Scrape {
        let text = std::fs::read_to_string(&self.textfile).unwrap();
        Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
    }

    /// A job that was started elsewhere and whose package is gone.
    fn lose_a_package(&mut self) {
        let job = self.stage.create(JobState::Ready, ContentSpec::Zip { bytes: 2_000 });
        let gone = Fault::refusal(403, "ROMA.00000101");
        let mut world = self.stage.simulator.world();
        world.script_for(Endpoint::Download, &job.package_id.unwrap(), gone);
        drop(world);
        self.stage.watch(vec![job.job_id]).unwrap();
    }

    /// Adds an objective to the export.
    fn aim(&self, rpo: &str) {
        let text = std::fs::read_to_string(&self.stage.config).unwrap();
        let aimed = text.replace("[limits]\n", &format!("rpo = \"{rpo}\"\n[limits]\n"));
        std::fs::write(&self.stage.config, aimed).unwrap();
    }

    fn once(&self) -> String {
        let ended = self.stage.run(&["run", "--once"]);
        assert_eq!(ended.code, Some(0), "{}", ended.story());
        assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
        ended.stderr
    }

    /// A daemon in this process that tells everything at once.
    fn daemon(&self) -> Daemon {
        self.daemon_with(Clock::System, Arc::new(OsDisk))
    }

    fn daemon_with(&self, clock: Clock, disk: Arc<dyn Disk>) -> Daemon {
        let settings = roma_archived::config::load(&self.stage.config).unwrap().settings;
        let soon = Duration::from_millis(20);
        let rhythm = Rhythm { look: soon, report: soon, ping: soon, ping_again: soon, ..fast() };
        let options = Options { once: false, check_interval: soon, clock, disk, rhythm };
        let stop = CancellationToken::new();
        let run = service::run(settings, options, stop.clone());
        Daemon { stop, task: self.stage.runtime.spawn(run) }
    }

    /// Asks until the answer is yes; whoever runs the test has the patience.
    fn until(&self, daemon: &Daemon, what: impl Fn(&Self) -> bool) {
        while !what(self) {
            assert!(!daemon.task.is_finished(), "the daemon has ended");
            self.stage.runtime.block_on(pause(Duration::from_millis(10)));
        }
    }

    fn count(&self, select: &str) -> i64 {
        self.stage.column(select).first().map_or(0, |number| number.parse().unwrap())
    }

    /// When the metrics were written.
    fn written(&self) -> f64 {
        if self.textfile.exists() {
            number(&self.metrics(), "roma_archived_last_write_timestamp_seconds", &[]).unwrap()
        } else {
            0.0
        }
    }

    /// The metrics were written so many times more.
    fn let_it_write(&self, daemon: &Daemon, times: usize) {
        for _ in 0..times {
            let before = self.written();
            self.until(daemon, |scene| scene.written() > before);
        }
    }
}

fn fast() -> Rhythm {
    Rhythm { tell_again: Duration::from_millis(20), ..Rhythm::default() }
}

struct Daemon {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), service::ServiceError>>,
}

impl Daemon {
    fn stop(self, scene: &Scene) {
        self.stop.cancel();
        scene.stage.runtime.block_on(self.task).unwrap().unwrap();
    }
}

/// The value of a series.
fn number(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |sample: &&prometheus_parse::Sample| {
        sample.metric == name
            && labels.iter().all(|(key, value)| sample.labels.get(key) == Some(*value))
    };
    let samples: Vec<_> = scrape.samples.iter().filter(fits).collect();
    assert!(samples.len() < 2, "{name} {labels:?}: {samples:?}");
    match samples.first()?.value {
        Value::Gauge(value) | Value::Counter(value) => Some(value),
        ref other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn the_metrics_say_what_the_catalog_says() {
    let scene = Scene::new();
    scene.aim("26h");
    assert_eq!(scene.stage.run(&["export", "nightly"]).code, Some(0));
    scene.once();
    let metrics = scene.metrics();
    let nightly = [("roma_instance", "prod"), ("export", "nightly")];
    let value = |name: &str, labels: &[(&str, &str)]| {
        number(&metrics, &format!("roma_archived_{name}"), labels)
            .unwrap_or_else(|| panic!("{name}"))
    };
    let of = |name: &str| value(name, &nightly);
    let seconds = |text: &str| {
        let time: roma_archived::model::Timestamp = text.parse().unwrap();
        std::time::Duration::from_millis(time.as_millis().unsigned_abs()).as_secs_f64()
    };
    let column = |select: &str| scene.stage.column(select).remove(0);
    assert_eq!(value("well", &[]).to_string(), "1");
    assert_eq!(of("export_objective_met").to_string(), "1");
    assert_eq!(of("export_objective_seconds").to_string(), "93600");
    let taken = seconds(&column("SELECT last_complete_at FROM exports WHERE name = 'nightly'"));
    assert_eq!(of("export_newest_snapshot_timestamp_seconds").to_string(), taken.to_string());
    let stored = seconds(&column("SELECT max(stored_at) FROM archives"));
    assert_eq!(of("export_last_success_timestamp_seconds").to_string(), stored.to_string());
    for (name, select) in [
        ("stored_bytes", "SELECT sum(stored_bytes) FROM archives"),
        ("downloaded_bytes_total", "SELECT sum(raw_bytes) FROM archives"),
        ("downloads_total", "SELECT count(*) FROM archives"),
        ("archives_stored_total", "SELECT count(*) FROM archives"),
        ("requests_total", "SELECT count(*) FROM archives"),
        ("trash_bytes", "SELECT 0"),
        ("losses_total", "SELECT 0"),
        ("export_runs_waiting", "SELECT 0"),
    ] {
        assert_eq!(of(name).to_string(), column(select), "{name}");
    }
    for state in ["stored", "lost"] {
        let labels = [&nightly[..], &[("state", state)]].concat();
        let select = format!("SELECT count(*) FROM archives WHERE state = '{state}'");
        assert_eq!(value("archives", &labels).to_string(), column(&select));
    }
    let offset = value("clock_offset_seconds", &[("roma_instance", "prod")]);
    assert!(offset.abs() < 60.0, "{offset}");
    assert_eq!(value("instance_paused", &[("roma_instance", "prod")]).to_string(), "0");
    assert_eq!(value("account_paused", &[("account", "ops")]).to_string(), "0");
    assert_eq!(value("disk_wanted_bytes", &[]).to_string(), "1048576");
    assert!(value("disk_free_bytes", &[]) > 0.0 && value("catalog_bytes", &[]) > 0.0);
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    for sample in &metrics.samples {
        assert!(known.contains(sample.metric.as_str()), "{}", sample.metric);
        assert!(metrics.docs.contains_key(&sample.metric), "{} has no help", sample.metric);
    }
    // It was met the first time that it was looked at, or missed until the first package came.
    assert!(scene.pings() >= 1, "the last look pings, all is well");
    assert!(!std::fs::read_to_string(&scene.textfile).unwrap().contains(SECRET));
}

#[test]
fn what_status_says_the_metrics_and_the_webhook_say_as_well() {
    let mut scene = Scene::new();
    scene.lose_a_package();
    scene.once();
    let watched = [("roma_instance", "prod"), ("export", "watched")];
    let unsettled = |scene: &Scene| {
        let metrics = scene.metrics();
        let well = number(&metrics, "roma_archived_well", &[]).unwrap();
        let losses = number(&metrics, "roma_archived_losses_unsettled", &watched).unwrap();
        format!("{well} {losses}")
    };
    assert_eq!(scene.stage.run(&["status"]).code, Some(1));
    assert_eq!(unsettled(&scene), "0 1");
    let told = scene.told();
    let [loss] = &told[..] else { panic!("{told:?}") };
    for (key, value) in [("event", "loss"), ("instance", "prod"), ("export", "watched")] {
        assert_eq!(loss[key], value);
    }
    assert_eq!((&loss["schema_version"], &loss["archive_id"]), (&1.into(), &1.into()));
    let error = scene.stage.column("SELECT last_error FROM archives").remove(0);
    assert_eq!(loss["message"], error.as_str());
    assert!(loss["text"].as_str().unwrap().starts_with("roma-archived: loss of a1, watched of"));
    assert_eq!(scene.stage.run(&["ack", "a1"]).code, Some(0));
    assert_eq!(scene.stage.run(&["status"]).code, Some(0));
    scene.once();
    assert_eq!(unsettled(&scene), "1 0");
    assert_eq!(scene.told().len(), 1, "nothing is told twice, and an acknowledgement to nobody");
    // A loss was no reason to stop the pings: there is no objective that it could miss.
    assert!(scene.pings() >= 2);
}

#[test]
fn what_the_webhook_did_not_take_is_told_after_a_restart() {
    let mut scene = Scene::new();
    scene.receiver.always(Answer::Status(500));
    scene.lose_a_package();
    let said = scene.once();
    let attempts = scene.told().len();
    assert!(attempts >= 1);
    let warning = "notify.webhook_url did not take a message: the server answered 500";
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    let pending = number(&scene.metrics(), "roma_archived_webhook_pending", &[]).unwrap();
    assert!(pending >= 0.0);
    // A redirect could lead the secret anywhere.
    scene.receiver.always(Answer::Status(302));
    let said = scene.once();
    assert!(said.contains("redirects are not followed"), "{said}");
    assert!(scene.receiver.heard().iter().all(|request| !request.line.contains("elsewhere")));
    scene.receiver.always(Answer::Status(204));
    let before = scene.told().len();
    scene.once();
    scene.once();
    let told = scene.told().split_off(before);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["event"], "loss");
}

#[test]
fn a_webhook_that_hangs_holds_up_nothing() {
    let mut scene = Scene::new();
    scene.receiver.always(Answer::Never);
    scene.lose_a_package();
    let daemon = scene.daemon();
    scene.until(&daemon, |scene| scene.told().len() == 1);
    let jobs: Vec<String> = (0..3)
        .map(|_| scene.stage.create(JobState::Ready, ContentSpec::Zip { bytes: 9_000 }).job_id)
        .collect();
    scene.stage.watch(jobs).unwrap();
    let stored = "SELECT count(*) FROM archives WHERE state = 'stored'";
    scene.until(&daemon, |scene| scene.count(stored) == 3);
    scene.let_it_write(&daemon, 1);
    assert_eq!(scene.told().len(), 1, "it still hangs");
    daemon.stop(&scene);
}

/// Neither the alarms nor the pings, nor the end of the daemon and of the runtime it ran on.
#[test]
fn a_folder_of_the_metrics_that_hangs_holds_up_nothing() {
    let mut scene = Scene::new();
    let dead = Arc::new(Dead::default());
    let daemon = scene.daemon_with(Clock::System, dead.clone());
    scene.until(&daemon, |_| dead.touched.load(Ordering::SeqCst) == 1);
    let pings = scene.pings();
    scene.until(&daemon, |scene| scene.pings() > pings + 3);
    scene.lose_a_package();
    scene.until(&daemon, |scene| scene.told().len() == 1);
    assert_eq!(scene.told()[0]["event"], "loss");
    daemon.stop(&scene);
    assert_eq!(dead.touched.load(Ordering::SeqCst), 1, "one thread hangs, not one per look");
    assert!(!scene.textfile.exists());
    // The runtime would wait here for a thread of its own.
    drop(scene);
}

/// The daemon is idle, and somebody holds the lock of the catalog: that an objective is missed
/// cannot be recorded, and shows nevertheless.
#[test]
fn a_catalog_that_is_locked_holds_up_neither_the_metrics_nor_the_end_of_the_pings() {
    let scene = Scene::new();
    scene.aim("10min");
    assert_eq!(scene.stage.run(&["export", "nightly"]).code, Some(0));
    scene.once();
    let missed =
        |scene: &Scene| scene.count("SELECT count(*) FROM events WHERE event = 'objective_missed'");
    let gauge = |scene: &Scene, name: &str| {
        let metrics = scene.metrics();
        number(&metrics, &format!("roma_archived_{name}"), &[]).unwrap() > 0.5
    };
    let is_met = |scene: &Scene| gauge(scene, "export_objective_met");
    let is_waiting = |scene: &Scene| gauge(scene, "catalog_waiting");
    let (missed_before, pings) = (missed(&scene), scene.pings());
    let clock = ManualClock::new(Clock::System.now());
    let daemon = scene.daemon_with(Clock::Manual(clock.clone()), Arc::new(OsDisk));
    // Time goes on only here.
    let until = |what: &dyn Fn(&Scene) -> bool| {
        scene.until(&daemon, |scene| {
            clock.advance(Duration::from_millis(20));
            what(scene)
        });
    };
    until(&|scene| scene.pings() > pings && is_met(scene) && !is_waiting(scene));
    let options = SqliteConnectOptions::new().filename(scene.stage.state.join("catalog.db"));
    let mut shell = scene.stage.runtime.block_on(options.connect()).unwrap();
    scene.stage.runtime.block_on(async {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut shell).await.unwrap();
    });
    clock.advance(Duration::from_mins(11));
    until(&|scene| !is_met(scene));
    until(&|scene| is_waiting(scene));
    let (pings, written) = (scene.pings(), scene.written());
    until(&|scene| scene.written() > written);
    assert_eq!((scene.pings(), missed(&scene)), (pings, missed_before));
    scene.stage.runtime.block_on(shell.close()).unwrap();
    until(&|scene| missed(scene) == missed_before + 1 && !is_waiting(scene));
    let is_told = |told: &serde_json::Value| told["event"] == "objective_missed";
    until(&|scene| scene.told().last().is_some_and(is_told));
    daemon.stop(&scene);
}

#[test]
fn pings_stop_while_an_objective_is_missed() {
    let scene = Scene::new();
    scene.aim("4s");
    let missed =
        |scene: &Scene| scene.count("SELECT count(*) FROM events WHERE event = 'objective_missed'");
    let daemon = scene.daemon();
    // There is no snapshot yet.
    scene.until(&daemon, |scene| missed(scene) == 1);
    scene.let_it_write(&daemon, 3);
    assert_eq!(scene.pings(), 0);
    assert_eq!(scene.stage.run(&["export", "nightly"]).code, Some(0));
    scene.until(&daemon, |scene| scene.pings() > 0);
    // It grows older than it may.
    scene.until(&daemon, |scene| missed(scene) == 2);
    // One may have been under way.
    scene.let_it_write(&daemon, 3);
    let pings = scene.pings();
    scene.let_it_write(&daemon, 5);
    assert_eq!(scene.pings(), pings);
    let met =
        number(&scene.metrics(), "roma_archived_export_objective_met", &[("export", "nightly")]);
    assert_eq!(met.map(|met| met.to_string()).as_deref(), Some("0"));
    assert_eq!(scene.stage.run(&["status"]).code, Some(1));
    assert_eq!(scene.stage.run(&["export", "nightly"]).code, Some(0));
    scene.until(&daemon, |scene| scene.pings() > pings);
    let turns = |told: Vec<serde_json::Value>| {
        told.iter().map(|m| m["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let expected = ["objective_missed", "objective_met", "objective_missed", "objective_met"];
    scene.until(&daemon, |scene| scene.told().len() >= 4);
    assert_eq!(turns(scene.told())[..4], expected);
    daemon.stop(&scene);
}

#[test]
fn a_folder_that_is_not_there_costs_one_warning_and_nothing_else() {
    let directory = binary::fast_directory();
    let textfile = directory.path().join("missing/roma.prom");
    let stage = Stage::below(directory, Knobs::default(), &sections(None, &textfile));
    assert_eq!(stage.run(&["export", "nightly"]).code, Some(0));
    let ended = stage.run(&["run", "--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.story());
    assert_eq!(ended.stderr.matches("cannot be written").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("ReadWritePaths="), "{}", ended.stderr);
    assert_eq!(stage.column("SELECT state FROM archives"), ["stored"]);
}

#[test]
fn doctor_looks_where_the_metrics_go_and_calls_nobody() {
    let scene = Scene::new();
    let doctor = |scene: &Scene| {
        let output = scene.stage.command(&["doctor"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains(SECRET), "{text}");
        text
    };
    let text = doctor(&scene);
    for said in [
        "ok       metrics: this user may write in",
        "ok       notify.ping_url: the host 127.0.0.1 is known; it was not called",
        "ok       notify.webhook_url: the host 127.0.0.1 is known; it was not called",
    ] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
    let text = std::fs::read_to_string(&scene.stage.config).unwrap();
    std::fs::write(&scene.stage.config, text.replace("roma.prom", "none/roma.prom")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&scene.stage.config, mode).unwrap();
    let text = doctor(&scene);
    assert!(text.contains("error    metrics:") && text.contains("install -d -m 0775"), "{text}");
    assert!(text.contains("warning  notify: everybody may read"), "{text}");
    assert_eq!(scene.receiver.heard().len(), 0);
}

/// A million archives must not be read for the sake of a number.
#[tokio::test]
async fn what_is_asked_every_minute_reads_no_history() {
    let (_directory, mut db) = schema::sample().await;
    let texts = schema::constants();
    for (name, may_scan) in [
        ("SELECT_EXPORT_FACTS", &["SCAN e"][..]),
        ("SELECT_TALLY", &[]),
        ("SELECT_EVENTS_AFTER", &[]),
        ("SELECT_ALARMS_AFTER", &[]),
        ("SELECT_UNSETTLED_LOSSES", &["SCAN heir"]),
        ("SELECT_UNSETTLED_DAMAGE", &[]),
        ("SELECT_MISSED_OBJECTIVES", &[]),
        ("SELECT_META", &[]),
        ("SELECT_LAST_SEQ", &[]),
    ] {
        let (_, sql) =
            texts.iter().find(|(place, _)| place.ends_with(&format!(" {name}"))).unwrap();
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut db).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        let scans = plan.iter().filter(|line| line.starts_with("SCAN"));
        let scans: Vec<&String> =
            scans.filter(|line| !may_scan.iter().any(|may| line.starts_with(may))).collect();
        assert!(scans.is_empty(), "{name}: {plan:#?}");
    }
}
