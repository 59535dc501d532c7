//! The account of everything the simulator served: the witness a test asks, instead of asking
//! the client about itself. Must never change how a request is answered.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use crate::chaos::word;
use crate::content::Content;
use crate::fault::{Endpoint, Fault};

/// How many single requests are remembered; the counters forget nothing.
const RING: usize = 10_000;

/// One request.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Its number, from 1.
    pub number: u64,
    /// When it was served.
    pub at_ms: i64,
    /// Which call it was; none for an unknown path.
    pub endpoint: Option<Endpoint>,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The status sent; 0 when the connection was closed instead.
    pub status: u16,
    /// The `error_code` sent, if any.
    pub error_code: Option<String>,
    /// The user, where one was recognised.
    pub user: Option<String>,
    /// The fault it met.
    pub fault: Option<Fault>,
}

/// One GET of a package.
#[derive(Clone, Debug, Serialize)]
pub struct GetRecord {
    /// When it was served.
    pub at_ms: i64,
    /// The status sent; 0 when the connection was closed instead.
    pub status: u16,
    /// Bytes of the body that were sent, as they go over the wire.
    pub bytes_sent: u64,
    /// The whole content was sent, and the head told the truth about its length.
    pub complete: bool,
    /// This GET consumed the package.
    pub consumed: bool,
    /// The fault it met.
    pub fault: Option<Fault>,
}

/// One package and every GET of it.
#[derive(Clone, Debug)]
pub struct PackageRecord {
    /// Its id.
    pub package_id: String,
    /// The job it came from.
    pub job_id: String,
    /// The instance it came from.
    pub instance_id: String,
    /// When it could first be had.
    pub ready_ms: i64,
    /// Every GET that named it, refused ones too.
    pub gets: Vec<GetRecord>,
    pub(crate) content: Arc<Content>,
}

impl PackageRecord {
    /// Exact length of its content.
    pub fn bytes(&self) -> u64 {
        self.content.bytes()
    }

    /// SHA-256 of its content in hexadecimal. Reads the whole content once if need be.
    pub fn sha256(&self) -> &str {
        self.content.sha256()
    }

    /// A copy of its content; for small ones only.
    pub fn to_vec(&self) -> Vec<u8> {
        self.content.to_vec()
    }
}

impl Serialize for PackageRecord {
    /// Length and digest are null while telling them would mean to make the content first.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cheap = self.content.is_cheap_to_digest();
        let mut out = serializer.serialize_struct("PackageRecord", 7)?;
        out.serialize_field("package_id", &self.package_id)?;
        out.serialize_field("job_id", &self.job_id)?;
        out.serialize_field("instance_id", &self.instance_id)?;
        out.serialize_field("ready_ms", &self.ready_ms)?;
        out.serialize_field("bytes", &cheap.then(|| self.bytes()))?;
        out.serialize_field("sha256", &cheap.then(|| self.sha256()))?;
        out.serialize_field("gets", &self.gets)?;
        out.end()
    }
}

/// The time in which a job kept its user from starting another.
#[derive(Clone, Debug, Serialize)]
pub struct JobInterval {
    /// Whose job.
    pub user: String,
    /// On which instance.
    pub instance_id: String,
    /// The job.
    pub job_id: String,
    /// `exportAsset` or `importAsset`.
    pub kind: String,
    /// When it began.
    pub started_ms: i64,
    /// When it ended; none: still running.
    pub ended_ms: Option<i64>,
}

/// One export request that was understood.
#[derive(Clone, Debug, Serialize)]
pub struct ExportRecord {
    /// When it was served.
    pub at_ms: i64,
    /// Who asked.
    pub user: String,
    /// For which instance.
    pub instance_id: String,
    /// Ids of the applications.
    pub apps: Vec<String>,
    /// Ids of the tasks.
    pub tasks: Vec<String>,
    /// The job, if one was started.
    pub job_id: Option<String>,
    /// The code it was refused with.
    pub refused: Option<String>,
}

