//! `ls` and `cat` of the real binary on packages that real runs have stored: what a person sees of
//! what is inside them, and what becomes of packages that were made to do harm.

use std::io::{Cursor, Write};

use roma_sim::{ContentSpec, JobState, Knobs};
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::stage::Stage;

/// How a command ended, with all that it said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn say(stage: &Stage, arguments: &[&str]) -> Said {
    let output = stage.command(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// The same, its answer as JSON.
pub(crate) fn json(stage: &Stage, arguments: &[&str]) -> Value {
    let said = say(stage, arguments);
    assert_eq!(said.code, 0, "{}", said.err);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["schema_version"], 1);
    answer
}

/// A zip as ROMA might send it.
pub(crate) fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Packages of these contents, stored by a real run as a1, a2 and so on.
pub(crate) fn stored(contents: Vec<ContentSpec>) -> Stage {
    let mut stage = Stage::new(Knobs::default(), "min_free_space = \"1MiB\"\n");
    for content in contents {
        let job = stage.create(JobState::Ready, content).job_id;
        stage.watch(vec![job]).unwrap();
    }
    stage.settle().unwrap();
    stage
}

fn package(entries: &[(&str, &[u8])]) -> ContentSpec {
    ContentSpec::Raw(zip_of(entries))
}

#[test]
fn ls_shows_entries_and_assets() {
    let application = br#"{"id":"a-1","name":"crm","apis":[{"id":"p-1","name":"orders"}]}"#;
    let task = br#"{"task_id":"t-1","task_name":"sync"}"#;
    let stage = stored(vec![package(&[
        ("apps/a-1.json", application),
        ("tasks/t-1.json", task),
        ("notes\x1b[2J.txt", b"remember the milk"),
    ])]);
    for id in ["a1", "s1"] {
        let said = say(&stage, &["ls", id]);
        assert_eq!(said.code, 0, "{}", said.err);
        let lines: Vec<&str> = said.out.lines().collect();
        let words: Vec<Vec<&str>> =
            lines.iter().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["ENTRY", "SIZE", "PACKED", "MODIFIED", "CRC32", "KIND"]);
        let length = application.len().to_string();
        assert_eq!(words[1][..3], ["apps/a-1.json", length.as_str(), "B"]);
        assert_eq!(words[3][0], "notes\u{fffd}[2J.txt", "nothing steers the terminal");
        let expected = ["", "1 application: crm", "1 API: orders", "1 task: sync"];
        assert_eq!(lines[4..], expected);
    }
    let answer = json(&stage, &["ls", "a1", "--json"]);
    let package = &answer["packages"][0];
    assert_eq!((&package["archive_id"], &package["flaw"]), (&1.into(), &Value::Null));
    let entry = serde_json::json!({
        "name": "notes\u{1b}[2J.txt", "bytes": 17, "packed_bytes": 19, "crc32": "7fc8c3d5",
        "modified": "1980-01-01 00:00:00", "method": "deflate", "kind": "file",
    });
    let mut shown = package["entries"][2].clone();
    // How well a zip packs is not ours to promise.
    shown["packed_bytes"] = 19.into();
    shown["crc32"] = "7fc8c3d5".into();
    assert_eq!(shown, entry);
    let counts = serde_json::json!({"applications": 1, "apis": 1, "tasks": 1});
    assert_eq!(answer["counts"], counts);
    let api = serde_json::json!(
        {"kind": "api", "id": "p-1", "name": "orders", "application": "crm"}
    );
    assert_eq!(answer["assets"][1], api);
}

#[test]
fn every_kind_of_package_can_be_looked_into() {
    let bare = br#"{"apps":[{"id":"a-1","name":"crm"}],"tasks":[{"task_id":"t-1"}]}"#;
    let stage = stored(vec![
        ContentSpec::Raw(bare.to_vec()),
        ContentSpec::Random { bytes: 3_000 },
        ContentSpec::Assets,
        ContentSpec::Zip { bytes: 40_000 },
    ]);
    let entries = |id: &str| {
        let answer = json(&stage, &["ls", id, "--json"]);
        let entries = answer["packages"][0]["entries"].as_array().unwrap().clone();
        (entries, answer["counts"].clone())
    };
    let (document, counts) = entries("a1");
    assert_eq!(document[0]["name"], "package.json");
    assert_eq!(counts, serde_json::json!({"applications": 1, "apis": 0, "tasks": 1}));
    assert_eq!(say(&stage, &["cat", "a1", "package.json"]).out.as_bytes(), bare);
    assert_eq!(entries("a2").0[0]["name"], "package.bin");
    let said = say(&stage, &["ls", "a2"]);
    assert!(said.out.ends_with("\nno assets were recognised in it\n"), "{}", said.out);
    let (assets, counts) = entries("a3");
    assert_eq!(assets[0]["name"], "manifest.json");
    // One file for each but the manifest.
    let files = counts["applications"].as_u64().unwrap() + counts["tasks"].as_u64().unwrap();
    assert_eq!(files + 1, assets.len() as u64);
    assert!(counts["apis"].as_u64().unwrap() > 0);
    // Everything that `ls` names, `cat` gives, with the length and the bytes of the package.
    let target = stage.scratch().join("a3.zip");
    assert_eq!(say(&stage, &["extract", "a3", "-o", target.to_str().unwrap()]).code, 0);
    let mut zip = zip::ZipArchive::new(std::fs::File::open(target).unwrap()).unwrap();
    for entry in assets.iter().take(3) {
        let name = entry["name"].as_str().unwrap();
        let output = stage.command(&["cat", "a3", name]).output().unwrap();
        let mut expected = Vec::new();
        std::io::copy(&mut zip.by_name(name).unwrap(), &mut expected).unwrap();
        assert_eq!(output.stdout, expected, "{name}");
        assert_eq!(entry["bytes"], expected.len() as u64);
    }
}

