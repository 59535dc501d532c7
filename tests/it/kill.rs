//! The real process under SIGKILL, at seeded moments, with jobs flowing: afterwards everything
//! that the server sent whole is stored once, or shows as lost because a kill fell into the one gap
//! between the server's last byte and our rename.
//!
//! `ROMA_KILLS` says how many, `ROMA_KILL_SEED` with which dice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roma_sim::{Endpoint, Knobs};
use sha2::{Digest, Sha256};

use crate::support::process::Process;
use crate::support::stage::{Dice, Stage, from_environment, moody};

/// Kills of one state directory; then everything is looked at, and another begins.
const ROUND: u64 = 35;
/// Something to delete at every moment, and no pause that outlasts the test.
const CONFIG: &str = "min_free_space = \"0\"\nreexports = 1\n\
                      [retention]\nkeep_last = 4\ntrash = \"1s\"\n";

/// What all rounds have come to.
#[derive(Default)]
struct Tally {
    kills: u64,
    whole: u64,
    gaps: u64,
    stored: u64,
    /// What kills met: states of archives, and kinds of files in staging.
    met: BTreeMap<String, u64>,
    /// How each round ended.
    stories: Vec<String>,
    findings: Vec<String>,
}

#[test]
fn nothing_is_lost_or_doubled_whenever_the_process_is_killed() {
    let kills = from_environment("ROMA_KILLS", 70);
    let seed = from_environment("ROMA_KILL_SEED", 1);
    let mut tally = Tally::default();
    for round in 0..kills.div_ceil(ROUND) {
        let wanted = ROUND.min(kills - round * ROUND);
        let own = seed.wrapping_add(round.wrapping_mul(1_000_003));
        let before = tally.findings.len();
        Round::new(own, &mut tally).play(wanted);
        for finding in &tally.findings[before..] {
            println!("seed {own}: {finding}");
        }
    }
    for story in &tally.stories {
        println!("  {story}");
    }
    println!(
        "{} kills from seed {seed}: {} packages stored, {} served whole, {} of those lost in the \
         gap",
        tally.kills, tally.stored, tally.whole, tally.gaps
    );
    println!("met by kills: {:?}", tally.met);
    assert!(tally.findings.is_empty(), "{:#?}", tally.findings);
    assert!(tally.stored > 0 && !tally.met.is_empty(), "nothing flowed");
}

#[test]
fn a_first_start_may_be_killed_at_any_moment() {
    let kills = from_environment("ROMA_KILLS", 70) / 2;
    let mut dice = Dice(from_environment("ROMA_KILL_SEED", 1));
    let stage = Stage::new(Knobs::default(), CONFIG);
    for kill in 0..kills {
        let daemon = stage.start(&["run"]);
        std::thread::sleep(dice.micros(25_000));
        let ended = daemon.kill();
        assert_eq!(ended.code, None, "kill {kill}: {}", ended.story());
        let ended = stage.run(&["run", "--once"]);
        assert_eq!(ended.code, Some(0), "start after kill {kill}: {}", ended.story());
        std::fs::remove_dir_all(&stage.state).unwrap();
    }
}

struct Round<'a> {
    dice: Dice,
    stage: Stage,
    tally: &'a mut Tally,
    commands: Vec<(&'static str, Process)>,
    /// Archives whose whole package a kill left in staging: those cannot be lost.
    safe: BTreeSet<i64>,
}

impl<'a> Round<'a> {
    fn new(seed: u64, tally: &'a mut Tally) -> Self {
        let mut dice = Dice(seed);
        let knobs = moody(&mut dice, true);
        let stage = Stage::new(knobs, CONFIG);
        Self { dice, stage, tally, commands: Vec::new(), safe: BTreeSet::new() }
    }

    fn find(&mut self, what: String) {
        self.tally.findings.push(what);
    }

    fn play(mut self, kills: u64) {
        for kill in 0..kills {
            self.supply(kill);
            self.live_and_die();
            self.tally.kills += 1;
            self.reap();
            self.look();
        }
        if let Err(problem) = self.stage.settle() {
            self.find(problem);
        }
        let audit = self.stage.audit();
        self.tally.stories.push(audit.summary());
        for gap in &audit.gaps {
            if self.safe.contains(&gap.archive) {
                self.find(format!("lay whole in staging and is lost: {gap}"));
            } else if !gap.is_by_a_kill() {
                self.find(format!("lost, and no kill explains it: {gap}"));
            }
        }
        if !audit.gaps.is_empty() && self.stage.run(&["status"]).code != Some(1) {
            self.find("`status` hides a loss".to_owned());
        }
        self.tally.stored += ["stored", "trashed", "deleted"]
            .iter()
            .filter_map(|state| audit.states.get(*state))
            .sum::<u64>();
        self.tally.whole += audit.served_whole;
        self.tally.gaps += audit.gaps.len() as u64;
        self.tally.findings.extend(audit.findings);
    }

