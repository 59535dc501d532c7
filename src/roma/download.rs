//! The body of the one GET. It is handed on piece by piece as it comes; the beginning is held back
//! for a moment, because a refusal can come with status 200 and must not be taken for a package.
//! Of the head only length, encoding and media type are looked at: the name that a server proposes
//! in `Content-Disposition` is never read, because our names come from our own ids.

use std::collections::VecDeque;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, TRANSFER_ENCODING};
use reqwest::{Response, StatusCode};
use secrecy::SecretString;

use super::answer::{self, Encoding};
use super::error::{Call, RomaError, Speaker, classify, shorten};
use super::wire::{self, ShortBody};
use crate::lifecycle::{Effect, FailureClass};

/// No refusal is longer than this, in bytes; every longer body is a package.
const LONGEST_REFUSAL: usize = 64 * 1024;
/// Some servers begin their JSON with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A package on its way. Dropping it closes the connection.
#[derive(Debug)]
pub struct PackageStream {
    response: Response,
    held_back: VecDeque<Bytes>,
    /// How the body broke off, told once what came before is handed on.
    broken: Option<RomaError>,
    ended: bool,
    received: u64,
    limit: u64,
    /// What must not be shown should the server repeat it.
    hidden: Vec<SecretString>,
    /// Length the server announced, in bytes.
    pub length: Option<u64>,
    /// Whether the transfer itself tells a whole body from a cut one. Without it only the content
    /// can tell (contract U4).
    pub self_delimiting: bool,
    /// The encoding that came although none was asked for (contract U5).
    pub encoding: Option<String>,
    /// A media type that no package is expected to have; documented nowhere (contract 3).
    pub odd_media_type: Option<String>,
}

/// What packages are expected to come as: a zip, JSON (2022), or bytes of no particular kind.
const MEDIA_TYPES: [&str; 5] = [
    "application/octet-stream",
    "binary/octet-stream",
    "application/zip",
    "application/x-zip-compressed",
    "application/json",
];

impl PackageStream {
    /// Takes over a response that is a success and looks at its beginning.
    pub(super) async fn open(
        response: Response,
        limit: u64,
        hidden: Vec<SecretString>,
    ) -> Result<Self, RomaError> {
        let headers = response.headers();
        let length = response.content_length();
        let told = length.is_some() || headers.contains_key(TRANSFER_ENCODING);
        let encoding = text_of(headers, &CONTENT_ENCODING, &hidden);
        let media_type = text_of(headers, &CONTENT_TYPE, &hidden);
        let mut stream = Self {
            length,
            // A part of a package (206) that nobody asked for does not say whether more is missing.
            self_delimiting: told && response.status() == StatusCode::OK,
            encoding: encoding.filter(|encoding| !encoding.eq_ignore_ascii_case("identity")),
            odd_media_type: media_type.filter(|text| is_odd(text)),
            response,
            held_back: VecDeque::new(),
            broken: None,
            ended: false,
            received: 0,
            limit,
            hidden,
        };
        if let Some(length) = length.filter(|length| *length > limit) {
            return Err(too_large(&format!("{length} bytes"), limit));
        }
        stream.look_at_the_beginning().await?;
        Ok(stream)
    }

    async fn look_at_the_beginning(&mut self) -> Result<(), RomaError> {
        let mut held = 0;
        // Encoded, a refusal begins like anything.
        let is_encoded = answer::encoding(self.response.headers()) != Encoding::Identity;
        while held <= LONGEST_REFUSAL {
            let chunk = match self.receive().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    self.ended = true;
                    return self.judge_short_body();
                }
                // What came may be all there is, and the only copy: it is handed on.
                Err(error) if !self.held_back.is_empty() => {
                    self.judge_short_body()?;
                    self.broken = Some(error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let first = self.held_back.is_empty();
            held += chunk.len();
            let start = chunk.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&chunk).trim_ascii_start();
            let may_be_refusal = is_encoded || matches!(start.first(), Some(b'{' | b'<') | None);
            self.held_back.push_back(chunk);
            if first && !may_be_refusal {
                break;
            }
        }
        Ok(())
    }

