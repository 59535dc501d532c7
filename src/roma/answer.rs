//! Reads answers: bounded bodies, errors of any shape, the server's wishes and its clock.

use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;
use reqwest::header::{CONTENT_ENCODING, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::error::{Call, RomaError, classify};
use super::wire;
use crate::lifecycle::{Effect, FailureClass};
use crate::model::Timestamp;

/// The largest list that is read; a page of a thousand tasks has some hundred KiB.
const MAX_LIST: usize = 8 << 20;
/// The largest answer of any other call that is read; jobs and tokens have some KiB. Parsed JSON
/// takes many times the memory of its text.
const MAX_BODY: usize = 1 << 20;
/// So much of a refusal is read: more than its code and its message take.
const MAX_REFUSAL: usize = 64 << 10;
/// So long a refusal may take to arrive. The GET of a package has no limit in all, and must not be
/// held up by the words that follow a refusal which stands already.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(10);

/// An answer that does not say what it should.
pub(super) fn bad(call: Call, what: &str) -> RomaError {
    RomaError::answer(call, format!("the answer is not what the contract says: {what}"))
}

/// A success that is none: an error's envelope, whose code says what it means (contract U20), or
/// something else that is not what it should be.
pub(super) fn unexpected(call: Call, body: &[u8], what: &str) -> RomaError {
    let error = wire::error_body(body);
    if error.code.is_none() {
        return bad(call, what);
    }
    let (class, effect) = classify(call, StatusCode::OK.as_u16(), error.code);
    let message = format!("the server answered 200 with an error: {}", error.message);
    RomaError::new(call, class, effect, message)
}

/// Reads the whole body, up to a bound.
pub(super) async fn body(call: Call, mut response: Response) -> Result<Vec<u8>, RomaError> {
    let most = if call == Call::List { MAX_LIST } else { MAX_BODY };
    let encoding = encoding(response.headers());
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| RomaError::transport(call, error))?
    {
        if body.len() + chunk.len() > most {
            return Err(bad(call, &format!("larger than {} MiB", most >> 20)));
        }
        body.extend_from_slice(&chunk);
    }
    decoded(body, encoding, most).ok_or_else(|| bad(call, "its encoding cannot be undone"))
}

/// How a body is encoded although identity was asked for (contract U5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

pub(super) fn encoding(headers: &HeaderMap) -> Encoding {
    let word = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    match word.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => Encoding::Gzip,
        "deflate" => Encoding::Deflate,
        _ => Encoding::Identity,
    }
}

/// `None`: it is broken, or becomes longer than `most`.
pub(super) fn decoded(body: Vec<u8>, encoding: Encoding, most: usize) -> Option<Vec<u8>> {
    let mut decoder: Box<dyn Read> = match encoding {
        Encoding::Identity => return Some(body),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(body.as_slice())),
        Encoding::Deflate => Box::new(ZlibDecoder::new(body.as_slice())),
    };
    let mut plain = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    decoder.by_ref().take(bound).read_to_end(&mut plain).ok()?;
    (plain.len() <= most).then_some(plain)
}

/// Reads the beginning of a body that need not be whole, and whether it broke off.
async fn beginning(mut response: Response) -> (Vec<u8>, bool) {
    let encoding = encoding(response.headers());
    let mut body = Vec::new();
    let read = async {
        while let Some(chunk) = response.chunk().await? {
            let room = MAX_REFUSAL.saturating_sub(body.len());
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == MAX_REFUSAL {
                break;
            }
        }
        Ok::<(), reqwest::Error>(())
    };
    // What came until then is all that is looked at.
    let read = tokio::time::timeout(REFUSAL_PATIENCE, read).await;
    let broke_off = !matches!(read, Ok(Ok(())));
    (decoded(body, encoding, MAX_REFUSAL).unwrap_or_default(), broke_off)
}

