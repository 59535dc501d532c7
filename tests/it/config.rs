//! The shipped configurations, and what an operator sees of a wrong one.

use std::path::{Path, PathBuf};

use roma_archived::config::{self, ConfigError, Loaded};
use roma_archived::retention::{Policy, failing_test};
use roma_archived::settings::{Auth, SecretPlace};
use roma_sim::defaults;

fn shipped() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/roma-archived.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (path, text)
}

/// The key of a line such as `# key = value`.
fn commented(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix("# ")?.split_once(" = ")?;
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    bare.then_some(key)
}

fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match commented(line) {
        None if !line.starts_with("# [[") => line,
        _ => &line[2..],
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_loads() {
    let (path, _) = shipped();
    let Loaded { settings, warnings, path: named } = config::load(&path).unwrap();
    assert_eq!(named, path);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(settings.state_dir, Path::new("/var/lib/roma-archived"));
    assert_eq!(settings.exports[0].rpo, Some(std::time::Duration::from_hours(26)));
}

#[test]
fn the_shipped_file_loads_with_every_key_set() {
    let (path, text) = shipped();
    let loaded = config::parse(&uncommented(&text), &path).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings, [""; 0]);
    let policy = &loaded.settings.exports[0].policy;
    assert_eq!((policy.counts.len(), policy.within.len()), (7, 7));
    assert_eq!(policy.max_count, Some(500));
}

#[test]
fn the_defaults_it_shows_are_the_defaults() {
    // What is set aloud must make no difference where it only repeats the default.
    let (path, text) = shipped();
    let quiet = config::parse(&text, &path).unwrap().settings;
    let loud = config::parse(&uncommented(&text), &path).unwrap().settings;
    assert_eq!(format!("{:?}", quiet.limits), format!("{:?}", loud.limits));
    assert_eq!(quiet.pack, loud.pack);
    assert_eq!(quiet.verify, loud.verify);
    assert_eq!(quiet.zone, loud.zone);
    assert_eq!(quiet.retention.trash, loud.retention.trash);
    assert_eq!(quiet.retention.min_keep, loud.retention.min_keep);
    assert_eq!(quiet.retention.policy_grace, loud.retention.policy_grace);
    assert_eq!(quiet.retention.max_delete_per_sweep, loud.retention.max_delete_per_sweep);
    assert_eq!(quiet.exports[0].apps, loud.exports[0].apps);
    assert_eq!(quiet.exports[0].tasks, loud.exports[0].tasks);
}

#[test]
fn the_policy_test_it_shows_is_right() {
    let (path, text) = shipped();
    let loud = config::parse(&uncommented(&text), &path).unwrap().settings;
    let quiet = config::parse(&text, &path).unwrap().settings;
    let policy = Policy { tests: loud.retention.tests, ..quiet.retention };
    assert_eq!(policy.tests.len(), 1);
    assert_eq!(failing_test(&policy, &quiet.zone), None);
}

#[test]
fn the_shipped_file_shows_every_key() {
    // Those of other ways to sign in are named in the text only, because they exclude each other.
    const OTHER_AUTH: [&str; 4] =
        ["access_key_file", "secret_key_file", "security_token_file", "token_file"];
    let (_, text) = shipped();
    let table: toml::Table = uncommented(&text).parse().unwrap();
    for path in config::known_keys() {
        // [export.retention] has the keys of [retention].
        let path = match path.strip_prefix("export.") {
            Some(below) if below.starts_with("retention.") => below.to_owned(),
            _ => path,
        };
        assert!(text.contains("[export.retention]"));
        if path.rsplit('.').next().is_some_and(|key| OTHER_AUTH.contains(&key)) {
            assert!(text.contains(path.trim_start_matches("account.")), "{path}");
            continue;
        }
        let mut value = toml::Value::Table(table.clone());
        for key in path.split('.') {
            let section = value.as_array().map_or(&value, |list| &list[0]);
            value = section.get(key).unwrap_or_else(|| panic!("{path} is not shown")).clone();
        }
    }
}

/// It speaks of a user, an instance and a password that the simulator must know.
#[test]
fn the_configuration_for_the_simulator_fits_the_simulator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Loaded { settings, warnings, .. } = config::load(&root.join("config/demo.toml")).unwrap();
    assert_eq!(warnings, [""; 0]);
    let [account] = &settings.accounts[..] else { panic!("{:?}", settings.accounts) };
    let Auth::Password { iam_endpoint, user, domain, project, .. } = &account.auth else {
        panic!("{:?}", account.auth)
    };
    assert_eq!(
        [user.as_str(), domain, project],
        [defaults::USER, defaults::DOMAIN, defaults::PROJECT_NAME]
    );
    let [instance] = &settings.instances[..] else { panic!("{:?}", settings.instances) };
    assert_eq!(
        [instance.name.as_str(), &instance.project_id, &instance.instance_id],
        [defaults::INSTANCE_NAME, defaults::PROJECT_ID, defaults::INSTANCE_ID]
    );
    assert_eq!(instance.endpoint, *iam_endpoint);
    // Adopted jobs stay, so that nobody wonders where they went.
    assert!(settings.retention.keeps_everything());
    assert!(!settings.exports[0].policy.keeps_everything());
}

#[test]
fn the_readme_fits_the_configuration_for_the_simulator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let settings = config::load(&root.join("config/demo.toml")).unwrap().settings;
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let instance = &settings.instances[0];
    let (host, port) = (instance.endpoint.host().unwrap(), instance.endpoint.port().unwrap());
    let Auth::Password { password: SecretPlace::File(password), .. } = &settings.accounts[0].auth
    else {
        panic!("{:?}", settings.accounts)
    };
    for told in [
        format!("--listen {host}:{port} "),
        format!("http://{host}:{port}/admin/ledger/summary"),
        format!("echo {} > {}", defaults::PASSWORD, password.display()),
        settings.state_dir.join("catalog.db").display().to_string(),
        format!("watch {} -", instance.name),
    ] {
        assert!(readme.contains(&told), "README.md does not say `{told}`");
    }
}

#[test]
fn a_wrong_file_is_answered_with_all_its_faults() {
    let (path, text) = shipped();
    let text = text
        .replace("account = \"ops\"", "account = \"opps\"")
        .replace("password_file = \"credential:roma-password\"", "password = \"hunter2\"")
        .replace("\"26h\"", "26")
        .replace("# downloads = 8", "downlods = 8");
    let error = config::parse(&text, Path::new("roma.toml")).unwrap_err();
    let line = |part: &str| text.lines().position(|line| line.starts_with(part)).unwrap() + 1;
    let expect = [
        format!(
            "roma.toml:{}: account[ops].password: secrets do not belong in this file; put it \
             into a file of its own and name that with `password_file`",
            line("password = ")
        ),
        format!(
            "roma.toml:{}: instance[prod].account: there is no account of this name \
             (got \"opps\"); did you mean \"ops\"?",
            line("account = ")
        ),
        format!(
            "roma.toml:{}: export[nightly].rpo: must be text in quotes (got 26); \
             for example rpo = \"26h\"",
            line("rpo = ")
        ),
        format!(
            "roma.toml:{}: limits.downlods: there is no such key; did you mean `downloads`?",
            line("downlods = ")
        ),
    ];
    assert_eq!(error.to_string(), expect.join("\n"));
    let missing = config::load(&path.with_extension("missing")).unwrap_err();
    assert!(matches!(missing, ConfigError::Read { .. }), "{missing:?}");
}
