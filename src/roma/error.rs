//! What a failed call means: may it be retried, and could it have happened? Classified by ROMA's
//! error code first and the HTTP status second (contract 7, U20), because the same refusal comes
//! with different statuses.

use crate::lifecycle::{Effect, Failure, FailureClass};
use crate::model::{Timestamp, story};

/// Which call failed; the same answer means different things to different calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `POST .../assets/export`.
    Export,
    /// `GET .../assets/jobs/{job_id}`.
    Job,
    /// `GET .../assets/archives/{archive_id}`: destructive.
    Download,
    /// `POST .../assets/import`.
    Import,
    /// Listing applications or tasks.
    List,
    /// `POST /v3/auth/tokens`.
    Token,
    /// `GET .../securitykey` of the metadata service.
    Metadata,
}

impl Call {
    /// For messages: "cannot ... ".
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Export => "start the export job",
            Self::Job => "read the job",
            Self::Download => "download the package",
            Self::Import => "import the package",
            Self::List => "list the assets",
            Self::Token => "get a token from IAM",
            Self::Metadata => "get keys from the metadata service",
        }
    }
}

/// A failed call, without secrets in it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {}: {message}", call.purpose())]
pub struct RomaError {
    /// Which call.
    pub call: Call,
    /// May it be retried?
    pub class: FailureClass,
    /// Could it have happened?
    pub effect: Effect,
    /// What the server or the network said.
    pub message: String,
    /// The server's wish, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// The HTTP status, when an answer came.
    pub status: Option<u16>,
    /// Its error code, when it had one.
    pub code: Option<ErrorCode>,
    /// The account pauses until then: its credential was rejected.
    pub account_paused_until: Option<Timestamp>,
    /// The cause below, when there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl RomaError {
    /// A failure without a cause below it.
    pub fn new(
        call: Call,
        class: FailureClass,
        effect: Effect,
        message: impl Into<String>,
    ) -> Self {
        Self {
            call,
            class,
            effect,
            message: message.into(),
            retry_after_ms: None,
            status: None,
            code: None,
            account_paused_until: None,
            source: None,
        }
    }

    /// From the HTTP client: before the request was sent nothing can have happened, after it
    /// anything can. `reqwest` counts name resolution, TCP, TLS and proxy as connecting.
    pub(super) fn transport(call: Call, error: reqwest::Error) -> Self {
        // The address may hold an identifier that is somebody's business, never a secret of ours;
        // it is left out all the same, because the message names the call.
        let error = error.without_url();
        let (class, effect, message) = if error.is_builder() {
            (FailureClass::Permanent, Effect::NotDone, "the request cannot be built")
        } else if error.is_connect() {
            (FailureClass::Transient, Effect::NotDone, "cannot connect")
        } else if error.is_timeout() {
            (FailureClass::Transient, Effect::Unknown, "no answer in time")
        } else {
            (FailureClass::Transient, Effect::Unknown, "the connection broke")
        };
        Self { source: Some(Box::new(error)), ..Self::new(call, class, effect, message) }
    }

    /// The answer came, and is not what it should be.
    pub(super) fn answer(call: Call, message: impl Into<String>) -> Self {
        Self::new(call, FailureClass::Transient, Effect::Unknown, message)
    }

    /// Whether ROMA itself objects to what it was asked for, rather than to who asks (contract 7):
    /// an asset that is gone, or a form that it does not take.
    pub fn is_about_request(&self) -> bool {
        let objects = match self.code {
            Some(code) => {
                code.speaker == Speaker::Roma && matches!(code.number, 1_007 | 13_000 | 13_001)
            }
            None => self.status == Some(400),
        };
        objects && self.class == FailureClass::Permanent && self.effect == Effect::NotDone
    }

    /// The whole story in one line, the causes behind it.
    pub fn into_failure(self) -> Failure {
        Failure {
            class: self.class,
            effect: self.effect,
            message: shorten(&story(&self)),
            retry_after_ms: self.retry_after_ms,
        }
    }
}

/// Longest text from outside that is kept, in characters.
const MAX_TEXT: usize = 500;

/// One line without control characters, of bounded length: text from outside ends up in the
/// catalog, in logs and on terminals.
pub fn shorten(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        line.push('…');
    }
    line
}

/// Who speaks: the prefix of an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// `ROMA.`: the service itself.
    Roma,
    /// `APIGW.` or `APIG.`: the gateway before it, which answers before the service is asked.
    Gateway,
}

/// `ROMA.10012` and `ROMA.00010012` alike: prefix and number (contract 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// Who speaks.
    pub speaker: Speaker,
    /// The number without leading zeros.
    pub number: u32,
}

impl ErrorCode {
    /// `None` for anything that is not such a code.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, digits) = text.trim().split_once('.')?;
        let speaker = match prefix.to_ascii_uppercase().as_str() {
            "ROMA" => Speaker::Roma,
            "APIGW" | "APIG" => Speaker::Gateway,
            _ => return None,
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self { speaker, number: digits.parse().ok()? })
    }
}

