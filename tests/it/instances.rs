//! Several instances beside each other: a sick one is left alone for a while, is tried again, and
//! holds up none of the others.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roma_archived::catalog::{Access, Catalog};
use roma_archived::clock::{Clock, ManualClock};
use roma_archived::roma::Roma;
use roma_archived::service::{self, Options, Rhythm};
use roma_archived::settings::{Account, Auth, Instance, Limits, SecretPlace, Tls};
use roma_archived::vault::OsDisk;
use roma_sim::{ContentSpec, Endpoint, Fault, JobState, SimClock, SimOptions, Simulator, defaults};
use tokio_util::sync::CancellationToken;

use crate::support::binary::{config, run};
use crate::support::world::{START, Setup, World, name};

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

/// A server whose clock is wrong says nothing about what the others say.
#[tokio::test]
async fn each_instance_has_its_own_clock() {
    let clock = ManualClock::new(START.parse().unwrap());
    let now = clock.now();
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), defaults::TOKEN).unwrap();
    let auth = Auth::Token { token: SecretPlace::File(token.path().to_owned()) };
    let account = Account { name: name("ops"), auth };
    let mut simulators = Vec::new();
    let mut instances = Vec::new();
    for (instance, wrong_by_ms) in [("well", 0), ("sick", 86_400_000)] {
        let time = clock.clone();
        let lapse = Arc::new(move || time.now().as_millis() + wrong_by_ms);
        let options = SimOptions { clock: SimClock::from_fn(lapse), ..SimOptions::default() };
        let simulator = Simulator::start(options).await.unwrap();
        instances.push(Instance {
            name: name(instance),
            account: name("ops"),
            endpoint: simulator.url().parse().unwrap(),
            project_id: defaults::PROJECT_ID.to_owned(),
            instance_id: defaults::INSTANCE_ID.to_owned(),
        });
        simulators.push(simulator);
    }
    let roma = Roma::new(&[account], &instances, &Limits::default(), &Tls::default()).unwrap();
    for instance in ["well", "sick"] {
        roma.list_apps(&name(instance), now).await.unwrap();
    }
    let mut offsets: Vec<i64> = roma.clock_offsets().iter().map(|o| o.millis / 1_000).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [0, 86_400]);
    roma.forget_clocks();
    assert_eq!(roma.clock_offsets(), []);
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
        rhythm: Rhythm::default(),
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
