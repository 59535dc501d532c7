//! Counts and hashes bytes as they pass: the one way in which a [`Content`] comes about.
//!
//! It must never skip a byte that it was given. It holds no file; a crash loses only the count.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::model::{Content, Sha256Digest};

/// Bytes that are read or written at once: large enough that system calls do not matter, small
/// enough that 32 downloads fit into a few MiB.
pub(super) const BUFFER: usize = 256 * 1024;

/// A running count and digest.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    bytes: u64,
    hasher: Sha256,
}

impl Meter {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn content(&self) -> Content {
        let digest = Sha256Digest(self.hasher.clone().finalize().into());
        Content { bytes: self.bytes, sha256: digest }
    }
}

/// The content of all that `reader` still has.
pub(super) fn measure(reader: &mut dyn Read) -> io::Result<Content> {
    let mut meter = Meter::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(meter.content()),
            Ok(read) => meter.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
