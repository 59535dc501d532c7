//! Deflates a package, a large one on several threads.
//!
//! It is cut into blocks, each of which knows the 32 KiB before it; together they are one plain
//! deflate stream that hardly differs in length from one made in one go. The same package and level
//! give the same bytes whatever the machine and however many threads: the blocks are always the
//! same. This module must never pass blocks on out of order, and never hold more of them than its
//! [`Stock`] has, over all packages together. It holds no file; a crash means nothing here.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::container::WriteError;
use super::crew::{Permit, Permits, cores};

/// Bytes of the package in one block: so many that a thread for each costs nothing that could be
/// measured, and so few that some blocks for each core fit into memory.
pub(super) const BLOCK: usize = 1 << 20;
/// A deflated byte may refer to one so far before it.
const WINDOW: usize = 32 * 1024;
/// The levels that are used for packing. The fastest of zlib-rs knows no way out for what does not
/// shrink and lets it grow by up to an eighth; the next is as fast on text and has one.
const LEVELS: (u32, u32) = (2, 9);
/// Blocks beyond one for each core: those that are read or written meanwhile. More are no faster.
const WAITING: usize = 2;

/// A package that may still be on its way.
pub(super) trait Gate {
    /// Whether its first so many bytes can be read.
    fn is_open(&self, bytes: u64) -> io::Result<bool>;

    /// Waits until they can.
    fn wait(&self, bytes: u64) -> io::Result<()>;
}

/// All of the package is there.
pub(super) struct Open;

impl Gate for Open {
    fn is_open(&self, _: u64) -> io::Result<bool> {
        Ok(true)
    }

    fn wait(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The blocks that all packages share, and the cores on which they are worked on.
#[derive(Debug)]
pub(super) struct Stock {
    blocks: Permits,
    /// Blocks that nobody holds; none when nothing is deflated.
    spare: Mutex<Vec<Block>>,
    cores: Permits,
}

impl Stock {
    pub(super) fn new() -> Self {
        Self::with_cores(cores())
    }

    fn with_cores(cores: usize) -> Self {
        Self {
            blocks: Permits::new(cores + WAITING),
            spare: Mutex::default(),
            cores: Permits::new(cores),
        }
    }

    /// Where other work that takes a core for long asks for one.
    pub(super) fn cores(&self) -> &Permits {
        &self.cores
    }

    /// Deflates `bytes` bytes, and says what their checksum is.
    pub(super) fn deflate(
        &self,
        level: u32,
        (package, gate): (&mut dyn Read, &dyn Gate),
        bytes: u64,
        put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u32, WriteError> {
        let _tidy = Tidy(self);
        let level = level.clamp(LEVELS.0, LEVELS.1);
        let mut feed = Feed { package, gate, bytes, at: 0, before: Vec::new() };
        let mut out = Out { checksum: Hasher::new(), put };
        if bytes <= BLOCK as u64 {
            feed.wait()?;
            let mut held = self.held(self.blocks.take());
            feed.fill(&mut held.block)?;
            let core = self.cores.take();
            held.block.deflate(level).map_err(WriteError::Zip)?;
            drop(core);
            out.pass_on(&held.block)?;
            self.give_back(held);
        } else {
            std::thread::scope(|scope| self.deflate_blocks(scope, level, &mut feed, &mut out))?;
        }
        feed.expect_end()?;
        Ok(out.checksum.finalize())
    }

    fn deflate_blocks<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        level: u32,
        feed: &mut Feed<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), WriteError> {
        let mut under_way: VecDeque<UnderWay<'scope>> = VecDeque::new();
        loop {
            let oldest_is_ready = under_way.front().is_some_and(UnderWay::is_ready);
            let permit = if oldest_is_ready || feed.has_ended() {
                None
            } else if under_way.is_empty() {
                // Nobody waits for the package while he holds a block that others may need.
                feed.wait()?;
                Some(self.blocks.take())
            } else if feed.is_open()? {
                self.blocks.try_take()
            } else {
                None
            };
            if let Some(permit) = permit {
                let mut held = self.held(permit);
                feed.fill(&mut held.block)?;
                under_way.push_back(self.begin(scope, level, held));
            } else if let Some(oldest) = under_way.pop_front() {
                let held = oldest.finish().map_err(WriteError::Zip)?;
                out.pass_on(&held.block)?;
                self.give_back(held);
            } else {
                return Ok(());
            }
        }
    }

    /// Has a thread of its own deflate the block; this one, if there can be no other.
    fn begin<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        level: u32,
        held: Held<'scope>,
    ) -> UnderWay<'scope> {
        let work = move |mut held: Held<'scope>| {
            let _core = self.cores.take();
            held.block.deflate(level).map(|()| held)
        };
        // A thread that does not come about must not take the block along.
        let handed_over = Arc::new(Mutex::new(Some(held)));
        let taken = Arc::clone(&handed_over);
        let take = |slot: &Mutex<Option<_>>| lock(slot).take();
        let run = move || take(&taken).map(work);
        match Builder::new().name("deflate".to_owned()).spawn_scoped(scope, run) {
            Ok(thread) => UnderWay::Thread(thread),
            Err(_) => UnderWay::Done(take(&handed_over).map(work)),
        }
    }

    fn held<'a>(&'a self, permit: Permit<'a>) -> Held<'a> {
        Held { block: lock(&self.spare).pop().unwrap_or_default(), permit }
    }

    fn give_back(&self, held: Held<'_>) {
        let Held { block, permit } = held;
        lock(&self.spare).push(block);
        drop(permit);
    }
}

