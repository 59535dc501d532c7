//! Anything a server may send: never a panic, never more than a line, never a secret, never a wish
//! that is honoured beyond reason, never an address elsewhere. `PROPTEST_CASES` raises the number
//! of cases above the 4,096 of each property here.

use proptest::prelude::*;
use proptest::sample::select;
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::SecretString;
use serde_json::Value;

use super::answer::{redact, redact_text, retry_after};
use super::wire::{accepted_job, page, token_lifetime};
use super::*;
use crate::lifecycle::{Archive, Event, Failure, Milestones, State, after_failure};
use crate::model::{ArchiveId, SnapshotId};

fn cases() -> ProptestConfig {
    let standard = ProptestConfig::default();
    ProptestConfig { cases: standard.cases.max(4_096), ..standard }
}

const KEYS: [&str; 17] = [
    "id",
    "type",
    "status",
    "archive_id",
    "entities",
    "reason",
    "reasons",
    "job_id",
    "error_code",
    "error_msg",
    "errorCode",
    "code",
    "message",
    "request_id",
    "apps",
    "tasks",
    "total",
];

/// Words that mean something in one place or another.
const WORDS: [&str; 16] = [
    "SUCCEEDED",
    "success",
    " Finished ",
    "FAILED",
    "RUNNING",
    "PENDING_REVIEW",
    "",
    "exportAsset",
    "importAsset",
    "ROMA.10012",
    "ROMA.00010012",
    "APIGW.0308",
    "APIG.0101",
    "ROMA.-1",
    "0",
    "null",
];