    fn judge_short_body(&self) -> Result<(), RomaError> {
        let body: Vec<u8> = self.held_back.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        let encoding = answer::encoding(self.response.headers());
        // What cannot be decoded, or becomes too long for a refusal, is judged as it came.
        let plain = answer::decoded(body.clone(), encoding, LONGEST_REFUSAL);
        let body = plain.unwrap_or(body);
        let body = body.strip_prefix(BYTE_ORDER_MARK).map_or(body.clone(), <[u8]>::to_vec);
        let refused =
            |class, message| Err(RomaError::new(Call::Download, class, Effect::Unknown, message));
        let status = self.response.status();
        // Only a plain 200 is among the answers that mean "consumed" (contract U3); what "accepted"
        // or "no content" means for a package nobody knows.
        let gone =
            if status == StatusCode::OK { FailureClass::Gone } else { FailureClass::Transient };
        let body = match wire::short_body(&body) {
            ShortBody::Package if body.is_empty() => {
                let told = self.self_delimiting || status != StatusCode::OK;
                return if told {
                    refused(gone, format!("the server answered {status} with an empty body"))
                } else {
                    let message = "the connection closed before the first byte".to_owned();
                    refused(FailureClass::Transient, message)
                };
            }
            ShortBody::WebPage => {
                let message = format!("the server answered {status} with a web page");
                return refused(FailureClass::Transient, message);
            }
            ShortBody::Package => return Ok(()),
            ShortBody::Refusal => body,
        };
        let error = wire::error_body(&answer::redact(body, &self.hidden));
        let message = format!("the server answered {status} with a refusal: {}", error.message);
        match error.code {
            // The gateway answers before the service is asked (contract U23).
            Some(code) if code.speaker == Speaker::Gateway => {
                let (class, effect) = classify(Call::Download, status.as_u16(), error.code);
                Err(RomaError::new(Call::Download, class, effect, message))
            }
            _ => refused(gone, message),
        }
    }

    /// The next piece; `None` at the end of a body that is whole as far as the transfer can tell.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RomaError> {
        if let Some(chunk) = self.held_back.pop_front() {
            return Ok(Some(chunk));
        }
        if let Some(error) = self.broken.take() {
            self.ended = true;
            return Err(error);
        }
        if self.ended {
            return Ok(None);
        }
        let chunk = self.receive().await?;
        self.ended = chunk.is_none();
        Ok(chunk)
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, RomaError> {
        let chunk = self
            .response
            .chunk()
            .await
            .map_err(|error| broken(RomaError::transport(Call::Download, error)))?;
        match &chunk {
            Some(bytes) => {
                self.received += bytes.len() as u64;
                if self.received > self.limit {
                    let least = format!("at least {} bytes", self.received);
                    return Err(too_large(&least, self.limit));
                }
            }
            None => {
                if let Some(length) = self.length.filter(|length| *length != self.received) {
                    let message = format!("{} of {length} bytes came", self.received);
                    return Err(RomaError::answer(Call::Download, message));
                }
            }
        }
        Ok(chunk)
    }
}

/// The head has been seen, so whatever breaks now, the package may be consumed.
fn broken(error: RomaError) -> RomaError {
    RomaError { effect: Effect::Unknown, class: FailureClass::Transient, ..error }
}

/// Only a person can mend that, by raising the limit.
fn too_large(bytes: &str, limit: u64) -> RomaError {
    let message = format!(
        "the package has {bytes}, limits.max_package_size allows {limit}: raise it to let the \
         package in"
    );
    RomaError::new(Call::Download, FailureClass::Permanent, Effect::Unknown, message)
}

fn text_of(headers: &HeaderMap, name: &HeaderName, hidden: &[SecretString]) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(name)?.as_bytes());
    Some(shorten(answer::redact_text(&text, hidden).trim()))
}

fn is_odd(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    !MEDIA_TYPES.iter().any(|usual| essence.eq_ignore_ascii_case(usual))
}
