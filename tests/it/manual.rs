//! Help, manual pages and completions come from one definition.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::binary::{self, all_commands, printed};

fn run(arguments: &[&str]) -> Output {
    binary::command(Path::new("/nonexistent"), arguments).output().unwrap()
}

fn long_options(help: &str) -> Vec<&str> {
    let word = |line: &'_ str| {
        let at = line.find("--")?;
        let end = line[at..].find([' ', '\n', ',']).map_or(line.len(), |end| at + end);
        line[..at].trim_start().len().le(&4).then_some((at, end))
    };
    help.lines().filter_map(|line| word(line).map(|(at, end)| &line[at..end])).collect()
}

#[test]
fn every_command_has_a_page_with_all_of_its_options() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("new/man1");
    printed(&["man", "--dir", dir.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(dir.join(format!("{name}.1"))).unwrap();
    for command in all_commands() {
        let (page, help) = (page(&format!("roma-archived-{command}")), printed(&[&command, "-h"]));
        assert!(page.contains(".SH NAME") && page.contains(".SH \"SEE ALSO\""), "{page}");
        assert_eq!(page, printed(&["man", &command]));
        for option in long_options(&help) {
            let written = option.replace('-', "\\-");
            assert!(page.contains(&written), "{command}: {option} is not in\n{page}");
        }
    }
    let pages = std::fs::read_dir(&dir).unwrap().count();
    assert_eq!(pages, all_commands().len() + 1, "one page each, and one of the program");
    assert_eq!(page("roma-archived"), printed(&["man"]));
}

#[test]
fn the_page_of_the_program_says_what_exit_codes_mean() {
    let page = printed(&["man"]);
    let long = printed(&["--help"]);
    for code in ["0", "1", "64", "65", "69", "70", "73", "74", "75", "77", "78"] {
        assert!(page.contains(&format!("\n\\fB{code}\\fR\n")), "{code} is not in\n{page}");
        assert!(long.contains(&format!("\n  {code:>2}  ")), "{code} is not in\n{long}");
    }
    for command in all_commands() {
        let named = format!("roma\\-archived\\-{}(1)", command.replace('-', "\\-"));
        assert!(page.contains(&named), "{named} is not in\n{page}");
    }
}

#[test]
fn an_unknown_page_is_refused_with_a_hint() {
    let output = run(&["man", "extrakt"]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("did you mean `extract`"), "{said}");
    let unwritable = run(&["man", "--dir", "/proc/nowhere"]);
    assert_eq!(unwritable.status.code(), Some(73), "{unwritable:?}");
}

#[test]
fn every_shell_gets_a_script_with_all_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for command in all_commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        assert!(script.contains("into-source"), "{shell}: options of commands");
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(64));
}

/// Asked for by a shell as a person's would ask.
#[test]
fn bash_completes_commands_and_options() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, printed(&["completions", "bash"])).unwrap();
    assert_eq!(completed(&script, &["roma-archived", "ext"]), ["extract"]);
    assert_eq!(completed(&script, &["roma-archived", "undelete", "--js"]), ["--json"]);
}

fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    let ask = format!(
        "source {}; COMP_WORDS=({}); COMP_CWORD={}; \
         function=$(complete -p roma-archived | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
         $function roma-archived {} {}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
