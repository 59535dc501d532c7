use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::model::SnapshotId;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn export(rpo: Option<u64>, newest: Option<i64>) -> ExportFacts {
    ExportFacts {
        instance: name("prod"),
        name: name("nightly"),
        rpo: rpo.map(Duration::from_secs),
        next_due: Some(at(60)),
        newest_complete: newest.map(at),
        last_success: newest.map(|taken| at(taken + 9)),
        last_failure: Some(at(-5)),
        runs_waiting: 2,
    }
}

fn concern(export: &str) -> Concern {
    Concern { archive: ArchiveId(7), instance: name("prod"), export: name(export) }
}

fn occurrence(event: &str, states: Option<(&str, &str)>, detail: serde_json::Value) -> Occurrence {
    Occurrence {
        seq: 41,
        at: at(0),
        archive: states.map(|_| ArchiveId(7)),
        snapshot: states.map(|_| SnapshotId(3)),
        of: states.map(|_| (name("prod"), name("nightly"))),
        event: event.to_owned(),
        from_state: states.map(|(from, _)| from.to_owned()),
        to_state: states.map(|(_, to)| to.to_owned()),
        detail,
    }
}

fn lost() -> Occurrence {
    let detail = json!({"cause": "package_gone", "message": "it was \"fetched\" already"});
    occurrence("package_lost", Some(("ready", "lost")), detail)
}

#[test]
fn an_objective_is_met_to_its_last_second_and_without_one_there_is_nothing_to_meet() {
    let met = |rpo, newest, now| export(rpo, newest).is_met(now);
    assert_eq!(met(None, None, at(0)), None);
    assert_eq!(met(Some(60), None, at(0)), Some(false), "there is no snapshot at all");
    assert_eq!(met(Some(60), Some(0), at(60)), Some(true));
    let within = Timestamp::from_millis(at(60).as_millis() + 999);
    assert_eq!(met(Some(60), Some(0), within), Some(true), "as the view, in whole seconds");
    assert_eq!(met(Some(60), Some(0), at(61)), Some(false));
    assert_eq!(met(Some(60), Some(500), at(0)), Some(true), "taken by a clock that ran ahead");
    let why = export(Some(26 * 3_600), Some(0)).why_missed(at(27 * 3_600 + 1_800));
    assert!(why.ends_with("27.5 h ago, and rpo is 26 h"), "{why}");
}

#[test]
fn each_thing_that_is_not_well_makes_all_of_it_not_well() {
    let well = Facts { exports: vec![export(Some(60), Some(0))], ..Facts::default() };
    assert!(well.judge(at(60)).is_well());
    assert!(!well.judge(at(61)).is_well());
    let one = vec![concern("nightly")];
    assert!(!Facts { losses: one.clone(), ..well.clone() }.judge(at(0)).is_well());
    assert!(!Facts { damaged: one, ..well }.judge(at(0)).is_well());
}

#[test]
fn what_happened_is_counted_where_it_happened() {
    let mut counters = Counters::default();
    let raw = json!({"raw": {"bytes": 512}, "adopted": false});
    let failure = json!({"failure": {"class": "transient", "message": "no answer"}});
    for event in [
        occurrence("download_started", Some(("ready", "downloading")), json!({})),
        occurrence("download_postponed", Some(("downloading", "ready")), failure),
        occurrence("download_finished", Some(("downloading", "downloaded")), raw),
        occurrence("file_stored", Some(("downloaded", "stored")), json!({})),
        // Read again: it was stored before.
        occurrence("file_verified", Some(("stored", "stored")), json!({})),
        lost(),
        occurrence("clock_trusted", None, json!({})),
    ] {
        counters.count(&event);
    }
    let own = counters.exports[&(name("prod"), name("nightly"))];
    assert_eq!((own.transfers, own.downloads, own.downloaded_bytes), (1, 1, 512));
    assert_eq!((own.stored, own.losses, own.damaged), (1, 1, 0));
    let failed = &counters.failed_attempts[&(name("prod"), "transient".to_owned())];
    assert_eq!((*failed, counters.exports.len()), (1, 1));
}

