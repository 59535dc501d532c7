//! Colour and bars: for terminals only, and for nobody who does not want them.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use roma_sim::{ContentSpec, JobState, Knobs};

use crate::support::binary;
use crate::support::stage::Stage;

fn stage_with_an_archive() -> Stage {
    let mut stage = Stage::new(Knobs::default(), "");
    let job = stage.create(JobState::Ready, ContentSpec::Random { bytes: 300_000 }).job_id;
    stage.watch(vec![job]).unwrap();
    stage.settle().unwrap();
    stage
}

fn said(stage: &Stage, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = binary::command(&stage.config, arguments);
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM"] {
        command.env_remove(variable);
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.code().is_some(), "{:?}", output.status.signal());
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

const ESCAPE: char = '\u{1b}';

#[test]
fn what_is_not_a_terminal_gets_neither_colour_nor_a_bar() {
    let stage = stage_with_an_archive();
    let file = stage.state.join("package");
    let file = file.to_str().unwrap();
    let extract = ["extract", "a1", "-o", file];
    for arguments in [&["list"][..], &["status"], &["verify", "--all"], &extract] {
        let said = said(&stage, arguments, &[("TERM", "xterm-256color")]);
        assert!(!said.contains(ESCAPE) && !said.contains('\r'), "{arguments:?}: {said:?}");
    }
}

#[test]
fn states_are_coloured_where_that_is_wanted() {
    let stage = stage_with_an_archive();
    let forced = [("CLICOLOR_FORCE", "1"), ("TERM", "xterm-256color")];
    let coloured = said(&stage, &["list"], &forced);
    assert!(coloured.contains("\u{1b}[38;5;10mstored\u{1b}"), "{coloured:?}");
    let well = said(&stage, &["status"], &forced);
    assert!(well.contains("\u{1b}[1m\u{1b}[32mall is well\u{1b}"), "{well:?}");
    let wrong = said(&stage, &["show", "a99"], &forced);
    assert!(wrong.starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m there is no a99"), "{wrong:?}");
    for line in coloured.lines().chain(well.lines()) {
        assert_eq!(line.trim_end(), line, "no line ends in blanks");
    }
    let plain = said(&stage, &["list"], &[("NO_COLOR", "1"), ("TERM", "xterm-256color")]);
    assert!(!plain.contains(ESCAPE), "{plain:?}");
}

/// `status | head -1` must not turn what is not well into what is.
#[test]
fn who_reads_no_further_changes_neither_what_is_done_nor_how_it_ends() {
    let stage = stage_with_an_archive();
    let stored = stage.state.join("vault").join(&stage.column("SELECT path FROM archives")[0]);
    std::fs::write(stored, "something else").unwrap();
    let code = |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = child.wait_with_output().unwrap();
        (said.status.code(), String::from_utf8(said.stderr).unwrap())
    };
    assert_eq!(code(&["verify", "--all"]), (Some(1), String::new()));
    assert_eq!(code(&["status"]), (Some(1), String::new()));
    assert_eq!(code(&["list"]), (Some(0), String::new()));
    assert_eq!(code(&["man"]), (Some(0), String::new()));
}

/// `script` gives the command a terminal.
#[test]
fn a_terminal_shows_a_bar_that_is_gone_at_the_end() {
    let stage = stage_with_an_archive();
    let program = env!("CARGO_BIN_EXE_roma-archived");
    let verify = format!("{program} --config {} verify --all", stage.config.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &verify, "/dev/null"]);
    let output = command.env("TERM", "xterm").env_remove("NO_COLOR").output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("reading"), "{shown:?}");
    let (_, after) = shown.rsplit_once("\u{1b}[2K").expect("the bar's line is cleared");
    assert_eq!(after.trim_start_matches('\r').trim_end(), last_line(&stage), "{shown:?}");
}

fn last_line(stage: &Stage) -> String {
    said(stage, &["verify", "--all"], &[]).trim_end().to_owned()
}
