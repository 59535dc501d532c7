//! A clock that is wrong by six weeks, either way, between two lives and in the middle of one.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::Amount;
use crate::report::{Report, seed};
use crate::support::process::{Ended, Process};
use crate::support::stage::{Dice, Stage, moody};

const CONFIG: &str = "min_free_space = \"0\"\nreexports = 1\n\
                      [retention]\nkeep_last = 3\ntrash = \"1d\"\n";
const AHEAD: &str = "+42d";
const BACK: &str = "-42d";
const RIGHT: &str = "+0d";

pub(crate) fn run(amount: Amount) -> Report {
    let mut report = Report::new("clocks set wrong");
    let Some(library) = library() else {
        report.skip("it needs libfaketime (package faketime)");
        return report;
    };
    for round in 0..amount.unwrap_or(4) {
        let seed = seed(round);
        for wrong in [AHEAD, BACK] {
            report.tried += 1;
            let trial = Trial::new(seed, wrong, library.clone());
            for finding in trial.play() {
                report.find(format!("seed {seed}, {wrong}: {finding}"));
            }
        }
    }
    report
}

fn library() -> Option<PathBuf> {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/lib64"]
        .into_iter()
        .map(|folder| PathBuf::from(folder).join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file())
}

struct Trial {
    dice: Dice,
    stage: Stage,
    wrong: &'static str,
    library: PathBuf,
    findings: Vec<String>,
}

impl Trial {
    fn new(seed: u64, wrong: &'static str, library: PathBuf) -> Self {
        let mut dice = Dice(seed);
        let stage = Stage::new(moody(&mut dice, false), CONFIG);
        Self { dice, stage, wrong, library, findings: Vec::new() }
    }

    fn find(&mut self, what: impl Into<String>) {
        self.findings.push(what.into());
    }

    fn play(mut self) -> Vec<String> {
        self.set(RIGHT);
        self.more(6);
        self.once("with the right clock");
        // Three are more than enough; the others wait in the trash, for a day.
        let trashed = self.count("state = 'trashed'");
        self.set(self.wrong);
        self.more(2);
        self.once("with a wrong clock");
        self.expect_nothing_purged(trashed);
        self.set(RIGHT);
        self.more(2);
        self.once("with the right clock again");
        self.while_running();
        self.finish();
        self.findings
    }

    /// In the middle of a life: wrong, and right again.
    fn while_running(&mut self) {
        let daemon = self.start(&["run"]);
        self.more(2);
        std::thread::sleep(Duration::from_millis(500));
        self.set(self.wrong);
        self.more(2);
        std::thread::sleep(Duration::from_millis(1_500));
        self.set(RIGHT);
        self.more(2);
        let waiting = "state NOT IN ('stored', 'trashed', 'lost', 'deleted')";
        // A clock that was ahead may have put something off, but not for six weeks.
        let is_done = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            self.count(waiting) == 0
        });
        if !is_done {
            let states = self.stage.column(
                "SELECT state || ' ' || coalesce(next_attempt_at, '') || ' ' || \
                 coalesce(last_error, '') FROM archives",
            );
            self.find(format!("does not go on after the clock was set right: {states:?}"));
        }
        // Not SIGKILL: the library would leave its shared memory behind.
        let mut daemon = daemon;
        daemon.signal(Signal::TERM);
        let ended = daemon.wait(Duration::from_mins(1));
        if ended.code != Some(0) {
            self.find(format!("a daemon under a jumping clock: {}", ended.story()));
        }
    }

    fn finish(&mut self) {
        if let Err(problem) = self.stage.settle() {
            self.find(problem);
        }
        let audit = self.stage.audit();
        self.findings.extend(audit.findings);
        for gap in audit.gaps.iter().filter(|gap| !gap.is_by_a_kill()) {
            self.findings.push(format!("not explained: {gap}"));
        }
    }

    /// A clock that is behind decides nothing. One that is ahead of the server's decides nothing
    /// either, once it has spoken with the server.
    fn expect_nothing_purged(&mut self, trashed: u64) {
        let deleted = self.count("state IN ('deleting', 'deleted')");
        if deleted > 0 {
            self.find(format!("{deleted} of {trashed} in the trash were purged by a wrong clock"));
        }
    }

    fn set(&self, offset: &str) {
        // Renamed into place: a reader sees one or the other.
        let (new, file) = (self.stage.scratch().join("time.new"), self.file());
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.stage.scratch().join("time")
    }

    fn under_the_clock(&self, arguments: &[&str]) -> Command {
        let mut command = self.stage.command(arguments);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.file())
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        command
    }

    fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.under_the_clock(arguments), self.stage.scratch())
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait(Duration::from_secs(120))
    }

    fn once(&mut self, when: &str) {
        let ended = self.run(&["run", "--once"]);
        if ended.code != Some(0) {
            self.find(format!("`run --once` {when}: {}", ended.story()));
        }
    }

    fn more(&mut self, count: u64) {
        let jobs = self.stage.jobs(&mut self.dice, count);
        let mut arguments = vec!["watch", "prod"];
        arguments.extend(jobs.iter().map(String::as_str));
        let ended = self.run(&arguments);
        if ended.code == Some(0) {
            self.stage.watched.extend(jobs);
        } else {
            self.find(format!("`watch`: {}", ended.story()));
        }
    }

    fn count(&self, which: &str) -> u64 {
        let select = format!("SELECT count(*) FROM archives WHERE {which}");
        self.stage.column(&select).first().map_or(0, |count| count.parse().unwrap())
    }
}
