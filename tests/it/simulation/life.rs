//! One simulated life: what happens, when, and the rest that must follow.

use std::time::Duration;

use roma_archived::catalog::{CatalogError, Pin, Unpin};
use roma_archived::clock::ManualClock;
use roma_archived::model::SnapshotId;
use roma_sim::{Endpoint, JobSpec, JobState, defaults};

use super::dice::Dice;
use super::setting::{content, menu, needs_proof, setup, wire_fault};
use crate::support::faulty_disk::Fault;
use crate::support::platter::Tail;
use crate::support::trial::{Happening, Trial};
use crate::support::world::{Ground, Turn, World, name};

/// Operations of the disk among which a planned fault falls.
const NEXT_OPERATIONS: u64 = 40;

/// What came of a seed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The rows of the view `events`.
    pub(super) log: Vec<String>,
    pub(super) deaths: usize,
    pub(super) failures: usize,
    pub(super) archives: usize,
    pub(super) lost: usize,
    /// Pins that were set, and what came back from the trash.
    pub(super) held: usize,
    /// Served whole, and lost all the same: the gap that no client can close.
    pub(super) gap: usize,
}

struct Life {
    dice: Dice,
    trial: Trial,
    truth: ManualClock,
    /// The daemon dies while the next request is under way.
    strike: bool,
    /// Contents have to prove themselves whole.
    proven: bool,
    jobs: u64,
    exports: u64,
}

/// Lives through the seed and checks the oracle in the end.
pub(super) async fn live(seed: u64) -> Outcome {
    let mut dice = Dice::new(seed);
    let setup = setup(&mut dice);
    let truth = setup.truth.clone().unwrap();
    let proven = needs_proof(&setup.knobs);
    let mut trial = Trial::new(setup).await;
    let mut luck = dice.fork();
    trial.surviving = Box::new(move |loose| luck.between(0, loose));
    let mut life = Life { dice, trial, truth, strike: false, proven, jobs: 0, exports: 0 };
    let turns = life.dice.between(40, 160);
    for _ in 0..turns {
        if life.dice.one_in(5) {
            life.happen().await;
        }
        life.turn().await;
    }
    life.conclude().await
}

impl Life {
    async fn turn(&mut self) {
        let happening = if self.strike {
            self.trial.turn_until(requested).await
        } else {
            self.trial.turn().await
        };
        match happening {
            Happening::Turn(Turn::Idle(wake)) => self.trial.pass_time(wake),
            Happening::Turn(Turn::AtRest) => {
                let minutes = self.dice.pick(&[5, 60, 600, 2_000]);
                let later = self.trial.world().now().plus(Duration::from_mins(minutes));
                self.trial.pass_time(later);
            }
            Happening::Restarted if self.strike => {
                self.strike = false;
                self.latency(0);
            }
            Happening::Turn(Turn::Worked) | Happening::Restarted => {}
        }
    }

    fn latency(&mut self, ms: u64) {
        self.trial.world().simulator.world().knobs_mut().latency_ms = ms;
    }

    async fn happen(&mut self) {
        let what = self.dice.between(0, 21);
        let now = self.trial.world().now();
        self.trial.story.push(format!("{now}: happening {what}"));
        match what {
            0..=3 => self.new_job().await,
            4..=5 if self.exports < 3 => {
                self.exports += 1;
                self.trial.world().export().await;
            }
            6..=8 => self.disk_fault(),
            9..=11 => self.crash(),
            12 => {
                self.trial.power_loss = self.power_loss();
                self.trial.die().await;
            }
            13..=14 => {
                self.strike = true;
                self.latency(3_600_000);
            }
            15 => self.move_clock(),
            16..=18 => {
                let (endpoint, fault) = wire_fault(&mut self.dice);
                self.trial.world().simulator.world().script(endpoint, fault);
            }
            19 => self.weather(),
            20..=21 => self.hold().await,
            _ => self.trial.platter().set_full(false),
        }
    }

    async fn new_job(&mut self) {
        if self.jobs == 5 {
            return;
        }
        self.jobs += 1;
        let states = [
            JobState::Ready,
            JobState::Ready,
            JobState::Running,
            JobState::Finished,
            JobState::Failed,
        ];
        let spec = JobSpec {
            // Somebody else's: the user of the daemon runs one job at a time.
            user: Some("console".to_owned()),
            state: self.dice.pick(&states),
            content: content(&mut self.dice, self.proven),
        };
        let now = self.truth.now().as_millis();
        let world = self.trial.world();
        let job = world.simulator.world().create_job(defaults::INSTANCE_ID, spec, now);
        world.watch(&job.job_id).await;
    }

