//! `roma-sim`: the simulator on its own, for a local demo or a script. Must hold no behaviour but
//! reading its options.

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use roma_sim::{
    Endpoint, Fault, InstanceSpec, JobSpec, KeySpec, Knobs, SimClock, SimOptions, Simulator,
    UserSpec, World, defaults,
};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

/// Simulates ROMA Connect's asset export on one local port.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// TOML file with seed, knobs, users, tokens, keys, instances and faults.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Writes the port into this file once it listens.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// Creates so many jobs with a package that waits.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    seed: u64,
    /// Whether the default user and instance are there too.
    default_world: bool,
    knobs: Knobs,
    users: Vec<UserSpec>,
    tokens: Vec<StaticToken>,
    keys: Vec<KeySpec>,
    instances: Vec<InstanceSpec>,
    /// Standing faults.
    faults: Vec<StandingFault>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticToken {
    token: String,
    user: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StandingFault {
    endpoint: Endpoint,
    fault: Fault,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            seed: defaults::SEED,
            default_world: true,
            knobs: Knobs::default(),
            users: Vec::new(),
            tokens: Vec::new(),
            keys: Vec::new(),
            instances: Vec::new(),
            faults: Vec::new(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let config: Config = match &options.config {
        Some(path) => toml::from_str(&std::fs::read_to_string(path)?)?,
        None => Config::default(),
    };
    // Before the address is told: whoever reads it may end this process at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let simulator = Simulator::start(SimOptions {
        listen: options.listen,
        clock: SimClock::system(),
        knobs: config.knobs.clone(),
        seed: config.seed,
    })
    .await?;
    let job_ids = furnish(&simulator, config, options.jobs);
    if let Some(path) = &options.port_file {
        // Whoever waits for the file must never see it half written.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, format!("{}\n", simulator.address().port()))?;
        std::fs::rename(&partial, path)?;
    }
    introduce(&simulator, &job_ids)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}

fn furnish(simulator: &Simulator, config: Config, jobs: usize) -> Vec<String> {
    let now_ms = simulator.now_ms();
    let mut world = simulator.world();
    if !config.default_world {
        *world = World::empty(config.seed, config.knobs);
    }
    let instance = match config.instances.first() {
        Some(first) if !config.default_world => first.instance_id.clone(),
        Some(_) | None => defaults::INSTANCE_ID.to_owned(),
    };
    for user in config.users {
        world.add_user(user);
    }
    for token in config.tokens {
        world.add_static_token(&token.token, &token.user);
    }
    for key in config.keys {
        world.add_key(key);
    }
    for instance in config.instances {
        world.add_instance(instance);
    }
    for standing in config.faults {
        world.script_always(standing.endpoint, standing.fault);
    }
    let spec = JobSpec { content: world.knobs().default_content.clone(), ..JobSpec::default() };
    (0..jobs).map(|_| world.create_job(&instance, spec.clone(), now_ms).job_id).collect()
}

fn introduce(simulator: &Simulator, job_ids: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {}", simulator.url())?;
    writeln!(out, "user {} of domain {}", defaults::USER, defaults::DOMAIN)?;
    writeln!(out, "password {}", defaults::PASSWORD)?;
    writeln!(out, "token {}", defaults::TOKEN)?;
    writeln!(out, "access key {}", defaults::ACCESS_KEY)?;
    writeln!(out, "secret key {}", defaults::SECRET_KEY)?;
    writeln!(out, "project {} {}", defaults::PROJECT_NAME, defaults::PROJECT_ID)?;
    writeln!(out, "instance {} {}", defaults::INSTANCE_NAME, defaults::INSTANCE_ID)?;
    for job_id in job_ids {
        writeln!(out, "job {job_id}")?;
    }
    out.flush()
}
