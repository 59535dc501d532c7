//! How an answer goes over the wire, for better or worse. PURE: `transmit` does as it says.

use std::time::Duration;

use crate::fault::{Effect, Fault};
use crate::knobs::{DownloadFraming, Encoding, Knobs};
use crate::reply::{Body, Reply};

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This `Content-Length`, which need not be true.
    Length(u64),
    Chunked,
    UntilClose,
}

/// What comes after the body, or in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    /// A proper close after so many bytes.
    Close(u64),
    /// A reset after so many bytes.
    Reset(u64),
}

/// Sending in pieces, one at each beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) bytes: usize,
    pub(crate) every: Duration,
}

/// A halt after so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) at: u64,
    pub(crate) ms: u64,
}

/// The whole shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Hang up without a word.
    pub(crate) silent: bool,
    pub(crate) informational: Option<u16>,
    pub(crate) framing: Framing,
    pub(crate) encoding: Encoding,
    pub(crate) ending: Ending,
    pub(crate) pace: Option<Pace>,
    pub(crate) stall: Option<Stall>,
    /// What the head says about the length is true.
    pub(crate) truthful: bool,
    pub(crate) latency_ms: u64,
    /// For the `Date` header.
    pub(crate) date_ms: i64,
    /// The connection ends with this answer.
    pub(crate) close: bool,
}

impl Shape {
    /// As a well-behaved server would send it.
    pub(crate) fn plain(reply: &Reply, now_ms: i64) -> Shape {
        let framing = match &reply.body {
            Body::Content(content) => Framing::Length(content.bytes()),
            Body::Endless => Framing::Chunked,
        };
        Shape {
            silent: false,
            informational: None,
            framing,
            encoding: Encoding::Identity,
            ending: Ending::Whole,
            pace: None,
            stall: None,
            truthful: true,
            latency_ms: 0,
            date_ms: now_ms,
            close: false,
        }
    }

    /// As knobs and fault want it.
    pub(crate) fn of(knobs: &Knobs, fault: Option<&Fault>, reply: &Reply, now_ms: i64) -> Shape {
        let mut shape = Shape::plain(reply, now_ms);
        shape.latency_ms = knobs.latency_ms;
        shape.date_ms = now_ms.saturating_add(knobs.date_offset_ms);
        shape.pace = knobs.bandwidth_bytes_per_s.map(bandwidth);
        let length = shape.framing;
        if reply.package.is_some() {
            shape.encoding = knobs.download_encoding;
            match knobs.download_framing {
                DownloadFraming::Length => {}
                DownloadFraming::Chunked => shape.framing = Framing::Chunked,
                DownloadFraming::UntilClose => shape.framing = Framing::UntilClose,
            }
        }
        if let Some(fault) = fault {
            shape.bend(fault, length);
        }
        let has_length = matches!(shape.framing, Framing::Length(_));
        if shape.encoding != Encoding::Identity && has_length {
            // The encoded length is not known ahead.
            shape.framing = Framing::Chunked;
        }
        shape.close = shape.framing == Framing::UntilClose
            || shape.ending != Ending::Whole
            || !shape.truthful;
        shape
    }

    fn bend(&mut self, fault: &Fault, length: Framing) {
        match *fault {
            Fault::CloseBeforeHead { effect: Effect::Before | Effect::After } => self.silent = true,
            Fault::ResetAfter { bytes } => self.ending = Ending::Reset(bytes),
            Fault::CutBody { bytes } => {
                self.ending = Ending::Close(bytes);
                self.framing = length;
                self.encoding = Encoding::Identity;
            }
            Fault::CutChunked { bytes } => {
                self.ending = Ending::Close(bytes);
                self.framing = Framing::Chunked;
            }
            Fault::LongerLength { extra } => {
                self.lie(length, |true_length| true_length.saturating_add(extra));
            }
            Fault::ShorterLength { less } => {
                self.lie(length, |true_length| true_length.saturating_sub(less));
            }
            Fault::Stall { bytes, ms } => self.stall = Some(Stall { at: bytes, ms }),
            Fault::Trickle { bytes_per_tick, ms } => {
                let bytes = usize::try_from(bytes_per_tick).unwrap_or(usize::MAX).max(1);
                self.pace = Some(Pace { bytes, every: Duration::from_millis(ms) });
            }
            Fault::Gzip => self.encoding = Encoding::Gzip,
            Fault::Deflate => self.encoding = Encoding::Deflate,
            Fault::Informational { code } => self.informational = Some(code),
            Fault::WrongDate { offset_ms } => self.date_ms = self.date_ms.saturating_add(offset_ms),
            _ => {}
        }
    }

    fn lie(&mut self, length: Framing, change: impl FnOnce(u64) -> u64) {
        if let Framing::Length(true_length) = length {
            self.framing = Framing::Length(change(true_length));
            self.encoding = Encoding::Identity;
            self.truthful = false;
        }
    }
}

/// About fifty pieces per second, more over a fast link: they would not fit into one write.
fn bandwidth(bytes_per_s: u64) -> Pace {
    const LARGEST: u64 = 256 * 1024;
    let per_s = bytes_per_s.max(1);
    let piece = (per_s / 50).clamp(1, LARGEST);
    Pace {
        bytes: usize::try_from(piece).unwrap_or(usize::MAX),
        every: Duration::from_nanos(piece.saturating_mul(1_000_000_000) / per_s),
    }
}
