//! One state directory, one simulator that outlives every daemon, and the compiled binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use roma_sim::knobs::{ConsumePoint, SecondGet, Vintage};
use roma_sim::world::InstanceSpec;
use roma_sim::{
    ContentSpec, CreatedJob, Endpoint, Fault, JobSpec, JobState, Knobs, SimOptions, Simulator,
    defaults,
};

use super::audit::{Audit, audit};
use super::binary;
use super::process::{Ended, Process};

/// What a command may take before it counts as hung.
const COMMAND: Duration = Duration::from_mins(1);
/// What a daemon may take to come to rest when nothing is wrong any more: several pauses after
/// failures, and every package that is left.
const REST: Duration = Duration::from_mins(3);

/// Seeded dice (`SplitMix64`): a run can be begun again as it was.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// Less than `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.throw() % end
    }

    pub(crate) fn pick<T: Clone>(&mut self, choice: &[T]) -> T {
        choice[usize::try_from(self.below(choice.len() as u64)).unwrap()].clone()
    }

    /// Up to so many microseconds.
    pub(crate) fn micros(&mut self, end: u64) -> Duration {
        Duration::from_micros(self.below(end))
    }
}

/// A number from the environment.
pub(crate) fn from_environment(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// A server with standing behaviour chosen by the dice, and faults that pass within seconds.
pub(crate) fn moody(dice: &mut Dice, faults: bool) -> Knobs {
    let mut knobs = Knobs {
        vintage: dice.pick(&[Vintage::V2022, Vintage::V2025, Vintage::ExampleCasing]),
        consume_point: dice.pick(&[
            ConsumePoint::LastByte,
            ConsumePoint::LastByte,
            ConsumePoint::FirstByte,
            ConsumePoint::Request,
        ]),
        second_get: dice.pick(&[
            None,
            Some(SecondGet::Gone410),
            Some(SecondGet::NotFound404),
            Some(SecondGet::Ok200Empty),
        ]),
        job_duration_ms: i64::try_from(dice.below(30)).unwrap(),
        latency_ms: dice.below(4),
        ..Knobs::default()
    };
    if faults {
        knobs.chaos.seed = dice.throw();
        knobs.chaos.probability = [
            (Endpoint::Export, 0.05),
            (Endpoint::Job, 0.05),
            (Endpoint::Download, 0.1),
            (Endpoint::Apps, 0.02),
        ]
        .into();
        // What fits every endpoint, and is over soon: pauses of minutes belong to other tests.
        knobs.chaos.menu = vec![
            Fault::status(500),
            Fault::BadGateway { code: 502, effect: roma_sim::Effect::Before },
            Fault::BadGateway { code: 504, effect: roma_sim::Effect::After },
            Fault::CloseBeforeHead { effect: roma_sim::Effect::Before },
            Fault::CloseBeforeHead { effect: roma_sim::Effect::After },
            Fault::MalformedJson,
            Fault::ResetAfter { bytes: 700 },
            Fault::CutBody { bytes: 300 },
            Fault::CutChunked { bytes: 1_500 },
        ];
    }
    knobs
}

/// Everything around the daemon.
pub(crate) struct Stage {
    pub(crate) simulator: Simulator,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) config: PathBuf,
    /// `state_dir`.
    pub(crate) state: PathBuf,
    /// Jobs that a command has taken on.
    pub(crate) watched: Vec<String>,
    directory: tempfile::TempDir,
}

impl Stage {
    /// In a fast directory; `more` goes to the end of the configuration.
    pub(crate) fn new(knobs: Knobs, more: &str) -> Self {
        Self::below(binary::fast_directory(), knobs, more)
    }

    /// In this directory.
    pub(crate) fn below(directory: tempfile::TempDir, knobs: Knobs, more: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let options = SimOptions { knobs, ..SimOptions::default() };
        let simulator = runtime.block_on(Simulator::start(options)).unwrap();
        let config = binary::config_with(directory.path(), &simulator.url(), more);
        let state = directory.path().join("state");
        Self { simulator, runtime, config, state, watched: Vec::new(), directory }
    }

