//! Syncs of one folder that are asked for at the same time are done by one: archives that come in
//! together share it, as they share a commit of the catalog.
//!
//! Where several come at a time, the first of them waits a little for the others, as the catalog's
//! writer does; where they come one by one, nobody waits.
//!
//! It must never tell a caller that its names are durable by a sync that began before they were
//! there. Nothing is remembered: a crash leaves what the syncs so far have made durable.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the first caller waits for others, where several come at a time.
const GATHER: Duration = Duration::from_micros(1_500);
/// So many syncs that served one caller only, and the next ones do not wait for others.
const LONE: u8 = 4;

/// What a sync came to, for everybody who shared it.
#[derive(Clone, Debug)]
enum Verdict {
    Done,
    /// The operating system's number, if it was its refusal, and the words.
    Failed(Option<i32>, io::ErrorKind, String),
}

/// A sync that has not begun, and everybody who waits for it.
#[derive(Debug, Default)]
struct Batch {
    verdict: Mutex<Option<Verdict>>,
    told: Condvar,
}

/// One folder.
#[derive(Debug, Default)]
struct Turns {
    /// A sync is under way: who comes now has perhaps changed what it has passed already.
    under_way: bool,
    /// The next one; whoever made it begins it.
    next: Option<Arc<Batch>>,
    /// How many of the next syncs wait for company.
    patience: u8,
}

/// The syncs of all folders of one vault.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    folders: Mutex<HashMap<PathBuf, Turns>>,
    /// Some sync has ended.
    ended: Condvar,
}

impl Syncs {
    /// Makes the names in a folder durable that are there now: by `sync`, or by that of somebody
    /// else who has not begun it yet.
    pub(super) fn share(
        &self,
        folder: &Path,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut folders = self.folders();
        let turns = folders.entry(folder.to_owned()).or_default();
        if let Some(batch) = &turns.next {
            let batch = Arc::clone(batch);
            drop(folders);
            return batch.wait().into();
        }
        let mut batch = None;
        if turns.under_way || turns.patience > 0 {
            let waits = turns.patience > 0;
            batch = Some(Arc::clone(turns.next.insert(Arc::default())));
            drop(folders);
            if waits {
                std::thread::sleep(GATHER);
            }
            let busy = |folders: &mut HashMap<PathBuf, Turns>| {
                folders.get(folder).is_some_and(|turns| turns.under_way)
            };
            folders =
                self.ended.wait_while(self.folders(), busy).unwrap_or_else(PoisonError::into_inner);
        }
        let turns = folders.entry(folder.to_owned()).or_default();
        // Whoever joined has done so before the sync begins.
        turns.next = None;
        turns.under_way = true;
        // The leader has one handle, each of the others another.
        turns.patience = match &batch {
            Some(batch) if Arc::strong_count(batch) > 1 => LONE,
            _ => turns.patience.saturating_sub(1),
        };
        drop(folders);
        let mut turn = Turn { syncs: self, folder, batch, verdict: None };
        let result = sync();
        turn.verdict = Some(Verdict::from(&result));
        drop(turn);
        result
    }

    fn folders(&self) -> MutexGuard<'_, HashMap<PathBuf, Turns>> {
        // Its flags are set before and after a sync, never in the middle of something.
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sync under way. When it ends, even by a panic, the next one may begin and nobody waits on.
struct Turn<'a> {
    syncs: &'a Syncs,
    folder: &'a Path,
    batch: Option<Arc<Batch>>,
    verdict: Option<Verdict>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut folders = self.syncs.folders();
        if let Some(turns) = folders.get_mut(self.folder) {
            turns.under_way = false;
            if turns.next.is_none() && turns.patience == 0 {
                folders.remove(self.folder);
            }
        }
        drop(folders);
        self.syncs.ended.notify_all();
        if let Some(batch) = &self.batch {
            let broke = || {
                let words = "the thread that synced it for several broke".to_owned();
                Verdict::Failed(None, io::ErrorKind::Other, words)
            };
            batch.tell(self.verdict.take().unwrap_or_else(broke));
        }
    }
}

impl Batch {
    fn wait(&self) -> Verdict {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(verdict) = verdict.as_ref() {
                return verdict.clone();
            }
            verdict = self.told.wait(verdict).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn tell(&self, verdict: Verdict) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        self.told.notify_all();
    }
}

impl From<&io::Result<()>> for Verdict {
    fn from(result: &io::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(error) => Self::Failed(error.raw_os_error(), error.kind(), error.to_string()),
        }
    }
}

impl From<Verdict> for io::Result<()> {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Done => Ok(()),
            Verdict::Failed(Some(number), ..) => Err(io::Error::from_raw_os_error(number)),
            Verdict::Failed(None, kind, words) => Err(io::Error::new(kind, words)),
        }
    }
}

#[cfg(test)]
#[path = "syncing_tests.rs"]
mod tests;
