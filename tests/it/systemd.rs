//! The unit file says what the program relies on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use roma_archived::settings::Limits;

/// `Section.Key` and its values in order.
fn unit() -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/roma-archived.service");
    let text = std::fs::read_to_string(path).unwrap();
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut section = "";
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else {
            let (key, value) = line.split_once('=').unwrap();
            keys.entry(format!("{section}.{key}")).or_default().push(value.to_owned());
        }
    }
    keys
}

/// `30s`, `6min`: as far as this unit uses systemd's spans.
fn span(text: &str) -> Duration {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().unwrap();
    match &text[digits.len()..] {
        "s" => Duration::from_secs(number),
        "min" => Duration::from_mins(number),
        unit => panic!("{unit}"),
    }
}

#[test]
fn the_unit_starts_the_daemon_and_hears_of_its_health() {
    let unit = unit();
    let one = |key: &str| match unit.get(key).map(Vec::as_slice) {
        Some([value]) => value.as_str(),
        other => panic!("{key}: {other:?}"),
    };
    assert_eq!(
        one("Service.ExecStart"),
        "/usr/bin/roma-archived --config /etc/roma-archived/config.toml run"
    );
    assert_eq!(one("Service.Type"), "notify");
    assert_eq!(one("Service.NotifyAccess"), "main");
    assert!(span(one("Service.WatchdogSec")) >= Duration::from_secs(30));
    assert_eq!(one("Service.KillMode"), "mixed", "SIGTERM is for the daemon itself");
    assert_eq!(one("Service.StateDirectory"), "roma-archived");
    assert_eq!(one("Service.StateDirectoryMode"), "0750");
    assert_eq!(one("Service.UMask"), "0027");
    assert_eq!(one("Service.User"), one("Service.Group"));
    // SIGHUP is not handled: a restart is the reload.
    assert!(!unit.contains_key("Service.ExecReload"));
}

#[test]
fn running_downloads_may_finish() {
    let stop = span(&unit()["Service.TimeoutStopSec"][0]);
    assert!(stop >= Limits::default().shutdown_grace + Duration::from_secs(30), "{stop:?}");
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_left_alone() {
    let unit = unit();
    assert_eq!(unit["Service.Restart"], ["on-failure"]);
    // 64 usage, 65 bad data, 77 refused, 78 configuration; not 69, 70, 73, 74, 75.
    assert_eq!(unit["Service.RestartPreventExitStatus"], ["64 65 77 78"]);
    // A full disk may last longer than any limit.
    assert_eq!(unit["Unit.StartLimitIntervalSec"], ["0"]);
    // That list looks at the main process only: with a check in front of it a wrong configuration
    // would be started again for ever.
    assert!(!unit.contains_key("Service.ExecStartPre"));
}

#[test]
fn the_sandbox_is_closed() {
    let unit = unit();
    for (key, value) in [
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("PrivateUsers", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictNamespaces", "yes"),
        ("SystemCallArchitectures", "native"),
        // sd_notify and the journal are AF_UNIX.
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("LimitCORE", "0"),
    ] {
        assert_eq!(unit[&format!("Service.{key}")], [value], "{key}");
    }
    assert_eq!(unit["Service.SystemCallFilter"], ["@system-service", "~@privileged @resources"]);
}

#[test]
fn the_user_of_the_unit_is_created() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/sysusers.d/roma-archived.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let line = format!("u {} - ", unit()["Service.User"][0]);
    assert!(text.lines().any(|l| l.starts_with(&line) && l.ends_with(" /var/lib/roma-archived")));
}
