//! Many seeds of tests that the gate runs a few of: the test binary of the gate, on both cores.

use std::process::{Command, Stdio};

use crate::Amount;
use crate::report::{Report, on_two_cores, seed};

/// SIGKILL at seeded moments.
pub(crate) fn kills(amount: Amount) -> Report {
    const EACH: u64 = 350;
    let wanted = amount.unwrap_or(1_000);
    let pieces = wanted.div_ceil(EACH);
    let reports = on_two_cores(pieces, |piece| {
        let kills = EACH.min(wanted - piece * EACH);
        let first = seed(piece * 1_000);
        let variables = [("ROMA_KILLS", kills), ("ROMA_KILL_SEED", first)];
        gate("kill::", &variables, kills)
    });
    together("kills", reports)
}

/// Seeds of the simulated whole.
pub(crate) fn simulation(amount: Amount) -> Report {
    const EACH: u64 = 1_000;
    let wanted = amount.unwrap_or(2_000);
    let pieces = wanted.div_ceil(EACH);
    let reports = on_two_cores(pieces, |piece| {
        let seeds = EACH.min(wanted - piece * EACH);
        let variables = [("ROMA_SEEDS", seeds), ("ROMA_SEED_FROM", 1_000 + piece * EACH)];
        gate("simulation::", &variables, seeds)
    });
    together("seeds", reports)
}

fn together(unit: &'static str, reports: Vec<Report>) -> Report {
    let mut all = Report::new(unit);
    for report in reports {
        all.add(report);
    }
    all
}

/// Runs tests of the gate by the beginning of their names.
fn gate(tests: &str, variables: &[(&str, u64)], tried: u64) -> Report {
    let mut report = Report::new("");
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--locked", "--test", "it"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.args(["--", "--nocapture", tests]).stdin(Stdio::null());
    for (variable, value) in variables {
        command.env(variable, value.to_string());
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("running 0 tests") {
        report.skip(format!("there are no tests `{tests}`"));
        return report;
    }
    report.tried = tried;
    // What the tests count is indented less than what single rounds say.
    for line in said.lines().filter(|l| l.contains(" kills from ") || l.starts_with("met by")) {
        report.note(line.to_owned());
    }
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        for line in said.lines().filter(|line| line.starts_with("seed ")) {
            report.find(line.to_owned());
        }
        let last: Vec<&str> = errors.lines().rev().take(30).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n    ");
        report.find(format!("`{tests}` failed with {variables:?}:\n    {last}"));
    }
    report
}
