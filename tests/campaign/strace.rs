//! The n-th of a kind of system call fails, for every n: each time another life of the daemon,
//! then one without faults, and the oracle.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use roma_archived::clock::Clock;
use roma_archived::model::SnapshotId;
use roma_archived::vault::{StateLock, Vault};
use roma_sim::{ContentSpec, JobState, Knobs};

use crate::Amount;
use crate::mount::missing;
use crate::report::{Report, is_explained, on_two_cores};
use crate::support::process::{Ended, Process};
use crate::support::stage::Stage;

const CONFIG: &str = "min_free_space = \"0\"\nreexports = 1\n\
                      [retention]\nkeep_last = 1\ntrash = \"1s\"\n";
/// Calls that change something, under all their names.
const CALLS: [&str; 8] = [
    "fsync,fdatasync",
    "write",
    "pwrite64",
    "rename,renameat,renameat2",
    "unlink,unlinkat",
    "openat",
    "ftruncate",
    "mkdir,mkdirat",
];
const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];
/// Where the daemon begins: with nothing, or with work and something to delete.
const BEGINNINGS: [bool; 2] = [true, false];

/// One kind of call and error and beginning.
#[derive(Clone, Copy, Debug)]
struct Kind {
    calls: &'static str,
    error: &'static str,
    fresh: bool,
}

/// `amount` is the stride: 1 tries every call, 5 every fifth.
pub(crate) fn run(amount: Amount) -> Report {
    let mut report = Report::new("calls made to fail");
    if let Some(why) = missing(&["strace"]) {
        report.skip(why);
        return report;
    }
    let stride = amount.unwrap_or(3).max(1);
    let mut kinds = Vec::new();
    for calls in CALLS {
        for error in ERRORS {
            kinds.extend(BEGINNINGS.map(|fresh| Kind { calls, error, fresh }));
        }
    }
    let of_kind = |piece: u64| try_all(kinds[usize::try_from(piece).unwrap()], stride);
    for kind in on_two_cores(kinds.len() as u64, of_kind) {
        report.add(kind);
    }
    report
}

impl Kind {
    /// What a life may take. The count is that of each thread: a writer of the catalog that waits
    /// for room and tries again in a new one meets the same again, as on a disk that stays full.
    fn patience(self) -> Duration {
        Duration::from_secs(if self.error == "ENOSPC" { 10 } else { 90 })
    }
}

/// Counts on until no call is left that could fail.
fn try_all(kind: Kind, stride: u64) -> Report {
    let mut report = Report::new("");
    let mut codes = std::collections::BTreeMap::<String, u64>::new();
    for number in (1..).step_by(usize::try_from(stride).unwrap()) {
        let mut trial = Trial::new(kind);
        let Some(ended) = trial.fail(number) else { break };
        report.tried += 1;
        let how = ended.code.map_or("no code".to_owned(), |code| code.to_string());
        *codes.entry(how).or_default() += 1;
        for finding in trial.judge(&ended) {
            report.find(format!("{kind:?} call {number} ({}): {finding}", trial.told()));
        }
    }
    report.note(format!("{kind:?}: {} calls, exit codes {codes:?}", report.tried));
    report
}

struct Trial {
    kind: Kind,
    stage: Stage,
    trace: PathBuf,
    /// The calls that failed.
    hit: Vec<String>,
    jobs: Vec<String>,
}

impl Trial {
    fn new(kind: Kind) -> Self {
        let mut stage = Stage::new(Knobs::default(), CONFIG);
        let contents = [
            ContentSpec::Json { bytes: 30_000 },
            ContentSpec::Random { bytes: 700_000 },
            ContentSpec::Zip { bytes: 9_000 },
        ];
        let create = |stage: &Stage| -> Vec<String> {
            let ready = |content| stage.create(JobState::Ready, content).job_id;
            contents.clone().into_iter().map(ready).collect()
        };
        let mut jobs = Vec::new();
        if !kind.fresh {
            if kind.calls.contains("unlink") {
                // Something that is due to be deleted when the trial begins.
                stage.watch(create(&stage)).unwrap();
                stage.settle().unwrap();
                std::thread::sleep(Duration::from_millis(1_050));
            }
            stage.watch(create(&stage)).unwrap();
            assert_eq!(stage.run(&["export", "nightly"]).code, Some(0));
        } else if kind.calls.contains("write") || kind.calls == "openat" {
            // These would otherwise fail in what the daemon does not do at all without work.
            jobs = create(&stage);
        }
        let trace = stage.scratch().join("trace");
        Self { kind, stage, trace, hit: Vec::new(), jobs }
    }

