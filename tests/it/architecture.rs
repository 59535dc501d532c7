//! Holds the source to the rules of `ARCHITECTURE.md`: who may name whom, how long a file may be,
//! and that the map names every module.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::Source;

const PURE: [&str; 7] =
    ["model", "lifecycle", "schedule", "retention", "contents", "settings", "health"];

/// Every module and what it may name. A new arrow is a change of its own: here and in
/// `ARCHITECTURE.md`.
const MAY_NAME: [(&str, &[&str]); 17] = [
    ("model", &[]),
    ("lifecycle", &["model"]),
    ("schedule", &["model"]),
    ("retention", &["model", "lifecycle"]),
    ("contents", &[]),
    ("settings", &["model", "lifecycle", "schedule", "retention"]),
    ("health", &["model", "lifecycle"]),
    ("config", &["model", "lifecycle", "schedule", "retention", "settings"]),
    ("clock", &["model"]),
    ("roma", &["model", "lifecycle", "settings"]),
    ("vault", &["model", "settings"]),
    ("catalog", &["model", "lifecycle", "health", "clock"]),
    (
        "engine",
        &[
            "model",
            "lifecycle",
            "schedule",
            "retention",
            "settings",
            "health",
            "clock",
            "roma",
            "vault",
            "catalog",
        ],
    ),
    (
        "service",
        &[
            "model",
            "lifecycle",
            "schedule",
            "retention",
            "settings",
            "health",
            "config",
            "clock",
            "roma",
            "vault",
            "catalog",
            "engine",
        ],
    ),
    ("telemetry", &[]),
    ("exit", &[]),
    (
        "cli",
        &[
            "model",
            "lifecycle",
            "schedule",
            "retention",
            "contents",
            "settings",
            "health",
            "config",
            "clock",
            "roma",
            "vault",
            "catalog",
            "engine",
            "service",
            "telemetry",
            "exit",
        ],
    ),
];

/// All files of the product, without those that only tests see.
fn product() -> Vec<Source> {
    let all = Source::all("src");
    let for_tests: BTreeSet<String> =
        all.iter().filter(|file| file.is_for_tests(&all)).map(|file| file.path.clone()).collect();
    all.into_iter().filter(|file| !for_tests.contains(&file.path)).collect()
}

/// Every file anybody wrote.
fn everything() -> Vec<Source> {
    ["src", "sim", "tests", "benches"].into_iter().flat_map(Source::all).collect()
}

fn assert_none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

/// The modules at the root and whom they name.
fn arrows(files: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        if let Some(module) = file.modules().first() {
            let named = file.named_in_crate().into_iter().filter(|name| name != module);
            arrows.entry((*module).to_owned()).or_default().extend(named);
        }
    }
    arrows
}

/// A round trip through the arrows, if there is one: modules are taken away as long as one of them
/// names nothing that is left.
fn cycle(mut arrows: BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    loop {
        let free = arrows.iter().find(|(_, named)| !named.iter().any(|n| arrows.contains_key(n)));
        match free.map(|(module, _)| module.clone()) {
            Some(module) => arrows.remove(&module),
            None if arrows.is_empty() => return None,
            None => return Some(arrows.into_keys().collect()),
        };
    }
}

#[test]
fn modules_depend_in_one_direction() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_NAME.into_iter().collect();
    let found = arrows(&product());
    let mut offences = Vec::new();
    for (module, named) in &found {
        println!("{module} -> {}", named.iter().cloned().collect::<Vec<_>>().join(", "));
        let Some(allowed) = allowed.get(module.as_str()) else {
            offences.push(format!("{module} is not in the table"));
            continue;
        };
        let forbidden = named.iter().filter(|name| !allowed.contains(&name.as_str()));
        offences.extend(forbidden.map(|name| format!("{module} -> {name}")));
    }
    assert_none(&offences, "these arrows are not in the table");
    assert_eq!(cycle(found), None, "the modules go round in a circle");
    let table = MAY_NAME.into_iter().map(|(module, named)| {
        (module.to_owned(), named.iter().map(|name| (*name).to_owned()).collect())
    });
    assert_eq!(cycle(table.collect()), None, "the table goes round in a circle");
}