/// One accepted import.
#[derive(Clone, Debug, Serialize)]
pub struct ImportRecord {
    /// When it was served.
    pub at_ms: i64,
    /// Who asked.
    pub user: String,
    /// Into which instance.
    pub instance_id: String,
    /// The file's name.
    pub file_name: String,
    /// The file's length.
    pub bytes: u64,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: String,
    /// `AddNew` or `Merge`.
    pub mode: String,
    /// `prefix`, as asked for.
    pub prefix: Option<String>,
    /// `datasource_overwrite`, as asked for.
    pub datasource_overwrite: Option<String>,
    /// The job that was started.
    pub job_id: String,
}

/// The short form of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerSummary {
    /// Packages that could be had at some time.
    pub packages: usize,
    /// GETs of packages, refused ones too.
    pub gets: usize,
    /// GETs that sent a whole package.
    pub completed: usize,
    /// Packages that were consumed.
    pub consumed: usize,
    /// Ids of the packages with more than one GET.
    pub more_than_one_get: Vec<String>,
    /// Ids of the packages that were sent whole more than once.
    pub completed_more_than_once: Vec<String>,
    /// Exports refused because another job of the user ran (10012).
    pub refused_exports: u64,
    /// Requests by endpoint and status.
    pub counts: BTreeMap<String, BTreeMap<u16, u64>>,
}

/// Everything that was served.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ledger {
    requests: VecDeque<RequestRecord>,
    counts: BTreeMap<String, BTreeMap<u16, u64>>,
    packages: Vec<PackageRecord>,
    jobs: Vec<JobInterval>,
    exports: Vec<ExportRecord>,
    imports: Vec<ImportRecord>,
    refused_exports: u64,
    #[serde(skip)]
    by_id: HashMap<String, usize>,
    #[serde(skip)]
    served: BTreeMap<Endpoint, u64>,
    #[serde(skip)]
    total: u64,
    #[serde(skip)]
    arrivals: watch::Sender<()>,
}

impl Ledger {
    /// The latest requests, oldest first.
    pub fn requests(&self) -> impl DoubleEndedIterator<Item = &RequestRecord> {
        self.requests.iter()
    }

    /// Changes with every request that is recorded, which is before it is answered.
    pub fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.subscribe()
    }

    /// How many requests of the endpoint got this status (0: the connection was closed instead).
    pub fn count(&self, endpoint: Endpoint, status: u16) -> u64 {
        let of_endpoint = self.counts.get(word(endpoint));
        of_endpoint.and_then(|counts| counts.get(&status)).copied().unwrap_or(0)
    }

    /// How many requests of the endpoint there were.
    pub fn count_all(&self, endpoint: Endpoint) -> u64 {
        self.served.get(&endpoint).copied().unwrap_or(0)
    }

    /// The package with this id.
    pub fn package(&self, id: &str) -> Option<&PackageRecord> {
        self.by_id.get(id).and_then(|index| self.packages.get(*index))
    }

    /// All packages that could be had at some time, in the order in which they became so.
    pub fn packages(&self) -> &[PackageRecord] {
        &self.packages
    }

    /// Every GET of the package, refused ones too.
    pub fn gets(&self, id: &str) -> &[GetRecord] {
        self.package(id).map_or(&[], |package| &package.gets)
    }

    /// How many GETs sent the whole package.
    pub fn completed_gets(&self, id: &str) -> usize {
        self.gets(id).iter().filter(|get| get.complete).count()
    }

    /// When which job kept its user from starting another.
    pub fn jobs(&self) -> &[JobInterval] {
        &self.jobs
    }

    /// The largest number of jobs of the user that ran at the same time.
    pub fn most_jobs_at_once(&self, user: &str) -> usize {
        let of_user: Vec<_> = self.jobs.iter().filter(|job| job.user == user).collect();
        let running_at = |at_ms: i64| {
            let runs = |job: &&&JobInterval| {
                job.started_ms <= at_ms && job.ended_ms.is_none_or(|ended| ended > at_ms)
            };
            of_user.iter().filter(runs).count()
        };
        let counts = of_user.iter().map(|job| running_at(job.started_ms));
        // A job that ends in the moment it begins runs at no time, but it is one.
        let least = usize::from(!of_user.is_empty());
        counts.max().unwrap_or(0).max(least)
    }

    /// Every export request that was understood, refused ones too.
    pub fn exports(&self) -> &[ExportRecord] {
        &self.exports
    }

    /// Every accepted import.
    pub fn imports(&self) -> &[ImportRecord] {
        &self.imports
    }

    /// How many exports were refused because another job of the user ran (10012).
    pub fn refused_exports(&self) -> u64 {
        self.refused_exports
    }

    /// The short form.
    pub fn summary(&self) -> LedgerSummary {
        let completed =
            |package: &PackageRecord| package.gets.iter().filter(|get| get.complete).count();
        let ids = |wanted: &dyn Fn(&PackageRecord) -> bool| -> Vec<String> {
            let matching = self.packages.iter().filter(|package| wanted(package));
            matching.map(|package| package.package_id.clone()).collect()
        };
        let consumed = |package: &&PackageRecord| package.gets.iter().any(|get| get.consumed);
        LedgerSummary {
            packages: self.packages.len(),
            gets: self.packages.iter().map(|package| package.gets.len()).sum(),
            completed: self.packages.iter().map(completed).sum(),
            consumed: self.packages.iter().filter(consumed).count(),
            more_than_one_get: ids(&|package| package.gets.len() > 1),
            completed_more_than_once: ids(&|package| completed(package) > 1),
            refused_exports: self.refused_exports,
            counts: self.counts.clone(),
        }
    }
}

