//! `verify` of the real binary, without a daemon and beside one, and what `status` says of it.

use std::path::{Path, PathBuf};
use std::process::Output;

use roma_sim::{ContentSpec, JobSpec, JobState, SimOptions, Simulator, defaults};
use serde_json::Value;

use crate::support::binary::{command, config, run};

/// A configuration, and the files of so many packages that its daemon has stored.
async fn stored(directory: &Path, simulator: &Simulator, count: usize) -> (PathBuf, Vec<PathBuf>) {
    let config = config(directory, &simulator.url());
    let now = simulator.now_ms();
    let mut watch = vec!["watch".to_owned(), "prod".to_owned()];
    for _ in 0..count {
        let content = ContentSpec::Random { bytes: 20_000 };
        let spec = JobSpec { user: None, state: JobState::Ready, content };
        watch.push(simulator.world().create_job(defaults::INSTANCE_ID, spec, now).job_id);
    }
    let watch: Vec<&str> = watch.iter().map(String::as_str).collect();
    assert!(run(&config, &watch).await.status.success());
    let daemon = run(&config, &["run", "--once"]).await;
    assert!(daemon.status.success(), "{}", String::from_utf8_lossy(&daemon.stderr));
    let listed = json(&run(&config, &["list", "--json"]).await);
    let mut archives = listed["archives"].as_array().unwrap().clone();
    archives.sort_by_key(|archive| archive["id"].as_i64());
    let vault = directory.join("state/vault");
    let paths = archives.iter().map(|archive| vault.join(archive["path"].as_str().unwrap()));
    (config, paths.collect())
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_recorded_and_healed() {
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (config, files) = stored(directory.path(), &simulator, 3).await;
    let all = run(&config, &["verify", "--all"]).await;
    assert_eq!(all.status.code(), Some(0), "{all:?}");
    assert!(text(&all).starts_with("3 files with "), "{all:?}");

    flip(&files[0]);
    let lost = std::fs::read(&files[1]).unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    std::fs::write(directory.path().join("state/vault/stray"), "whose?").unwrap();
    let one = run(&config, &["verify", "a1", "s3"]).await;
    assert_eq!(one.status.code(), Some(1));
    let said = text(&one);
    assert!(said.contains("a1: damaged: it cannot be read as a zip: "), "{said}");
    assert!(said.contains("then `roma-archived verify a1`"), "{said}");
    assert!(said.contains("1 files with"), "s3 is whole: {said}");
    let status = run(&config, &["status", "--json"]).await;
    assert_eq!(status.status.code(), Some(1));
    let status = json(&status);
    assert_eq!(status["damaged"].as_array().unwrap().len(), 1, "a2 was not asked about");
    let error = status["damaged"][0]["last_error"].as_str().unwrap();
    assert!(error.contains("checksum") && error.contains("from a backup"), "{error}");

    let all = run(&config, &["verify", "--all", "--json"]).await;
    assert_eq!(all.status.code(), Some(1));
    let all = json(&all);
    // The answer that `--json` promises.
    let promised = [
        "damaged",
        "found",
        "quarantined",
        "restored",
        "schema_version",
        "sound_bytes",
        "sound_files",
        "unreadable",
        "well",
    ];
    assert_eq!(keys(&all), promised);
    assert_eq!((&all["well"], &all["sound_files"]), (&false.into(), &1.into()));
    assert_eq!(all["sound_bytes"], std::fs::metadata(&files[2]).unwrap().len());
    assert_eq!(all["damaged"].as_array().unwrap().len(), 2);
    assert_eq!(keys(&all["damaged"][1]), ["archive_id", "path", "reason"]);
    assert_eq!(all["damaged"][1]["reason"], "the file is missing");
    assert_eq!(all["quarantined"][0]["path"], "vault/stray");
    assert_eq!(all["quarantined"][0]["kept_as"], "quarantine/foreign-stray");
    assert_eq!(keys(&all["quarantined"][0]), ["kept_as", "path", "reason"]);

    flip(&files[0]);
    std::fs::write(&files[1], lost).unwrap();
    let healed = run(&config, &["verify", "a1", "a2", "--json"]).await;
    assert_eq!(healed.status.code(), Some(0), "{healed:?}");
    assert_eq!(json(&healed)["restored"], serde_json::json!([1, 2]));
    let status = run(&config, &["status"]).await;
    assert_eq!(status.status.code(), Some(0));
    assert!(text(&status).contains("1 in quarantine/"), "{status:?}");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_have_their_exit_codes() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "http://127.0.0.1:9");
    for (arguments, code) in [
        (&["verify"][..], 64),
        (&["verify", "x1"], 64),
        (&["verify", "--all", "a1"], 64),
        (&["verify", "--all"], 74),
    ] {
        let output = run(&config, arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    }
    assert!(!directory.path().join("state").exists(), "there was nothing to verify");
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let (config, _) = stored(other.path(), &simulator, 1).await;
    for id in ["a2", "s2"] {
        let output = run(&config, &["verify", id]).await;
        assert_eq!(output.status.code(), Some(65), "{output:?}");
    }
    simulator.stop().await;
}

/// Ends with the test, however that ends.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_beside_a_running_daemon() {
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (config, files) = stored(directory.path(), &simulator, 8).await;
    flip(&files[4]);
    let quiet = std::process::Stdio::null;
    let mut daemon = command(&config, &["run"]);
    let mut daemon = Daemon(daemon.stdout(quiet()).stderr(quiet()).spawn().unwrap());
    // At the same time as the daemon's own look at its start, and several of them.
    let (first, second) =
        tokio::join!(run(&config, &["verify", "--all"]), run(&config, &["verify", "--all"]));
    for output in [&first, &second] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(output).contains("a5: damaged"), "{output:?}");
    }
    flip(&files[4]);
    let healed = run(&config, &["verify", "a5"]).await;
    assert_eq!(healed.status.code(), Some(0), "{healed:?}");
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || daemon.0.wait().unwrap()).await.unwrap();
    assert_eq!(ended.code(), Some(0));
    let events = json(&run(&config, &["show", "a5", "--json"]).await);
    let damages = events["events"].as_array().unwrap().iter();
    assert_eq!(damages.filter(|event| event["event"] == "file_damaged").count(), 1);
    assert_eq!(json(&run(&config, &["status", "--json"]).await)["well"], true);
    simulator.stop().await;
}
