//! What a person types. Commands read and write through the same library as the daemon; rendering
//! (tables, JSON) lies apart in `output`. Nothing here decides about archives.

use std::backtrace::Backtrace;
use std::path::Path;

use clap::Parser;

mod ack;
mod args;
mod backup;
mod cat;
mod check_config;
#[cfg(feature = "demo")]
mod demo;
mod diff;
mod doctor;
mod error;
mod extract;
mod files;
mod inside;
mod jobs;
mod list;
mod ls;
mod manual;
#[cfg(feature = "demo")]
mod narrate;
mod open;
mod output;
mod packages;
mod pins;
mod plan;
mod progress;
mod rebuild;
mod restore;
mod run;
mod show;
mod status;
mod undelete;
mod verify;
mod who;

pub use error::CliError;

use crate::config::{self, Loaded};
use crate::exit::Exit;
use crate::telemetry;
use args::{Cli, Command};

/// Parses the command line, runs the command, and prints what went wrong, once.
pub fn main() -> Exit {
    // A bug is told as every error is, and has a code of its own.
    std::panic::set_hook(Box::new(|bug| {
        output::note(&telemetry::as_error(&format!("bug: {bug}\n{}", Backtrace::capture())));
    }));
    std::panic::catch_unwind(parse_and_run).unwrap_or(Exit::Bug)
}

fn parse_and_run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors; they go to standard output.
        Err(error) if !error.use_stderr() => {
            drop(error.print());
            return Exit::Ok;
        }
        Err(error) => {
            if telemetry::stderr_is_the_journal() {
                output::note(&telemetry::as_error(&error.to_string()));
            } else {
                drop(error.print());
            }
            return Exit::Usage;
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit,
        Err(error) if error.is_of_a_closed_pipe() => Exit::Ok,
        Err(error) => {
            output::complain(&error);
            error.exit()
        }
    }
}

fn dispatch(cli: Cli) -> Result<Exit, CliError> {
    let config = cli.config;
    match cli.command {
        Command::Run(args) => run::run(&load(&config)?, &args),
        Command::CheckConfig(args) => on_one_thread(check_config::run(&load(&config)?, args.json)),
        Command::Doctor(args) => on_one_thread(doctor::run(&load(&config)?, args.json)),
        Command::Export(args) => on_one_thread(jobs::export(&load(&config)?, &args)),
        Command::Watch(args) => on_one_thread(jobs::watch(&load(&config)?, &args)),
        Command::Status(args) => on_one_thread(status::run(&load(&config)?, args.json)),
        Command::List(args) => on_one_thread(list::run(&load(&config)?, &args)),
        Command::Plan(args) => on_one_thread(plan::run(&load(&config)?, &args)),
        Command::Show(args) => on_one_thread(show::run(&load(&config)?, &args)),
        Command::Pin(args) => on_one_thread(pins::pin(&load(&config)?, &args)),
        Command::Unpin(args) => on_one_thread(pins::unpin(&load(&config)?, &args)),
        Command::Undelete(args) => on_one_thread(undelete::run(&load(&config)?, &args)),
        Command::Ack(args) => on_one_thread(ack::run(&load(&config)?, &args)),
        Command::Backup(args) => on_one_thread(backup::run(&load(&config)?, &args)),
        Command::Rebuild(args) => on_one_thread(rebuild::run(&load(&config)?, &args)),
        Command::Restore(args) => on_one_thread(restore::run(&load(&config)?, &args)),
        Command::Verify(args) => on_one_thread(verify::run(&load(&config)?, &args)),
        Command::Ls(args) => on_one_thread(ls::run(&load(&config)?, &args)),
        Command::Cat(args) => on_one_thread(cat::run(&load(&config)?, &args)),
        Command::Diff(args) => on_one_thread(diff::run(&load(&config)?, &args)),
        Command::Extract(args) => on_one_thread(extract::run(&load(&config)?, &args)),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args),
    }
}

fn load(path: &Path) -> Result<Loaded, CliError> {
    config::load(path).map_err(CliError::Config)
}

/// Commands have little to do at once.
fn on_one_thread<T>(
    command: impl std::future::Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// The daemon downloads, hashes and packs at the same time.
fn on_many_threads<T>(
    work: impl std::future::Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let result = runtime.block_on(work);
    // File work that outlasts the grace ends with the process.
    runtime.shutdown_background();
    result
}
