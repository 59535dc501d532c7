//! The one place that puts a real engine, catalog, vault and simulator together. Time stands still
//! unless the test moves it, and the simulator lives in the same time.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use roma_archived::catalog::{Access, Adoption, Catalog, NewSnapshot, Opened, Origin};
use roma_archived::clock::{Clock, ManualClock};
use roma_archived::engine::{Assignment, Engine, EngineError, Health, Shell};
use roma_archived::lifecycle::{Archive, StateWord};
use roma_archived::model::{ArchiveId, JobId, Name, Timestamp};
use roma_archived::retention::Policy;
use roma_archived::roma::Roma;
use roma_archived::settings::{
    Account, Auth, Instance, Limits, Pack, SecretPlace, Selection, Tls, Verify,
};
use roma_archived::vault::{Disk, OsDisk, Vault};
use roma_sim::{
    ContentSpec, CreatedJob, JobSpec, JobState, Knobs, SimClock, SimOptions, Simulator, defaults,
};
use serde_json::Value;

use super::scratch::scratch;
use super::site::{PROD, Site};

/// Where every test begins: a Tuesday noon.
pub(crate) const START: &str = "2026-11-24T12:00:00Z";
/// Steps that a test may take before it counts as stuck.
pub(crate) const PATIENCE: usize = 20_000;
/// Time does not stand still.
pub(crate) const TICK: Duration = Duration::from_millis(1);

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A job to be adopted for the first time.
pub(crate) fn adoption(job: &str) -> Adoption {
    Adoption { instance: name("prod"), job: JobId::new(job).unwrap(), again: false }
}

/// How the account proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SignIn {
    /// The file `token`.
    #[default]
    Token,
    /// The file `password`, at IAM.
    Password,
    /// The files `access-key` and `secret-key`.
    Keys,
    /// The agency of the machine, for which the simulator is the metadata service.
    Agency,
}

/// How a world is set up; the defaults are what most tests want.
pub(crate) struct Setup {
    pub(crate) knobs: Knobs,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) schedule: Option<&'static str>,
    pub(crate) apps: Selection,
    pub(crate) sites: Vec<Site>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) pack: Pack,
    /// Where ROMA is said to answer, when that is not the simulator.
    pub(crate) endpoint: Option<String>,
    pub(crate) sign_in: SignIn,
    pub(crate) verify: Verify,
    /// One task at a time.
    pub(crate) serial: bool,
    /// The simulator's clock, when it is not the daemon's.
    pub(crate) truth: Option<ManualClock>,
    /// How long a download waits for room.
    pub(crate) room_patience: Duration,
    /// Why nothing is deleted.
    pub(crate) suspended: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            knobs: Knobs::default(),
            limits: Limits { min_free_bytes: 0, ..Limits::default() },
            policy: Policy::default(),
            schedule: None,
            apps: Selection::All,
            sites: vec![PROD],
            disk: Arc::new(OsDisk),
            pack: Pack::default(),
            endpoint: None,
            sign_in: SignIn::default(),
            verify: Verify::default(),
            serial: false,
            truth: None,
            room_patience: Duration::ZERO,
            suspended: None,
        }
    }
}

impl Setup {
    pub(crate) fn downloads(mut self, downloads: usize) -> Self {
        self.limits.downloads = NonZeroUsize::new(downloads).unwrap();
        self
    }
}

/// What outlives the daemon.
pub(crate) struct Ground {
    pub(crate) simulator: Simulator,
    /// The daemon's clock.
    pub(crate) clock: ManualClock,
    /// As of the next start.
    pub(crate) setup: Setup,
    /// Archives that were being downloaded when the daemon before this one ended.
    pub(crate) in_doubt: Vec<ArchiveId>,
    directory: tempfile::TempDir,
}

/// A daemon at work on its ground.
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    pub(crate) vault: Vault,
    pub(crate) engine: Engine,
    pub(crate) ground: Ground,
}

impl Deref for World {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Ground {
        &mut self.ground
    }
}

/// Why a daemon did not start, or did not go on.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It died in the middle of an operation of the disk.
    Crashed,
    /// The disk failed while the vault was opened.
    Vault,
    /// It gave up by itself.
    Engine(EngineError),
}

/// What a turn of the engine came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A task has ended.
    Worked,
    /// Nothing is to be done before this moment.
    Idle(Timestamp),
    /// Nothing is left to do.
    AtRest,
}

