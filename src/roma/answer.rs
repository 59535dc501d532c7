//! Reads answers: bounded bodies, errors of any shape, the server's wishes and its clock.

use std::sync::atomic::{AtomicI64, Ordering};

use reqwest::Response;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};

use super::error::{Call, RomaError, classify};
use super::wire;
use crate::model::Timestamp;

/// The largest answer of an API call that is read. Lists of a thousand tasks have some hundred KiB.
const MAX_BODY: usize = 8 << 20;

/// An answer that does not say what it should.
pub(super) fn bad(call: Call, what: &str) -> RomaError {
    RomaError::answer(call, format!("the answer is not what the contract says: {what}"))
}

/// Reads the whole body, up to a bound.
pub(super) async fn body(call: Call, mut response: Response) -> Result<Vec<u8>, RomaError> {
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| RomaError::transport(call, error))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(bad(call, "larger than 8 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The error that an answer which is not a success means.
pub(super) async fn refusal(
    call: Call,
    response: Response,
    secret: &SecretString,
    now: Timestamp,
) -> RomaError {
    let status = response.status();
    let retry_after_ms = retry_after(response.headers(), now);
    let location = response.headers().contains_key(reqwest::header::LOCATION);
    // Without its body the refusal still stands.
    let body = body(call, response).await.unwrap_or_default();
    let error = wire::error_body(&redact(&body, secret));
    let (class, effect) = classify(call, status.as_u16(), error.code);
    let mut message = format!("the server answered {status}");
    if location {
        message.push_str(" and points elsewhere, where nothing is sent");
    }
    if !error.message.is_empty() {
        message = format!("{message}: {}", error.message);
    }
    RomaError { retry_after_ms, ..RomaError::new(call, class, effect, message) }
}

/// A server that shows what it was sent must not carry a secret into the catalog and the log.
pub(super) fn redact(body: &[u8], secret: &SecretString) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    text.replace(secret.expose_secret(), "[redacted]").into_bytes()
}

/// `Retry-After` in milliseconds: seconds, or a date that is measured against the server's own
/// `Date`, because our clock may differ.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let until = http_date(text)?;
    let server_now = date(headers).unwrap_or(now);
    u64::try_from(until.since(server_now).as_millis()).ok()
}

/// The server's clock.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_jiff(zoned.timestamp()))
}

/// How far the server's clock is ahead of ours, as last seen.
#[derive(Debug)]
pub(super) struct ClockOffset(AtomicI64);

impl ClockOffset {
    const UNSEEN: i64 = i64::MIN;

    pub(super) const fn new() -> Self {
        Self(AtomicI64::new(Self::UNSEEN))
    }

    /// Notes the `Date` of an answer that arrived at about `now`.
    pub(super) fn note(&self, headers: &HeaderMap, now: Timestamp) {
        if let Some(date) = date(headers) {
            let offset = date.as_millis().saturating_sub(now.as_millis());
            self.0.store(offset.max(Self::UNSEEN + 1), Ordering::Relaxed);
        }
    }

    /// As before the first answer.
    pub(super) fn forget(&self) {
        self.0.store(Self::UNSEEN, Ordering::Relaxed);
    }

    /// In milliseconds; `None` before the first answer.
    pub(super) fn millis(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|offset| *offset != Self::UNSEEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert_eq!(wish(&[]), None);
    }

    proptest! {
        #[test]
        fn any_header_text_is_read_without_panic(text in "[ -~]{0,40}") {
            let headers = headers(&[("retry-after", &text), ("date", &text)]);
            retry_after(&headers, Timestamp::from_millis(0));
        }
    }
}