/// Gives memory back when nothing is deflated any more.
struct Tidy<'a>(&'a Stock);

impl Drop for Tidy<'_> {
    fn drop(&mut self) {
        if self.0.blocks.are_idle() {
            *lock(&self.0.spare) = Vec::new();
        }
    }
}

/// A block, and the permission to hold one.
struct Held<'a> {
    block: Block,
    permit: Permit<'a>,
}

enum UnderWay<'scope> {
    Thread(ScopedJoinHandle<'scope, Option<io::Result<Held<'scope>>>>),
    Done(Option<io::Result<Held<'scope>>>),
}

impl<'scope> UnderWay<'scope> {
    fn is_ready(&self) -> bool {
        match self {
            Self::Thread(thread) => thread.is_finished(),
            Self::Done(_) => true,
        }
    }

    fn finish(self) -> io::Result<Held<'scope>> {
        let done = match self {
            Self::Thread(thread) => {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            Self::Done(done) => done,
        };
        done.unwrap_or_else(|| Err(io::Error::other("a block was lost on its way")))
    }
}

/// The package as it is cut.
struct Feed<'a> {
    package: &'a mut dyn Read,
    gate: &'a dyn Gate,
    bytes: u64,
    at: u64,
    /// The end of the last block.
    before: Vec<u8>,
}

impl Feed<'_> {
    const fn has_ended(&self) -> bool {
        self.at == self.bytes
    }

    /// Where the next block ends.
    fn next(&self) -> u64 {
        self.bytes.min(self.at + BLOCK as u64)
    }

    fn is_open(&self) -> Result<bool, WriteError> {
        self.gate.is_open(self.next()).map_err(WriteError::Raw)
    }

    fn wait(&self) -> Result<(), WriteError> {
        self.gate.wait(self.next()).map_err(WriteError::Raw)
    }

    /// The next block, which may be empty only if the package is.
    fn fill(&mut self, block: &mut Block) -> Result<(), WriteError> {
        let length = usize::try_from(self.next() - self.at).unwrap_or(BLOCK);
        let Block { input, before, end, is_last, .. } = block;
        (*before, *end) = (self.before.len(), self.before.len() + length);
        if input.len() < *end {
            input.resize(*end, 0);
        }
        input[..*before].copy_from_slice(&self.before);
        self.package.read_exact(&mut input[*before..*end]).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => WriteError::Length,
            _ => WriteError::Raw(error),
        })?;
        self.at = self.next();
        *is_last = self.at == self.bytes;
        self.before.clear();
        self.before.extend_from_slice(&input[end.saturating_sub(WINDOW)..*end]);
        Ok(())
    }

    fn expect_end(&mut self) -> Result<(), WriteError> {
        match self.package.read_exact(&mut [0]) {
            Ok(()) => Err(WriteError::Length),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(WriteError::Raw(error)),
        }
    }
}

struct Out<'a> {
    checksum: Hasher,
    put: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl Out<'_> {
    fn pass_on(&mut self, block: &Block) -> Result<(), WriteError> {
        self.checksum.combine(&block.checksum);
        (self.put)(&block.output).map_err(WriteError::Zip)
    }
}

/// A piece of the package on its way through.
#[derive(Debug, Default)]
struct Block {
    /// What stands before the block, as far as it matters, then the block up to `end`.
    input: Vec<u8>,
    before: usize,
    end: usize,
    is_last: bool,
    output: Vec<u8>,
    checksum: Hasher,
}

impl Block {
    fn deflate(&mut self, level: u32) -> io::Result<()> {
        let (before, mut bytes) = self.input[..self.end].split_at(self.before);
        self.checksum = Hasher::new();
        self.checksum.update(bytes);
        // Never one that was used before: what it still remembers would decide on matches.
        let mut compress = Compress::new(Compression::new(level), false);
        if !before.is_empty() {
            compress.set_dictionary(before)?;
        }
        let flush = if self.is_last { FlushCompress::Finish } else { FlushCompress::Sync };
        self.output.clear();
        // What does not shrink grows by a few bytes for each 16 KiB at most. There is always room
        // for all of it, because some levels find other matches when they have to wait for room.
        let mut room = bytes.len() + bytes.len() / 1024 + 64;
        loop {
            self.output.reserve(room);
            let done = compress.total_in();
            let status = compress.compress_vec(bytes, &mut self.output, flush)?;
            let taken = usize::try_from(compress.total_in() - done).unwrap_or(usize::MAX);
            bytes = &bytes[taken..];
            // Room that is left says that nothing waits for any.
            let is_done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => self.output.len() < self.output.capacity(),
            };
            if is_done && bytes.is_empty() {
                return Ok(());
            }
            room = WINDOW;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Held for moments in which nothing can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
mod tests;
