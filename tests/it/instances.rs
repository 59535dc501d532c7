//! Several instances beside each other: a sick one is left alone for a while, is tried again, and
//! holds up none of the others.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roma_archived::catalog::{Access, Catalog};
use roma_archived::clock::Clock;
use roma_archived::service::{self, Options};
use roma_archived::vault::OsDisk;
use roma_sim::{ContentSpec, Endpoint, Fault, JobState, SimOptions, Simulator, defaults};
use tokio_util::sync::CancellationToken;

use crate::support::binary::{config, run};
use crate::support::world::{Setup, World};

#[tokio::test]
async fn an_instance_that_fails_again_and_again_is_paused_and_tried() {
    let mut world = World::new(Setup::default()).await;
    for _ in 0..20 {
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        world.watch(&job.job_id).await;
    }
    world.simulator.world().script_always(Endpoint::Job, Fault::status(503));
    world.live_through(Duration::from_mins(30)).await;
    let asked = world.simulator.world().ledger().count_all(Endpoint::Job);
    // Twenty at once, and then one a pause: half a minute, one, two, four, and then five minutes.
    assert!((20..35).contains(&asked), "{asked}");
    let notices = "SELECT event FROM events WHERE archive_id IS NULL AND snapshot_id IS NULL";
    let paused = world.column(notices).await;
    assert!(paused.len() > 5 && paused.iter().all(|e| e == "instance_paused"), "{paused:?}");
    world.simulator.world().clear_faults();
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 20]);
    assert_eq!(world.column(notices).await.last().unwrap(), "instance_resumed");
    world.check_oracle().await;
}

/// A second instance, on a server of its own.
fn add_instance(config: &Path, url: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    let second = format!(
        "[[instance]]\nname = \"sick\"\naccount = \"ops\"\nendpoint = \"{url}\"\n\
         project_id = \"{}\"\ninstance_id = \"{}\"\n[[export]]\n",
        defaults::PROJECT_ID,
        defaults::INSTANCE_ID
    );
    let text = text.replacen("[[export]]\n", &second, 1);
    std::fs::write(config, text.replacen("[limits]\n", "[limits]\ndownloads = 2\n", 1)).unwrap();
}

fn ready_jobs(simulator: &Simulator, count: usize) -> Vec<String> {
    let spec = || roma_sim::JobSpec {
        user: None,
        state: JobState::Ready,
        content: ContentSpec::Zip { bytes: 100_000 },
    };
    let now = simulator.now_ms();
    let create = |_| simulator.world().create_job(defaults::INSTANCE_ID, spec(), now).job_id;
    (0..count).map(create).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_whose_downloads_never_end_holds_up_no_other() {
    let sick = Simulator::start(SimOptions::default()).await.unwrap();
    let well = Simulator::start(SimOptions::default()).await.unwrap();
    // Longer than any test may take, and never silent for long enough to be cut off.
    let trickle = Fault::Trickle { bytes_per_tick: 1, ms: 1_000 };
    sick.world().script_always(Endpoint::Download, trickle);
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), &well.url());
    add_instance(&config, &sick.url());
    for (instance, simulator) in [("sick", &sick), ("prod", &well)] {
        let jobs = ready_jobs(simulator, 6);
        let watch: Vec<&str> =
            ["watch", instance].into_iter().chain(jobs.iter().map(String::as_str)).collect();
        assert!(run(&config, &watch).await.status.success());
    }
    let mut settings = roma_archived::config::load(&config).unwrap().settings;
    settings.limits.shutdown_grace = Duration::ZERO;
    let state_dir = settings.state_dir.clone();
    let options = Options {
        once: false,
        check_interval: Duration::from_secs(1),
        clock: Clock::System,
        disk: Arc::new(OsDisk),
    };
    let shutdown = CancellationToken::new();
    let daemon = tokio::spawn(service::run(settings, options, shutdown.clone()));
    let catalog = Catalog::open(&state_dir, Access::Reader).await.unwrap();
    let stored = "SELECT count(*) FROM archives WHERE instance = 'prod' AND state = 'stored'";
    while catalog.view(stored, &[]).await.unwrap().rows[0][0] != 6 {
        assert!(!daemon.is_finished());
        let soon = Clock::System.now().plus(Duration::from_millis(20));
        Clock::System.sleep_until(soon).await;
    }
    let downloading = "SELECT count(*) FROM archives WHERE state = 'downloading'";
    assert_eq!(catalog.view(downloading, &[]).await.unwrap().rows[0][0], 1, "its share of two");
    shutdown.cancel();
    daemon.await.unwrap().unwrap();
    sick.stop().await;
    well.stop().await;
}
