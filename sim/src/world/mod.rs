//! The simulated service: users, instances, jobs, packages, and the ledger of what was served.
//! PURE: no socket, no clock (`now_ms` is an argument), no chance but seeded. Its parts: `users`,
//! `keys` and `metadata` (who), `discovery` (what there is), `exports` (what may be asked), `jobs`
//! (what is under way), `packages` (what can be had once), `imports`, and `serve`, which answers
//! one request with all of them.

mod discovery;
mod exports;
mod imports;
mod jobs;
mod keys;
mod metadata;
mod packages;
mod serve;
mod users;

use std::collections::{BTreeMap, HashMap};

use crate::content::{ContentSpec, Item};
use crate::defaults;
use crate::fault::{Endpoint, Fault, FaultBook};
use crate::knobs::Knobs;
use crate::ledger::Ledger;
use crate::prng::{hex_id, uuid};

pub use keys::KeySpec;
pub(crate) use packages::GetTicket;
pub(crate) use serve::Plan;

/// A user of IAM.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// Name.
    pub name: String,
    /// Account.
    pub domain: String,
    /// Password.
    pub password: String,
    /// Name of a project of the account.
    pub project_name: String,
    /// Id of that project.
    pub project_id: String,
}

/// An instance of ROMA Connect.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceSpec {
    /// Project it belongs to.
    pub project_id: String,
    /// Id.
    pub instance_id: String,
    /// Name.
    pub name: String,
    /// How many applications it has.
    pub apps: usize,
    /// How many FDI tasks it has.
    pub tasks: usize,
}

/// What a job that was started in the console has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It runs, and ends as the knobs say.
    Running,
    /// It has succeeded, and its package waits.
    #[default]
    Ready,
    /// It has succeeded, and its package has been fetched by someone else.
    #[serde(alias = "consumed")]
    Finished,
    /// It has failed.
    Failed,
}

/// A job as someone else started it in the console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSpec {
    /// Who started it; none: the default user.
    pub user: Option<String>,
    /// What has become of it.
    pub state: JobState,
    /// What its package contains.
    pub content: ContentSpec,
}

/// The ids of a created job.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CreatedJob {
    /// The job.
    pub job_id: String,
    /// Its package, where it has or had one.
    pub package_id: Option<String>,
}

#[derive(Clone, Debug)]
struct Instance {
    project_id: String,
    id: String,
    name: String,
    apps: Vec<Item>,
    tasks: Vec<Item>,
    /// How many export jobs were started for it.
    exports: u64,
}

/// The simulated service.
#[derive(Debug)]
pub struct World {
    seed: u64,
    knobs: Knobs,
    users: BTreeMap<String, users::User>,
    tokens: HashMap<String, users::Token>,
    keys: HashMap<String, keys::AccessKey>,
    metadata: metadata::Metadata,
    instances: BTreeMap<String, Instance>,
    jobs: HashMap<String, jobs::Job>,
    /// Ids of the jobs that have not ended, oldest first.
    running: Vec<String>,
    /// In the order of the ledger's packages.
    packages: Vec<packages::Package>,
    faults: FaultBook,
    ledger: Ledger,
    /// How many ids were made.
    made: u64,
}

impl World {
    /// A world with nobody and nothing in it.
    pub fn empty(seed: u64, knobs: Knobs) -> World {
        World {
            seed,
            knobs,
            users: BTreeMap::new(),
            tokens: HashMap::new(),
            keys: HashMap::new(),
            metadata: metadata::Metadata::default(),
            instances: BTreeMap::new(),
            jobs: HashMap::new(),
            running: Vec::new(),
            packages: Vec::new(),
            faults: FaultBook::default(),
            ledger: Ledger::default(),
            made: 0,
        }
    }

