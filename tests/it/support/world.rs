//! The one place that puts a real engine, catalog, vault and simulator together. Time stands still
//! unless the test moves it, and the simulator lives in the same time.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use roma_archived::catalog::{Access, Adoption, Catalog, ExportRecord};
use roma_archived::clock::{Clock, ManualClock};
use roma_archived::engine::{Assignment, Engine, Health, Retention, Shell};
use roma_archived::lifecycle::{Archive, Event, Milestones, State, StateWord};
use roma_archived::model::{ArchiveId, JobId, Name, Timestamp};
use roma_archived::retention::Policy;
use roma_archived::roma::Roma;
use roma_archived::settings::{
    Account, Auth, Export, Instance, Limits, Pack, SecretPlace, Selection, Tls, Verify,
};
use roma_archived::vault::{Disk, OsDisk, Vault};
use roma_sim::{
    ContentSpec, CreatedJob, JobSpec, JobState, Knobs, SimClock, SimOptions, Simulator, defaults,
};
use serde_json::Value;

/// Where every test begins: a Tuesday noon.
const START: &str = "2026-11-24T12:00:00Z";
/// Steps that a test may take before it counts as stuck.
const PATIENCE: usize = 20_000;

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A job to be adopted for the first time.
pub(crate) fn adoption(job: &str) -> Adoption {
    Adoption { instance: name("prod"), job: JobId::new(job).unwrap(), again: false }
}

/// How a world is set up; the defaults are what most tests want.
pub(crate) struct Setup {
    pub(crate) knobs: Knobs,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) schedule: Option<&'static str>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) pack: Pack,
    /// Where ROMA is said to answer, when that is not the simulator.
    pub(crate) endpoint: Option<String>,
    /// Sign in to IAM, instead of a token in a file.
    pub(crate) sign_in: bool,
    pub(crate) verify: Verify,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            knobs: Knobs::default(),
            limits: Limits { min_free_bytes: 0, ..Limits::default() },
            policy: Policy::default(),
            schedule: None,
            disk: Arc::new(OsDisk),
            pack: Pack::default(),
            endpoint: None,
            sign_in: false,
            verify: Verify::default(),
        }
    }
}

impl Setup {
    pub(crate) fn downloads(mut self, downloads: usize) -> Self {
        self.limits.downloads = NonZeroUsize::new(downloads).unwrap();
        self
    }
}

pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) clock: ManualClock,
    pub(crate) catalog: Catalog,
    pub(crate) vault: Vault,
    pub(crate) engine: Engine,
    /// As of the next start.
    pub(crate) setup: Setup,
    directory: tempfile::TempDir,
}