    /// A life in which the call of this number fails in every thread that gets so far; none when
    /// no thread does.
    fn fail(&mut self, number: u64) -> Option<Ended> {
        let Kind { calls, error, .. } = self.kind;
        let daemon = self.stage.command(&["run", "--once"]);
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "--seccomp-bpf", "-o"]).arg(&self.trace);
        command.args(["-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:error={error}:when={number}")]);
        if calls == "write" || calls == "pwrite64" || calls == "openat" {
            // Not the sockets, pipes and libraries, which are no disk.
            for path in files(&self.stage.state) {
                command.arg("-P").arg(path);
            }
        }
        command.arg(daemon.get_program()).args(daemon.get_args());
        for (variable, value) in daemon.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        let process = Process::start(command, self.stage.scratch());
        let ended = process.wait(self.kind.patience());
        let trace = std::fs::read_to_string(&self.trace).unwrap_or_default();
        let state = self.stage.state.display().to_string();
        let injected = trace.lines().filter(|line| line.contains("(INJECTED)"));
        let short = |line: &str| {
            let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
            let end = call.find(" = ").unwrap_or(call.len());
            call[..end].replace(&state, "").chars().take(90).collect::<String>()
        };
        self.hit = injected.map(short).collect();
        (!self.hit.is_empty() || ended.hung).then_some(ended)
    }

    /// The first of the calls that failed.
    fn told(&self) -> String {
        let more = if self.hit.len() > 2 { "; ..." } else { "" };
        self.hit.iter().take(2).cloned().collect::<Vec<_>>().join("; ") + more
    }

    /// What must not be, of this life and of the one after it.
    fn judge(&mut self, ended: &Ended) -> Vec<String> {
        let mut findings = Vec::new();
        // What was traced dies a moment after the tracer.
        for _ in 0..500 {
            if !StateLock::is_held(&self.stage.state) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let orderly = matches!(ended.code, Some(0 | 73 | 74));
        let room = |hit: &&String| self.kind.error == "ENOSPC" && hit.contains("/catalog.db");
        let waits_for_room = ended.hung && self.hit.iter().filter(room).count() > 1;
        if !waits_for_room && !orderly {
            findings.push(ended.story());
        }
        if ended.code != Some(74)
            && let Some(hit) = self.hit.iter().find(|hit| must_end(hit, self.kind))
        {
            findings.push(format!("after the failed {hit}: {}", ended.story()));
        }
        let jobs = std::mem::take(&mut self.jobs);
        if !jobs.is_empty() {
            findings.extend(self.stage.watch(jobs).err());
        }
        findings.extend(self.stage.settle().err());
        let audit = self.stage.audit();
        findings.extend(audit.findings);
        for gap in &audit.gaps {
            if !is_explained(gap) {
                findings.push(format!("the fault does not explain {gap}"));
            }
        }
        findings
    }
}

/// Whether the daemon must end with 74 because this failed: every sync. But SQLite does not look
/// whether the folder could be synced when it makes its journal, which at the first start holds
/// nothing yet.
fn must_end(hit: &str, kind: Kind) -> bool {
    hit.contains("sync(") && !(kind.fresh && hit.contains("<>"))
}

/// Every file and folder that the daemon touches.
fn files(state: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["lock", "staging", "quarantine", "vault"]
        .into_iter()
        .chain(["catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db-journal"])
        .map(|name| state.join(name))
        .chain([state.to_owned()])
        .collect();
    for id in 1..=8 {
        let staged = ["part", "raw", "zip"].map(|kind| state.join(format!("staging/a{id}.{kind}")));
        files.extend(staged);
        for export in ["watched", "nightly"] {
            let (instance, export) = ("prod".parse().unwrap(), export.parse().unwrap());
            let now = Clock::System.now();
            let path = Vault::relative_path(&instance, &export, now, SnapshotId(id), 1);
            let path = state.join("vault").join(path);
            files.extend(path.ancestors().skip(1).take(4).map(Path::to_owned));
        }
    }
    files.sort();
    files.dedup();
    files
}