    /// The world of [`crate::defaults`].
    pub fn with_defaults(seed: u64, knobs: Knobs) -> World {
        let mut world = World::empty(seed, knobs);
        world.add_user(UserSpec {
            name: defaults::USER.to_owned(),
            domain: defaults::DOMAIN.to_owned(),
            password: defaults::PASSWORD.to_owned(),
            project_name: defaults::PROJECT_NAME.to_owned(),
            project_id: defaults::PROJECT_ID.to_owned(),
        });
        world.add_static_token(defaults::TOKEN, defaults::USER);
        world.add_key(KeySpec {
            access: defaults::ACCESS_KEY.to_owned(),
            secret: defaults::SECRET_KEY.to_owned(),
            user: defaults::USER.to_owned(),
            security_token: None,
            expires_ms: None,
        });
        world.add_instance(InstanceSpec {
            project_id: defaults::PROJECT_ID.to_owned(),
            instance_id: defaults::INSTANCE_ID.to_owned(),
            name: defaults::INSTANCE_NAME.to_owned(),
            apps: defaults::APPS,
            tasks: defaults::TASKS,
        });
        world
    }

    /// Adds an instance, or replaces the one with the same id. Its assets depend on the seed and
    /// its id only.
    pub fn add_instance(&mut self, spec: InstanceSpec) {
        let instance = Instance {
            apps: self.make_apps(&spec.instance_id, spec.apps),
            tasks: self.make_tasks(&spec.instance_id, spec.tasks),
            project_id: spec.project_id,
            id: spec.instance_id.clone(),
            name: spec.name,
            exports: 0,
        };
        self.instances.insert(spec.instance_id, instance);
    }

    /// Lets assets appear at the end of the lists, or disappear from there.
    pub fn resize_instance(&mut self, instance_id: &str, apps: usize, tasks: usize) {
        let apps = self.make_apps(instance_id, apps);
        let tasks = self.make_tasks(instance_id, tasks);
        if let Some(instance) = self.instances.get_mut(instance_id) {
            instance.apps = apps;
            instance.tasks = tasks;
        }
    }

    /// Ids of the instance's applications.
    pub fn app_ids(&self, instance_id: &str) -> Vec<String> {
        let instance = self.instances.get(instance_id);
        instance.map_or_else(Vec::new, |found| ids(&found.apps))
    }

    /// Ids of the instance's FDI tasks.
    pub fn task_ids(&self, instance_id: &str) -> Vec<String> {
        let instance = self.instances.get(instance_id);
        instance.map_or_else(Vec::new, |found| ids(&found.tasks))
    }

    fn make_apps(&self, instance_id: &str, count: usize) -> Vec<Item> {
        let word = format!("{instance_id}/app");
        let numbers = (0..count).zip(0_u64..);
        numbers
            .map(|(number, dice)| Item {
                id: uuid(self.seed, &word, dice),
                name: format!("app-{number:03}"),
            })
            .collect()
    }

    fn make_tasks(&self, instance_id: &str, count: usize) -> Vec<Item> {
        let word = format!("{instance_id}/task");
        let numbers = (0..count).zip(0_u64..);
        numbers
            .map(|(number, dice)| Item {
                id: hex_id(self.seed, &word, dice),
                name: format!("task-{number:04}"),
            })
            .collect()
    }

    /// The standing behaviour.
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// The standing behaviour, to be changed. Holds from the next request on.
    pub fn knobs_mut(&mut self) -> &mut Knobs {
        &mut self.knobs
    }

    /// The next request of the endpoint meets this fault; several wait in line.
    pub fn script(&mut self, endpoint: Endpoint, fault: Fault) {
        self.faults.next(endpoint, fault);
    }

    /// The next request of the endpoint that names this job, package or instance meets it.
    pub fn script_for(&mut self, endpoint: Endpoint, id: &str, fault: Fault) {
        self.faults.next_for(endpoint, id, fault);
    }

    /// Every request of the endpoint meets this fault, where no other waits.
    pub fn script_always(&mut self, endpoint: Endpoint, fault: Fault) {
        self.faults.always(endpoint, fault);
    }

    /// Takes back every scripted fault, and lets stuck jobs go on. Chaos is a knob and stays.
    pub fn clear_faults(&mut self) {
        self.faults = FaultBook::default();
        for job in self.jobs.values_mut() {
            job.stuck = false;
        }
    }

    /// What was served.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// A number no other id of this world was made of.
    fn next_number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }
}

fn ids(items: &[Item]) -> Vec<String> {
    items.iter().map(|item| item.id.clone()).collect()
}

#[cfg(test)]
mod tests;
