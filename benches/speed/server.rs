//! The server: the simulator in this process, its packages ready in memory. Its CPU and memory are
//! not those of the programs that are measured.

use roma_sim::knobs::ConsumePoint;
use roma_sim::{ContentSpec, Endpoint, JobSpec, JobState, Knobs, SimOptions, Simulator, defaults};
use tokio::runtime::Runtime;

/// What the ledger of the server says of a package.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) job_id: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// A running server.
pub(crate) struct Server {
    simulator: Simulator,
    /// What it offers, in the order in which it was made.
    pub(crate) packages: Vec<Package>,
}

/// As fast as it goes, and the same packages for everybody as often as they are asked for.
pub(crate) fn fast() -> Knobs {
    Knobs { prepare_in_memory: true, consume_point: ConsumePoint::Never, ..Knobs::default() }
}

impl Server {
    pub(crate) fn start(runtime: &Runtime, knobs: Knobs) -> Self {
        let options = SimOptions { knobs, ..SimOptions::default() };
        let simulator = runtime.block_on(Simulator::start(options)).unwrap();
        Self { simulator, packages: Vec::new() }
    }

    /// Offers `count` packages, no two alike.
    pub(crate) fn offering(mut self, count: usize, content: &ContentSpec) -> Self {
        let now = self.simulator.now_ms();
        let mut world = self.simulator.world();
        for _ in 0..count {
            let spec = JobSpec { user: None, state: JobState::Ready, content: content.clone() };
            let created = world.create_job(defaults::INSTANCE_ID, spec, now);
            let id = created.package_id.unwrap();
            let record = world.ledger().package(&id).unwrap();
            self.packages.push(Package {
                job_id: created.job_id,
                bytes: record.bytes(),
                sha256: record.sha256().to_owned(),
                id,
            });
        }
        drop(world);
        self
    }

    /// Has so many jobs run, as long as the knobs say.
    pub(crate) fn running(mut self, count: usize) -> Self {
        let now = self.simulator.now_ms();
        for _ in 0..count {
            let spec = JobSpec { state: JobState::Running, ..JobSpec::default() };
            let created = self.simulator.world().create_job(defaults::INSTANCE_ID, spec, now);
            let (id, sha256) = (String::new(), String::new());
            self.packages.push(Package { id, job_id: created.job_id, bytes: 0, sha256 });
        }
        self
    }

    /// How often it was asked about a job.
    pub(crate) fn polls(&self) -> u64 {
        self.simulator.world().ledger().count_all(Endpoint::Job)
    }

    pub(crate) fn url(&self) -> String {
        self.simulator.url()
    }

    /// Where jobs and packages of its instance are found.
    pub(crate) fn assets(&self) -> String {
        let (project, instance) = (defaults::PROJECT_ID, defaults::INSTANCE_ID);
        format!("{}/v2/{project}/instances/{instance}/assets", self.url())
    }

    pub(crate) fn raw_bytes(&self) -> u64 {
        self.packages.iter().map(|package| package.bytes).sum()
    }
}

/// What a program reads from its standard input: one word of each package in a line.
pub(crate) fn lines(packages: &[Package], word: impl Fn(&Package) -> &str) -> String {
    packages.iter().flat_map(|package| [word(package), "\n"]).collect()
}
