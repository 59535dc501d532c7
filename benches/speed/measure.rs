//! What one run of a program costs: time, CPU, memory, bytes written, fsyncs. Must never be part of
//! what it measures.
//!
//! GNU `time` reads the kernel's account of the program and all its children when it ends, which is
//! exact; only the wall time is taken here. The bytes written are those of pages made dirty, as the
//! kernel counts them, so what is written twice before it reaches the disk counts once. Fsyncs are
//! counted by `slow_fsync.c`, a library that is loaded into the program.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SHIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/speed/slow_fsync.c");
/// User CPU, system CPU, largest resident set in KiB, blocks of 512 bytes written.
const FORMAT: &str = "%U %S %M %O";
const KINDS: usize = 5;

/// How often the disk was asked to make something durable.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Fsyncs {
    /// Of a database's log or journal: one a commit in WAL mode.
    pub(crate) commits: u64,
    /// Of a database: checkpoints.
    pub(crate) databases: u64,
    pub(crate) folders: u64,
    pub(crate) files: u64,
    /// Of a whole file system.
    pub(crate) disks: u64,
}

impl Fsyncs {
    pub(crate) fn all(self) -> u64 {
        self.commits + self.databases + self.folders + self.files + self.disks
    }
}

/// One run.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) fsyncs: Fsyncs,
    /// What the daemon or the script left, where that was looked at.
    pub(crate) stored_bytes: Option<u64>,
    /// How large its database is.
    pub(crate) catalog_bytes: Option<u64>,
}

impl Run {
    /// Nothing else was looked at.
    pub(crate) fn of_seconds(seconds: f64) -> Self {
        Self {
            seconds,
            cpu_seconds: f64::NAN,
            peak_rss_bytes: 0,
            written_bytes: 0,
            fsyncs: Fsyncs::default(),
            stored_bytes: None,
            catalog_bytes: None,
        }
    }

    /// Both, one after the other.
    pub(crate) fn and(&self, next: &Run) -> Self {
        let (a, b) = (self.fsyncs, next.fsyncs);
        Self {
            seconds: self.seconds + next.seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            peak_rss_bytes: self.peak_rss_bytes.max(next.peak_rss_bytes),
            written_bytes: self.written_bytes + next.written_bytes,
            fsyncs: Fsyncs {
                commits: a.commits + b.commits,
                databases: a.databases + b.databases,
                folders: a.folders + b.folders,
                files: a.files + b.files,
                disks: a.disks + b.disks,
            },
            stored_bytes: None,
            catalog_bytes: None,
        }
    }
}

/// Runs programs and measures them.
#[derive(Debug)]
pub(crate) struct Meter {
    shim: PathBuf,
    counts: PathBuf,
    account: PathBuf,
    output: PathBuf,
}

impl Meter {
    /// Builds the library that counts.
    pub(crate) fn new(scratch: &Path) -> Self {
        let shim = scratch.join("slow_fsync.so");
        let mut build = Command::new("cc");
        build.args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o"]);
        run_plain(build.arg(&shim).arg(SHIM).arg("-ldl"));
        Self {
            shim,
            counts: scratch.join("fsyncs"),
            account: scratch.join("account"),
            output: quiet_place(scratch).join(format!("roma-speed-{}", std::process::id())),
        }
    }

    /// A program that will be measured; its arguments are still to come.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("time");
        command.arg("-q").arg("-f").arg(FORMAT).arg("-o").arg(&self.account).arg(program);
        command
    }

    /// Runs it to its end, with every fsync slower by so much. It must succeed.
    pub(crate) fn run(&self, mut command: Command, slow: Duration) -> Run {
        // What others have left to be written is not charged to this run.
        rustix::fs::sync();
        let said = File::create(&self.output).unwrap();
        command.stdout(Stdio::null()).stderr(said);
        self.count_fsyncs(&mut command, slow);
        let begin = Instant::now();
        let status = command.status().unwrap_or_else(|error| missing(&command, &error));
        let seconds = begin.elapsed().as_secs_f64();
        let said = std::fs::read_to_string(&self.output).unwrap_or_default();
        assert!(status.success(), "{command:?}: {status}\n{}", last_lines(&said));
        let account = std::fs::read_to_string(&self.account).unwrap();
        let numbers: Vec<f64> =
            account.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [user, system, kibibytes, blocks] = numbers[..] else {
            panic!("`time` says {account:?}; it must be GNU time");
        };
        Run {
            seconds,
            cpu_seconds: user + system,
            peak_rss_bytes: whole(kibibytes) * 1_024,
            written_bytes: whole(blocks) * 512,
            fsyncs: self.counted(),
            stored_bytes: None,
            catalog_bytes: None,
        }
    }

    /// Loads the library that counts into a program and its children, and counts from nothing.
    pub(crate) fn count_fsyncs(&self, command: &mut Command, slow: Duration) {
        std::fs::write(&self.counts, [0; KINDS * 8]).unwrap();
        command
            .env("LD_PRELOAD", &self.shim)
            .env("SLOW_FSYNC_COUNTS", &self.counts)
            .env("SLOW_FSYNC_US", slow.as_micros().to_string());
    }

    /// The fsyncs since the last run began.
    pub(crate) fn counted(&self) -> Fsyncs {
        let bytes = std::fs::read(&self.counts).unwrap();
        let (numbers, _) = bytes.as_chunks::<8>();
        let numbers: Vec<u64> = numbers.iter().map(|eight| u64::from_ne_bytes(*eight)).collect();
        let [commits, databases, folders, files, disks] = numbers[..] else {
            panic!("{} counters", numbers.len());
        };
        Fsyncs { commits, databases, folders, files, disks }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.output);
    }
}

/// Where the log of a program goes: into memory where there is such a file system, so that it is
/// not counted as written.
fn quiet_place(otherwise: &Path) -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { otherwise.to_owned() }
}

/// Runs something that is not measured. It must succeed.
pub(crate) fn run_plain(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| missing(command, &error));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, last_lines(&said));
}

fn missing(command: &Command, error: &std::io::Error) -> ! {
    panic!("{}: {error}; benches/README.md lists what is needed", command.get_program().display())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
fn whole(number: f64) -> u64 {
    number as u64
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 {
        numbers[middle]
    } else {
        f64::midpoint(numbers[middle - 1], numbers[middle])
    }
}