/// What the world writes.
impl Ledger {
    /// The number of the request that comes now, over all and of its endpoint.
    pub(crate) fn open_request(&mut self, endpoint: Option<Endpoint>) -> (u64, u64) {
        self.total += 1;
        let of_endpoint = endpoint.map_or(0, |endpoint| {
            let served = self.served.entry(endpoint).or_default();
            *served += 1;
            *served
        });
        (self.total, of_endpoint)
    }

    pub(crate) fn record(&mut self, request: RequestRecord) {
        let endpoint = request.endpoint.map_or("unknown", word);
        let counts = self.counts.entry(endpoint.to_owned()).or_default();
        *counts.entry(request.status).or_default() += 1;
        if self.requests.len() == RING {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
        self.arrivals.send_replace(());
    }

    pub(crate) fn add_package(&mut self, package: PackageRecord) -> usize {
        let index = self.packages.len();
        self.by_id.insert(package.package_id.clone(), index);
        self.packages.push(package);
        index
    }

    pub(crate) fn rename_package(&mut self, index: usize, id: &str) {
        if let Some(package) = self.packages.get_mut(index) {
            self.by_id.remove(&package.package_id);
            id.clone_into(&mut package.package_id);
            self.by_id.insert(id.to_owned(), index);
        }
    }

    pub(crate) fn index_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn add_get(&mut self, index: usize, get: GetRecord) -> Option<usize> {
        let package = self.packages.get_mut(index)?;
        package.gets.push(get);
        Some(package.gets.len() - 1)
    }

    pub(crate) fn get_mut(&mut self, package: usize, get: usize) -> Option<&mut GetRecord> {
        self.packages.get_mut(package)?.gets.get_mut(get)
    }

    pub(crate) fn job_started(&mut self, interval: JobInterval) {
        self.jobs.push(interval);
    }

    pub(crate) fn job_ended(&mut self, job_id: &str, ended_ms: i64) {
        let of_job = |job: &&mut JobInterval| job.job_id == job_id && job.ended_ms.is_none();
        if let Some(job) = self.jobs.iter_mut().rev().find(of_job) {
            job.ended_ms = Some(ended_ms);
        }
    }

    pub(crate) fn export(&mut self, export: ExportRecord, by_lock: bool) {
        self.refused_exports += u64::from(by_lock);
        self.exports.push(export);
    }

    pub(crate) fn import(&mut self, import: ImportRecord) {
        self.imports.push(import);
    }
}
