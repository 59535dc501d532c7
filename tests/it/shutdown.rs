//! The real process and its signals: SIGTERM drains, a second one ends at once, a second daemon is
//! turned away, and systemd is told.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ExitStatus, Output, Stdio};
use std::time::Duration;

use roma_sim::{ContentSpec, Endpoint, Fault, JobSpec, JobState, SimOptions, Simulator, defaults};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::binary::{command, config, run};

fn start(config: &Path, environment: &[(&str, &str)]) -> Child {
    let mut daemon = command(config, &["run"]);
    daemon.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
    daemon.spawn().unwrap()
}

fn signal(daemon: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

async fn wait(mut daemon: Child) -> ExitStatus {
    tokio::task::spawn_blocking(move || daemon.wait().unwrap()).await.unwrap()
}

/// Asks until the answer is yes; the test's own limit is the patience of whoever runs it.
async fn until(what: impl AsyncFn() -> bool) {
    while !what().await {
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20)))
            .await
            .unwrap();
    }
}

fn slow_job(simulator: &Simulator, ms: u64) -> String {
    let now = simulator.now_ms();
    let mut world = simulator.world();
    let content = ContentSpec::Zip { bytes: 200_000 };
    let spec = JobSpec { user: None, state: JobState::Ready, content };
    let job = world.create_job(defaults::INSTANCE_ID, spec, now);
    let stall = Fault::Stall { bytes: 50_000, ms };
    world.script_for(Endpoint::Download, &job.package_id.unwrap(), stall);
    job.job_id
}

async fn states(config: &Path) -> Vec<String> {
    let output = run(config, &["list", "--json"]).await;
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else {
        return Vec::new();
    };
    let archives = answer["archives"].as_array().cloned().unwrap_or_default();
    archives.iter().map(|a| a["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_a_download_finish() {
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), &simulator.url());
    let job = slow_job(&simulator, 1_500);
    assert!(run(&config, &["watch", "prod", &job]).await.status.success());
    let daemon = start(&config, &[]);
    until(async || states(&config).await == ["downloading"]).await;
    signal(&daemon, Signal::TERM);
    assert_eq!(wait(daemon).await.code(), Some(0));
    // It arrived, and was stored as it came.
    assert_eq!(states(&config).await, ["stored"]);
    assert!(run(&config, &["run", "--once"]).await.status.success());
    assert_eq!(states(&config).await, ["stored"]);
    assert_eq!(simulator.world().ledger().count_all(Endpoint::Download), 1);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once_and_the_next_start_settles() {
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), &simulator.url());
    // Longer than any test may take: only the second signal ends it.
    let job = slow_job(&simulator, 3_600_000);
    assert!(run(&config, &["watch", "prod", &job]).await.status.success());
    let daemon = start(&config, &[]);
    until(async || states(&config).await == ["downloading"]).await;
    let status = {
        let mut daemon = daemon;
        loop {
            if let Some(status) = daemon.try_wait().unwrap() {
                break status;
            }
            signal(&daemon, Signal::TERM);
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(status.code(), Some(130));
    assert!(run(&config, &["run", "--once"]).await.status.success());
    // The server still offered the package: it was asked first, and then fetched once more.
    assert_eq!(states(&config).await, ["stored"]);
    let packages = simulator.world().ledger().summary();
    assert_eq!((packages.gets, packages.completed), (2, 1));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_is_turned_away_while_commands_work() {
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), &simulator.url());
    let daemon = start(&config, &[]);
    // It is at work once it has recorded what it is to do.
    let is_known = |status: Output| String::from_utf8_lossy(&status.stdout).contains("nightly");
    until(async || is_known(run(&config, &["status"]).await)).await;
    let second = run(&config, &["run"]).await;
    assert_eq!(second.status.code(), Some(75));
    let complaint = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(complaint.contains(&format!("process {}", daemon.id())), "{complaint}");
    // A run that a command asks for is taken over by the running daemon.
    assert!(run(&config, &["export", "nightly"]).await.status.success());
    until(async || states(&config).await == ["stored"]).await;
    signal(&daemon, Signal::INT);
    assert_eq!(wait(daemon).await.code(), Some(0));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_what_happens() {
    let simulator = Simulator::start(SimOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), &simulator.url());
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let daemon = start(&config, &environment);
    let (socket, messages) = receive(socket, "WATCHDOG=1").await;
    let ready = messages.iter().position(|m| m.contains("READY=1")).unwrap();
    assert!(messages[ready].contains("STATUS="), "{messages:?}");
    assert!(messages.iter().skip(ready).any(|m| m.contains("WATCHDOG=1")), "{messages:?}");
    signal(&daemon, Signal::TERM);
    let (_, messages) = receive(socket, "STOPPING=1").await;
    assert!(messages.last().unwrap().contains("STATUS=stopping"), "{messages:?}");
    assert_eq!(wait(daemon).await.code(), Some(0));
    simulator.stop().await;
}

/// Messages up to the first that contains `last`.
async fn receive(socket: UnixDatagram, last: &'static str) -> (UnixDatagram, Vec<String>) {
    let work = move || {
        let mut messages = Vec::new();
        let mut buffer = [0; 4_096];
        while !messages.last().is_some_and(|m: &String| m.contains(last)) {
            let length = socket.recv(&mut buffer).unwrap();
            messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        (socket, messages)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}
