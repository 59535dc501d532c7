//! What is measured, one function a scenario.

mod packages;

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
    Scenario {
        name: "big",
        what: "one package of 1 GiB that does not shrink",
        play: packages::big,
    },
    Scenario {
        name: "huge",
        what: "one package of 10 GiB that does not shrink (one round)",
        play: packages::huge,
    },
    Scenario { name: "zips", what: "1,000 zips of 100 KiB", play: packages::zips },
    Scenario { name: "small", what: "10,000 packages of 4 KiB", play: packages::small },
];

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