#[test]
fn circles_are_found() {
    let arrows = |pairs: &[(&str, &str)]| {
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            arrows.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            arrows.entry((*to).to_owned()).or_default();
        }
        arrows
    };
    assert_eq!(cycle(arrows(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let round = cycle(arrows(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]));
    assert_eq!(round.unwrap(), ["a", "b", "c"]);
}

#[test]
fn the_pure_modules_touch_nothing() {
    let mut offences = Vec::new();
    for file in product() {
        if !file.modules().first().is_some_and(|module| PURE.contains(module)) {
            continue;
        }
        for name in ["tokio", "sqlx", "reqwest", "tracing"] {
            if file.names(name) {
                offences.push(format!("{} names {name}", file.path));
            }
        }
        for name in file.named_below("std::") {
            if ["fs", "net", "env"].contains(&name.as_str()) {
                offences.push(format!("{} names std::{name}", file.path));
            }
        }
        if file.product.contains("::now(") {
            offences.push(format!("{} asks for the time", file.path));
        }
    }
    assert_none(&offences, "pure modules know no file, network, environment or clock");
}

#[test]
fn the_product_and_the_simulator_do_not_know_each_other() {
    let of_product = product()
        .into_iter()
        .filter(|file| !file.path.starts_with("src/cli/demo") && file.names("roma_sim"));
    let of_simulator = Source::all("sim").into_iter().filter(|file| file.names("roma_archived"));
    let offences: Vec<String> = of_product.chain(of_simulator).map(|file| file.path).collect();
    assert_none(&offences, "only the demo brings the two together");
}

#[test]
fn the_entry_knows_only_the_command_line() {
    let mut offences = Vec::new();
    for file in product() {
        let named = file.named_below("roma_archived::");
        let is_entry = file.path == "src/main.rs";
        let strangers = named.into_iter().filter(|name| !is_entry || name != "cli");
        offences.extend(strangers.map(|name| format!("{} names {name}", file.path)));
    }
    assert_none(&offences, "`main` calls `cli`, and nobody else is a guest in the own crate");
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut offences = Vec::new();
    let files = everything();
    for file in &files {
        let path = &file.path;
        for (number, line) in (1..).zip(file.text.lines()) {
            if line.chars().count() > 100 {
                offences.push(format!("{path}:{number} is wider than 100 columns"));
            }
        }
        // Such a file continues the one it tests.
        if !path.ends_with("_tests.rs") && !file.text.starts_with("//! ") {
            offences.push(format!("{path} does not open with `//!`"));
        }
        let is_product = path.starts_with("src/") || path.starts_with("sim/src/");
        if is_product && file.product_lines > 400 && !file.is_for_tests(&files) {
            offences.push(format!("{path} has {} lines without tests", file.product_lines));
        }
    }
    assert_none(&offences, "budgets");
}

#[test]
fn nothing_is_ignored_or_left_to_do() {
    let mut offences = Vec::new();
    for file in everything() {
        for bad in ["#[ignore", "todo!"] {
            if file.code.contains(bad) {
                offences.push(format!("{} has {bad}", file.path));
            }
        }
    }
    assert_none(&offences, "a test runs or is deleted, and code is written or left out");
}

#[test]
fn every_file_is_part_of_the_program() {
    let mut offences = Vec::new();
    for folder in ["src", "sim/src", "tests/it"] {
        let files = Source::all(folder);
        for file in &files {
            let name = file.path.rsplit('/').next().unwrap();
            if ["lib.rs", "main.rs"].contains(&name) {
                continue;
            }
            let module = file.modules().last().map(|module| format!("mod {module};")).unwrap();
            let by_path = format!("#[path = \"{name}\"]");
            let is_declared = files
                .iter()
                .any(|other| other.code.contains(&module) || other.text.contains(&by_path));
            if !is_declared {
                offences.push(file.path.clone());
            }
        }
    }
    assert_none(&offences, "no module declares these files");
}

#[test]
fn the_map_names_every_module() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let map = std::fs::read_to_string(path).expect("ARCHITECTURE.md is missing");
    let modules: BTreeSet<String> = product()
        .iter()
        .filter_map(|file| file.modules().first().map(|module| (*module).to_owned()))
        .collect();
    let unnamed: Vec<String> = modules
        .into_iter()
        .filter(|module| {
            // `retention`, `retention.rs`, `retention/plan.rs` or with `src/` before.
            !map.split('`').skip(1).step_by(2).any(|word| {
                let word = word.strip_prefix("src/").unwrap_or(word);
                word.split(['.', '/', ':']).next() == Some(module)
            })
        })
        .collect();
    assert_none(&unnamed, "ARCHITECTURE.md does not name these modules");
}
