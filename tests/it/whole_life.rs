//! The compiled binary against the simulator over the wire: jobs become stored archives, each
//! package fetched once, and the bytes are the server's.

use std::process::Output;

use roma_sim::{ContentSpec, JobSpec, JobState, SimOptions, Simulator, defaults};

use crate::support::binary::{config, run};

pub(crate) fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watched_and_exported_packages_are_stored_once_and_whole() {
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), &simulator.url());
    let now = simulator.now_ms();
    let contents = [
        ContentSpec::Assets,
        ContentSpec::Json { bytes: 300_000 },
        ContentSpec::Random { bytes: 3_000_000 },
    ];
    let jobs: Vec<String> = contents
        .into_iter()
        .map(|content| {
            let spec = JobSpec { user: None, state: JobState::Ready, content };
            simulator.world().create_job(defaults::INSTANCE_ID, spec, now).job_id
        })
        .collect();
    let mut watch = vec!["watch", "prod"];
    watch.extend(jobs.iter().map(String::as_str));
    assert!(run(&config, &watch).await.status.success());
    // Doing it again changes nothing.
    let again = run(&config, &watch).await;
    assert!(String::from_utf8_lossy(&again.stdout).contains("is known already"), "{again:?}");
    assert!(run(&config, &["export", "nightly"]).await.status.success());
    let daemon = run(&config, &["run", "--once"]).await;
    assert!(daemon.status.success(), "{}", String::from_utf8_lossy(&daemon.stderr));
    assert!(!String::from_utf8_lossy(&daemon.stderr).contains(defaults::TOKEN));

    let listed = json(&run(&config, &["list", "--json"]).await);
    let archives = listed["archives"].as_array().unwrap();
    assert_eq!(archives.len(), 4);
    for archive in archives {
        assert_eq!(archive["state"], "stored", "{archive}");
        let package = archive["package_id"].as_str().unwrap();
        let (sha256, gets) = {
            let world = simulator.world();
            let sha256 = world.ledger().package(package).unwrap().sha256().to_owned();
            (sha256, world.ledger().gets(package).len())
        };
        assert_eq!(archive["raw_sha256"], sha256.as_str());
        assert_eq!(gets, 1, "{archive}");
        let target = directory.path().join(format!("a{}.out", archive["id"]));
        let id = format!("a{}", archive["id"]);
        let extracted =
            run(&config, &["extract", &id, "--json", "-o", target.to_str().unwrap()]).await;
        assert_eq!(json(&extracted)["files"][0]["sha256"], sha256.as_str());
    }
    assert_eq!(json(&run(&config, &["status", "--json"]).await)["well"], true);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumed_package_of_a_watched_job_is_a_visible_loss() {
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), &simulator.url());
    let now = simulator.now_ms();
    let spec = JobSpec { user: None, state: JobState::Finished, content: ContentSpec::Assets };
    let job = simulator.world().create_job(defaults::INSTANCE_ID, spec, now).job_id;
    assert!(run(&config, &["watch", "prod", &job]).await.status.success());
    assert!(run(&config, &["run", "--once"]).await.status.success());
    let status = run(&config, &["status"]).await;
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stdout).contains("not well"), "{status:?}");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_have_their_exit_codes() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "http://127.0.0.1:9");
    for (arguments, code) in [
        (&["frobnicate"][..], 64),
        (&["export", "weekly"], 64),
        (&["watch", "stage", "j"], 64),
        (&["show", "x1"], 64),
        (&["status"], 74),
    ] {
        let output = run(&config, arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    }
    let missing = run(&directory.path().join("nothing.toml"), &["status"]).await;
    assert_eq!(missing.status.code(), Some(78));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_something_else_is_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "http://127.0.0.1:9");
    let state = directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("catalog.db"), b"long enough to be a database, but none").unwrap();
    let output = run(&config, &["run"]).await;
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    for folder in ["vault", "staging", "quarantine"] {
        assert!(!state.join(folder).exists(), "{folder}");
    }
}
