//! The oracle from outside: it looks at what daemons left on disk, whatever has happened to them,
//! and compares it with the server's own ledger. Everything must be at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roma_archived::catalog::{Access, Catalog};
use roma_archived::lifecycle::{Archive, Event, Milestones, State, StateWord};
use roma_archived::model::{ArchiveId, Timestamp};
use roma_archived::vault::{Found, OsDisk, Vault};
use roma_sim::{PackageRecord, Simulator};
use serde_json::Value;

/// A package that the server sent whole and that ended as a visible loss. Whoever asks decides
/// whether what was done to the daemon explains it.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    pub(crate) archive: i64,
    pub(crate) package: String,
    /// What the catalog says of the end of that download.
    pub(crate) because: String,
}

impl Gap {
    /// The process was gone between the server's last byte and the rename.
    pub(crate) fn is_by_a_kill(&self) -> bool {
        self.because.contains("the daemon stopped during the download")
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a{} lost package {} after {}", self.archive, self.package, self.because)
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    /// What must not be.
    pub(crate) findings: Vec<String>,
    /// Packages served whole that no archive knows: only with the catalog can they be forgotten.
    pub(crate) forgotten: Vec<String>,
    /// Packages served whole and lost all the same.
    pub(crate) gaps: Vec<Gap>,
    /// Archives by state.
    pub(crate) states: BTreeMap<String, u64>,
    /// Packages that the server sent whole.
    pub(crate) served_whole: u64,
    /// Files in quarantine.
    pub(crate) quarantined: Vec<String>,
}

impl Audit {
    /// One line for people.
    pub(crate) fn summary(&self) -> String {
        let states: Vec<String> =
            self.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        format!(
            "{}; {} packages served whole, {} of them lost",
            states.join(", "),
            self.served_whole,
            self.gaps.len()
        )
    }
}

/// Looks at the state directory of a daemon that is not running.
pub(crate) async fn audit(state_dir: &Path, simulator: &Simulator) -> Audit {
    let mut look = Look { audit: Audit::default(), simulator };
    let catalog = match Catalog::open(state_dir, Access::Reader).await {
        Ok(catalog) => catalog,
        Err(error) => {
            look.find(format!("the catalog cannot be opened: {error:?}"));
            return look.audit;
        }
    };
    let integrity = catalog.view("PRAGMA integrity_check", &[]).await.map(|found| found.rows);
    if !matches!(&integrity, Ok(rows) if rows == &vec![vec![Value::from("ok")]]) {
        look.find(format!("the catalog is not intact: {integrity:?}"));
    }
    let vault = Vault::at(state_dir, Arc::new(OsDisk));
    let mut archives = Vec::new();
    let ids = catalog.view("SELECT id FROM archives ORDER BY id", &[]).await.unwrap().rows;
    for id in ids.into_iter().filter_map(|row| row[0].as_i64()) {
        archives.push(catalog.archive(ArchiveId(id)).await.unwrap().unwrap());
    }
    for archive in &archives {
        *look.audit.states.entry(archive.state.word().to_string()).or_default() += 1;
        look.rest(archive);
        look.replay(&catalog, archive).await;
        look.held(archive, &vault);
        look.lost(&catalog, archive).await;
    }
    look.packages(&archives);
    look.files(&archives, &vault, state_dir);
    look.snapshots(&catalog).await;
    catalog.close().await.unwrap();
    look.audit
}

struct Look<'a> {
    audit: Audit,
    simulator: &'a Simulator,
}

