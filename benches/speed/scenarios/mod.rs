//! What is measured, one function a scenario.

mod deletion;
mod history;
mod large;
mod many;
mod memory;
mod polling;

use crate::measure::Run;
use crate::report::{Outcome, Row};
use crate::server::Package;
use crate::{Bench, tell};

/// Something to measure.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) play: fn(&Bench) -> Outcome,
}

pub(crate) const ALL: &[Scenario] = &[
    Scenario { name: "big", what: "one package of 1 GiB that does not shrink", play: large::big },
    Scenario {
        name: "huge",
        what: "one package of 10 GiB that does not shrink (two rounds)",
        play: large::huge,
    },
    Scenario { name: "json", what: "one package of 512 MiB of JSON", play: large::json },
    Scenario { name: "link", what: "the same over a link of 100 MiB/s", play: large::link },
    Scenario { name: "zips", what: "1,000 zips of 100 KiB", play: many::zips },
    Scenario { name: "small", what: "10,000 packages of 4 KiB", play: many::small },
    Scenario {
        name: "slow-disk",
        what: "packages of 4 KiB, every fsync 5 ms slower",
        play: many::slow_disk,
    },
    Scenario { name: "far", what: "packages of 4 KiB, every answer 20 ms later", play: many::far },
    Scenario { name: "memory", what: "2 GiB in many downloads at once", play: memory::memory },
    Scenario {
        name: "polling",
        what: "waiting for jobs that run, asked for every 5 s; in windows of 10 s",
        play: polling::polling,
    },
    Scenario {
        name: "start",
        what: "a start with a long history in the catalog",
        play: history::start,
    },
    Scenario {
        name: "growth",
        what: "1,000 packages of 4 KiB after a long history",
        play: history::growth,
    },
    Scenario {
        name: "deletion",
        what: "50,000 of 100,000 archives deleted by retention (three rounds)",
        play: deletion::deletion,
    },
];

const DAEMON: &str = "roma-archived";
const SERVER: &str = "curl -o /dev/null (the server)";
const CURL: &str = "curl, one process";
const SCRIPT: &str = "serial.sh";

/// One of the programs that take turns.
struct Contender<'c> {
    program: &'static str,
    archives: u64,
    raw_bytes: u64,
    run: Box<dyn Fn() -> Run + 'c>,
}

impl<'c> Contender<'c> {
    fn new(program: &'static str, of: &[Package], run: impl Fn() -> Run + 'c) -> Self {
        let raw_bytes = of.iter().map(|package| package.bytes).sum();
        let archives = u64::try_from(of.len()).unwrap_or(u64::MAX);
        Self { program, archives, raw_bytes, run: Box::new(run) }
    }

    fn of_rows(program: &'static str, rows: usize, run: impl Fn() -> Run + 'c) -> Self {
        let archives = u64::try_from(rows).unwrap_or(u64::MAX);
        Self { program, archives, raw_bytes: 0, run: Box::new(run) }
    }
}

/// A B C, A B C, ...: what else the machine does meets all of them alike.
fn take_turns(rounds: usize, contenders: &[Contender<'_>]) -> Outcome {
    let row = |contender: &Contender<'_>| Row {
        program: contender.program.to_owned(),
        archives: contender.archives,
        raw_bytes: contender.raw_bytes,
        runs: Vec::new(),
    };
    let mut rows: Vec<Row> = contenders.iter().map(row).collect();
    for round in 1..=rounds {
        for (contender, row) in contenders.iter().zip(&mut rows) {
            let run = (contender.run)();
            tell(&format!("round {round}: {} {:.3} s", contender.program, run.seconds));
            row.runs.push(run);
        }
    }
    Outcome { rows, ..Outcome::default() }
}