/// The error that an answer which is not a success means.
pub(super) async fn refusal(
    call: Call,
    response: Response,
    hidden: &[SecretString],
    now: Timestamp,
) -> RomaError {
    let status = response.status();
    let retry_after_ms = retry_after(response.headers(), now);
    let location = response.headers().contains_key(reqwest::header::LOCATION);
    // Without its body the refusal still stands.
    let (body, broke_off) = beginning(response).await;
    let error = wire::error_body(&redact(body, hidden));
    let (class, effect) = match classify(call, status.as_u16(), error.code) {
        // Everything comes as a 400, the wait for another job as well (contract 7): without its
        // code it says no more than that it was refused. Of a package not even that it is gone.
        (_, effect) if broke_off && status == StatusCode::BAD_REQUEST && error.code.is_none() => {
            let effect = if call == Call::Download { Effect::Unknown } else { effect };
            (FailureClass::Transient, effect)
        }
        answer => answer,
    };
    let mut message = format!("the server answered {status}");
    if location {
        message.push_str(" and points elsewhere, where nothing is sent");
    }
    if !error.message.is_empty() {
        message = format!("{message}: {}", error.message);
    }
    RomaError {
        retry_after_ms,
        status: Some(status.as_u16()),
        code: error.code,
        ..RomaError::new(call, class, effect, message)
    }
}

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// A server that shows what it was sent must not carry a secret into the catalog and the log. An
/// answer without one is not touched.
pub(super) fn redact(body: Vec<u8>, hidden: &[SecretString]) -> Vec<u8> {
    hidden.iter().fold(body, |body, secret| without(body, secret.expose_secret()))
}

fn without(body: Vec<u8>, secret: &str) -> Vec<u8> {
    if secret.is_empty() {
        return body;
    }
    let shown = body.windows(secret.len()).any(|w| w == secret.as_bytes());
    let body = if shown {
        String::from_utf8_lossy(&body).replace(secret, REDACTED).into_bytes()
    } else {
        body
    };
    // Some servers write `=` or `/` with an escape, behind which the secret would hide.
    if !body.contains(&b'\\') {
        return body;
    }
    if let Ok(mut value) = serde_json::from_slice::<Value>(&body)
        && redact_value(&mut value, secret)
    {
        return value.to_string().into_bytes();
    }
    body
}

/// The same for a header.
pub(super) fn redact_text(text: &str, hidden: &[SecretString]) -> String {
    let secrets = hidden.iter().map(ExposeSecret::expose_secret).filter(|s| !s.is_empty());
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED))
}

/// True: it held the secret.
fn redact_value(value: &mut Value, secret: &str) -> bool {
    match value {
        Value::String(text) if text.contains(secret) => {
            *text = text.replace(secret, REDACTED);
            true
        }
        Value::Array(items) => redact_all(items.iter_mut(), secret),
        Value::Object(fields) => {
            let named = fields.keys().any(|key| key.contains(secret));
            if named {
                let all = std::mem::take(fields).into_iter();
                fields.extend(all.map(|(key, item)| (key.replace(secret, REDACTED), item)));
            }
            redact_all(fields.values_mut(), secret) || named
        }
        _ => false,
    }
}

fn redact_all<'a>(values: impl Iterator<Item = &'a mut Value>, secret: &str) -> bool {
    let mut found = false;
    for value in values {
        found |= redact_value(value, secret);
    }
    found
}

/// `Retry-After` in milliseconds: seconds, or a date that is measured against the server's own
/// `Date`, because our clock may differ. How much of it is honoured is decided elsewhere.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a very long time as well.
        return Some(text.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1_000));
    }
    let until = http_date(text)?;
    let server_now = date(headers).unwrap_or(now);
    u64::try_from(until.since(server_now).as_millis()).ok()
}

/// The server's clock.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// The three forms that a recipient must take (RFC 9110, 5.6.7). A day of the week that does not
/// fit its date is the server's slip.
fn http_date(text: &str) -> Option<Timestamp> {
    const PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    let text = text.trim();
    if let Ok(zoned) = PARSER.parse_zoned(text) {
        return Some(Timestamp::from_jiff(zoned.timestamp()));
    }
    let forms = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S GMT"];
    let civil = forms.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
    // The last day of the year 9999 is too late for the calendar, and late enough for us.
    Some(
        civil.to_zoned(TimeZone::UTC).map_or(Timestamp::from_millis(i64::MAX), |zoned| {
            Timestamp::from_jiff(zoned.timestamp())
        }),
    )
}