#[test]
fn what_is_not_there_is_said_with_the_way_out() {
    let stage = stored(vec![package(&[("apps/crm.json", b"{}"), ("apps/erp.json", b"{}")])]);
    for (arguments, code, parts) in [
        (
            &["cat", "a1", "apps/crn.json"][..],
            65,
            &["did you mean `apps/crm.json`?", "`roma-archived ls a1` lists them"][..],
        ),
        (&["cat", "a1", "../../../etc/passwd"], 65, &["has no entry `../../../etc/passwd`"]),
        (&["cat", "a9", "x"], 65, &["there is no a9 in the catalog"]),
        (&["ls", "s9"], 65, &["there is no s9 in the catalog"]),
        (&["ls", "x"], 64, &["write s12 for a snapshot or a34 for an archive"]),
        (&["cat", "a1"], 64, &["<ENTRY>"]),
    ] {
        let said = say(&stage, arguments);
        assert_eq!(said.code, code, "{arguments:?} {}", said.err);
        for part in parts {
            assert!(said.err.contains(part), "{arguments:?} {part:?} {}", said.err);
        }
        assert_eq!(said.out, "");
    }
}

#[test]
fn a_package_that_was_made_to_do_harm_does_none() {
    let twice = {
        let mut zip = zip_of(&[("one", b"1"), ("two", b"2")]);
        while let Some(at) = zip.windows(3).position(|window| window == b"two") {
            zip[at..at + 3].copy_from_slice(b"one");
        }
        zip
    };
    let encrypted = {
        let mut zip = zip_of(&[("locked.json", b"{}")]);
        let central = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        (zip[6], zip[central + 8]) = (1, 1);
        zip
    };
    let nested = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let stage = stored(vec![
        ContentSpec::Raw(twice.clone()),
        ContentSpec::Raw(encrypted),
        package(&[("../../evil.json", b"{\"apps\":[{\"id\":\"1\"}]}"), ("/abs", b"x")]),
        package(&[("deep.json", &nested), ("twice.json", b"{\"a\":1,\"a\":2}")]),
    ]);
    let said = say(&stage, &["ls", "a1"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("begins like a zip and cannot be read as one"), "{}", said.err);
    let output = stage.command(&["cat", "a1", "package.zip"]).output().unwrap();
    assert_eq!(output.stdout, twice, "its bytes are there all the same");

    let said = say(&stage, &["ls", "a2"]);
    assert!(said.out.contains("encrypted"), "{}", said.out);
    let said = say(&stage, &["cat", "a2", "locked.json"]);
    assert_eq!((said.code, said.out.as_str()), (65, ""));
    assert!(said.err.contains("cannot read `locked.json` of a2: it is encrypted"), "{}", said.err);

    let said = say(&stage, &["ls", "a3"]);
    assert!(said.out.contains("../../evil.json") && said.out.contains("1 application: 1"));
    assert_eq!(say(&stage, &["cat", "a3", "/abs"]).out, "x");
    assert!(!stage.scratch().parent().unwrap().join("evil.json").exists());

    let answer = json(&stage, &["ls", "a4", "--json"]);
    let unseen: Vec<&str> = answer["not_looked_into"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["entry"].as_str().unwrap())
        .collect();
    assert_eq!(unseen, ["deep.json", "twice.json"]);
}

/// `script` gives the command a terminal.
#[test]
fn a_terminal_gets_text_that_cannot_steer_it() {
    let stage = stored(vec![package(&[
        ("text", "\u{1b}[2Jh\u{e4}\u{202e}".as_bytes()),
        ("bytes", b"\0\x01\x02"),
    ])]);
    let on_a_terminal = |entry: &str| {
        let program = env!("CARGO_BIN_EXE_roma-archived");
        let cat = format!("{program} --config {} cat a1 {entry}", stage.config.display());
        let mut command = std::process::Command::new("script");
        command.args(["--quiet", "--return", "--command", &cat, "/dev/null"]);
        let output = command.env("TERM", "xterm").env("NO_COLOR", "1").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let shown = "\u{fffd}[2Jh\u{e4}\u{fffd}".to_owned();
    assert_eq!(on_a_terminal("text"), (Some(0), shown));
    let (code, said) = on_a_terminal("bytes");
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("`bytes` is no text, which does not belong on a terminal"), "{said}");
    // Whoever sends it elsewhere gets all of it.
    assert_eq!(stage.command(&["cat", "a1", "bytes"]).output().unwrap().stdout, b"\0\x01\x02");
}

#[test]
fn a_damaged_file_is_not_looked_into() {
    let stage = stored(vec![ContentSpec::Random { bytes: 5_000 }]);
    let path = stage.state.join("vault").join(&stage.column("SELECT path FROM archives")[0]);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for arguments in [&["ls", "a1"][..], &["cat", "a1", "package.bin"]] {
        let said = say(&stage, arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{}", said.err);
        assert!(said.err.starts_with("error: cannot look into a1: "), "{}", said.err);
    }
}
