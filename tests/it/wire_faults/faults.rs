//! Every fault of the wire that the simulator can play, by name.

use roma_sim::{Effect, Fault, UnauthorizedKind};

/// An error answer without an envelope.
fn bare(code: u16, body: &str) -> Fault {
    Fault::Status {
        code,
        error_code: None,
        body: Some(body.to_owned()),
        retry_after: None,
        content_type: Some("text/html".to_owned()),
    }
}

/// Faults of the connection and of the body.
fn of_the_transfer() -> Vec<(&'static str, Fault)> {
    vec![
        ("hung up, nothing done", Fault::CloseBeforeHead { effect: Effect::Before }),
        ("hung up, done", Fault::CloseBeforeHead { effect: Effect::After }),
        ("reset after the head", Fault::ResetAfter { bytes: 0 }),
        ("reset in the body", Fault::ResetAfter { bytes: 9 }),
        ("cut by length", Fault::CutBody { bytes: 9 }),
        ("cut in chunks", Fault::CutChunked { bytes: 9 }),
        ("announced too long", Fault::LongerLength { extra: 10 }),
        ("announced too short", Fault::ShorterLength { less: 10 }),
        ("trickle", Fault::Trickle { bytes_per_tick: 2_000, ms: 1 }),
        ("endless", Fault::EndlessBody),
        ("gzip", Fault::Gzip),
        ("deflate", Fault::Deflate),
        ("100 first", Fault::Informational { code: 100 }),
        ("103 first", Fault::Informational { code: 103 }),
        ("date off by a day", Fault::WrongDate { offset_ms: -86_400_000 }),
    ]
}

/// Answers with 200 that are none.
fn of_success() -> Vec<(&'static str, Fault)> {
    vec![
        ("200 html", Fault::HtmlError200),
        ("200 error", Fault::JsonError200),
        ("200 empty", Fault::Empty200),
        ("200 malformed", Fault::MalformedJson),
        ("200 of 50 MB", Fault::HugeJson { bytes: 50_000_000 }),
        ("200 without id", Fault::SuccessWithoutId),
        ("202 empty", bare(202, "")),
        ("204", bare(204, "")),
    ]
}

/// Refusals by status and code.
fn of_refusal() -> Vec<(&'static str, Fault)> {
    vec![
        ("302", Fault::Redirect { location: "http://127.0.0.1:9/elsewhere".to_owned() }),
        ("400 html", bare(400, "<html>bad</html>")),
        ("400 ROMA.13000", Fault::refusal(400, "ROMA.00013000")),
        ("400 ROMA.10010", Fault::refusal(400, "ROMA.10010")),
        ("400 ROMA.10012", Fault::refusal(400, "ROMA.00010012")),
        ("400 APIGW.0201", Fault::refusal(400, "APIGW.0201")),
        ("403 APIGW.0302", Fault::refusal(403, "APIGW.0302")),
        ("403 ROMA.101", Fault::refusal(403, "ROMA.00000101")),
        ("403 html", bare(403, "<html>no</html>")),
        ("404 APIG.0101", Fault::refusal(404, "APIG.0101")),
        ("404 ROMA.101", Fault::refusal(404, "ROMA.00000101")),
        ("404 bare", bare(404, r#"{"archive_id":"id"}"#)),
        ("408", bare(408, "")),
        ("409", Fault::refusal(409, "ROMA.00000101")),
        ("410", bare(410, "")),
        ("413 APIGW.0201", Fault::refusal(413, "APIGW.0201")),
        ("429 APIGW.0308", Fault::Throttle { retry_after: None }),
        ("429 ROMA.101", Fault::refusal(429, "ROMA.00000101")),
        ("429 html", bare(429, "<html>slow down</html>")),
        ("500 ROMA.11000", Fault::refusal(500, "ROMA.11000")),
        ("500 html", bare(500, "<html>oops</html>")),
        ("502, nothing done", Fault::BadGateway { code: 502, effect: Effect::Before }),
        ("502, done", Fault::BadGateway { code: 502, effect: Effect::After }),
        ("503 APIGW.0613", Fault::refusal(503, "APIGW.0613")),
        ("503 html", bare(503, "<html>later</html>")),
        ("504, nothing done", Fault::BadGateway { code: 504, effect: Effect::Before }),
        ("504, done", Fault::BadGateway { code: 504, effect: Effect::After }),
    ]
}

/// Credentials that are refused, once.
fn of_credentials() -> Vec<(&'static str, Fault)> {
    use UnauthorizedKind as K;
    [
        ("401 expired", K::ExpiredToken),
        ("401 bad token", K::BadToken),
        ("401 bad signature", K::BadSignature),
        ("401 clock skew", K::ClockSkew),
        ("401 key locked", K::AkLocked),
        ("401 key unknown", K::AkUnknown),
        ("400 wrong token", K::WrongTokenAs400),
    ]
    .map(|(name, kind)| (name, Fault::Unauthorized { kind }))
    .into_iter()
    .chain([
        ("401 ROMA.12000", Fault::refusal(401, "ROMA.00012000")),
        ("401 html", bare(401, "<html>who?</html>")),
    ])
    .collect()
}

/// All of them.
pub(crate) fn all() -> Vec<(&'static str, Fault)> {
    [of_the_transfer(), of_success(), of_refusal(), of_credentials()].concat()
}

/// What only a job can say. A job that never ends is another story: it blocks its user as well.
pub(crate) fn of_jobs() -> Vec<(&'static str, Fault)> {
    vec![
        ("unknown status", Fault::UnknownStatus { word: "PENDING_REVIEW".to_owned() }),
        ("job vanished", Fault::LoseJob),
        ("job failed", Fault::FailedWithReasons { reasons: Vec::new() }),
    ]
}
