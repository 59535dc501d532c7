//! The command line, as `--help` explains it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::Exit;
use crate::lifecycle::StateWord;
use crate::model::{Name, Reference};
use crate::retention::Moment;

/// Keeps a verified, restorable history of ROMA Connect asset exports.
#[derive(Debug, Parser)]
#[command(
    name = "roma-archived",
    version,
    about,
    after_long_help = exit_codes(),
    max_term_width = 100
)]
pub(super) struct Cli {
    /// The configuration.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ROMA_ARCHIVED_CONFIG",
        default_value = "/etc/roma-archived/config.toml"
    )]
    pub(super) config: PathBuf,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon: start and adopt export jobs, download, store and delete packages.
    Run(RunArgs),
    /// Watch a whole life in time-lapse against the built-in simulator; needs no account.
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Check the configuration and show what it says.
    CheckConfig(JsonArgs),
    /// Try everything that a backup needs: accounts, rights, clock, disk, modes, age of the last
    /// proof; says what helps where something is wrong.
    Doctor(JsonArgs),
    /// Export now, besides the schedule.
    Export(ExportArgs),
    /// Adopt jobs that were started elsewhere, for instance in the console.
    Watch(WatchArgs),
    /// Show whether all is well; exits with 1 if it is not.
    Status(JsonArgs),
    /// List archives, newest first.
    List(ListArgs),
    /// Show all about an archive or a snapshot, with everything that happened to it.
    Show(ShowArgs),
    /// List what is inside a package: its entries, and the assets that were recognised.
    Ls(LsArgs),
    /// Write one entry of a package to standard output.
    Cat(CatArgs),
    /// Show what differs between two snapshots or archives: assets first, then JSON paths.
    Diff(DiffArgs),
    /// Write a package as ROMA sent it, its hash checked.
    Extract(ExtractArgs),
    /// Show which snapshots stay, which go, when and why; changes nothing.
    Plan(PlanArgs),
    /// Hold a snapshot: retention does not delete it while a pin is there.
    Pin(PinArgs),
    /// Take a pin away: retention decides again.
    Unpin(UnpinArgs),
    /// Bring a snapshot back from the trash.
    Undelete(UndeleteArgs),
    /// Say that a loss was seen, after which `status` is content about it.
    Ack(AckArgs),
    /// Copy the catalog, read the copy through and put it in place, beside a running daemon.
    Backup(BackupArgs),
    /// Make the catalog anew from the vault, when it is gone or broken and there is no backup.
    Rebuild(RebuildArgs),
    /// Send stored packages to an instance, which imports them; shows first what would be sent.
    Restore(RestoreArgs),
    /// Read stored files again and compare them; exits with 1 if one is not what it was.
    Verify(VerifyArgs),
    /// Print a script that completes commands and options in a shell.
    Completions(CompletionsArgs),
    /// Print a manual page, or write them all into a directory.
    Man(ManArgs),
}

fn exit_codes() -> String {
    let codes = Exit::ALL.map(|exit| format!("  {:>2}  {}", exit as u8, exit.meaning()));
    format!("Exit codes:\n{}", codes.join("\n"))
}