    /// Where things of the test may lie.
    pub(crate) fn scratch(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        binary::command(&self.config, arguments)
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.command(arguments), self.scratch())
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait(COMMAND)
    }

    /// A job that somebody started elsewhere, with a small package of any kind.
    pub(crate) fn job(&self, dice: &mut Dice) -> CreatedJob {
        let bytes = 200 + dice.below(40_000);
        let content = match dice.below(5) {
            0 => ContentSpec::Assets,
            1 => ContentSpec::Json { bytes },
            2 => ContentSpec::Random { bytes },
            _ => ContentSpec::Zip { bytes },
        };
        let state = dice.pick(&[JobState::Ready, JobState::Ready, JobState::Running]);
        self.create(state, content)
    }

    pub(crate) fn create(&self, state: JobState, content: ContentSpec) -> CreatedJob {
        let now = self.simulator.now_ms();
        let spec = JobSpec { user: None, state, content };
        self.simulator.world().create_job(defaults::INSTANCE_ID, spec, now)
    }

    /// One more instance of the account, with nothing in it.
    pub(crate) fn add_empty_instance(&self, id: &str, name: &str) {
        self.simulator.world().add_instance(InstanceSpec {
            project_id: defaults::PROJECT_ID.to_owned(),
            instance_id: id.to_owned(),
            name: name.to_owned(),
            apps: 0,
            tasks: 0,
        });
    }

    pub(crate) fn jobs(&self, dice: &mut Dice, count: u64) -> Vec<String> {
        (0..count).map(|_| self.job(dice).job_id).collect()
    }

    /// Has jobs watched; what the command has accepted must not get lost.
    pub(crate) fn watch(&mut self, jobs: Vec<String>) -> Result<(), String> {
        let mut arguments = vec!["watch", "prod"];
        arguments.extend(jobs.iter().map(String::as_str));
        let ended = self.run(&arguments);
        if ended.code != Some(0) {
            return Err(format!("`watch` failed, {}", ended.story()));
        }
        self.watched.extend(jobs);
        Ok(())
    }

    /// Whatever was wrong with the server is over.
    pub(crate) fn calm(&self) {
        let mut world = self.simulator.world();
        world.clear_faults();
        let knobs = world.knobs_mut();
        knobs.chaos = roma_sim::knobs::Chaos::default();
        knobs.bandwidth_bytes_per_s = None;
        knobs.latency_ms = 0;
    }

    /// Nothing is wrong any more: everything comes to rest.
    pub(crate) fn settle(&self) -> Result<(), String> {
        self.calm();
        let ended = self.start(&["run", "--once"]).wait(REST);
        if ended.code == Some(0) {
            return Ok(());
        }
        let states = "SELECT state || ' ' || count(*) FROM archives GROUP BY state";
        Err(format!("does not come to rest ({:?}), {}", self.column(states), ended.story()))
    }

    /// The first column of a query, as text; nothing when there is no catalog.
    pub(crate) fn column(&self, select: &str) -> Vec<String> {
        use roma_archived::catalog::{Access, Catalog};
        self.runtime.block_on(async {
            let Ok(catalog) = Catalog::open(&self.state, Access::Reader).await else {
                return Vec::new();
            };
            let rows = catalog.view(select, &[]).await.map(|rows| rows.rows).unwrap_or_default();
            catalog.close().await.unwrap();
            rows.into_iter()
                .map(|row| row[0].as_str().map_or_else(|| row[0].to_string(), ToOwned::to_owned))
                .collect()
        })
    }

    /// Everything that must hold at rest, looked at from outside.
    pub(crate) fn audit(&self) -> Audit {
        let mut audit = self.audit_an_older_catalog();
        audit.findings.append(&mut audit.forgotten);
        audit
    }

    /// The same of a catalog that cannot know everything.
    pub(crate) fn audit_an_older_catalog(&self) -> Audit {
        let mut audit = self.runtime.block_on(audit(&self.state, &self.simulator));
        let known: std::collections::HashSet<String> = self
            .column("SELECT job_id FROM archives WHERE job_id IS NOT NULL")
            .into_iter()
            .collect();
        for job in self.watched.iter().filter(|job| !known.contains(*job)) {
            audit
                .findings
                .push(format!("`watch` accepted job {job}, and the catalog has no trace"));
        }
        audit
    }
}