impl Look<'_> {
    fn find(&mut self, what: impl Into<String>) {
        self.audit.findings.push(what.into());
    }

    fn record(&self, package: &str) -> Option<PackageRecord> {
        self.simulator.world().ledger().package(package).cloned()
    }

    fn rest(&mut self, archive: &Archive) {
        let word = archive.state.word();
        if word.is_unfinished() || word == StateWord::Deleting {
            self.find(format!("{} is {word} although everything is at rest", archive.id));
        }
    }

    /// An archive's row is what its events make of it.
    async fn replay(&mut self, catalog: &Catalog, archive: &Archive) {
        let select = format!(
            "SELECT at, event, detail FROM events WHERE archive_id = {} ORDER BY seq",
            archive.id.0
        );
        let rows = catalog.view(&select, &[]).await.unwrap().into_objects();
        let Some((opened, rows)) = rows.split_first() else {
            return self.find(format!("{} has no event", archive.id));
        };
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
            match replay.apply(&event, row["at"].as_str().unwrap().parse().unwrap()) {
                Ok(next) => replay = next,
                Err(error) => return self.find(format!("events of {}: {error}", archive.id)),
            }
        }
        // How long a replacement waits is decided when it is opened, and in no event.
        replay.not_before = archive.not_before;
        if replay != *archive {
            self.find(format!("{} is not what its events say: {archive:?}", archive.id));
        }
    }

    /// A file that the catalog claims is there, whole, and holds what the server sent.
    fn held(&mut self, archive: &Archive, vault: &Vault) {
        let Some(held) = archive.state.holding() else { return };
        let id = archive.id;
        let package = held.offer.package.as_str();
        match self.record(package) {
            Some(record) if record.sha256() == held.raw.sha256.to_string() => {}
            // In another zip, with the same entries.
            Some(_) if held.original.is_some() && !archive.state.word().has_file() => {}
            Some(record) if held.original.is_some() => {
                let mut bytes = Vec::new();
                let extracted = vault.extract(&held.file, held.raw, &mut bytes).is_ok();
                if extracted && entries(bytes) != entries(record.to_vec()) {
                    self.find(format!("{id} shares a file that holds something else"));
                }
            }
            Some(_) => self.find(format!("{id} does not hold what the server sent as {package}")),
            None => self.find(format!("{id} holds {package}, which the server never had")),
        }
        let path = vault.stored_path(&held.file);
        match archive.state.word() {
            StateWord::Stored | StateWord::Trashed => {
                if let Err(error) = vault.extract(&held.file, held.raw, &mut std::io::sink()) {
                    self.find(format!("{id} cannot be read back: {error:?}"));
                }
            }
            StateWord::Deleted if path.exists() => {
                self.find(format!("{id} is deleted, and {} is there", path.display()));
            }
            _ => {}
        }
    }

    /// A loss must be the server's doing, or be told as a gap.
    async fn lost(&mut self, catalog: &Catalog, archive: &Archive) {
        let State::Lost { job: Some(job), package, .. } = &archive.state else { return };
        let record = {
            let world = self.simulator.world();
            let mut records = world.ledger().packages().iter();
            match package {
                Some(package) => records.find(|r| r.package_id == package.as_str()).cloned(),
                None => records.find(|r| r.job_id == job.as_str()).cloned(),
            }
        };
        let Some(record) = record else { return };
        if !record.gets.iter().any(|get| get.consumed) {
            self.find(format!("{} is lost although ROMA still offers its package", archive.id));
        }
        let Some(whole) = record.gets.iter().find(|get| get.complete) else { return };
        let select = format!(
            "SELECT at, event || ': ' || detail AS what FROM events WHERE archive_id = {} \
             AND event IN ('download_interrupted', 'download_finished') ORDER BY seq",
            archive.id.0
        );
        let rows = catalog.view(&select, &[]).await.unwrap().into_objects();
        // What ended that GET, and not a later one that could only fail.
        let after = |row: &&Value| {
            let at: Timestamp = row["at"].as_str().unwrap().parse().unwrap();
            at.as_millis() >= whole.at_ms
        };
        let row = rows.iter().find(after).or(rows.last());
        let because = row.and_then(|row| row["what"].as_str()).unwrap_or("nothing");
        if because.starts_with("download_finished") {
            self.find(format!("{} was whole in staging and is lost", archive.id));
        }
        let gap = Gap {
            archive: archive.id.0,
            package: record.package_id.clone(),
            because: because.to_owned(),
        };
        self.audit.gaps.push(gap);
    }

    /// Every package that the server sent whole is stored exactly once or lost, and none is wanted
    /// by two archives.
    fn packages(&mut self, archives: &[Archive]) {
        let mut holders: BTreeMap<&str, Vec<&Archive>> = BTreeMap::new();
        let mut lost_jobs = BTreeSet::new();
        for archive in archives {
            if let Some(held) = archive.state.holding() {
                holders.entry(held.offer.package.as_str()).or_default().push(archive);
            } else if let State::Lost { job: Some(job), .. } = &archive.state {
                lost_jobs.insert(job.as_str());
            }
        }
        for (package, holders) in holders.iter().filter(|(_, holders)| holders.len() > 1) {
            self.audit.findings.push(format!("{package} is stored {} times", holders.len()));
        }
        let world = self.simulator.world();
        for record in world.ledger().packages() {
            let whole = record.gets.iter().filter(|get| get.complete).count();
            let (id, job) = (record.package_id.as_str(), record.job_id.as_str());
            self.audit.served_whole += u64::from(whole > 0);
            if whole > 0 && !holders.contains_key(id) && !lost_jobs.contains(job) {
                self.audit.forgotten.push(format!("{id} was served whole and is nowhere"));
            }
            if whole > 1 {
                self.audit.findings.push(format!("{id} was served whole {whole} times"));
            }
        }
    }

    /// The vault holds what the catalog knows, and staging nothing.
    fn files(&mut self, archives: &[Archive], vault: &Vault, state_dir: &Path) {
        let known: BTreeSet<PathBuf> = archives
            .iter()
            .filter(|archive| {
                matches!(archive.state.word(), StateWord::Stored | StateWord::Trashed)
            })
            .filter_map(|archive| archive.state.holding())
            .map(|held| vault.stored_path(&held.file))
            .collect();
        let damaged: BTreeSet<PathBuf> = archives
            .iter()
            .filter(|archive| archive.state.word() == StateWord::Damaged)
            .filter_map(|archive| archive.state.holding())
            .map(|held| vault.stored_path(&held.file))
            .collect();
        let root = state_dir.join("vault");
        let mut unknown = Vec::new();
        let mut visit = |found: Found| {
            let path = root.join(found.path);
            if !known.contains(&path) && !damaged.contains(&path) {
                unknown.push(path);
            }
            ControlFlow::Continue(())
        };
        vault.survey(&mut visit, &mut |error| {
            self.find(format!("the vault cannot be walked: {error:?}"));
        });
        for path in unknown {
            self.find(format!("nobody knows {}", path.display()));
        }
        match vault.list_staged() {
            Ok(staged) if staged.ours.is_empty() && staged.foreign.is_empty() => {}
            staged => self.find(format!("staging is not empty: {staged:?}")),
        }
        if let Ok(entries) = std::fs::read_dir(state_dir.join("quarantine")) {
            let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
            self.audit.quarantined = names.collect();
        }
    }

    /// No run is left open, and retention never took the last good one of an export.
    async fn snapshots(&mut self, catalog: &Catalog) {
        let select = "SELECT instance || '/' || export AS name, \
                      sum(state = 'open') AS open, sum(state = 'complete') AS good, \
                      sum(state IN ('trashed', 'deleted')) AS gone FROM snapshots GROUP BY name";
        for row in catalog.view(select, &[]).await.unwrap().into_objects() {
            if row["open"] != 0 {
                self.find(format!("runs are left open: {row}"));
            }
            if row["gone"] != 0 && row["good"] == 0 {
                self.find(format!("the last good run was deleted: {row}"));
            }
        }
    }
}

/// What is in a zip, by its own reading.
pub(crate) fn entries(bytes: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let mut entries = BTreeMap::new();
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        let before = entries.insert(entry.name().unwrap().into_owned(), content);
        assert_eq!(before, None, "two entries of one name");
    }
    entries
}