    /// New work: jobs started elsewhere, and runs of our own.
    fn supply(&mut self, kill: u64) {
        let speed = self.dice.pick(&[None, Some(2_000_000), Some(400_000), Some(100_000)]);
        self.stage.simulator.world().knobs_mut().bandwidth_bytes_per_s = speed;
        // The very first kills find an empty directory.
        if kill > 1 {
            let count = 1 + self.dice.below(5);
            let jobs = self.stage.jobs(&mut self.dice, count);
            if let Err(problem) = self.stage.watch(jobs) {
                self.find(problem);
            }
            if self.dice.below(3) == 0 {
                let ended = self.stage.run(&["export", "nightly"]);
                if ended.code != Some(0) {
                    self.find(format!("`export` failed, {}", ended.story()));
                }
            }
        }
    }

    /// One life of the daemon, ended at a moment of the dice, with commands on the way.
    fn live_and_die(&mut self) {
        // A command may be faster than the daemon, or find it at work, or be there when it dies.
        if self.dice.below(2) == 0 {
            self.command();
        }
        let daemon = self.stage.start(&["run"]);
        match self.dice.below(6) {
            0 => self.pause(40_000),
            1 => self.pause(250_000),
            2 => self.after_next(Endpoint::Export, 3_000),
            3 => self.after_next(Endpoint::Job, 5_000),
            4 => self.after_next(Endpoint::Download, 3_000),
            _ => self.after_next(Endpoint::Download, 60_000),
        }
        if self.dice.below(2) == 0 {
            self.command();
            self.pause(25_000);
        }
        let ended = daemon.kill();
        if ended.code.is_some() {
            self.find(format!("the daemon ended by itself, {}", ended.story()));
        }
    }

    /// Starts a command and does not wait for it.
    fn command(&mut self) {
        // Until the first start got through, there is no catalog to read.
        if self.stage.watched.is_empty() {
            return;
        }
        let command = self.dice.pick(&["status", "list", "watch"]);
        let job = self.stage.job(&mut self.dice).job_id;
        let arguments = match command {
            "watch" => vec!["watch", "prod", &job],
            other => vec![other],
        };
        self.commands.push((command, self.stage.start(&arguments)));
    }

    fn pause(&mut self, micros: u64) {
        std::thread::sleep(self.dice.micros(micros));
    }

    /// Waits for the next call of this kind, for a while, and then a moment.
    fn after_next(&mut self, endpoint: Endpoint, micros: u64) {
        let calls = |stage: &Stage| stage.simulator.world().ledger().count_all(endpoint);
        let before = calls(&self.stage);
        for _ in 0..1_000 {
            if calls(&self.stage) > before {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        self.pause(micros);
    }

    /// No command fails because a daemon was killed beside it.
    fn reap(&mut self) {
        for (command, process) in std::mem::take(&mut self.commands) {
            let ended = process.wait(Duration::from_mins(1));
            let well = ended.code == Some(0) || (command == "status" && ended.code == Some(1));
            if !well {
                self.find(format!("`{command}` failed beside a kill, {}", ended.story()));
            }
        }
    }

    /// What the kill has met. Half of the time nobody looks, so that the next start is the first
    /// to open the catalog.
    fn look(&mut self) {
        let mut met = Vec::new();
        if self.dice.below(2) == 0 {
            met = self.stage.column("SELECT DISTINCT state FROM archives");
        }
        let staging = self.stage.state.join("staging");
        for entry in std::fs::read_dir(staging).into_iter().flatten() {
            let path = entry.unwrap().path();
            let extension = path.extension().unwrap().to_str().unwrap().to_owned();
            let id =
                path.file_stem().and_then(|stem| stem.to_str()?.strip_prefix('a')?.parse().ok());
            let bytes = std::fs::read(&path).unwrap();
            let digest = roma_archived::model::Sha256Digest(Sha256::digest(&bytes).into());
            let digest = digest.to_string();
            // Only zip and JSON prove that nothing is missing; a name ending in `raw` says it.
            let proves_itself = extension == "raw" || matches!(bytes.first(), Some(b'P' | b'{'));
            let world = self.stage.simulator.world();
            let is_whole = extension != "zip"
                && proves_itself
                && world.ledger().packages().iter().any(|p| p.sha256() == digest);
            drop(world);
            if let (true, Some(id)) = (is_whole, id) {
                self.safe.insert(id);
            }
            met.push(format!("a{} file", if is_whole { " whole" } else { "" }) + " ." + &extension);
        }
        for what in met {
            *self.tally.met.entry(what).or_default() += 1;
        }
    }
}
