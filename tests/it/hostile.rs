//! The compiled binary against a server that breaks off, forgets and overtakes: no package that
//! arrived is given up, and none is put at risk by the daemon itself.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use roma_archived::catalog::{Access, Catalog};
use roma_archived::clock::Clock;
use roma_archived::service::{self, Options, Rhythm};
use roma_sim::knobs::{ConsumePoint, DownloadFraming, SpentJob};
use roma_sim::{ContentSpec, Endpoint, Fault, JobSpec, JobState, Knobs, SimOptions, Simulator};
use roma_sim::{CreatedJob, defaults};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::whole_life::json;
use crate::support::binary::{config, run};
use crate::support::disk::Tight;

async fn simulator(knobs: Knobs) -> Simulator {
    Simulator::start(SimOptions { knobs, ..SimOptions::default() }).await.unwrap()
}

fn ready_job(simulator: &Simulator, content: ContentSpec) -> CreatedJob {
    let spec = JobSpec { user: None, state: JobState::Ready, content };
    let now = simulator.now_ms();
    simulator.world().create_job(defaults::INSTANCE_ID, spec, now)
}

/// Watches the jobs, runs the daemon until all is at rest, and lists the archives, oldest first.
async fn archives_after(simulator: &Simulator, jobs: &[String]) -> (TempDir, Vec<Value>) {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), &simulator.url());
    let mut watch = vec!["watch", "prod"];
    watch.extend(jobs.iter().map(String::as_str));
    assert!(run(&config, &watch).await.status.success());
    let daemon = run(&config, &["run", "--once"]).await;
    assert!(daemon.status.success(), "{}", String::from_utf8_lossy(&daemon.stderr));
    let listed = json(&run(&config, &["list", "--json", "--limit", "0"]).await);
    let mut archives = listed["archives"].as_array().unwrap().clone();
    archives.reverse();
    (directory, archives)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_came_whole_is_kept_however_the_transfer_ended() {
    let knobs = Knobs {
        consume_point: ConsumePoint::Request,
        consumed_job: Some(SpentJob::FinishedWithoutId),
        ..Knobs::default()
    };
    for content in [ContentSpec::Zip { bytes: 200_000 }, ContentSpec::Json { bytes: 20_000 }] {
        for fault in [Fault::LongerLength { extra: 10 }, Fault::CutChunked { bytes: 1 << 40 }] {
            let simulator = simulator(knobs.clone()).await;
            let job = ready_job(&simulator, content.clone());
            simulator.world().script(Endpoint::Download, fault.clone());
            let (_directory, archives) = archives_after(&simulator, &[job.job_id]).await;
            assert_eq!(archives[0]["state"], "stored", "{content:?} {fault:?} {}", archives[0]);
            let package = archives[0]["package_id"].as_str().unwrap();
            let sha256 = simulator.world().ledger().package(package).unwrap().sha256().to_owned();
            assert_eq!(archives[0]["raw_sha256"], sha256.as_str());
            simulator.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_cannot_prove_itself_is_never_thrown_away() {
    let simulator =
        simulator(Knobs { download_framing: DownloadFraming::UntilClose, ..Knobs::default() })
            .await;
    let job = ready_job(&simulator, ContentSpec::Raw(b"neither zip nor JSON".repeat(100)));
    let (directory, archives) = archives_after(&simulator, &[job.job_id]).await;
    assert_eq!(archives[0]["state"], "lost", "{}", archives[0]);
    let state = directory.path().join("state");
    let kept = ["staging", "quarantine"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(state.join(folder)).unwrap())
        .filter(|entry| entry.as_ref().unwrap().metadata().unwrap().len() == 2_000)
        .count();
    assert_eq!(kept, 1);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_waits_until_an_adopted_job_was_looked_at() {
    for _ in 0..5 {
        let simulator =
            simulator(Knobs { export_replaces_package: true, ..Knobs::default() }).await;
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), &simulator.url());
        let job = ready_job(&simulator, ContentSpec::Zip { bytes: 200_000 });
        assert!(run(&config, &["watch", "prod", &job.job_id]).await.status.success());
        assert!(run(&config, &["export", "nightly"]).await.status.success());
        assert!(run(&config, &["run", "--once"]).await.status.success());
        let listed = json(&run(&config, &["list", "--json"]).await);
        for archive in listed["archives"].as_array().unwrap() {
            assert_eq!(archive["state"], "stored", "{archive}");
        }
        simulator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_do_not_count_on_the_same_room() {
    let simulator = simulator(Knobs::default()).await;
    let content = ContentSpec::Random { bytes: 1_000_000 };
    let first = ready_job(&simulator, content.clone());
    let (directory, archives) = archives_after(&simulator, &[first.job_id]).await;
    assert_eq!(archives[0]["state"], "stored");
    let config = directory.path().join("config.toml");
    let jobs: Vec<String> = (0..4).map(|_| ready_job(&simulator, content.clone()).job_id).collect();
    let mut watch = vec!["watch", "prod"];
    watch.extend(jobs.iter().map(String::as_str));
    assert!(run(&config, &watch).await.status.success());
    // Room for two: three packages and the reserve, and what one under way may take.
    let options = Options {
        once: true,
        check_interval: Duration::from_secs(1),
        clock: Clock::System,
        disk: Arc::new(Tight::new(Arc::new(AtomicU64::new((1 << 20) + 5_000_000)))),
        rhythm: Rhythm::default(),
    };
    let settings = roma_archived::config::load(&config).unwrap().settings;
    simulator.world().script_always(Endpoint::Download, Fault::Stall { bytes: 1, ms: 300 });
    let daemon = service::run(settings, options, CancellationToken::new());
    tokio::pin!(daemon);
    let catalog = Catalog::open(&directory.path().join("state"), Access::Reader).await.unwrap();
    let mut most = 0;
    let look = async || {
        let sql = "SELECT count(*) FROM archives WHERE state = 'downloading'";
        Clock::System.sleep_until(Clock::System.now().plus(Duration::from_millis(5))).await;
        catalog.view(sql, &[]).await.unwrap().rows[0][0].as_u64().unwrap()
    };
    loop {
        tokio::select! {
            result = &mut daemon => break result.unwrap(),
            now = look() => most = most.max(now),
        }
    }
    assert_eq!(most, 2);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_odd_about_a_package_is_shown() {
    for (fault, told) in [
        (Fault::Gzip, "encoding=gzip"),
        (Fault::ShorterLength { less: 30 }, "flaw=it begins like a zip archive"),
    ] {
        let simulator = simulator(Knobs::default()).await;
        let job = ready_job(&simulator, ContentSpec::Zip { bytes: 50_000 });
        simulator.world().script(Endpoint::Download, fault);
        let (directory, archives) = archives_after(&simulator, &[job.job_id]).await;
        assert_eq!(archives[0]["state"], "stored", "{}", archives[0]);
        let shown = run(&directory.path().join("config.toml"), &["show", "a1"]).await;
        let words = String::from_utf8(shown.stdout)
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(words.contains(told), "{words}");
        simulator.stop().await;
    }
}
