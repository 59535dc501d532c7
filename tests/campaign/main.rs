//! The campaign: what takes too long, or needs too much, for every change. It drives the compiled
//! binary against the simulator in this process, breaks the machine around it on purpose, and
//! looks at what is left with the oracle of `tests/it/support/audit.rs`.
//!
//! `cargo test --release --test campaign -- all`, or `-- NAME [N]`; see `docs/testing.md`. One line
//! a finding, a table at the end, exit code 1 when anything was found. What this machine cannot do
//! is said, never passed over.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic, its helpers as well")]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod clock;
mod full;
mod many;
#[path = "../it/mishaps.rs"]
mod mishaps;
mod mount;
mod powercut;
mod readonly;
mod report;
mod strace;
#[path = "../it/support"]
mod support {
    pub(crate) mod audit;
    #[expect(dead_code, reason = "the gate uses the rest")]
    pub(crate) mod binary;
    pub(crate) mod process;
    pub(crate) mod stage;
}

use std::process::{Command, ExitCode};

use report::Report;
use roma_archived::clock::Clock;

/// How much of it: the number on the command line, if there is one.
type Amount = Option<u64>;

/// A part: its name, and what does it.
type Part = (&'static str, fn(Amount) -> Report);

const PARTS: [Part; 10] = [
    ("kills", many::kills),
    ("simulation", many::simulation),
    ("strace", strace::run),
    ("powercut", powercut::run),
    ("full", full::run),
    ("readonly", readonly::run),
    ("two-daemons", two_daemons),
    ("older-catalog", older_catalog),
    ("vault", vault),
    ("clock", clock::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = arguments.first().map_or("", String::as_str);
    let amount = arguments.get(1).map(|text| text.parse().unwrap());
    let parts: Vec<&Part> =
        PARTS.iter().filter(|(name, _)| wanted == "all" || wanted == *name).collect();
    if parts.is_empty() {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        println!("usage: cargo test --release --test campaign -- all | NAME [N]");
        println!("parts: {}", names.join(", "));
        return ExitCode::from(64);
    }
    if let Some(code) = on_an_island() {
        return code;
    }
    let mut reports = Vec::new();
    for (name, part) in parts {
        println!("== {name}");
        let began = Clock::System.now();
        let result = std::panic::catch_unwind(|| part(amount));
        let mut report = result.unwrap_or_else(|_| {
            let mut report = Report::new("runs");
            report.find("the part itself broke; see above".to_owned());
            report
        });
        report.seconds = Clock::System.now().since(began).as_secs();
        report.print();
        reports.push((*name, report));
    }
    println!("\n{:<14} {:>8} {:<22} {:>8} {:>6}", "part", "tried", "", "findings", "time");
    for (name, report) in &reports {
        println!("{name:<14} {}", report.line());
    }
    let found = reports.iter().any(|(_, report)| !report.findings.is_empty());
    ExitCode::from(u8::from(found))
}

/// Begins again where mounts and processes are private, so that none outlives it, however it ends.
fn on_an_island() -> Option<ExitCode> {
    const MARK: &str = "ROMA_CAMPAIGN_ISLAND";
    if std::env::var_os(MARK).is_some() || mount::missing(&["setpriv", "unshare"]).is_some() {
        // It goes on here; what is mounted is then removed by what made it.
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork"]);
    command.args(["--kill-child", "--mount-proc", "--propagation", "private", "--"]);
    command.arg(std::env::current_exe().unwrap()).args(std::env::args().skip(1)).env(MARK, "1");
    let status = command.status().unwrap();
    Some(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn two_daemons(amount: Amount) -> Report {
    let rounds = amount.unwrap_or(10);
    Report::of("rounds", rounds, mishaps::two_daemons)
}

fn older_catalog(amount: Amount) -> Report {
    let rounds = amount.unwrap_or(10);
    Report::of("catalogs put back", rounds, mishaps::older_catalog)
}

fn vault(amount: Amount) -> Report {
    let rounds = amount.unwrap_or(10);
    Report::of("spoilt vaults", rounds, mishaps::spoilt_vault)
}
