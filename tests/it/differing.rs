//! `diff` of the real binary: what it says of packages that real runs have stored, in words and as
//! JSON, without any secret.

use roma_sim::{ContentSpec, Knobs};
use serde_json::{Value, json};

use crate::inside::{Said, json, say, stored, zip_of};
use crate::support::stage::Stage;

fn package(entries: &[(&str, &str)]) -> ContentSpec {
    let entries: Vec<(&str, &[u8])> =
        entries.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    ContentSpec::Raw(zip_of(&entries))
}

fn lines(said: &Said) -> Vec<&str> {
    assert_eq!(said.code, 0, "{}", said.err);
    said.out.lines().collect()
}

const CRM: &str = r#"{"id":"a1","name":"crm","revision":3,"apis":[
    {"id":"p1","name":"orders","timeout":5000,"backend":{"url":"https://u:first-secret@b/v1"}},
    {"id":"p2","name":"parts"}],"db":{"password":"second-secret","host":"h1"}}"#;
const CRM_LATER: &str = r#"{"name":"crm","id":"a1","revision":4,"apis":[
    {"id":"p3","name":"invoices"},
    {"id":"p1","name":"orders","timeout":9000,"backend":{"url":"https://u:third-secret@b/v1"}}],
    "db":{"password":"fourth-secret","host":"h1"}}"#;
const SECRETS: [&str; 4] = ["first-secret", "second-secret", "third-secret", "fourth-secret"];

