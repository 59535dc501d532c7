//! `docs/json.md` says what every command answers with `--json`, and nothing else is answered.

use std::collections::{BTreeMap, BTreeSet};

use roma_sim::{ContentSpec, JobState, Knobs};
use serde_json::Value;

use crate::support::binary::{all_commands, printed};
use crate::support::stage::Stage;

/// What a key may hold, as the page says it.
type Kinds = BTreeSet<String>;

/// The tables of the page by the name of their section.
struct Page(BTreeMap<String, BTreeMap<String, Kinds>>);

impl Page {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md");
        let text = std::fs::read_to_string(path).unwrap();
        let sections = text.split("\n## ").skip(1).map(|section| {
            let (title, body) = section.split_once('\n').unwrap();
            let rows = body.lines().filter(|line| line.starts_with("| `"));
            (title.replace('`', ""), rows.flat_map(Self::keys).collect())
        });
        Self(sections.collect())
    }

    fn keys(row: &str) -> Vec<(String, Kinds)> {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, names, kinds, meaning, _] = cells[..] else { panic!("{row}") };
        assert!(!meaning.is_empty(), "{row}");
        let mut kinds: Kinds = kinds.split(" or ").map(str::to_owned).collect();
        if meaning.contains("row of `") || meaning.contains("rows of `") {
            kinds.insert("row".to_owned());
        }
        names.split(", ").map(|name| (name.replace('`', ""), kinds.clone())).collect()
    }

    /// What of `answer` is not on the page, with its kind, and what of the page is not at its top.
    fn compare(&self, title: &str, answer: &Value) -> BTreeSet<String> {
        let keys = self.0.get(title).unwrap_or_else(|| panic!("no section `{title}`"));
        let mut found = BTreeSet::new();
        let given = answer.as_object().unwrap();
        let at_the_top = keys.keys().filter(|key| !key.contains(['[', '.']));
        for key in at_the_top.filter(|key| !given.contains_key(*key)) {
            found.insert(format!("{title}: `{key}` is not in the answer"));
        }
        assert_eq!(answer["schema_version"], 1, "{title}");
        for (key, value) in given.iter().filter(|(key, _)| *key != "schema_version") {
            Self::look(keys, key, value, &mut |what| {
                found.insert(format!("{title}: `{what}"));
            });
        }
        found
    }

    fn look(
        keys: &BTreeMap<String, Kinds>,
        path: &str,
        value: &Value,
        tell: &mut dyn FnMut(String),
    ) {
        let Some(kinds) = keys.get(path) else {
            return tell(format!("{path}` is not described"));
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !kinds.contains(kind) {
            tell(format!("{path}` is {kind}"));
        }
        if kinds.contains("row") {
            return;
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            Self::look(keys, &format!("{path}.{key}"), value, tell);
        }
        for element in value.as_array().into_iter().flatten() {
            for (key, value) in element.as_object().into_iter().flatten() {
                Self::look(keys, &format!("{path}[].{key}"), value, tell);
            }
        }
    }
}

/// A life with a bit of everything, and a page to compare it with.
struct Life {
    stage: Stage,
    page: Page,
    compared: BTreeSet<String>,
    findings: BTreeSet<String>,
}

impl Life {
    fn answer(&self, arguments: &[&str]) -> Value {
        let output = self.stage.command(arguments).arg("--json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}{said}"))
    }

    fn compare(&mut self, title: &str, arguments: &[&str]) -> Value {
        let answer = self.answer(arguments);
        self.findings.append(&mut self.page.compare(title, &answer));
        self.compared.insert(title.to_owned());
        answer
    }

    fn job(&self, state: JobState) -> String {
        self.stage.create(state, ContentSpec::Assets).job_id
    }
}

/// The newest adopted package stays, the others go to the trash.
const RETENTION: &str = "[retention]\nkeep_last = 1\ntrash = \"7d\"\n";

#[test]
fn every_answer_is_what_the_page_says() {
    let stage = Stage::new(Knobs::default(), RETENTION);
    let mut life =
        Life { stage, page: Page::read(), compared: BTreeSet::new(), findings: BTreeSet::new() };
    life.compare("check-config", &["check-config"]);
    life.compare("doctor", &["doctor"]);
    let (first, second) = (life.job(JobState::Ready), life.job(JobState::Ready));
    let lost = life.job(JobState::Finished);
    life.compare("watch", &["watch", "prod", &first]);
    life.compare("export", &["export", "nightly"]);
    life.compare("status", &["status"]);
    life.stage.settle().unwrap();
    life.compare("watch", &["watch", "prod", &second, &lost]);
    life.stage.settle().unwrap();
    life.stage.settle().unwrap();

    let status = life.compare("status", &["status"]);
    assert_eq!(status["well"], false, "{status}");
    let lost = status["unsettled_losses"][0]["id"].as_i64().unwrap();
    life.compare("list", &["list"]);
    life.compare("show of an archive", &["show", "a1"]);
    life.compare("show of a snapshot", &["show", "s1"]);
    let file = life.stage.scratch().join("package");
    life.compare("extract", &["extract", "a1", "--output", file.to_str().unwrap()]);
    life.compare("plan", &["plan"]);
    life.compare("verify", &["verify", "--all"]);
    life.compare("ls", &["ls", "a1"]);
    life.compare("undelete", &["undelete", "s1"]);
    life.compare("pin", &["pin", "s1", "--reason", "audit"]);
    life.compare("pin", &["pin", "s1", "--reason", "longer"]);
    life.compare("unpin", &["unpin", "s1", "--name", "manual"]);
    life.compare("restore", &["restore", "s1", "--instance", "prod", "--into-source"]);
    life.compare("ack", &["ack", &format!("a{lost}")]);
    life.compare("diff", &["diff", "s1", "s2"]);
    life.compare("diff", &["diff", "s1", "s3", "--all"]);
    let backups = life.stage.scratch().join("backups");
    std::fs::create_dir(&backups).unwrap();
    life.compare("backup", &["backup", backups.to_str().unwrap()]);

    let path = life.stage.state.join("vault");
    let stored = life.stage.column("SELECT path FROM archives WHERE id = 1");
    std::fs::write(path.join(&stored[0]), "something else").unwrap();
    std::fs::write(path.join("foreign"), "not ours").unwrap();
    let found = life.compare("verify", &["verify", "--all"]);
    assert_eq!(found["damaged"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["quarantined"].as_array().unwrap().len(), 1, "{found}");
    std::fs::write(path.join("foreign"), "not ours either").unwrap();
    let rebuilt = life.compare("rebuild", &["rebuild", "--force"]);
    assert_eq!(rebuilt["left"].as_array().unwrap().len(), 2, "{rebuilt}");
    assert!(life.findings.is_empty(), "{:#?}", life.findings);
    let missing: Vec<_> =
        life.page.0.keys().filter(|title| !life.compared.contains(*title)).collect();
    assert!(missing.is_empty(), "described, and not tried: {missing:?}");
}

/// Whoever gives a command `--json` describes it.
#[test]
fn every_command_with_json_is_described() {
    let page = Page::read();
    for name in all_commands() {
        let described = page.0.keys().any(|title| title.split(' ').next() == Some(&name));
        let has_json = printed(&[&name, "-h"]).contains("--json");
        assert_eq!(described, has_json, "{name}");
    }
}
