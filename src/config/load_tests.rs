//! The environment above the file.

use super::*;

const FILE: &str = r#"state_dir = "/srv/roma"
[[account]]
name = "ops"
auth = "token"
token_file = "/t"
[[instance]]
name = "prod"
account = "ops"
endpoint = "https://roma.example"
project_id = "p"
instance_id = "i"
[limits]
downloads = 2
reexports = 1
"#;

fn with(variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    read(FILE, Path::new("r.toml"), variables)
}

#[track_caller]
fn refused(variables: &[(&str, &str)]) -> String {
    with(variables).unwrap_err().to_string()
}

#[test]
fn variables_win_over_the_file() {
    let loaded = with(&[
        ("ROMA_ARCHIVED__LIMITS__DOWNLOADS", "4"),
        ("ROMA_ARCHIVED__STATE_DIR", "/data"),
        ("ROMA_ARCHIVED__PACK__METHOD", "store"),
        ("ROMA_ARCHIVED__RETENTION__KEEP_LAST", "-1"),
        // Text that looks like a number stays text.
        ("ROMA_ARCHIVED__LIMITS__MIN_FREE_SPACE", "0"),
        // Not ours.
        ("ROMA_ARCHIVED_CONFIG", "/etc/x"),
        ("ROMA_ARCHIVED", "x"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert_eq!(loaded.settings.limits.downloads.get(), 4);
    assert_eq!(loaded.settings.limits.reexports, 1);
    assert_eq!(loaded.settings.limits.min_free_bytes, 0);
    assert_eq!(loaded.settings.state_dir, Path::new("/data"));
    assert_eq!(loaded.settings.pack.method, crate::settings::PackMethod::Store);
    assert!(loaded.settings.retention.to_string().contains("keep_last=-1"));
}

#[test]
fn a_variable_is_as_strict_as_the_file() {
    let cases = [
        ("LIMITS__DOWNLOADS", "0", "must be from 1 to 256 (got 0); for example {}=8"),
        ("LIMITS__DOWNLOADS", "4.0", "must be a whole number (got \"4.0\"); for example {}=8"),
        ("LIMITS__DOWNLOADS", " 4", "must be a whole number (got \" 4\"); for example {}=8"),
        ("LIMITS__DOWNLOADS", "", "must be a whole number (got \"\"); for example {}=8"),
        (
            "LIMITS__POLL_INTERVAL",
            "2",
            "is a length of time without a unit (got \"2\"); \
             write a number and a unit, such as \"30s\", \"5min\", \"26h\" or \"7d\"",
        ),
        (
            "STATE_DIR",
            "x",
            "must be an absolute path (got \"x\"); \
         for example {}=/var/lib/roma-archived",
        ),
        ("LIMITS__DOWNLODS", "4", "there is no such key; did you mean `downloads`?"),
        ("LIMITS", "4", "is a section; set one of its keys"),
        ("STATE_DIR__X", "4", "there is no such key; `state_dir` is a key, not a section"),
        (
            "ACCOUNT__0__USER",
            "root",
            "cannot be set by a variable, for there may be several; \
             write it into the file, under [[account]]",
        ),
        (
            "PASSWORD",
            "hunter2",
            "secrets do not belong in this file; \
             put it into a file of its own and name that with `password_file`",
        ),
        (
            "RETENTION__TEST",
            "x",
            "cannot be set by a variable, for there may be several; \
             write it into the file, under [[retention.test]]",
        ),
        (
            "limits__downloads",
            "4",
            "is not the name of a setting; \
             write it in capitals, such as ROMA_ARCHIVED__LIMITS__DOWNLOADS",
        ),
    ];
    for (name, value, expect) in cases {
        let name = format!("ROMA_ARCHIVED__{name}");
        let expect = expect.replace("{}", &name);
        assert_eq!(refused(&[(&name, value)]), format!("environment: {name}: {expect}"));
    }
    assert!(refused(&[("ROMA_ARCHIVED__", "x")]).starts_with("environment: ROMA_ARCHIVED__: "));
}

#[cfg(unix)]
#[test]
fn a_variable_must_be_text() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(vec![0xff]);
    let variables = [("ROMA_ARCHIVED__TIMEZONE".into(), value)];
    let error = read(FILE, Path::new("r.toml"), variables).unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment: ROMA_ARCHIVED__TIMEZONE: is not UTF-8 text; \
         for example ROMA_ARCHIVED__TIMEZONE=UTC"
    );
}

#[test]
fn the_file_must_be_there_and_be_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    let missing = load_with(&path, []).unwrap_err();
    assert_eq!(missing.to_string(), format!("cannot read the configuration {}", path.display()));
    assert!(std::error::Error::source(&missing).is_some());
    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    assert_eq!(
        load_with(&path, []).unwrap_err().to_string(),
        format!("{}:2: not valid TOML: this is not UTF-8 text (column 6)", path.display())
    );
    std::fs::write(&path, FILE).unwrap();
    assert_eq!(load_with(&path, []).unwrap().path, path);
}
