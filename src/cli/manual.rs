//! `man` and `completions`: written from the same definition as the help, so that none of the three
//! can say something else. Nothing here needs a configuration.

use std::io::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::error::CliError;
use super::files;
use crate::exit::Exit;

const PROGRAM: &str = "roma-archived";

/// What lies where on a machine that the package was installed on.
const FILES: [(&str, &str); 5] = [
    ("/etc/roma-archived/config.toml", "the configuration; every key is explained in it"),
    ("/etc/credstore/", "secrets that the unit hands to the daemon, for root only"),
    ("/var/lib/roma-archived/catalog.db", "the catalog: SQLite, for everybody in the group"),
    ("/var/lib/roma-archived/vault/", "the stored packages, each a plain zip"),
    ("/usr/share/doc/roma-archived/", "how to run it, and every view and column of the catalog"),
];

const ENVIRONMENT: [(&str, &str); 6] = [
    ("ROMA_ARCHIVED_CONFIG", "the configuration, where --config does not name one"),
    (
        "ROMA_ARCHIVED__SECTION__KEY",
        "overrides a key of the configuration that is not inside [[account]], [[instance]] or \
         [[export]], for instance ROMA_ARCHIVED__LIMITS__DOWNLOADS=4",
    ),
    ("CREDENTIALS_DIRECTORY", "where `credential:NAME` is looked for; systemd sets it"),
    ("NO_COLOR, CLICOLOR=0", "nothing is coloured, on a terminal as elsewhere"),
    ("CLICOLOR_FORCE=1", "colours although there is no terminal"),
    ("RUST_LOG", "what is logged, for instance roma_archived=debug"),
];

const EXAMPLES: [(&str, &str); 5] = [
    ("roma-archived check-config", "before the daemon starts first, and after each change"),
    (
        "systemd-run --pipe --wait -p User=roma-archived -p LoadCredential=roma-password \
         roma-archived doctor",
        "tries all that a backup needs, with the secret that the unit has",
    ),
    ("roma-archived status", "for monitoring: 0 if all is well, 1 if not"),
    ("roma-archived extract a34 -o package.zip", "a package as ROMA sent it"),
    (
        "sqlite3 -readonly /var/lib/roma-archived/catalog.db 'select * from exports'",
        "the catalog is the interface",
    ),
];

pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, CliError> {
    let script = match args.shell {
        Shell::Bash => bash_script(),
        shell => script(shell, PROGRAM),
    };
    print(&script)?;
    Ok(Exit::Ok)
}

fn script(shell: Shell, name: &str) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), name, &mut script);
    script
}

/// The library's script loses its way behind a hyphen in the program's name (clap issue 6421), so
/// it is made for a name without one; only its last lines say for which program it is.
fn bash_script() -> Vec<u8> {
    let plain = PROGRAM.replace('-', "_");
    let script = String::from_utf8_lossy(&script(Shell::Bash, &plain)).into_owned();
    script.replace(&format!(" {plain}\n"), &format!(" {PROGRAM}\n")).into_bytes()
}

pub(super) fn man(args: &ManArgs) -> Result<Exit, CliError> {
    let program = definition();
    match (&args.dir, &args.of) {
        (Some(dir), _) => write_all(&program, dir)?,
        (None, None) => print(&page(&program)?)?,
        (None, Some(name)) => match program.find_subcommand(name) {
            Some(command) => print(&page(command)?)?,
            None => return Err(unknown(&program, name)),
        },
    }
    Ok(Exit::Ok)
}

/// The command line with the names that its parts have in manual pages: `roma-archived-list`.
fn definition() -> Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

fn unknown(program: &Command, name: &str) -> CliError {
    let known: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
    let near = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    let hint = near.map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
    CliError::Usage(format!("there is no command `{name}`{hint} There are: {}", known.join(", ")))
}

fn print(page: &[u8]) -> Result<(), CliError> {
    std::io::stdout().write_all(page).map_err(CliError::Output)
}

fn write_all(program: &Command, dir: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(dir).map_err(files::failed(dir))?;
    for command in std::iter::once(program).chain(program.get_subcommands()) {
        let path = dir.join(format!("{}.1", page_name(command)));
        std::fs::write(&path, page(command)?).map_err(files::failed(&path))?;
    }
    Ok(())
}

fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

fn page(command: &Command) -> Result<Vec<u8>, CliError> {
    let whole = command.get_name() == PROGRAM;
    // Without a date: the same program gives the same page.
    let man = Man::new(command.clone())
        .title(page_name(command))
        .section("1")
        .source(format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")))
        .manual("ROMA Connect archives");
    // The library's own line leaves out what options take.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut page = Vec::new();
    write_sections(&man, usage, whole, &mut page).map_err(CliError::Output)?;
    Ok(page)
}

fn write_sections(man: &Man, usage: &str, whole: bool, page: &mut Vec<u8>) -> std::io::Result<()> {
    man.render_title(page)?;
    // Commands and paths are to be copied: none of them is hyphenated at the end of a line.
    let mut plain = Roff::default();
    plain.control("nh", []).to_writer(page)?;
    man.render_name_section(page)?;
    let mut synopsis = Roff::default();
    synopsis.control("SH", ["SYNOPSIS"]).text([roman(usage)]).to_writer(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if whole {
        man.render_subcommands_section(page)?;
    }
    let codes = Exit::ALL.map(|exit| ((exit as u8).to_string(), exit.meaning()));
    list("EXIT STATUS", codes.iter().map(|(code, meaning)| (code.as_str(), *meaning)))
        .to_writer(page)?;
    if !whole {
        return see_also("roma-archived(1)").to_writer(page);
    }
    list("ENVIRONMENT", ENVIRONMENT).to_writer(page)?;
    list("FILES", FILES).to_writer(page)?;
    list("EXAMPLES", EXAMPLES).to_writer(page)?;
    see_also("sqlite3(1), unzip(1), journalctl(1), systemd.exec(5)").to_writer(page)
}

fn list<'a>(title: &str, items: impl IntoIterator<Item = (&'a str, &'a str)>) -> Roff {
    let mut roff = Roff::default();
    roff.control("SH", [title]);
    for (term, meaning) in items {
        roff.control("TP", []);
        roff.text([bold(term)]);
        roff.text([roman(meaning)]);
    }
    roff
}

fn see_also(pages: &str) -> Roff {
    let mut roff = Roff::default();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(pages)]);
    roff
}
