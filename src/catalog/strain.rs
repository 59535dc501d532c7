//! What the writer does when there is no room or no lock to be had: it waits, says so, and goes on.
//!
//! Nothing is done before it is recorded, so waiting is safe, while ending the process would cut
//! off running downloads. It must never wait where a person waits for an answer: a command is told
//! at once. A failed fsync is another matter, and ends the process.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use super::error::sqlite_code;

/// Gives up room that was kept for this; whether there was any.
pub type Relief = Box<dyn Fn() -> bool + Send + Sync>;

/// What the writer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Another program holds the database's lock.
    Lock,
    /// The disk is full.
    Room,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock => "another program keeps the catalog locked",
            Self::Room => "the disk is full, and the catalog needs room",
        })
    }
}

/// Shared by the writer and whoever wants to know how it fares.
#[derive(Clone, Default)]
pub(super) struct Strain {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    relief: OnceLock<Relief>,
    /// 0: it waits for nothing.
    waiting: AtomicU8,
}

impl fmt::Debug for Strain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Strain({:?})", self.waiting())
    }
}

impl Strain {
    /// Who makes room when the disk is full. Only the first to be named counts.
    pub(super) fn relieve_with(&self, relief: Relief) {
        drop(self.inner.relief.set(relief));
    }

    /// Whether some room was made.
    pub(super) fn relieve(&self) -> bool {
        self.inner.relief.get().is_some_and(|relief| relief())
    }

    /// What the writer waits for at this moment.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        match self.inner.waiting.load(Ordering::Relaxed) {
            1 => Some(Waiting::Lock),
            2 => Some(Waiting::Room),
            _ => None,
        }
    }

    /// Says once what is waited for, and once that it is over.
    pub(super) fn set(&self, waiting: Option<Waiting>) {
        let number = match waiting {
            None => 0,
            Some(Waiting::Lock) => 1,
            Some(Waiting::Room) => 2,
        };
        if self.inner.waiting.swap(number, Ordering::Relaxed) == number {
            return;
        }
        match waiting {
            Some(Waiting::Room) => tracing::error!("{}: waiting for it", Waiting::Room),
            Some(Waiting::Lock) => tracing::warn!("{}: waiting for it", Waiting::Lock),
            None => tracing::info!("the catalog can be written again"),
        }
    }
}

/// `SQLITE_BUSY`: the lock was not to be had within the busy timeout.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    sqlite_code(error).is_some_and(|code| code & 0xff == 5)
}

/// `SQLITE_FULL`, or the shared index of the log could not grow.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    const SHARED_MEMORY_SIZE: u32 = 4_874;
    sqlite_code(error).is_some_and(|code| code & 0xff == 13 || code == SHARED_MEMORY_SIZE)
}
