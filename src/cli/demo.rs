//! `demo`: a whole life in time-lapse. The simulator serves on loopback, the real daemon works on a
//! real state directory, and what is printed is read from the catalog's views.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use roma_sim::{Effect, Endpoint, Fault, Knobs, SimClock, SimOptions, Simulator, defaults};
use tokio_util::sync::CancellationToken;

use super::args::DemoArgs;
use super::error::CliError;
use super::narrate::Narrator;
use super::output;
use crate::catalog::{Access, Catalog};
use crate::clock::{Clock, ManualClock, pause};
use crate::config;
use crate::exit::Exit;
use crate::model::Timestamp;
use crate::service::{self, Options, Rhythm};
use crate::vault::OsDisk;

/// Days that pass.
const DAYS: u32 = 20;
const DAY: Duration = Duration::from_hours(24);
/// Time moves on by so much at once.
const STEP: Duration = Duration::from_mins(8);
/// And rests in between, so that somebody can read along.
const REST: Duration = Duration::from_millis(4);
/// It also waits for work that takes no time of the lapse, up to so many rests.
const PATIENCE: u32 = 2_000;
/// On this day a package is lost on the way.
const UNLUCKY_DAY: u32 = 3;
/// Looks at the catalog for something to tell.
const LOOK_EVERY: Duration = Duration::from_hours(1);

pub(super) fn run(args: &DemoArgs) -> Result<Exit, CliError> {
    super::on_many_threads(play(args))
}

async fn play(args: &DemoArgs) -> Result<Exit, CliError> {
    let state_dir = state_dir(args)?;
    // The lapse ends now, so that afterwards `status` finds fresh snapshots.
    let end = Clock::System.now();
    let lapse = ManualClock::new(end.minus(DAY * DAYS));
    let clock = Clock::Manual(lapse.clone());
    let simulator = simulator(&clock).await.map_err(|e| CliError::Demo(e.to_string()))?;
    let config = write_config(&state_dir, &simulator.url())?;
    let settings = config::load(&config)?.settings;
    output::line(&format!(
        "A simulated ROMA Connect answers at {}; the daemon works in {}.",
        simulator.url(),
        state_dir.display()
    ))?;
    output::line(&format!(
        "One export every night at 02:00; {DAYS} days pass at once. Times are those of the lapse.\n"
    ))?;

    let shutdown = CancellationToken::new();
    let options = Options {
        once: false,
        check_interval: LOOK_EVERY,
        clock: clock.clone(),
        disk: Arc::new(OsDisk),
        rhythm: Rhythm::default(),
    };
    let daemon = service::run(settings, options, shutdown.clone());
    let telling = async {
        let told = narrate(&simulator, &lapse, &state_dir, end).await;
        shutdown.cancel();
        told
    };
    // A daemon that fails ends the demonstration; otherwise the telling ends the daemon.
    let (ended, told) = tokio::join!(daemon, telling);
    ended?;
    let mut narrator = told?;
    let catalog = Catalog::open(&state_dir, Access::Reader).await?;
    narrator.tell(&catalog).await?;
    let whole = closing_report(&catalog, &simulator, &state_dir, &config).await?;
    simulator.stop().await;
    Ok(if whole { Exit::Ok } else { Exit::Bug })
}

fn state_dir(args: &DemoArgs) -> Result<PathBuf, CliError> {
    let path = if let Some(path) = &args.state_dir {
        std::fs::create_dir(path)
            .map_err(|source| CliError::Write { path: path.clone(), source })?;
        path.clone()
    } else {
        let created = tempfile::Builder::new().prefix("roma-archived-demo-").tempdir();
        let path = std::env::temp_dir();
        created.map_err(|source| CliError::Write { path, source })?.keep()
    };
    path.canonicalize().map_err(|source| CliError::Write { path, source })
}

async fn simulator(clock: &Clock) -> std::io::Result<Simulator> {
    let lapse = clock.clone();
    let knobs = Knobs {
        // In the time of the lapse.
        job_duration_ms: 20 * 60 * 1_000,
        ..Knobs::default()
    };
    let options = SimOptions {
        clock: SimClock::from_fn(Arc::new(move || lapse.now().as_millis())),
        knobs,
        ..SimOptions::default()
    };
    Simulator::start(options).await
}

fn write_config(state_dir: &Path, url: &str) -> Result<PathBuf, CliError> {
    let write = |path: PathBuf, text: &str| {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let written = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map(|()| path.clone()).map_err(|source| CliError::Write { path, source })
    };
    let password = write(state_dir.join("demo-password"), defaults::PASSWORD)?;
    let text = format!(
        r#"# Written by `roma-archived demo`. The simulator it names has ended with it.
state_dir = "{state_dir}"

[[account]]
name = "demo"
iam_endpoint = "{url}"
auth = "password"
user = "{user}"
domain = "{domain}"
project = "{project}"
password_file = "{password}"

[[instance]]
name = "{instance}"
account = "demo"
endpoint = "{url}"
project_id = "{project_id}"
instance_id = "{instance_id}"

[[export]]
name = "nightly"
instance = "{instance}"
schedule = "0 2 * * *"
rpo = "26h"

[retention]
keep_last = 3
keep_daily = 7
trash = "2d"

[limits]
poll_interval = "2min"
poll_interval_max = "10min"
min_free_space = "16MiB"
"#,
        state_dir = state_dir.display(),
        user = defaults::USER,
        domain = defaults::DOMAIN,
        project = defaults::PROJECT_NAME,
        password = password.display(),
        instance = defaults::INSTANCE_NAME,
        project_id = defaults::PROJECT_ID,
        instance_id = defaults::INSTANCE_ID,
    );
    write(state_dir.join("demo.toml"), &text)
}

