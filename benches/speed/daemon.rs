//! The daemon under test: the compiled binary with a state directory of its own, fresh for each
//! run, and a look at what it left.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use roma_sim::defaults;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};

use crate::Bench;
use crate::measure::Run;
use crate::server::{Package, Server, lines};

const BINARY: &str = env!("CARGO_BIN_EXE_roma-archived");
/// Of the shell that runs the benchmark; nothing of it reaches the daemon.
const UNWANTED: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM", "RUST_LOG"];

/// A state directory with its configuration.
pub(crate) struct Daemon {
    folder: tempfile::TempDir,
    pub(crate) config: PathBuf,
}

impl Daemon {
    /// With `limits` in the section of that name, and `more` at the end of the configuration.
    pub(crate) fn new(bench: &Bench, server: &Server, limits: &str, more: &str) -> Self {
        let folder = bench.folder("daemon");
        let (token, config) = (folder.path().join("token"), folder.path().join("config.toml"));
        write_private(&token, defaults::TOKEN);
        let text = format!(
            "state_dir = \"{state}\"\n\
             [[account]]\nname = \"ops\"\nauth = \"token\"\ntoken_file = \"{token}\"\n\
             [[instance]]\nname = \"prod\"\naccount = \"ops\"\nendpoint = \"{url}\"\n\
             project_id = \"{project}\"\ninstance_id = \"{instance}\"\n\
             [limits]\n{limits}\n{more}\n",
            state = folder.path().join("state").display(),
            token = token.display(),
            url = server.url(),
            project = defaults::PROJECT_ID,
            instance = defaults::INSTANCE_ID,
        );
        write_private(&config, &text);
        Self { folder, config }
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
        command
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.with_arguments(Command::new(BINARY), arguments)
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
        let sum = "SELECT coalesce(sum(stored_bytes), 0) FROM archives";
        let bytes: i64 =
            bench.runtime.block_on(sqlx::query_scalar(sum).fetch_one(&mut catalog)).unwrap();
        bytes.unsigned_abs()
    }

    /// All of it: adopt, run, check.
    pub(crate) fn store(
        bench: &Bench,
        server: &Server,
        (limits, more): (&str, &str),
        slow: Duration,
    ) -> Run {
        let daemon = Self::new(bench, server, limits, more);
        daemon.adopt(&server.packages);
        let mut run = daemon.run_once(bench, slow);
        run.stored_bytes = Some(daemon.check(bench, &server.packages));
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

fn write_private(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