#[test]
fn a_loss_is_told_with_everything_that_helps_to_find_it() {
    let told = messages(&[lost()], at(0));
    assert_eq!(
        serde_json::to_value(&told).unwrap(),
        json!([{
            "schema_version": 1,
            "seq": 41,
            "event": "loss",
            "at": "2027-01-15T08:00:00.000Z",
            "instance": "prod",
            "export": "nightly",
            "archive_id": 7,
            "snapshot_id": 3,
            "message": "it was \"fetched\" already",
            "text": "roma-archived: loss of a7, nightly of prod: it was \"fetched\" already",
        }])
    );
    let detail = json!({"instance": "prod", "export": "nightly"});
    let met = messages(&[occurrence("objective_met", None, detail)], at(0));
    let met = serde_json::to_value(&met).unwrap();
    assert_eq!(met[0]["event"], "objective_met");
    assert_eq!(met[0]["instance"], "prod");
    assert_eq!(met[0]["archive_id"], serde_json::Value::Null);
    // What everybody may forget, and what happens to nobody's surprise, is told to nobody.
    let quiet = [
        occurrence("file_stored", Some(("downloaded", "stored")), json!({})),
        occurrence("file_damaged", Some(("damaged", "damaged")), json!({})),
        occurrence("clock_trusted", None, json!({})),
    ];
    assert_eq!(messages(&quiet, at(0)), []);
}

#[test]
fn what_is_old_or_too_much_becomes_one_message() {
    let day = 24 * 3_600;
    let numbered = |seq| Occurrence { seq, at: at(seq), ..lost() };
    let words = |events: &[Occurrence], now| {
        let told = serde_json::to_value(messages(events, now)).unwrap();
        let told = told.as_array().unwrap().iter();
        told.map(|m| (m["event"].as_str().unwrap().to_owned(), m["seq"].as_i64().unwrap()))
            .collect::<Vec<_>>()
    };
    let three = [1, 2, 3].map(numbered);
    let own = |seqs: &[i64]| seqs.iter().map(|seq| ("loss".to_owned(), *seq)).collect::<Vec<_>>();
    assert_eq!(words(&three, at(day)), own(&[1, 2, 3]));
    assert_eq!(words(&three, at(day + 2)), own(&[1, 2, 3]), "one alone says more as it is");
    assert_eq!(words(&three, at(day + 3)), [&[("summary".to_owned(), 2)][..], &own(&[3])].concat());
    let flood: Vec<Occurrence> = (1..=30).map(numbered).collect();
    assert_eq!(words(&flood, at(30)), [("summary".to_owned(), 30)]);
    let summed = &serde_json::to_value(messages(&flood, at(30))).unwrap()[0]["text"];
    assert!(
        summed.as_str().unwrap().starts_with("roma-archived: 30 losses, 0 damaged"),
        "{summed}"
    );
}

