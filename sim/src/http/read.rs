//! Reads one request from a connection. Must never answer one, the interim `100 Continue` apart.

use std::io;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Request;

const HEAD_LIMIT: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;
const READ_SIZE: usize = 64 * 1024;

/// Why there is no request.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// The connection broke.
    #[error("connection broke")]
    Io(#[from] io::Error),
    /// The bytes are no HTTP request.
    #[error("no HTTP request: {0}")]
    Malformed(String),
    /// The head is longer than a gateway takes.
    #[error("request head too long")]
    HeadTooLong,
}

/// A connection with the bytes that have come and not been used yet.
#[derive(Debug)]
pub(crate) struct Inbound {
    buffer: Vec<u8>,
}

enum Framing {
    Length(u64),
    Chunked,
}

struct Head {
    request: Request,
    framing: Framing,
    expects_continue: bool,
    length: usize,
}

impl Inbound {
    pub(crate) fn new() -> Inbound {
        Inbound { buffer: Vec::new() }
    }

    /// The next request, or none when the client has closed. Of its body at most `keep` bytes
    /// are kept; the rest is read and counted.
    pub(crate) async fn request(
        &mut self,
        stream: &mut TcpStream,
        keep: usize,
    ) -> Result<Option<Request>, ReadError> {
        let head = loop {
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(ReadError::HeadTooLong);
            }
            if !self.read_more(stream).await? {
                return Ok(None);
            }
        };
        self.buffer.drain(..head.length);
        let mut request = head.request;
        if head.expects_continue {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        match head.framing {
            Framing::Length(length) => {
                self.body(stream, &mut request, length, keep).await?;
            }
            Framing::Chunked => self.chunks(stream, &mut request, keep).await?,
        }
        Ok(Some(request))
    }

    /// False at the end of the stream.
    async fn read_more(&mut self, stream: &mut TcpStream) -> io::Result<bool> {
        self.buffer.reserve(READ_SIZE);
        Ok(stream.read_buf(&mut self.buffer).await? > 0)
    }

    async fn body(
        &mut self,
        stream: &mut TcpStream,
        request: &mut Request,
        length: u64,
        keep: usize,
    ) -> Result<(), ReadError> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() && !self.read_more(stream).await? {
                return Err(ReadError::Malformed("body ends early".to_owned()));
            }
            let count = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let room = keep.saturating_sub(request.body.len()).min(count);
            request.body.extend_from_slice(&self.buffer[..room]);
            self.buffer.drain(..count);
            let count = u64::try_from(count).unwrap_or(left);
            request.body_bytes += count;
            left -= count;
        }
        Ok(())
    }

    async fn chunks(
        &mut self,
        stream: &mut TcpStream,
        request: &mut Request,
        keep: usize,
    ) -> Result<(), ReadError> {
        loop {
            let size = match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((used, size))) => {
                    self.buffer.drain(..used);
                    size
                }
                Ok(httparse::Status::Partial) => {
                    if !self.read_more(stream).await? {
                        return Err(ReadError::Malformed("chunk ends early".to_owned()));
                    }
                    continue;
                }
                Err(_) => return Err(ReadError::Malformed("chunk size".to_owned())),
            };
            self.body(stream, request, size, keep).await?;
            if size == 0 {
                return self.trailers(stream).await;
            }
            while self.buffer.len() < 2 {
                if !self.read_more(stream).await? {
                    return Err(ReadError::Malformed("chunk ends early".to_owned()));
                }
            }
            self.buffer.drain(..2);
        }
    }

    /// Skips trailer lines up to the empty one.
    async fn trailers(&mut self, stream: &mut TcpStream) -> Result<(), ReadError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                self.buffer.drain(..end + 2);
                if end == 0 {
                    return Ok(());
                }
            } else if self.buffer.len() > HEAD_LIMIT {
                return Err(ReadError::HeadTooLong);
            } else if !self.read_more(stream).await? {
                return Err(ReadError::Malformed("trailers end early".to_owned()));
            }
        }
    }
}

fn parse_head(buffer: &[u8]) -> Result<Option<Head>, ReadError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(ReadError::HeadTooLong),
        Err(error) => return Err(ReadError::Malformed(error.to_string())),
    };
    let headers = parsed.headers.iter().map(|header| {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        (header.name.to_ascii_lowercase(), value)
    });
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        headers: headers.collect(),
        ..Request::default()
    };
    let says = |name: &str, word: &str| {
        let value = request.header(name).unwrap_or_default();
        value.to_ascii_lowercase().contains(word)
    };
    let framing = if says("transfer-encoding", "chunked") {
        Framing::Chunked
    } else {
        match request.header("content-length").map(str::parse) {
            None => Framing::Length(0),
            Some(Ok(length)) => Framing::Length(length),
            Some(Err(_)) => return Err(ReadError::Malformed("Content-Length".to_owned())),
        }
    };
    let expects_continue = says("expect", "100-continue");
    let old = parsed.version == Some(0);
    request.close = says("connection", "close") || (old && !says("connection", "keep-alive"));
    Ok(Some(Head { request, framing, expects_continue, length }))
}