impl World {
    /// A world that has just been started for the first time.
    pub(crate) async fn new(setup: Setup) -> Self {
        let clock = ManualClock::new(START.parse().unwrap());
        let lapse = clock.clone();
        let options = SimOptions {
            clock: SimClock::from_fn(Arc::new(move || lapse.now().as_millis())),
            knobs: setup.knobs.clone(),
            ..SimOptions::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        for (file, secret) in [("token", defaults::TOKEN), ("password", defaults::PASSWORD)] {
            std::fs::write(directory.path().join(file), secret).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(directory.path().join(file), mode).unwrap();
        }
        let (catalog, vault, engine) = start(&setup, &simulator, &clock, directory.path()).await;
        Self { simulator, clock, catalog, vault, engine, setup, directory }
    }

    /// The daemon is gone without a word and starts again.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    /// Somebody does something to the state directory while the daemon is gone.
    pub(crate) async fn restart_after(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { simulator, clock, catalog, vault, engine, setup, directory } = self;
        drop((engine, vault));
        catalog.close().await;
        meanwhile(directory.path());
        let (catalog, vault, engine) = start(&setup, &simulator, &clock, directory.path()).await;
        Self { simulator, clock, catalog, vault, engine, setup, directory }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs everything that is due, and moves time to whatever falls due next, until every archive
    /// is at rest.
    pub(crate) async fn settle(&mut self) {
        for _ in 0..PATIENCE {
            let wake = self.engine.pass().await.unwrap();
            if self.engine.is_busy() {
                self.engine.step_finished().await.unwrap();
            } else if self.engine.is_at_rest() {
                return;
            } else {
                self.clock.set(wake.max(self.now().plus(Duration::from_millis(1))));
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
                let next = wake.max(self.now().plus(Duration::from_millis(1)));
                self.clock.set(next.min(end));
            }
        }
        panic!("time does not pass: {}", self.engine.summary());
    }

    /// Asks for a run of the export, as the command does.
    pub(crate) async fn export(&mut self) {
        use roma_archived::catalog::{NewSnapshot, Origin};
        let now = self.now();
        let new = NewSnapshot {
            instance: name("prod"),
            export: name("nightly"),
            origin: Origin::Command,
            taken_at: now,
            next_due: None,
        };
        self.catalog.open_snapshot(new, now).await.unwrap();
        self.notice();
    }

    /// A job that somebody started elsewhere.
    pub(crate) fn job(&self, state: JobState, content: ContentSpec) -> CreatedJob {
        let spec = JobSpec { user: None, state, content };
        let now = self.now().as_millis();
        self.simulator.world().create_job(defaults::INSTANCE_ID, spec, now)
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

    /// An archive's row is what its events make of it.
    async fn check_replay(&self, archive: &Archive) {
        let select = format!(
            "SELECT at, event, detail FROM events WHERE archive_id = {} ORDER BY seq",
            archive.id.0
        );
        let mut rows = self.catalog.view(&select, &[]).await.unwrap().into_objects().into_iter();
        let opened = rows.next().unwrap();
        assert_eq!(opened["event"], "archive_opened");
        let mut replay = Archive {
            state: State::Scheduled,
            revision: 0,
            attempts: 0,
            unknown_polls: 0,
            downloads: 0,
            not_before: opened["at"].as_str().unwrap().parse().unwrap(),
            milestones: Milestones::default(),
            last_error: None,
            ..archive.clone()
        };
        for row in rows {
            let mut event: Value = serde_json::from_str(row["detail"].as_str().unwrap()).unwrap();
            event["event"] = row["event"].clone();
            let event: Event = serde_json::from_value(event).unwrap();
            replay = replay.apply(&event, row["at"].as_str().unwrap().parse().unwrap()).unwrap();
        }
        assert_eq!(&replay, archive);
    }

    /// Neither the catalog nor its log of changes holds a secret.
    fn check_secrecy(&self) {
        for file in ["catalog.db", "catalog.db-wal"] {
            let bytes = std::fs::read(self.path(file)).unwrap();
            let secret = defaults::TOKEN.as_bytes();
            assert!(!bytes.windows(secret.len()).any(|w| w == secret), "a secret in {file}");
        }
    }

    /// What must hold whenever everything is at rest; see the oracle in `ARCHITECTURE.md`.
    pub(crate) async fn check_oracle(&self) {
        self.check_secrecy();
        let rows = self.catalog.view("SELECT * FROM archives ORDER BY id", &[]).await.unwrap();
        let mut known = Vec::new();
        for row in rows.into_objects() {
            let archive = self.archive(row["id"].as_i64().unwrap()).await;
            self.check_replay(&archive).await;
            let Some(held) = archive.state.holding() else { continue };
            let package = held.offer.package.as_str();
            {
                let world = self.simulator.world();
                let record = world.ledger().package(package).unwrap();
                assert_eq!(record.sha256(), held.raw.sha256.to_string(), "{row}");
                assert!(world.ledger().completed_gets(package) <= 1, "fetched twice: {row}");
            }
            let path = self.vault.stored_path(&held.file);
            match archive.state.word() {
                StateWord::Stored | StateWord::Trashed => {
                    let mut bytes = Vec::new();
                    self.vault.extract(&held.file, held.raw, &mut bytes).unwrap();
                    assert_eq!(bytes.len() as u64, held.raw.bytes);
                    known.push(path);
                }
                _ => assert!(!path.exists(), "{} is still there", path.display()),
            }
        }
        let mut files = Vec::new();
        self.vault.walk_stored(&mut |path, _| files.push(self.path("vault").join(path))).unwrap();
        files.sort();
        known.sort();
        assert_eq!(files, known, "the vault holds what the catalog knows");
        let staged = self.vault.list_staged().unwrap();
        assert!(staged.ours.is_empty() && staged.foreign.is_empty(), "{staged:?}");
        let most = self.simulator.world().ledger().most_jobs_at_once(defaults::USER);
        assert!(most <= 1, "{most} jobs of one user at once");
    }
}

fn auth(setup: &Setup, simulator: &Simulator, directory: &Path) -> Auth {
    if !setup.sign_in {
        return Auth::Token { token: SecretPlace::File(directory.join("token")) };
    }
    Auth::Password {
        iam_endpoint: simulator.url().parse().unwrap(),
        user: defaults::USER.to_owned(),
        domain: defaults::DOMAIN.to_owned(),
        project: defaults::PROJECT_NAME.to_owned(),
        password: SecretPlace::File(directory.join("password")),
    }
}

async fn start(
    setup: &Setup,
    simulator: &Simulator,
    clock: &ManualClock,
    directory: &Path,
) -> (Catalog, Vault, Engine) {
    let catalog = Catalog::open(directory, Access::Owner).await.unwrap();
    let vault = Vault::open(directory, setup.disk.clone()).unwrap();
    let now = clock.now();
    let zone = jiff::tz::TimeZone::UTC;
    let account = Account { name: name("ops"), auth: auth(setup, simulator, directory) };
    let instance = Instance {
        name: name("prod"),
        account: name("ops"),
        endpoint: setup.endpoint.clone().unwrap_or_else(|| simulator.url()).parse().unwrap(),
        project_id: defaults::PROJECT_ID.to_owned(),
        instance_id: defaults::INSTANCE_ID.to_owned(),
    };
    let export = Export {
        name: name("nightly"),
        instance: name("prod"),
        schedule: setup.schedule.map(|text| text.parse().unwrap()),
        apps: Selection::All,
        tasks: Selection::All,
        rpo: None,
        policy: setup.policy.clone(),
    };
    let record = |export: &str, schedule: Option<String>| ExportRecord {
        instance: name("prod"),
        name: name(export),
        schedule,
        rpo: None,
        next_due: None,
        policy: (setup.policy.to_string(), setup.policy.to_string()),
    };
    let records =
        vec![record("nightly", setup.schedule.map(ToOwned::to_owned)), record("watched", None)];
    catalog.configure_exports(records, now).await.unwrap();
    let retention = |export: &str| Retention {
        instance: name("prod"),
        export: name(export),
        policy: setup.policy.clone(),
        policy_hash: "hash".to_owned(),
        zone: zone.clone(),
    };
    let assignment = Assignment {
        exports: vec![export],
        retentions: vec![retention("nightly"), retention("watched")],
        accounts: HashMap::from([(name("prod"), name("ops"))]),
        zone: zone.clone(),
        check_interval: Duration::from_hours(1),
        verify: setup.verify,
    };
    let roma = Roma::new(&[account], &[instance], &setup.limits, &Tls::default()).unwrap();
    let shell = Shell {
        catalog: catalog.clone(),
        vault: vault.clone(),
        roma,
        clock: Clock::Manual(clock.clone()),
        limits: setup.limits.clone(),
        pack: setup.pack,
        promised: std::sync::atomic::AtomicU64::new(0),
        instance_ids: HashMap::new(),
        health: Health::default(),
    };
    let mut engine = Engine::new(shell, assignment);
    engine.recover().await.unwrap();
    (catalog, vault, engine)
}
