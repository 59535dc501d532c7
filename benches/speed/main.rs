//! How fast the daemon is, against the programs that people would use instead: `cargo bench --bench
//! speed`. Rounds of all programs alternate in one run; medians and their ratios are printed, next
//! to the bar each has to meet. Nothing is asserted but that what was measured is right: every
//! archive recorded, with the server's hash. `benches/README.md` tells what it needs.
//!
//! The files in reading order: `server` offers packages, `daemon` and `rivals` fetch them,
//! `measure` and `live` look at what that costs, `scenarios` put them together, `report` prints.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on may panic")]
#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

mod daemon;
mod live;
mod measure;
mod report;
mod rivals;
mod scenarios;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use tokio::runtime::Runtime;

use measure::Meter;

/// Measures the daemon against other programs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Scenarios to play; all of them by default
    scenarios: Vec<String>,
    /// Rounds of each scenario
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A few small packages only: whether it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Where to work: on the disk that is to be measured
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the figures of every run to this file as well
    #[arg(long)]
    json: Option<PathBuf>,
    /// What there is to play
    #[arg(long)]
    list: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// What every scenario needs.
struct Bench {
    runtime: Runtime,
    meter: Meter,
    work: tempfile::TempDir,
    rounds: usize,
    quick: bool,
}

impl Bench {
    fn new(arguments: &Arguments) -> Self {
        let beside_the_target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = arguments.dir.as_deref().unwrap_or(beside_the_target);
        std::fs::create_dir_all(dir).unwrap();
        assert!(!is_in_memory(dir), "{} is in memory; --dir names another place", dir.display());
        let work = tempfile::Builder::new().prefix("speed-").tempdir_in(dir).unwrap();
        Self {
            runtime: Runtime::new().unwrap(),
            meter: Meter::new(work.path()),
            work,
            rounds: if arguments.quick { 1 } else { arguments.rounds.max(1) },
            quick: arguments.quick,
        }
    }

    /// A fresh folder that goes with the value.
    fn folder(&self, name: &str) -> tempfile::TempDir {
        tempfile::Builder::new().prefix(name).tempdir_in(self.work.path()).unwrap()
    }

    /// So many packages, or far fewer.
    fn count(&self, full: usize) -> usize {
        if self.quick { (full / 50).max(4) } else { full }
    }

    /// So many bytes, or far fewer.
    fn bytes(&self, full: u64) -> u64 {
        if self.quick { full / 64 } else { full }
    }
}

/// Something for whoever waits.
#[expect(clippy::print_stderr, reason = "nothing else speaks for minutes")]
fn tell(text: &str) {
    eprintln!("   {text}");
}

fn is_in_memory(dir: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    rustix::fs::statfs(dir).is_ok_and(|about| about.f_type == TMPFS)
}

/// The machine, as far as it explains the figures.
fn machine() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let of = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": of(&read("/proc/cpuinfo"), "model name"),
        "memory": of(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": load(),
    })
}

/// How busy the machine is, also with others.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in scenarios::ALL {
            println!("{:<10} {}", scenario.name, scenario.what);
        }
        return ExitCode::SUCCESS;
    }
    let unknown = |name: &&String| !scenarios::ALL.iter().any(|known| known.name == **name);
    if let Some(name) = arguments.scenarios.iter().find(unknown) {
        println!("there is no scenario {name}; --list names them");
        return ExitCode::FAILURE;
    }
    let bench = Bench::new(&arguments);
    let machine = machine();
    println!("machine: {machine}");
    println!("rounds: {}; all figures are medians but peak MiB, which is the most", bench.rounds);
    let mut played = Vec::new();
    for scenario in scenarios::ALL {
        let is_wanted = arguments.scenarios.iter().any(|name| name == scenario.name);
        if !is_wanted && !arguments.scenarios.is_empty() {
            continue;
        }
        tell(&format!("{} (load {})", scenario.name, load()));
        let outcome = (scenario.play)(&bench);
        report::print(scenario.name, scenario.what, &outcome, !bench.quick);
        played.push(json!({
            "scenario": scenario.name, "what": scenario.what, "outcome": outcome,
        }));
        if let Some(path) = &arguments.json {
            // After each: who stops it keeps what there is.
            let all = json!({ "machine": machine, "quick": bench.quick, "scenarios": played });
            std::fs::write(path, format!("{all:#}\n")).unwrap();
        }
    }
    println!("\nA plan over 1,000,000 archives has a benchmark of its own: --bench planning");
    ExitCode::SUCCESS
}