fn two() -> Stage {
    stored(vec![
        package(&[
            ("manifest.json", r#"{"export_time":1,"version":1}"#),
            ("apps/a1.json", CRM),
            ("tasks/t1.json", r#"{"task_id":"t1","task_name":"sync"}"#),
            ("readme.txt", "one"),
        ]),
        package(&[
            ("readme.txt", "three"),
            ("apps/a1.json", CRM_LATER),
            ("apps/a2.json", r#"{"id":"a2","name":"erp"}"#),
            ("manifest.json", r#"{"export_time":2,"version":1}"#),
        ]),
    ])
}

#[test]
fn assets_come_first_and_secrets_never() {
    let stage = two();
    let said = say(&stage, &["diff", "s1", "s2"]);
    let expected = [
        "applications: 1 added, 1 changed",
        "  ~ application crm (id a1)",
        "      db.password: \"***\" (what is hidden in it changed)",
        "      revision: 3 -> 4",
        "  + application erp (id a2)",
        "APIs: 1 added, 1 removed, 1 changed",
        "  + API invoices (id p3) of crm",
        "  ~ API orders (id p1) of crm",
        "      backend.url: \"https://***@b/v1\" (what is hidden in it changed)",
        "      timeout: 5000 -> 9000",
        "  - API parts (id p2) of crm",
        "tasks: 1 removed",
        "  - task sync (id t1)",
        "other content: 1 changed, 1 the same",
        "  ~ readme.txt: 3 B, sha256 7692c3ad3540… -> 5 B, sha256 8b5b9db0c13d…",
    ];
    assert_eq!(lines(&said), expected);
    assert_eq!(said.err, "note: left out: 1 set anew by every export; --all shows them\n");
    let all = say(&stage, &["diff", "a1", "a2", "--all"]);
    assert!(all.out.contains("  ~ manifest.json\n      export_time: 1 -> 2\n"), "{}", all.out);
    assert_eq!(all.err, "");
    let machine = say(&stage, &["diff", "s1", "s2", "--json", "--all"]);
    for said in [said, all, machine] {
        assert!(!SECRETS.iter().any(|secret| said.out.contains(secret)), "{}", said.out);
    }
}

fn count([added, removed, changed, same]: [u32; 4]) -> Value {
    json!({"added": added, "removed": removed, "changed": changed, "the_same": same})
}

#[test]
fn json_says_the_same() {
    let stage = two();
    let answer = json(&stage, &["diff", "s1", "s2", "--json"]);
    assert_eq!(answer["same"], false);
    assert_eq!(answer["old"], json!({"id": "s1", "archives": [1]}));
    let counts = json!({
        "applications": count([1, 0, 1, 0]), "apis": count([1, 1, 1, 0]),
        "tasks": count([0, 1, 0, 0]),
        "other": count([0, 0, 1, 1]),
    });
    assert_eq!(answer["counts"], counts);
    let orders = json!({
        "kind": "api", "id": "p1", "name": "orders", "application": "crm", "change": "changed",
        "differences": [
            {
                "path": "backend.url", "old": "https://***@b/v1", "new": "https://***@b/v1",
                "hidden_change": true,
            },
            {"path": "timeout", "old": 5000, "new": 9000},
        ],
    });
    let assets = answer["assets"].as_array().unwrap();
    assert!(assets.contains(&orders), "{assets:?}");
    let left = json!([
        {"in": "manifest.json", "path": "export_time", "old": 1, "new": 2, "reason": "set_anew"}
    ]);
    assert_eq!(answer["left_out"], left);
    assert_eq!(answer["entries"][0]["old"]["bytes"], 3);
    assert_eq!(answer["compared_as_a_whole"], json!([]));
}

#[test]
fn the_exit_code_tells_only_when_it_is_asked() {
    let stage = two();
    for (arguments, code) in [
        (&["diff", "a1", "a2"][..], 0),
        (&["diff", "a1", "a2", "--exit-code"], 1),
        (&["diff", "a1", "a1", "--exit-code"], 0),
        (&["diff", "a1", "s1", "--exit-code", "--all"], 0),
        (&["diff", "a1", "a9"], 65),
        (&["diff", "a1"], 64),
        (&["diff", "a1", "b2"], 64),
    ] {
        let said = say(&stage, arguments);
        assert_eq!(said.code, code, "{arguments:?} {}", said.err);
    }
    let same = say(&stage, &["diff", "a1", "s1"]);
    assert_eq!(lines(&same)[0], "a1 and s1 contain the same");
}

#[test]
fn a_bare_document_and_a_zip_of_it_have_the_same_assets() {
    let bare = r#"{"apps":[{"id":"a1","name":"crm"}],"tasks":[]}"#;
    let stage = stored(vec![
        ContentSpec::Raw(bare.as_bytes().to_vec()),
        package(&[("package.json", bare)]),
        package(&[("other.json", bare)]),
        ContentSpec::Random { bytes: 900 },
        ContentSpec::Random { bytes: 901 },
    ]);
    assert_eq!(
        lines(&say(&stage, &["diff", "a1", "a2", "--all"]))[0],
        "a1 and a2 contain the same"
    );
    let moved = say(&stage, &["diff", "a1", "a3"]);
    let expected = [
        "applications: 1 changed",
        "  ~ application crm (id a1)",
        "      (place): \"package.json apps[]\" -> \"other.json apps[]\"",
        "other content: 1 added, 1 removed",
    ];
    assert_eq!(lines(&moved)[..4], expected);
    let random = say(&stage, &["diff", "a4", "a5"]);
    assert_eq!(lines(&random)[0], "other content: 1 changed");
    assert!(lines(&random)[1].starts_with("  ~ package.bin: 900 B, sha256 "), "{}", random.out);
}

#[test]
fn what_cannot_be_looked_into_is_compared_as_it_is() {
    let locked = |text: &str| {
        let mut zip = zip_of(&[("locked.json", text.as_bytes())]);
        let central = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        (zip[6], zip[central + 8]) = (1, 1);
        ContentSpec::Raw(zip)
    };
    let huge =
        |last: &str| format!("[{}\"{last}\"]", "\"some text that repeats\",".repeat(700_000));
    let stage = stored(vec![
        locked("{\"a\":1}"),
        locked("{\"a\":2}"),
        package(&[("huge.json", &huge("one"))]),
        package(&[("huge.json", &huge("two"))]),
    ]);
    let said = say(&stage, &["diff", "a1", "a2"]);
    assert!(lines(&said)[1].starts_with("  ~ locked.json: 9 B packed, sha256 "), "{}", said.out);
    assert!(said.err.contains("locked.json of a1 is compared as a whole: it is encrypted"));
    assert_eq!(lines(&say(&stage, &["diff", "a1", "a1"]))[0], "a1 and a1 contain the same");
    let said = say(&stage, &["diff", "a3", "a4"]);
    assert!(lines(&said)[1].starts_with("  ~ huge.json: "), "{}", said.out);
    assert!(said.err.contains("huge.json of a4 is compared as a whole: it is too large"));
}

/// Two exports of a whole instance, with a day of changes between them.
#[test]
fn two_exports_of_an_instance_differ_by_a_few_assets() {
    let stage = Stage::new(Knobs::default(), "min_free_space = \"1MiB\"\n");
    for _ in 0..2 {
        assert_eq!(say(&stage, &["export", "nightly"]).code, 0);
        stage.settle().unwrap();
    }
    let answer = json(&stage, &["diff", "s1", "s2", "--json"]);
    let total = |kind: &str| -> u64 {
        let count = &answer["counts"][kind];
        ["added", "removed", "changed", "the_same"].iter().map(|n| count[n].as_u64().unwrap()).sum()
    };
    let listed = json(&stage, &["ls", "s1", "--json"]);
    for kind in ["applications", "apis", "tasks"] {
        assert_eq!(total(kind), listed["counts"][kind].as_u64().unwrap(), "{kind}");
        assert!(answer["counts"][kind]["the_same"].as_u64().unwrap() > 0, "{kind}");
        assert_eq!(answer["counts"][kind]["added"], 0);
    }
    let manifest = &answer["left_out"][0];
    assert_eq!((&manifest["path"], &manifest["reason"]), (&json!("export"), &json!("set_anew")));
    let back = json(&stage, &["diff", "s2", "s1", "--json"]);
    assert_eq!(back["counts"], answer["counts"], "nothing came or went");
}
