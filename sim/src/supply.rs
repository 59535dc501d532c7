//! The bytes of a body as they go over the wire, in pieces: plain, encoded or without end. Must
//! never hold more than a piece.

use std::io::{self, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::content::ContentReader;
use crate::knobs::Encoding;
use crate::prng::Prng;
use crate::reply::Body;

const PIECE: usize = 256 * 1024;

/// Where the pieces come from.
pub(crate) enum Supply {
    Plain(ContentReader),
    Encoded(Box<Encoded>),
    Endless { prng: Prng, buffer: Vec<u8> },
}

pub(crate) struct Encoded {
    reader: ContentReader,
    encoder: Encoder,
    ready: Vec<u8>,
    given: usize,
    done: bool,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    /// What HTTP calls deflate is the zlib format.
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Encoder {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Gzip(encoder) => encoder.write_all(piece),
            Encoder::Deflate(encoder) => encoder.write_all(piece),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Encoder::Gzip(encoder) => encoder.try_finish(),
            Encoder::Deflate(encoder) => encoder.try_finish(),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Deflate(encoder) => encoder.get_mut(),
        })
    }
}

impl Supply {
    pub(crate) fn new(body: &Body, encoding: Encoding) -> Supply {
        let content = match body {
            Body::Content(content) => content,
            Body::Endless => {
                return Supply::Endless { prng: Prng::new(1), buffer: vec![0; PIECE] };
            }
        };
        let reader = ContentReader::new(Arc::clone(content));
        let encoder = match encoding {
            Encoding::Identity => return Supply::Plain(reader),
            Encoding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Encoding::Deflate => {
                Encoder::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast()))
            }
        };
        Supply::Encoded(Box::new(Encoded {
            reader,
            encoder,
            ready: Vec::new(),
            given: 0,
            done: false,
        }))
    }

    /// At most `max` further bytes; none at the end.
    pub(crate) fn next(&mut self, max: usize) -> io::Result<Option<&[u8]>> {
        match self {
            Supply::Plain(reader) => Ok(reader.next(max)),
            Supply::Encoded(encoded) => encoded.next(max),
            Supply::Endless { prng, buffer } => {
                prng.fill(buffer);
                Ok(buffer.get(..max.min(PIECE)))
            }
        }
    }
}

impl Encoded {
    fn next(&mut self, max: usize) -> io::Result<Option<&[u8]>> {
        while self.given == self.ready.len() {
            if self.done {
                return Ok(None);
            }
            if let Some(piece) = self.reader.next(PIECE) {
                self.encoder.write(piece)?;
            } else {
                self.encoder.finish()?;
                self.done = true;
            }
            self.ready = self.encoder.take();
            self.given = 0;
        }
        let start = self.given;
        let end = self.ready.len().min(start.saturating_add(max));
        self.given = end;
        Ok(self.ready.get(start..end))
    }
}