/// Answers both questions for an answer that is not a success.
pub fn classify(call: Call, status: u16, code: Option<ErrorCode>) -> (FailureClass, Effect) {
    use Effect::{NotDone, Unknown};
    use FailureClass::{Busy, Gone, Permanent, Throttled, Transient, Unauthorized};
    use Speaker::{Gateway, Roma};
    let by_code = code.and_then(|code| match (code.speaker, code.number) {
        (Roma, 10_012) => Some((Busy, NotDone)),
        (Roma, 1_000 | 1_002 | 12_000) | (Gateway, 301 | 303 | 305 | 307) => {
            Some((Unauthorized, NotDone))
        }
        (Gateway, 201) if status < 500 => Some((Permanent, NotDone)),
        (Roma, 1_006 | 12_001 | 12_002) | (Gateway, 101 | 302 | 306 | 310 | 402 | 802) => {
            Some((Permanent, NotDone))
        }
        (Roma, 10_010) | (Gateway, 613) => Some((Transient, NotDone)),
        (Roma, 11_000) | (Gateway, 201) => Some((Transient, Unknown)),
        (Gateway, 308) => Some((Throttled, NotDone)),
        _ => None,
    });
    let by_status = match (call, status) {
        // Every refusal of the once-only GET must be taken for "no longer available" (contract U3).
        (Call::Download, 400 | 403 | 404 | 410) | (Call::Job, 404 | 410) => (Gone, NotDone),
        (_, 401) => (Unauthorized, NotDone),
        (_, 429) => (Throttled, NotDone),
        // Whoever answers 5xx, a proxy perhaps, does not say how far the GET came (contract U2).
        (_, 408) | (Call::Download, _) => (Transient, Unknown),
        (_, 409 | 503) => (Transient, NotDone),
        (_, 300..=499) => (Permanent, NotDone),
        _ => (Transient, Unknown),
    };
    let (class, effect) = by_code.unwrap_or(by_status);
    // A refusal by the service itself may have touched the package; the gateway's cannot have
    // (contract U23).
    let from_service = code.is_some_and(|code| code.speaker == Speaker::Roma);
    match (call, class) {
        (Call::Download, Unauthorized | Throttled | Busy | Transient) if from_service => {
            (class, Unknown)
        }
        (Call::Download, Permanent) if from_service => (Gone, Unknown),
        _ => (class, effect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_compared_by_prefix_and_number() {
        let code = |speaker, number| Some(ErrorCode { speaker, number });
        assert_eq!(ErrorCode::parse("ROMA.10012"), code(Speaker::Roma, 10_012));
        assert_eq!(ErrorCode::parse("ROMA.00010012"), code(Speaker::Roma, 10_012));
        assert_eq!(ErrorCode::parse("APIG.0307"), code(Speaker::Gateway, 307));
        assert_eq!(ErrorCode::parse("APIGW.0307"), code(Speaker::Gateway, 307));
        for odd in ["", "ROMA", "ROMA.", "ROMA.-1", "ROMA.1x", "IAM.0001", "ROMA.99999999999"] {
            assert_eq!(ErrorCode::parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn each_answer_of_the_contract_is_classified() {
        use Effect::{NotDone, Unknown};
        use FailureClass::{Busy, Gone, Permanent, Throttled, Transient, Unauthorized};
        let cases = [
            (Call::Export, 400, "ROMA.10012", Busy, NotDone),
            (Call::Export, 400, "ROMA.00001002", Unauthorized, NotDone),
            (Call::Export, 400, "ROMA.00013000", Permanent, NotDone),
            (Call::Export, 404, "APIGW.0101", Permanent, NotDone),
            (Call::Export, 429, "APIGW.0308", Throttled, NotDone),
            (Call::Export, 503, "APIGW.0613", Transient, NotDone),
            (Call::Export, 504, "APIGW.0201", Transient, Unknown),
            (Call::Export, 500, "ROMA.11000", Transient, Unknown),
            (Call::Export, 500, "", Transient, Unknown),
            (Call::Export, 302, "", Permanent, NotDone),
            (Call::Job, 404, "", Gone, NotDone),
            (Call::Job, 403, "", Permanent, NotDone),
            (Call::Download, 401, "APIGW.0307", Unauthorized, NotDone),
            (Call::Download, 401, "ROMA.00012000", Unauthorized, Unknown),
            (Call::Download, 403, "ROMA.00000101", Gone, NotDone),
            (Call::Download, 403, "APIGW.0302", Permanent, NotDone),
            (Call::Download, 404, "APIGW.0101", Permanent, NotDone),
            (Call::Download, 404, "", Gone, NotDone),
            (Call::Download, 400, "", Gone, NotDone),
            (Call::Download, 410, "", Gone, NotDone),
            (Call::Download, 502, "APIGW.0201", Transient, Unknown),
            (Call::Download, 503, "", Transient, Unknown),
            (Call::Download, 503, "APIGW.0613", Transient, NotDone),
            (Call::Download, 400, "ROMA.10010", Transient, Unknown),
            (Call::List, 503, "", Transient, NotDone),
            (Call::Download, 408, "", Transient, Unknown),
            (Call::Download, 302, "", Transient, Unknown),
        ];
        for (call, status, code, class, effect) in cases {
            let answer = classify(call, status, ErrorCode::parse(code));
            assert_eq!(answer, (class, effect), "{call:?} {status} {code}");
        }
    }

    #[test]
    fn text_from_outside_is_one_bounded_line() {
        let text = shorten(&"a\n\u{1b}[31m".repeat(500));
        assert!(text.chars().count() <= MAX_TEXT + 1 && !text.chars().any(char::is_control));
    }
}