/// How far an instance's clock was ahead of ours, and when it said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// In milliseconds.
    pub millis: i64,
    /// By our clock.
    pub noted_at: Timestamp,
}

/// What the last answer of one instance said of the time.
#[derive(Debug, Default)]
pub(super) struct ServerClock(Mutex<Option<ClockOffset>>);

impl ServerClock {
    /// Notes the `Date` of an answer that arrived at about `now`.
    pub(super) fn note(&self, headers: &HeaderMap, now: Timestamp) {
        if let Some(date) = date(headers) {
            let millis = date.as_millis().saturating_sub(now.as_millis());
            *self.last() = Some(ClockOffset { millis, noted_at: now });
        }
    }

    /// As before the first answer.
    pub(super) fn forget(&self) {
        *self.last() = None;
    }

    /// `None` before the first answer.
    pub(super) fn offset(&self) -> Option<ClockOffset> {
        *self.last()
    }

    fn last(&self) -> MutexGuard<'_, Option<ClockOffset>> {
        // It is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_date_is_measured_against_the_servers_clock() {
        let wish = |pairs: &[(&'static str, &str)]| {
            retry_after(&headers(pairs), Timestamp::from_millis(0))
        };
        assert_eq!(wish(&[("retry-after", "7")]), Some(7_000));
        let until = "Tue, 24 Nov 2026 05:22:10 GMT";
        let date = "Tue, 24 Nov 2026 05:22:00 GMT";
        assert_eq!(wish(&[("retry-after", until), ("date", date)]), Some(10_000));
        assert_eq!(wish(&[("retry-after", date), ("date", until)]), Some(0));
        assert_eq!(wish(&[("retry-after", "soon")]), None);
        assert_eq!(wish(&[("retry-after", "-5")]), None);
        assert_eq!(wish(&[("retry-after", "")]), None);
        assert_eq!(wish(&[("retry-after", &"9".repeat(30))]), Some(u64::MAX));
        assert_eq!(wish(&[]), None);
        // Ours is not asked when the server tells its own.
        let wrong = [
            ("retry-after", "Fri, 01 Jan 1999 00:00:30 GMT"),
            ("date", "Fri, 01 Jan 1999 00:00:00 GMT"),
        ];
        assert_eq!(wish(&wrong), Some(30_000));
        // Old forms, and a wrong day of the week.
        for until in [
            "Tuesday, 24-Nov-26 05:22:10 GMT",
            "Tue Nov 24 05:22:10 2026",
            "Sun, 24 Nov 2026 05:22:10 GMT",
        ] {
            assert_eq!(wish(&[("retry-after", until), ("date", date)]), Some(10_000), "{until}");
        }
    }

    #[test]
    fn a_secret_is_found_behind_escapes_and_in_keys_and_nothing_else_is_touched() {
        let hidden = [SecretString::from("unrelated"), SecretString::from("MIIS/ab+c==")];
        let clean = |body: &str| String::from_utf8(redact(body.as_bytes().to_vec(), &hidden));
        for body in [
            r#"you sent MIIS/ab+c== and "more""#,
            r#"{"error_msg":"MIIS\/ab+c=="}"#,
            r#"{"a":[{"b":"x MIIS\/ab\u002bc\u003d\u003d"}]}"#,
            r#"{"MIIS\/ab+c==":{"MIIS/ab+c==":1}}"#,
        ] {
            let clean = clean(body).unwrap();
            assert!(clean.contains(REDACTED) && !clean.contains("ab"), "{clean}");
        }
        let innocent = br#"{"a":"x\/y","b":1e5} "#.to_vec();
        assert_eq!(redact(innocent.clone(), &hidden), innocent);
        assert_eq!(redact(b"\xff\\".to_vec(), &hidden), b"\xff\\");
    }
}