#[derive(Debug, Args)]
pub(super) struct JsonArgs {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Work until every archive is at rest, then exit.
    #[arg(long)]
    pub(super) once: bool,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Keep the state here instead of in a new temporary directory; must not exist yet.
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The configured export.
    pub(super) name: String,
    /// Its instance, when several have an export of this name.
    #[arg(long)]
    pub(super) instance: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// The configured instance that runs the jobs.
    pub(super) instance: String,
    /// Ids of the jobs; `-` reads them from standard input, one a line.
    #[arg(required = true, value_name = "JOB_ID")]
    pub(super) jobs: Vec<String>,
    /// Ask ROMA once more about jobs whose package was taken for lost.
    #[arg(long)]
    pub(super) again: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// List snapshots instead of archives.
    #[arg(long)]
    pub(super) snapshots: bool,
    /// Only of this export (`watched` for adopted jobs).
    #[arg(long)]
    pub(super) export: Option<String>,
    /// Only of this instance.
    #[arg(long)]
    pub(super) instance: Option<String>,
    /// Only in this state.
    #[arg(long)]
    pub(super) state: Option<String>,
    /// At most this many; 0 for all.
    #[arg(long, default_value_t = 50)]
    pub(super) limit: u32,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl ListArgs {
    /// The states that may be asked for.
    pub(super) fn known_states(&self) -> Vec<&'static str> {
        if self.snapshots {
            vec!["open", "complete", "incomplete", "trashed", "deleted"]
        } else {
            StateWord::ALL.iter().map(|state| state.as_str()).collect()
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// a34 for an archive, s12 for a snapshot.
    pub(super) id: Reference,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// a34 for an archive, s12 for all parts of a snapshot.
    pub(super) id: Reference,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CatArgs {
    /// a34 for an archive, s12 for all parts of a snapshot.
    pub(super) id: Reference,
    /// Which entry, as `ls` names it.
    pub(super) entry: String,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// What it was: s12 for all parts of a snapshot, a34 for an archive.
    #[arg(value_name = "A")]
    pub(super) old: Reference,
    /// What it is.
    #[arg(value_name = "B")]
    pub(super) new: Reference,
    /// Also what every export makes anew, another order of elements with ids, and other writing.
    #[arg(long)]
    pub(super) all: bool,
    /// Exit with 1 if something differs.
    #[arg(long)]
    pub(super) exit_code: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// As if it were then, with the snapshots of today: a day (its start), or an RFC 3339 time.
    #[arg(long, value_name = "DATE")]
    pub(super) at: Option<Moment>,
    /// Only of this export (`watched` for adopted jobs).
    #[arg(long, value_name = "NAME")]
    pub(super) export: Option<String>,
    /// Only of this instance.
    #[arg(long, value_name = "NAME")]
    pub(super) instance: Option<String>,
    /// Try the `[retention]` of this file instead of the configured one.
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// s12 for a snapshot; a34 means the snapshot that this archive is a part of.
    pub(super) id: Reference,
    /// Why, for whoever wonders later.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
    /// Hold it until then: a day (its start), or an RFC 3339 time. Without it, until `unpin`.
    #[arg(long, value_name = "DATE")]
    pub(super) until: Option<Moment>,
    /// A snapshot may have several pins, each with a name of its own.
    #[arg(long, default_value = "manual")]
    pub(super) name: Name,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UnpinArgs {
    /// s12 for a snapshot; a34 means the snapshot that this archive is a part of.
    pub(super) id: Reference,
    /// Which of its pins.
    #[arg(long, default_value = "manual")]
    pub(super) name: Name,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct AckArgs {
    /// a34 for a lost or damaged archive, s12 for all that a snapshot has of them.
    pub(super) id: Reference,
    /// Why nothing more can be done, for whoever wonders later.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where to: a file, or a folder, in which the copy is called `roma-catalog-TIME.db`.
    #[arg(value_name = "FILE_OR_DIR")]
    pub(super) target: PathBuf,
    /// Replace the file that is there.
    #[arg(long)]
    pub(super) force: bool,
    /// Afterwards keep only so many of the copies in the folder, the newest.
    #[arg(long, value_name = "N")]
    pub(super) keep: Option<NonZeroUsize>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RebuildArgs {
    /// Although there is a catalog; it is kept beside the new one.
    #[arg(long)]
    pub(super) force: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UndeleteArgs {
    /// s12 for a snapshot; a34 means the snapshot that this archive is a part of.
    pub(super) id: Reference,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct RestoreArgs {
    /// a34 for an archive, s12 for all parts of a snapshot.
    pub(super) id: Reference,
    /// The configured instance that is to import them.
    #[arg(long, value_name = "NAME")]
    pub(super) instance: Name,
    /// What happens to assets that are there already.
    #[arg(long, value_enum, default_value_t = RestoreMode::AddNew)]
    pub(super) mode: RestoreMode,
    /// Put this in front of the name of every imported application.
    #[arg(long, value_name = "TEXT")]
    pub(super) prefix: Option<String>,
    /// Let imported data sources replace those of the same name.
    #[arg(long)]
    pub(super) overwrite_datasources: bool,
    /// Also if it is the instance that they come from.
    #[arg(long)]
    pub(super) into_source: bool,
    /// Do it, instead of showing what would be done.
    #[arg(long)]
    pub(super) yes: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// The console calls them "append" and "overwrite".
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RestoreMode {
    /// Create everything anew, beside what is there: for another instance.
    AddNew,
    /// Update what is there: to go back to an earlier state.
    Merge,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// a34 for an archive, s12 for all parts of a snapshot.
    #[arg(required_unless_present = "all", value_name = "ID")]
    pub(super) ids: Vec<Reference>,
    /// Read everything, and look for files that belong to no archive.
    #[arg(long, conflicts_with = "ids")]
    pub(super) all: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExtractArgs {
    /// a34 for an archive, s12 for all parts of a snapshot.
    pub(super) id: Reference,
    /// Where to write; a directory for a snapshot. Without it, standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Replace what is there.
    #[arg(long)]
    pub(super) force: bool,
    /// Print what was written as JSON (needs --output).
    #[arg(long, requires = "output")]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell. For bash, `roma-archived completions bash` belongs into
    /// /usr/share/bash-completion/completions/roma-archived; the Debian package has put it there.
    pub(super) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The page of this command, instead of the one of the program.
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(super) of: Option<String>,
    /// Write every page into this directory, which is made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}
