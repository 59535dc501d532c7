//! The compiled binary, as a person or systemd starts it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use roma_sim::defaults;

pub(crate) fn write_private(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A directory in memory where there is such a file system: what is killed needs no real disk.
pub(crate) fn fast_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A configuration against the simulator, with a static token.
pub(crate) fn config(directory: &Path, url: &str) -> PathBuf {
    config_with(directory, url, "min_free_space = \"1MiB\"\n")
}

/// The same with more at its end, which is the section `[limits]`.
pub(crate) fn config_with(directory: &Path, url: &str, more: &str) -> PathBuf {
    let (token, path) = (directory.join("token"), directory.join("config.toml"));
    write_private(&token, defaults::TOKEN);
    let text = format!(
        "state_dir = \"{state}\"\n\
         [[account]]\nname = \"ops\"\nauth = \"token\"\ntoken_file = \"{token}\"\n\
         [[instance]]\nname = \"prod\"\naccount = \"ops\"\nendpoint = \"{url}\"\n\
         project_id = \"{project}\"\ninstance_id = \"{instance}\"\n\
         [[export]]\nname = \"nightly\"\ninstance = \"prod\"\n\
         [limits]\npoll_interval = \"50ms\"\npoll_interval_max = \"100ms\"\n{more}",
        state = directory.join("state").display(),
        token = token.display(),
        project = defaults::PROJECT_ID,
        instance = defaults::INSTANCE_ID,
    );
    write_private(&path, &text);
    path
}

/// Runs a command to its end.
pub(crate) async fn run(config: &Path, arguments: &[&str]) -> Output {
    let mut command = command(config, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A command that is not started yet.
pub(crate) fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roma-archived"));
    command.arg("--config").arg(config).args(arguments);
    // Nothing of the shell that runs the tests reaches the daemon.
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// What the program prints without a configuration.
pub(crate) fn printed(arguments: &[&str]) -> String {
    let output = command(Path::new("/nonexistent"), arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every command, as `--help` lists them.
pub(crate) fn all_commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned);
    let names: Vec<String> = names.collect();
    assert!(names.len() > 15, "{names:?}");
    names
}
