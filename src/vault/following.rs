//! Reads a package back out of a zip that is still being written: inflates and hashes it as far as
//! it goes, from the file.
//!
//! It must never read beyond what the writer says is final, and never call good what it did not
//! read to the end. It only reads, so a crash means nothing here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};

use super::crew::Permits;
use super::frame::Sealed;
use super::meter::{BUFFER, Meter};
use crate::model::Content;

/// How far the writer is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// What the file holds for good, in bytes.
    written: u64,
    ended: bool,
    given_up: bool,
}

impl Progress {
    /// So many bytes of the file are final.
    pub(super) fn reached(&self, written: u64) {
        self.change(|state| state.written = written);
    }

    /// Nothing of the package comes after what was written.
    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// The writer failed.
    pub(super) fn give_up(&self) {
        self.change(|state| state.given_up = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits until there is more than `read` or there is nothing more to come.
    fn beyond(&self, read: u64) -> io::Result<State> {
        let mut state = self.state();
        while state.written <= read && !state.ended && !state.given_up {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.given_up { Err(io::Error::other("the writer gave up")) } else { Ok(*state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was read of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) package: Content,
    /// What was in the file for it.
    pub(super) sealed: Sealed,
    /// Where it begins in the file.
    pub(super) begin: u64,
    /// The checksum of its bytes in the file.
    pub(super) packed_crc32: u32,
}

/// Reads the deflated package that begins at `begin` of the file, as it comes.
pub(super) fn follow(
    path: &Path,
    begin: u64,
    progress: &Progress,
    cores: &Permits,
) -> io::Result<Followed> {
    let file = File::open(path)?;
    let mut at = begin;
    let mut input = vec![0; BUFFER];
    let mut inflater = Inflater::new();
    loop {
        let state = progress.beyond(at)?;
        let there = usize::try_from(state.written - at).unwrap_or(usize::MAX).min(BUFFER);
        if there == 0 {
            break;
        }
        let _core = cores.take();
        file.read_exact_at(&mut input[..there], at)?;
        inflater.inflate(&input[..there])?;
        at += there as u64;
    }
    if !inflater.ended {
        return Err(io::Error::other("the deflated package has no end"));
    }
    let package = inflater.meter.content();
    let crc32 = inflater.crc32.finalize();
    let sealed = Sealed { crc32, packed: at - begin, raw: package.bytes };
    Ok(Followed { package, sealed, begin, packed_crc32: inflater.packed_crc32.finalize() })
}

struct Inflater {
    inflate: Decompress,
    output: Vec<u8>,
    meter: Meter,
    crc32: crc32fast::Hasher,
    packed_crc32: crc32fast::Hasher,
    ended: bool,
}

impl Inflater {
    fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
            output: Vec::with_capacity(BUFFER),
            meter: Meter::default(),
            crc32: crc32fast::Hasher::new(),
            packed_crc32: crc32fast::Hasher::new(),
            ended: false,
        }
    }

    fn inflate(&mut self, mut input: &[u8]) -> io::Result<()> {
        self.packed_crc32.update(input);
        loop {
            self.output.clear();
            let before = self.inflate.total_in();
            let flush = FlushDecompress::None;
            let status = self.inflate.decompress_vec(input, &mut self.output, flush)?;
            let taken = usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX);
            input = &input[taken..];
            self.meter.update(&self.output);
            self.crc32.update(&self.output);
            self.ended = status == Status::StreamEnd;
            if self.ended && !input.is_empty() {
                return Err(io::Error::other("something follows the end of the package"));
            }
            // Room that is left says that nothing waits for any.
            if self.ended || input.is_empty() && self.output.len() < self.output.capacity() {
                return Ok(());
            }
        }
    }
}