    /// Somebody pins a snapshot, lets one go, or brings one back from the trash, if it can be done.
    async fn hold(&mut self) {
        let snapshot = SnapshotId(i64::try_from(self.dice.between(1, 8)).unwrap());
        let minutes = self.dice.pick(&[None, Some(10), Some(2_000)]);
        let what = self.dice.between(0, 3);
        let world = self.trial.world();
        let now = world.now();
        let until = minutes.map(|minutes| now.plus(Duration::from_mins(minutes)));
        let (name, by) = (name("manual"), "dice".to_owned());
        let pin = Pin { snapshot, name, reason: "why".to_owned(), by, until };
        let done = match what {
            0 => world.catalog.pin(pin, now).await.map(drop),
            1 => {
                let unpin = Unpin { snapshot, name: pin.name, by: pin.by };
                world.catalog.unpin(unpin, now).await.map(drop)
            }
            _ => world.catalog.undelete(pin, now).await.map(drop),
        };
        assert!(matches!(done, Ok(()) | Err(CatalogError::Refused(_))), "{done:?}");
        if self.dice.one_in(2) {
            // Otherwise it finds out by itself.
            self.trial.world().engine.look_again();
        }
    }

    fn disk_fault(&mut self) {
        let fault = self.dice.pick(&[Fault::Eio, Fault::Enospc, Fault::Full]);
        let n = self.dice.between(1, NEXT_OPERATIONS);
        self.trial.disk().plan(n, fault);
    }

    fn power_loss(&mut self) -> Option<Tail> {
        self.dice.pick(&[None, Some(Tail::Cut), Some(Tail::Zeroed)])
    }

    fn crash(&mut self) {
        self.trial.power_loss = self.power_loss();
        let crash = Fault::Crash { happened: self.dice.one_in(2) };
        self.trial.disk().plan(self.dice.between(1, NEXT_OPERATIONS), crash);
        if self.dice.one_in(2) {
            // And once more, while it recovers.
            let crash = Fault::Crash { happened: self.dice.one_in(2) };
            let plan = (self.dice.between(1, 15), crash, self.power_loss());
            self.trial.plans.push_back(plan);
        }
    }

    /// Sets the daemon's clock, and only that: the server knows what time it is.
    fn move_clock(&mut self) {
        const DAY: u64 = 24 * 60;
        let minutes = self.dice.pick(&[1, 10, 120, DAY, 42 * DAY]);
        let off = Duration::from_mins(minutes);
        let truth = self.truth.now();
        let clock = &self.trial.world().clock;
        match self.dice.between(0, 2) {
            0 => clock.set(truth.minus(off)),
            1 => clock.set(truth.plus(off)),
            _ => clock.set(truth.max(clock.now())),
        }
    }

    /// Faults by chance begin, or end.
    fn weather(&mut self) {
        let (seed, often) = (self.dice.between(0, u64::MAX - 1), self.dice.pick(&[0.0, 0.2, 0.7]));
        let menu = menu(&mut self.dice);
        let world = self.trial.world();
        let mut server = world.simulator.world();
        let chaos = &mut server.knobs_mut().chaos;
        chaos.seed = seed;
        chaos.menu = menu;
        chaos.probability = [Endpoint::Export, Endpoint::Job, Endpoint::Apps, Endpoint::Tasks]
            .map(|endpoint| (endpoint, often))
            .into();
    }

    /// Everything is well again from now on.
    async fn conclude(mut self) -> Outcome {
        {
            let mut server = self.trial.world().simulator.world();
            server.clear_faults();
            server.knobs_mut().chaos.probability.clear();
            server.knobs_mut().latency_ms = 0;
        }
        let truth = self.truth.now();
        self.trial.world().clock.set(truth);
        let (deaths, failures) = (self.trial.deaths, self.trial.failures);
        let world = self.trial.conclude().await;
        let mut outcome =
            Outcome { log: log(&world).await, deaths, failures, ..Outcome::default() };
        let states = world.states().await;
        outcome.archives = states.len();
        outcome.lost = states.iter().filter(|state| *state == "lost").count();
        let held = "SELECT event FROM events WHERE event IN ('pinned', 'deletion_revoked')";
        outcome.held = world.column(held).await.len();
        outcome.gap = self.trial.gap;
        outcome
    }
}

/// Resolves when the simulator has taken in another request from now on.
fn requested(ground: &Ground) -> impl Future<Output = ()> + use<> {
    let mut arrivals = ground.simulator.world().ledger().arrivals();
    async move { arrivals.changed().await.unwrap() }
}

/// Everything that was recorded, without what differs between two runs on one machine.
async fn log(world: &World) -> Vec<String> {
    let select = "SELECT concat_ws(' ', at, 'a' || archive_id, 's' || snapshot_id, event, \
                  from_state, to_state, json_remove(detail, '$.file.inode')) \
                  FROM events ORDER BY seq";
    let directory = world.path("").display().to_string();
    let rows = world.column(select).await.into_iter();
    rows.map(|row| row.replace(&world.simulator.url(), "URL").replace(&directory, "DIR/")).collect()
}
