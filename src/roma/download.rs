//! The body of the one GET. It is handed on piece by piece as it comes; the beginning is held back
//! for a moment, because a refusal can come with status 200 and must not be taken for a package.

use std::collections::VecDeque;

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, TRANSFER_ENCODING};

use super::error::{Call, RomaError, shorten};
use super::wire::{self, ShortBody};
use crate::lifecycle::{Effect, FailureClass};

/// No refusal is longer than this, in bytes; every longer body is a package.
const LONGEST_REFUSAL: usize = 64 * 1024;

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
    /// Length the server announced, in bytes.
    pub length: Option<u64>,
    /// Whether the transfer itself tells a whole body from a cut one. Without it only the content
    /// can tell (contract U4).
    pub self_delimiting: bool,
    /// The encoding that came although none was asked for (contract U5).
    pub encoding: Option<String>,
    /// The media type, documented nowhere (contract 3).
    pub media_type: Option<String>,
}

impl PackageStream {
    /// Takes over a response with status 200 and looks at its beginning.
    pub(super) async fn open(response: Response, limit: u64) -> Result<Self, RomaError> {
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(shorten(&String::from_utf8_lossy(value.as_bytes())))
        };
        let length = response.content_length();
        let mut stream = Self {
            length,
            self_delimiting: length.is_some() || response.headers().contains_key(TRANSFER_ENCODING),
            encoding: header(CONTENT_ENCODING).filter(|e| !e.eq_ignore_ascii_case("identity")),
            media_type: header(CONTENT_TYPE),
            response,
            held_back: VecDeque::new(),
            broken: None,
            ended: false,
            received: 0,
            limit,
        };
        if let Some(length) = length.filter(|length| *length > limit) {
            return Err(too_large(length, limit));
        }
        stream.look_at_the_beginning().await?;
        Ok(stream)
    }

    async fn look_at_the_beginning(&mut self) -> Result<(), RomaError> {
        let mut held = 0;
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
            let may_be_refusal =
                matches!(chunk.trim_ascii_start().first(), Some(b'{' | b'<') | None);
            self.held_back.push_back(chunk);
            if first && !may_be_refusal {
                break;
            }
        }
        Ok(())
    }

    fn judge_short_body(&self) -> Result<(), RomaError> {
        let body: Vec<u8> = self.held_back.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        let refused = |class, effect, message: String| {
            Err(RomaError::new(Call::Download, class, effect, message))
        };
        if body.is_empty() {
            return if self.self_delimiting {
                let message = "the server answered 200 with an empty body".to_owned();
                refused(FailureClass::Gone, Effect::Unknown, message)
            } else {
                let message = "the connection closed before the first byte".to_owned();
                refused(FailureClass::Transient, Effect::Unknown, message)
            };
        }
        match wire::short_body(&body) {
            ShortBody::Package => Ok(()),
            ShortBody::Refusal(message) => refused(
                FailureClass::Gone,
                Effect::Unknown,
                format!("the server answered 200 with a refusal: {message}"),
            ),
            ShortBody::WebPage => refused(
                FailureClass::Transient,
                Effect::Unknown,
                "the server answered 200 with a web page".to_owned(),
            ),
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
                    return Err(too_large(self.received, self.limit));
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

fn too_large(bytes: u64, limit: u64) -> RomaError {
    RomaError::answer(
        Call::Download,
        format!("the package has at least {bytes} bytes, limits.max_package_size is {limit}"),
    )
}