/// What the daemon does without waiting for time to pass: that time waits for.
const AT_WORK: &str = "\
SELECT 1 FROM archives WHERE state IN ('requesting', 'downloading')
    OR state IN ('scheduled', 'ready', 'downloaded') AND next_attempt_at <= ?1
UNION ALL SELECT 1 FROM snapshots WHERE state = 'open' AND parts IS NULL
UNION ALL SELECT 1 FROM exports WHERE next_due_at <= ?1 LIMIT 1";

/// Moves time and tells what happens, until the lapse has caught up with the present.
async fn narrate(
    simulator: &Simulator,
    clock: &ManualClock,
    state_dir: &Path,
    end: Timestamp,
) -> Result<Narrator, CliError> {
    let mut narrator = Narrator::default();
    let unlucky = clock.now().plus(DAY * UNLUCKY_DAY);
    let (mut is_unlucky, mut rests) = (false, 0);
    let mut catalog = None;
    while clock.now() < end {
        pause(REST).await;
        if !is_unlucky && clock.now() >= unlucky {
            is_unlucky = true;
            // The gateway gives up after the server has sent, and deleted, the package.
            let lost = Fault::BadGateway { code: 504, effect: Effect::After };
            simulator.world().script(Endpoint::Download, lost);
        }
        let Some(catalog) = &catalog else {
            // The daemon creates it at its start.
            catalog = Catalog::open(state_dir, Access::Reader).await.ok();
            continue;
        };
        narrator.tell(catalog).await?;
        let at_work = !catalog.view(AT_WORK, &[clock.now().to_string()]).await?.rows.is_empty();
        rests = if at_work { rests + 1 } else { 0 };
        if !at_work || rests > PATIENCE {
            clock.set(clock.now().plus(STEP).min(end));
        }
    }
    Ok(narrator)
}

const SNAPSHOTS: &str = "\
SELECT id, taken_at, state, raw_bytes, stored_bytes, kept_because, expected_delete_at
FROM snapshots ORDER BY id";

/// The closing tables, from the views; whether every package was fetched once and is intact.
async fn closing_report(
    catalog: &Catalog,
    simulator: &Simulator,
    state_dir: &Path,
    config: &Path,
) -> Result<bool, CliError> {
    output::line("\nselect … from snapshots")?;
    let snapshots = catalog.view(SNAPSHOTS, &[]).await?;
    let columns = [
        "id",
        "taken_at",
        "state",
        "raw_bytes",
        "stored_bytes",
        "kept_because",
        "expected_delete_at",
    ];
    output::print(&output::view_table(&snapshots, &columns))?;
    output::line("\nselect state, count(*) from archives group by state")?;
    let counts = "SELECT state, count(*) AS archives FROM archives GROUP BY state ORDER BY state";
    output::print(&output::view_table(&catalog.view(counts, &[]).await?, &["state", "archives"]))?;

    let hashes = catalog
        .view("SELECT package_id, raw_sha256 FROM archives WHERE raw_sha256 IS NOT NULL", &[])
        .await?;
    let (checked, equal, twice) = compare(simulator, &hashes);
    output::line(&format!(
        "\nThe server's ledger: {equal} of {checked} packages arrived with the server's SHA-256; \
         {twice} were asked for a second time after they had arrived."
    ))?;
    let state_dir = state_dir.display();
    output::line(&format!(
        "\nEverything is still there:\n  \
         sqlite3 -readonly {state_dir}/catalog.db 'select id, state, path from archives'\n  \
         sqlite3 -readonly {state_dir}/catalog.db 'select at, event, detail from events'\n  \
         find {state_dir}/vault -name '*.zip'\n  \
         roma-archived --config {} list",
        config.display()
    ))?;
    Ok(checked > 0 && equal == checked && twice == 0)
}

fn compare(simulator: &Simulator, hashes: &crate::catalog::ViewRows) -> (usize, usize, usize) {
    let world = simulator.world();
    let ledger = world.ledger();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut equal = 0;
    let mut twice = 0;
    for row in &hashes.rows {
        let (package, sha256) = (row.first().map(text), row.get(1).map(text));
        let (package, sha256) = (package.unwrap_or_default(), sha256.unwrap_or_default());
        equal += usize::from(ledger.package(&package).is_some_and(|p| p.sha256() == sha256));
        twice += usize::from(ledger.gets(&package).len() > 1);
    }
    (hashes.rows.len(), equal, twice)
}