/// JSON text as a server might write it, numbers out of range and odd strings included.
fn json_text() -> impl Strategy<Value = String> {
    let quoted = |text: String| Value::from(text).to_string();
    let leaf = prop_oneof![
        select(WORDS.to_vec()).prop_map(move |word| quoted(word.to_owned())),
        any::<String>().prop_map(quoted),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        select(vec!["1e999", "-0", "99999999999999999999999999", "null", "true", "\"\\ud800\""])
            .prop_map(ToOwned::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let key = prop_oneof![
            4 => select(KEYS.to_vec()).prop_map(ToOwned::to_owned),
            1 => any::<String>(),
        ];
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            4 => prop::collection::vec((key, inner), 0..6).prop_map(|fields| {
                let fields: Vec<String> = fields
                    .into_iter()
                    .map(|(key, value)| format!("{}:{value}", Value::from(key)))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// A body: JSON, JSON that is cut or damaged, or anything at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let damaged =
        (json_text(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        });
    let cut = (json_text(), any::<prop::sample::Index>()).prop_map(|(text, at)| {
        let bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[..at].to_vec()
    });
    prop_oneof![
        4 => json_text().prop_map(String::into_bytes),
        1 => damaged,
        1 => cut,
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// One bounded line.
fn is_line(text: &str) -> bool {
    text.chars().count() <= 501 && !text.chars().any(char::is_control)
}

/// The id that a value names, as the contract has it.
fn id_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_job_is_what_it_says_and_otherwise_runs(body in body()) {
        let Some(report) = job_report(&body) else { return Ok(()) };
        let job: Value = serde_json::from_slice(&body).unwrap();
        let word = job.get("status").and_then(Value::as_str).unwrap_or_default();
        let expected = match word.trim().to_lowercase().as_str() {
            "succeeded" | "success" => JobStatus::Succeeded,
            "finished" => JobStatus::Finished,
            "failed" => JobStatus::Failed,
            _ => JobStatus::Running,
        };
        prop_assert_eq!(report.status, expected);
        let below = job.get("entities").and_then(|entities| entities.get("archive_id"));
        let package = id_of(job.get("archive_id")).or_else(|| id_of(below));
        prop_assert_eq!(report.package.map(|id| id.as_str().to_owned()), package);
        prop_assert!(is_line(&report.reasons), "{:?}", report.reasons);
    }

    #[test]
    fn no_other_answer_is_more_than_it_says(body in body()) {
        if let Some(job) = accepted_job(&body) {
            let answer: Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(Some(job.as_str().to_owned()), id_of(answer.get("job_id")));
        }
        if let Some(page) = page(&body, "apps", "id") {
            prop_assert!(page.ids.iter().all(|id| !id.is_empty()));
        }
        token_lifetime(&body, Timestamp::from_millis(0));
        let error = error_body(&body);
        prop_assert!(is_line(&error.message), "{:?}", error.message);
        let beginning: &[u8] = b"PK\x03\x04";
        prop_assert_eq!(short_body(&[beginning, &body].concat()), ShortBody::Package);
        for status in [200, 204, 302, 400, 401, 403, 404, 408, 409, 410, 429, 500, 502, 503, 599] {
            for call in [Call::Export, Call::Job, Call::Download, Call::List, Call::Token] {
                classify(call, status, error.code);
            }
        }
    }

    /// A server that repeats what it was sent, in any place and in any spelling.
    #[test]
    fn an_answer_gives_no_secret_away(
        secret in "MIIS[A-Za-z0-9+/]{20,60}={0,2}",
        around in any::<String>(),
        shape in 0_usize..7,
        escape in any::<bool>(),
    ) {
        let plain = format!("{around}{secret}{around}");
        let text = if escape {
            let escaped: Vec<_> = secret.bytes().map(|b| format!("\\u{b:04x}")).collect();
            format!("\"{}\"", escaped.concat())
        } else {
            Value::from(plain.clone()).to_string()
        };
        let body = match shape {
            0 => plain.into_bytes(),
            1 => format!("<html>{plain}").into_bytes(),
            2 => [b"\xff\xfe".as_slice(), plain.as_bytes(), b"\xff"].concat(),
            3 => format!(r#"{{"error_msg":{text}}}"#).into_bytes(),
            4 => format!(r#"{{"status":"FAILED","reason":[{{"error_msg":{text}}}]}}"#).into_bytes(),
            5 => format!("{{{text}:[[{text}]]}}").into_bytes(),
            _ => format!(r#"{{"error":{{"code":{text},"message":{text}}}}}"#).into_bytes(),
        };
        let token = [SecretString::from(secret.clone())];
        let clean = redact(body, &token);
        let reasons = job_report(&clean).map(|report| report.reasons).unwrap_or_default();
        for told in [error_body(&clean).message, reasons, redact_text(&secret, &token)] {
            prop_assert!(!told.contains(&secret[..12]), "{told}");
            prop_assert!(is_line(&told));
        }
    }

    #[test]
    fn an_answer_without_the_secret_is_not_touched(body in body()) {
        let secret = SecretString::from("MIIS-not-in-there");
        prop_assert_eq!(redact(body.clone(), &[secret]), body);
    }

    /// However the server puts it: never longer than an hour, never a panic.
    #[test]
    fn no_wish_is_honoured_beyond_an_hour(wish in header_text(), date in header_text()) {
        let mut headers = HeaderMap::new();
        for (name, text) in [("retry-after", &wish), ("date", &date)] {
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                headers.insert(name, value);
            }
        }
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        super::answer::ServerClock::default().note(&headers, now);
        let retry_after_ms = retry_after(&headers, now);
        for class in [FailureClass::Transient, FailureClass::Throttled, FailureClass::Busy] {
            let mut failure = Failure::new(class, Effect::NotDone, "429");
            failure.retry_after_ms = retry_after_ms;
            let event = after_failure(&running(now), failure, now);
            let Some(Event::PollPostponed { not_before, .. }) = event else { panic!("{event:?}") };
            let wait = not_before.since(now);
            prop_assert!(not_before > now && wait <= Duration::from_hours(1), "{wait:?}");
        }
    }

    /// Whatever ROMA calls a thing: the address is that of its instance, and names the thing.
    #[test]
    fn an_id_leads_nowhere_else(id in id_text()) {
        let target = target();
        let root = target.endpoint.clone();
        for kind in ["jobs", "archives"] {
            let Ok(url) = target.url(Call::Download, &["assets", kind, &id]) else {
                prop_assert!(id == "." || id == ".." || id.len() > 10_000);
                continue;
            };
            prop_assert_eq!(url.origin(), root.origin());
            prop_assert_eq!((url.query(), url.fragment(), url.username()), (None, None, ""));
            let parts: Vec<&str> = url.path().split('/').collect();
            prop_assert_eq!(&parts[..7], ["", "v2", "project", "instances", "i-1", "assets", kind]);
            prop_assert_eq!(parts.len(), 8);
            prop_assert_eq!(decoded(parts[7]), id.as_bytes());
            // The client reads its own address again before it sends it.
            let again: Url = url.as_str().parse().unwrap();
            prop_assert_eq!(again, url);
        }
    }
}

/// Numbers, dates, nearly dates, and anything that a header may hold.
fn header_text() -> impl Strategy<Value = String> {
    let date = (
        select(vec!["Mon", "Tue", "Fri", "Monday", "Xyz", ""]),
        0_u32..40,
        select(vec!["Jan", "Feb", "Nov", "Dec", "Foo"]),
        prop_oneof![0_i64..3_000, Just(9_999), any::<i64>()],
        0_u32..30,
        select(vec!["GMT", "UTC", "+0900", "-2359", ""]),
    )
        .prop_map(|(week, day, month, year, hour, zone)| {
            format!("{week}, {day:02} {month} {year} {hour:02}:07:07 {zone}")
        });
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        "[0-9]{1,60}",
        "[-+0-9.eExX ]{0,20}",
        date,
        "[A-Z][a-z]{2}day, [0-9]{2}-[A-Z][a-z]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
        "[ -~]{0,40}",
    ]
}

/// Ids as somebody might choose them who wants to go elsewhere.
fn id_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "..",
            ".",
            "/",
            "\\",
            "%",
            "%2e",
            "%2F",
            "?",
            "#",
            "@",
            ":",
            "//",
            "\t",
            "\r\n",
            "\0",
            " ",
            "http://",
            "[::1]",
            ";",
            "\u{202e}",
            "\u{1f4e6}",
        ])
        .prop_map(ToOwned::to_owned),
        any::<String>(),
        "[a-z0-9-]{1,128}",
    ];
    let some = prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat());
    prop_oneof![8 => some, 1 => (1_usize..20_000).prop_map(|n| "/x".repeat(n))]
        .prop_filter("an id is not empty", |id| !id.is_empty())
}

fn target() -> Target {
    let text = "0123";
    let place = crate::settings::SecretPlace::Credential(text.to_owned());
    let account = Account {
        name: "ops".parse().unwrap(),
        auth: crate::settings::Auth::Token { token: place },
    };
    Target {
        name: "prod".parse().unwrap(),
        clock: super::answer::ServerClock::default(),
        account: "ops".parse().unwrap(),
        session: std::sync::Arc::new(Session::new(&account, 1, reqwest::Client::new())),
        endpoint: "https://roma.example:8443".parse().unwrap(),
        project_id: "project".to_owned(),
        instance_id: "i-1".to_owned(),
    }
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

/// An archive whose job runs.
fn running(now: Timestamp) -> Archive {
    Archive {
        id: ArchiveId(1),
        snapshot: SnapshotId(1),
        instance: "prod".parse().unwrap(),
        export: "nightly".parse().unwrap(),
        part: 1,
        generation: 0,
        replaces: None,
        scope: None,
        scheduled_at: now,
        revision: 0,
        attempts: 3,
        unknown_polls: 0,
        downloads: 0,
        busy_since: None,
        not_before: now,
        state: State::Running { job: JobId::new("j").unwrap() },
        milestones: Milestones::default(),
        last_error: None,
    }
}

#[test]
fn json_that_is_nested_without_end_is_no_answer() {
    for depth in [200, 100_000] {
        for (open, close) in [("[", "]"), ("{\"entities\":", "}")] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(job_report(text.as_bytes()), None, "{depth}");
            assert!(error_body(text.as_bytes()).message.len() < 2_000);
            assert_eq!(short_body(text.as_bytes()), ShortBody::Package);
        }
    }
}
