//! The daemon under test: the compiled binary with a state directory of its own, fresh for each
//! run, and a look at what it left.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::os::unix::fs::{DirEntryExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use roma_sim::defaults;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};

use crate::Bench;
use crate::measure::{Run, run_plain};
use crate::server::{Package, Server, lines};

const BINARY: &str = env!("CARGO_BIN_EXE_roma-archived");
/// Of the shell that runs the benchmark; nothing of it reaches the daemon.
const UNWANTED: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM", "RUST_LOG"];

/// How the daemon runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How<'t> {
    /// What stands in `[limits]`.
    pub(crate) limits: &'t str,
    /// What stands after it.
    pub(crate) more: &'t str,
    /// How much slower every fsync is.
    pub(crate) slow: Duration,
}

/// Nothing configured that need not be, on the disk as it is.
pub(crate) const DEFAULTS: How<'_> = How { limits: "", more: "", slow: Duration::ZERO };

/// A state directory with its configuration.
pub(crate) struct Daemon {
    folder: tempfile::TempDir,
    config: PathBuf,
    url: String,
}

/// How the unit has the C library keep memory: the daemon is measured as it is run.
fn malloc_of_unit() -> Vec<(String, String)> {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/roma-archived.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let lines = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let variables = lines.flat_map(str::split_whitespace).filter_map(|word| word.split_once('='));
    let malloc = variables.filter(|(name, _)| name.starts_with("MALLOC_"));
    malloc.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Daemon {
    pub(crate) fn new(bench: &Bench, server: &Server, how: &How<'_>) -> Self {
        let folder = bench.folder("daemon");
        let config = folder.path().join("config.toml");
        let daemon = Self { folder, config, url: server.url() };
        daemon.configure(how);
        daemon
    }

    /// Another one of the same state, with nothing configured that need not be.
    pub(crate) fn copy(&self, bench: &Bench) -> Self {
        let folder = bench.folder("daemon");
        run_plain(Command::new("cp").arg("-a").arg(self.state()).arg(folder.path()));
        let config = folder.path().join("config.toml");
        let daemon = Self { folder, config, url: self.url.clone() };
        daemon.configure(&DEFAULTS);
        daemon
    }

    /// Replaces its configuration.
    pub(crate) fn configure(&self, how: &How<'_>) {
        let token = self.folder.path().join("token");
        write_private(&token, defaults::TOKEN);
        let text = format!(
            "state_dir = \"{state}\"\n\
             [[account]]\nname = \"ops\"\nauth = \"token\"\ntoken_file = \"{token}\"\n\
             [[instance]]\nname = \"prod\"\naccount = \"ops\"\nendpoint = \"{url}\"\n\
             project_id = \"{project}\"\ninstance_id = \"{instance}\"\n\
             [limits]\n{limits}\n{more}\n",
            state = self.state().display(),
            token = token.display(),
            url = self.url,
            project = defaults::PROJECT_ID,
            instance = defaults::INSTANCE_ID,
            limits = how.limits,
            more = how.more,
        );
        write_private(&self.config, &text);
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The same program, under `command` or by itself.
    fn with_arguments(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.arg("--config").arg(&self.config).args(arguments);
        for variable in UNWANTED {
            command.env_remove(variable);
        }
        command.envs(malloc_of_unit());
        command
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.with_arguments(Command::new(BINARY), arguments)
    }

    /// As a first start leaves it: with nothing to do.
    pub(crate) fn create_catalog(&self) {
        run_plain(&mut self.command(&["run", "--once"]));
    }

    /// Has the jobs of the packages watched, as an operator would.
    pub(crate) fn adopt(&self, packages: &[Package]) {
        let mut command = self.command(&["watch", "prod", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut ids = child.stdin.take().unwrap();
        ids.write_all(lines(packages, |package| &package.job_id).as_bytes()).unwrap();
        drop(ids);
        assert!(child.wait().unwrap().success(), "the jobs were not adopted");
    }

    /// `run --once`, from the start of the process to its end.
    pub(crate) fn run_once(&self, bench: &Bench, slow: Duration) -> Run {
        let command = self.with_arguments(bench.meter.command(BINARY), &["run", "--once"]);
        bench.meter.run(command, slow)
    }

    pub(crate) fn catalog(&self, bench: &Bench) -> SqliteConnection {
        open(bench, &self.state().join("catalog.db"))
    }

    /// Ends the benchmark unless every package is stored with the server's hash. The bytes stored.
    pub(crate) fn check(&self, bench: &Bench, packages: &[Package]) -> u64 {
        let mut catalog = self.catalog(bench);
        let select = "SELECT job_id, raw_sha256 FROM archives WHERE state = 'stored'";
        check_rows(bench, &mut catalog, select, packages);
        let sum = "SELECT coalesce(sum(stored_bytes), 0) FROM archives WHERE state = 'stored'";
        let bytes: i64 =
            bench.runtime.block_on(sqlx::query_scalar(sum).fetch_one(&mut catalog)).unwrap();
        bytes.unsigned_abs()
    }

    /// Ends the benchmark unless these archives, and only these, are deleted and recorded so, and
    /// only the files of the others are left.
    pub(crate) fn check_deleted(&self, bench: &Bench, packages: &[Package]) {
        let mut catalog = self.catalog(bench);
        let select = "SELECT job_id, raw_sha256 FROM archives WHERE state = 'deleted'";
        check_rows(bench, &mut catalog, select, packages);
        let select = "SELECT path FROM archives WHERE state = 'stored'";
        let kept: Vec<String> =
            bench.runtime.block_on(sqlx::query_scalar(select).fetch_all(&mut catalog)).unwrap();
        let left = files_below(&self.state().join("vault"));
        let kept: HashSet<PathBuf> = kept.into_iter().map(PathBuf::from).collect();
        let found: HashSet<PathBuf> = left.into_iter().map(|(path, _)| path).collect();
        assert!(found == kept, "{} files for {} archives", found.len(), kept.len());
    }

    /// All of it: adopt, run, check.
    pub(crate) fn store(
        bench: &Bench,
        server: &Server,
        packages: &[Package],
        how: &How<'_>,
    ) -> Run {
        let daemon = Self::new(bench, server, how);
        daemon.adopt(packages);
        let mut run = daemon.run_once(bench, how.slow);
        run.stored_bytes = Some(daemon.check(bench, packages));
        run.catalog_bytes =
            std::fs::metadata(daemon.state().join("catalog.db")).ok().map(|m| m.len());
        run
    }
}

pub(crate) fn open(bench: &Bench, path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    bench.runtime.block_on(options.connect()).unwrap()
}

/// Ends the benchmark unless the rows (job, SHA-256) are those of the packages.
pub(crate) fn check_rows(
    bench: &Bench,
    db: &mut SqliteConnection,
    select: &'static str,
    packages: &[Package],
) {
    let rows: Vec<(String, Option<String>)> =
        bench.runtime.block_on(sqlx::query_as(select).fetch_all(db)).unwrap();
    let found = rows.len();
    let recorded: HashMap<String, Option<String>> = rows.into_iter().collect();
    let is_right = |package: &&Package| {
        recorded.get(&package.job_id).is_some_and(|hash| hash.as_ref() == Some(&package.sha256))
    };
    let right = packages.iter().filter(is_right).count();
    assert!(
        right == packages.len() && found == right,
        "{right} of {} packages are recorded with the server's hash, in {found} rows: the round \
         does not count",
        packages.len()
    );
}

/// All files, by their paths below the folder, and their inodes.
pub(crate) fn files_below(folder: &Path) -> Vec<(PathBuf, u64)> {
    let (mut found, mut to_see) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = to_see.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                to_see.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(folder).unwrap().to_owned();
                found.push((path, entry.ino()));
            }
        }
    }
    found
}

fn write_private(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).unwrap();
}
