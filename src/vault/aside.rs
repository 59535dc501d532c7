//! Counts and hashes what another thread makes, on a core that is free.
//!
//! Inflating a package and hashing it take about as long as each other, so that two threads read it
//! back in little more than half the time. Where no core is free, or somebody else wants it, this
//! is a [`Meter`] like any other. This module must never skip a byte that it was given, and never
//! hold more than a few buffers. It holds no file; a crash loses only the count.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::crew::Permits;
use super::meter::{BUFFER, Meter};
use crate::model::Content;

/// A core is asked for once in so many bytes: never for a small package.
const ASK_EVERY: u64 = 4 << 20;
/// Buffers between the two threads.
const BUFFERS: usize = 3;

/// A running count and digest, kept elsewhere if possible.
pub(super) struct Aside<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    cores: &'scope Permits,
    bytes: u64,
    /// When to ask for a core, in bytes.
    ask_at: u64,
    here: Meter,
    there: Option<There<'scope>>,
}

/// The thread that goes on from where the meter here stopped.
struct There<'scope> {
    thread: ScopedJoinHandle<'scope, Meter>,
    full: Sender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    /// What will be handed over when it is full.
    filling: Vec<u8>,
}

impl<'scope, 'env> Aside<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, cores: &'scope Permits) -> Self {
        let here = Meter::default();
        Self { scope, cores, bytes: 0, ask_at: ASK_EVERY, here, there: None }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.there.is_some() && self.cores.are_wanted() {
            self.come_back();
        } else if self.there.is_none() && self.bytes >= self.ask_at {
            self.ask_at = self.bytes + ASK_EVERY;
            self.there = self.go();
        }
        match &mut self.there {
            None => self.here.update(bytes),
            Some(there) => there.update(bytes),
        }
    }

    pub(super) fn content(mut self) -> Content {
        self.come_back();
        self.here.content()
    }

    /// Begins to hash elsewhere, if there is a core for it. It is held only while there is
    /// something to do: whoever takes what is read may be slow.
    fn go(&self) -> Option<There<'scope>> {
        drop(self.cores.try_take()?);
        let (full, to_do) = channel::<Vec<u8>>();
        let (done, empty) = channel();
        for _ in 1..BUFFERS {
            done.send(Vec::with_capacity(BUFFER)).ok()?;
        }
        let (mut meter, cores) = (self.here.clone(), self.cores);
        let work = move || {
            for mut buffer in to_do {
                let core = cores.take();
                meter.update(&buffer);
                drop(core);
                buffer.clear();
                // Nobody waits for it any more at the end.
                let _ = done.send(buffer);
            }
            meter
        };
        let thread = Builder::new().name("hash".to_owned()).spawn_scoped(self.scope, work).ok()?;
        Some(There { thread, full, empty, filling: Vec::with_capacity(BUFFER) })
    }

    fn come_back(&mut self) {
        if let Some(there) = self.there.take() {
            self.here = there.finish();
        }
    }
}

impl There<'_> {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = BUFFER - self.filling.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.filling.extend_from_slice(now);
            bytes = later;
            if self.filling.len() == BUFFER {
                // Only a thread that panicked takes or gives none: `finish` says so.
                let next = self.empty.recv().unwrap_or_default();
                let _ = self.full.send(std::mem::replace(&mut self.filling, next));
            }
        }
    }

    fn finish(self) -> Meter {
        let Self { thread, full, empty: _, filling } = self;
        let _ = full.send(filling);
        drop(full);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::vault::disk::tests::random;

    fn measured(cores: &Permits, bytes: &[u8], piece: usize) -> Content {
        thread::scope(|scope| {
            let mut aside = Aside::new(scope, cores);
            for piece in bytes.chunks(piece) {
                aside.update(piece);
            }
            assert_eq!(aside.bytes(), bytes.len() as u64);
            aside.content()
        })
    }

    #[test]
    fn it_says_the_same_as_a_meter_wherever_it_works() {
        let bytes = random(1, 9 << 20);
        for length in [0, 1000, 4 << 20, bytes.len() - 1, bytes.len()] {
            let mut meter = Meter::default();
            meter.update(&bytes[..length]);
            for piece in [1000, BUFFER, BUFFER + 1, 3 * BUFFER] {
                for cores in [0, 1] {
                    let cores = Permits::new(cores);
                    assert_eq!(measured(&cores, &bytes[..length], piece), meter.content());
                    assert!(cores.are_idle());
                }
            }
        }
    }

    #[test]
    fn a_core_that_somebody_wants_holds_nobody_up() {
        let bytes = random(2, 20 << 20);
        let mut meter = Meter::default();
        meter.update(&bytes);
        let cores = Permits::new(1);
        thread::scope(|scope| {
            let mut aside = Aside::new(scope, &cores);
            let (first, rest) = bytes.split_at(5 << 20);
            aside.update(first);
            assert!(aside.there.is_some());
            let core = cores.take();
            let wanting = scope.spawn(|| drop(cores.take()));
            while !cores.are_wanted() {
                thread::yield_now();
            }
            scope.spawn(move || {
                thread::yield_now();
                drop(core);
            });
            let (second, rest) = rest.split_at(1000);
            aside.update(second);
            wanting.join().unwrap();
            for piece in rest.chunks(BUFFER) {
                aside.update(piece);
            }
            assert_eq!(aside.content(), meter.content());
        });
    }
}