/// A picture in which every metric has a value.
fn text() -> String {
    let count = |export: &str, state, stored_bytes| Count {
        instance: name("prod"),
        export: name(export),
        state,
        count: 4,
        raw_bytes: 10,
        stored_bytes,
    };
    let stored = Count {
        instance: name("prod"),
        export: name("nightly"),
        state: StateWord::Stored,
        count: 9,
        raw_bytes: 0,
        stored_bytes: 0,
    };
    let facts = Facts {
        exports: vec![export(Some(60), Some(0))],
        archives: vec![stored],
        snapshots: vec![
            count("nightly", SnapshotState::Complete, 100),
            count("nightly", SnapshotState::Incomplete, 20),
            count("nightly", SnapshotState::Trashed, 3),
            count("retired", SnapshotState::Complete, 5),
        ],
        losses: vec![concern("nightly"), concern("retired")],
        damaged: vec![concern("nightly")],
    };
    let signs = Signs {
        instances: vec![InstanceSigns {
            name: name("prod"),
            is_paused: true,
            clock_offset_ms: Some(-1_500),
        }],
        accounts: vec![AccountSigns {
            name: name("ops"),
            is_paused: false,
            credential_ends: Some(at(86_400)),
        }],
        free_bytes: Some(1 << 40),
        wanted_bytes: 1 << 30,
    };
    let mut counters = Counters::default();
    counters.count(&lost());
    let local = Local {
        version: "0.1.0",
        started_at: at(-60),
        catalog_bytes: 4_096,
        waits_for_catalog: false,
        log_bytes: 8_192,
        quarantined: Some(0),
        notified: vec![("ping", "delivered", 3), ("ping", "failed", 1)],
        pending: 2,
    };
    let counters = &counters;
    exposition(&Picture { now: at(0), facts: &facts, signs: &signs, counters, local: &local })
}

#[test]
fn every_metric_is_written_once_with_its_help_and_its_kind() {
    let text = text();
    let mut named = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            named.push(rest.to_owned());
        }
    }
    let kind = |metric: &Metric| match metric.kind {
        Kind::Gauge => format!("{} gauge", metric.name),
        Kind::Counter => format!("{} counter", metric.name),
    };
    assert_eq!(named, METRICS.iter().map(kind).collect::<Vec<_>>());
    let distinct: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(distinct.len(), METRICS.len());
    for metric in METRICS {
        let is_total = metric.name.ends_with("_total");
        assert_eq!(is_total, metric.kind == Kind::Counter, "{}", metric.name);
        assert!(metric.help.ends_with('.'), "{}", metric.name);
        assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)));
    }
}

/// The gate hands this file to `promtool check metrics`.
#[test]
fn the_file_is_as_it_was() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/metrics.prom");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text()).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(text(), golden, "if this is meant: UPDATE_GOLDEN=1 cargo test --lib");
}

#[test]
fn the_values_are_those_of_the_picture() {
    let text = text();
    let of = "{roma_instance=\"prod\",export=\"nightly\"}";
    for line in [
        "roma_archived_well 0".to_owned(),
        "roma_archived_build_info{version=\"0.1.0\"} 1".to_owned(),
        "roma_archived_start_time_seconds 1799999940".to_owned(),
        format!("roma_archived_export_objective_met{of} 1"),
        format!("roma_archived_export_newest_snapshot_timestamp_seconds{of} 1800000000"),
        format!("roma_archived_export_last_success_timestamp_seconds{of} 1800000009"),
        format!("roma_archived_stored_bytes{of} 120"),
        format!("roma_archived_trash_bytes{of} 3"),
        "roma_archived_stored_bytes{roma_instance=\"prod\",export=\"retired\"} 5".to_owned(),
        format!("roma_archived_losses_unsettled{of} 1"),
        "roma_archived_losses_unsettled{roma_instance=\"prod\",export=\"retired\"} 1".to_owned(),
        "roma_archived_archives{roma_instance=\"prod\",export=\"nightly\",state=\"stored\"} 9"
            .to_owned(),
        "roma_archived_archives{roma_instance=\"prod\",export=\"nightly\",state=\"lost\"} 0"
            .to_owned(),
        format!("roma_archived_losses_total{of} 1"),
        "roma_archived_failed_attempts_total{roma_instance=\"prod\",class=\"busy\"} 0".to_owned(),
        "roma_archived_instance_paused{roma_instance=\"prod\"} 1".to_owned(),
        "roma_archived_clock_offset_seconds{roma_instance=\"prod\"} -1.5".to_owned(),
        "roma_archived_credential_expiry_timestamp_seconds{account=\"ops\"} 1800086400".to_owned(),
        "roma_archived_disk_free_bytes 1099511627776".to_owned(),
        "roma_archived_notifications_total{channel=\"ping\",result=\"failed\"} 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