impl Ground {
    /// A simulator and an empty state directory.
    pub(crate) async fn new(setup: Setup) -> Self {
        let clock = ManualClock::new(START.parse().unwrap());
        let lapse = setup.truth.clone().unwrap_or_else(|| clock.clone());
        let options = SimOptions {
            clock: SimClock::from_fn(Arc::new(move || lapse.now().as_millis())),
            knobs: setup.knobs.clone(),
            ..SimOptions::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let directory = scratch();
        let ground = Self { simulator, clock, setup, in_doubt: Vec::new(), directory };
        for (file, secret) in [
            ("token", defaults::TOKEN),
            ("password", defaults::PASSWORD),
            ("access-key", defaults::ACCESS_KEY),
            ("secret-key", defaults::SECRET_KEY),
        ] {
            ground.put_secret(file, secret);
        }
        ground.setup.sites.iter().for_each(|site| site.populate(&ground));
        ground
    }

    /// Writes a file that nobody else may read.
    pub(crate) fn put_secret(&self, file: &str, secret: &str) {
        std::fs::write(self.path(file), secret).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(self.path(file), mode).unwrap();
    }

    /// Starts a daemon where nothing is meant to fail.
    async fn enter(self) -> World {
        match self.try_enter(std::future::pending()).await {
            Ok(world) => world,
            Err((_, ending)) => panic!("the daemon does not start: {ending:?}"),
        }
    }

    /// Starts a daemon, which may die of `crashed` on its way.
    pub(crate) async fn try_enter(
        mut self,
        crashed: impl Future<Output = ()>,
    ) -> Result<World, (Self, Ending)> {
        tokio::pin!(crashed);
        let catalog = Catalog::open(self.directory.path(), Access::Owner).await.unwrap();
        let active = catalog.active().await.unwrap();
        self.in_doubt = active
            .iter()
            .filter(|archive| archive.state.word() == StateWord::Downloading)
            .map(|archive| archive.id)
            .collect();
        let (path, disk) = (self.directory.path().to_owned(), self.setup.disk.clone());
        let opening = tokio::task::spawn_blocking(move || Vault::open(&path, disk));
        let opened = tokio::select! {
            biased;
            () = &mut crashed => Err(Ending::Crashed),
            opened = opening => opened.unwrap().map_err(|_| Ending::Vault),
        };
        let ending = match opened {
            Ok(vault) => {
                let mut engine = hire(&self, &catalog, &vault).await;
                let recovered = tokio::select! {
                    biased;
                    () = &mut crashed => Err(Ending::Crashed),
                    recovered = engine.recover() => recovered.map_err(Ending::Engine),
                };
                match recovered {
                    Ok(()) => return Ok(World { catalog, vault, engine, ground: self }),
                    Err(ending) => ending,
                }
            }
            Err(ending) => ending,
        };
        catalog.close().await.unwrap();
        Err((self, ending))
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A job that somebody started elsewhere.
    pub(crate) fn job(&self, state: JobState, content: ContentSpec) -> CreatedJob {
        let spec = JobSpec { user: None, state, content };
        let now = self.simulator.now_ms();
        self.simulator.world().create_job(defaults::INSTANCE_ID, spec, now)
    }
}

impl World {
    /// A world that has just been started for the first time.
    pub(crate) async fn new(setup: Setup) -> Self {
        Ground::new(setup).await.enter().await
    }

    /// The daemon is gone without a word.
    pub(crate) async fn leave(self) -> Ground {
        let Self { catalog, vault, engine, ground } = self;
        drop((engine, vault));
        catalog.close().await.unwrap();
        ground
    }

    /// The daemon is gone without a word and starts again.
    pub(crate) async fn restart(self) -> Self {
        self.leave().await.enter().await
    }

    /// Somebody does something to the state directory while the daemon is gone.
    pub(crate) async fn restart_after(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let ground = self.leave().await;
        meanwhile(ground.directory.path());
        ground.enter().await
    }

    /// Runs everything that is due, and moves time to whatever falls due next, until every archive
    /// is at rest.
    pub(crate) async fn settle(&mut self) {
        for _ in 0..PATIENCE {
            match turn(&mut self.engine, std::future::pending()).await.unwrap() {
                Turn::Worked => {}
                Turn::AtRest => return,
                Turn::Idle(wake) => self.clock.set(wake.max(self.now().plus(TICK))),
            }
        }
        panic!("nothing comes to rest: {}", self.engine.summary());
    }

    /// Lets running steps end, and starts no others.
    pub(crate) async fn finish_steps(&mut self) {
        while self.engine.is_busy() {
            self.engine.step_finished().await.unwrap();
        }
    }

    /// Runs what is due at this moment, without moving time.
    pub(crate) async fn run_due(&mut self) {
        for _ in 0..PATIENCE {
            self.engine.pass().await.unwrap();
            if !self.engine.is_busy() {
                return;
            }
            self.engine.step_finished().await.unwrap();
        }
        panic!("what is due never ends: {}", self.engine.summary());
    }

    /// Moves time and runs everything that falls due on the way.
    pub(crate) async fn live_through(&mut self, span: Duration) {
        let end = self.now().plus(span);
        for _ in 0..PATIENCE {
            let wake = self.engine.pass().await.unwrap();
            if self.engine.is_busy() {
                self.engine.step_finished().await.unwrap();
            } else if self.now() >= end {
                return;
            } else {
                let next = wake.max(self.now().plus(TICK));
                self.clock.set(next.min(end));
            }
        }
        panic!("time does not pass: {}", self.engine.summary());
    }

    /// Asks for a run of the export, as the command does.
    pub(crate) async fn export(&mut self) -> Opened {
        let now = self.now();
        let new = NewSnapshot {
            instance: name("prod"),
            export: name("nightly"),
            origin: Origin::Command,
            taken_at: now,
            next_due: None,
            missed: 0,
        };
        let opened = self.catalog.open_snapshot(new, now).await.unwrap();
        self.notice();
        opened
    }

    /// Adopts a job, as the command does.
    pub(crate) async fn watch(&mut self, job: &str) -> ArchiveId {
        use roma_archived::catalog::Adopted;
        let now = self.now();
        let job = JobId::new(job).unwrap();
        let adopted = self.catalog.adopt(adoption(job.as_str()), now).await.unwrap();
        self.notice();
        match adopted {
            Adopted::New(archive) | Adopted::Known(archive) => archive.id,
        }
    }

    /// Adopts a job anew that was taken for lost.
    pub(crate) async fn watch_again(&mut self, job: &str) {
        let again = Adoption { again: true, ..adoption(job) };
        self.catalog.adopt(again, self.now()).await.unwrap();
        self.notice();
    }

    /// Writes of this process are no foreign change, so the engine is told to look.
    fn notice(&mut self) {
        self.engine.look_again();
    }

    pub(crate) async fn archive(&self, id: i64) -> Archive {
        self.catalog.archive(ArchiveId(id)).await.unwrap().unwrap()
    }

    /// The states of all archives, by id.
    pub(crate) async fn states(&self) -> Vec<String> {
        self.column("SELECT state FROM archives ORDER BY id").await
    }

    /// The first column of a query, as text.
    pub(crate) async fn column(&self, select: &str) -> Vec<String> {
        let rows = self.catalog.view(select, &[]).await.unwrap().rows;
        rows.into_iter()
            .map(|row| match &row[0] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
            .collect()
    }

    /// The words of all events of an archive, in order.
    pub(crate) async fn events(&self, id: i64) -> Vec<String> {
        self.column(&format!("SELECT event FROM events WHERE archive_id = {id} ORDER BY seq")).await
    }
}

/// Starts what is due and waits for one task to end, unless the daemon dies of `crashed`.
pub(crate) async fn turn(
    engine: &mut Engine,
    crashed: impl Future<Output = ()>,
) -> Result<Turn, Ending> {
    let wake = engine.pass().await.map_err(Ending::Engine)?;
    if engine.is_busy() {
        tokio::select! {
            biased;
            () = crashed => Err(Ending::Crashed),
            finished = engine.step_finished() => {
                finished.map_err(Ending::Engine)?;
                Ok(Turn::Worked)
            }
        }
    } else if engine.is_at_rest() {
        Ok(Turn::AtRest)
    } else {
        Ok(Turn::Idle(wake))
    }
}

pub(crate) fn auth(ground: &Ground) -> Auth {
    let file = |name: &str| SecretPlace::File(ground.path(name));
    match ground.setup.sign_in {
        SignIn::Token => Auth::Token { token: file("token") },
        SignIn::Password => Auth::Password {
            iam_endpoint: ground.simulator.url().parse().unwrap(),
            user: defaults::USER.to_owned(),
            domain: defaults::DOMAIN.to_owned(),
            project: defaults::PROJECT_NAME.to_owned(),
            password: file("password"),
        },
        SignIn::Agency => {
            Auth::Agency { metadata_endpoint: ground.simulator.url().parse().unwrap() }
        }
        SignIn::Keys => Auth::AkSk {
            access_key: file("access-key"),
            secret_key: file("secret-key"),
            security_token: Some(file("security-token"))
                .filter(|_| ground.path("security-token").exists()),
        },
    }
}

/// The engine as the host would set it up.
async fn hire(ground: &Ground, catalog: &Catalog, vault: &Vault) -> Engine {
    let setup = &ground.setup;
    let now = ground.now();
    let sites = &setup.sites;
    let mut accounts: Vec<Account> = sites.iter().map(|site| site.account(ground)).collect();
    accounts.dedup_by(|one, other| one.name == other.name);
    let instances: Vec<Instance> = sites.iter().map(|site| site.instance(ground)).collect();
    let records = sites.iter().flat_map(|site| site.records(ground)).collect();
    catalog.configure_exports(records, now).await.unwrap();
    let assignment = Assignment {
        exports: sites.iter().map(|site| site.export(ground)).collect(),
        retentions: sites.iter().flat_map(|site| site.retentions(ground)).collect(),
        accounts: instances.iter().map(|i| (i.name.clone(), i.account.clone())).collect(),
        zone: jiff::tz::TimeZone::UTC,
        check_interval: Duration::from_hours(1),
        verify: setup.verify,
        at_once: if setup.serial { 1 } else { usize::MAX },
    };
    let roma = Roma::new(&accounts, &instances, &setup.limits, &Tls::default()).unwrap();
    let shell = Shell {
        catalog: catalog.clone(),
        vault: vault.clone(),
        roma,
        clock: Clock::Manual(ground.clock.clone()),
        limits: setup.limits.clone(),
        pack: setup.pack,
        promised: std::sync::atomic::AtomicU64::new(0),
        instance_ids: HashMap::new(),
        room_patience: setup.room_patience,
        health: Health::default(),
    };
    Engine::new(shell, assignment)
}
