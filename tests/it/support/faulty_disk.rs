//! The real disk, failing or dying at the n-th durable operation.
//!
//! Death is that of the process: from that moment nothing changes on the disk any more, and no
//! thread learns of anything. Threads that come here are held until the test has taken the daemon
//! apart, and are then sent away with an error that reaches nobody. A write counts as an operation
//! at every [`WRITE_UNIT`] of a file, however the network divided the bytes, so that the same run
//! has the same operations.

use std::collections::BTreeSet;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use roma_archived::vault::{Disk, DiskFile, OsDisk, SyncFileError};
use tokio::sync::Notify;

use super::platter::Platter;

/// A file is written in pieces of this size, as far as counting goes.
const WRITE_UNIT: u64 = 64 * 1024;

/// What happens at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails once: the device is ill.
    Eio,
    /// It fails once: no space.
    Enospc,
    /// It fails, and nothing new can be written from then on until space is back.
    Full,
    /// The process dies. The operation itself happened or did not; nobody learns of it.
    Crash {
        /// Whether it happened.
        happened: bool,
    },
}

/// The test's hand on a disk. When it goes, every held thread goes free.
#[derive(Debug)]
pub(crate) struct FaultyDisk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    platter: Platter,
    /// The thread of the test: it is never held, or it would wait for itself.
    home: ThreadId,
    state: Mutex<State>,
    changed: Condvar,
    crashed: Notify,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<(u64, Fault)>,
    /// Operations since the plan was made.
    count: u64,
    hits: Vec<String>,
    dead: bool,
    released: bool,
    in_flight: usize,
    trace: Vec<String>,
    failed: Vec<String>,
    failed_syncs: BTreeSet<PathBuf>,
    synced_again: Vec<String>,
}

/// Whether an operation is to be performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Yes.
    Do,
    /// Yes, and then the process dies.
    DoAndDie,
    /// No, but of a write the half.
    Fail(i32),
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl FaultyDisk {
    /// The disk of one process, on what earlier processes left.
    pub(crate) fn new(platter: &Platter) -> Self {
        Self(Arc::new(Shared {
            platter: platter.clone(),
            home: std::thread::current().id(),
            state: Mutex::default(),
            changed: Condvar::new(),
            crashed: Notify::new(),
        }))
    }

    /// For the daemon.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(Worker(self.0.clone()))
    }

    /// The `n`-th operation from now on meets `fault`.
    pub(crate) fn plan(&self, n: u64, fault: Fault) {
        let mut state = self.0.state();
        state.plan = Some((n, fault));
        state.count = 0;
    }

    /// No fault from now on.
    pub(crate) fn spare(&self) {
        self.0.state().plan = None;
    }

    /// The operations that met a planned fault.
    pub(crate) fn hits(&self) -> Vec<String> {
        self.0.state().hits.clone()
    }

    /// The other operations that failed.
    pub(crate) fn failed(&self) -> Vec<String> {
        self.0.state().failed.clone()
    }

    /// Every operation so far, as `word path`.
    pub(crate) fn trace(&self) -> Vec<String> {
        self.0.state().trace.clone()
    }

    /// What was synced although a sync of it had failed.
    pub(crate) fn synced_again(&self) -> Vec<String> {
        self.0.state().synced_again.clone()
    }

    /// Waits for the crash.
    pub(crate) async fn crashed(&self) {
        self.0.crashed.notified().await;
    }

    /// The process is dead: nothing happens on this disk any more.
    pub(crate) fn kill(&self) {
        self.0.state().dead = true;
    }

    /// Sends the held threads away, and returns when none is in the middle of an operation. Call
    /// it when nobody is left who could learn what they are told.
    pub(crate) async fn release(&self) {
        let shared = self.0.clone();
        shared.state().released = true;
        shared.changed.notify_all();
        let waiting = tokio::task::spawn_blocking(move || {
            let mut state = shared.state();
            while state.in_flight > 0 {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        });
        waiting.await.unwrap();
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.dead = true;
        state.released = true;
        self.0.changed.notify_all();
    }
}

fn death() -> io::Error {
    io::Error::other("the process is dead")
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what becomes of an operation; `None` for the dead.
    fn begin(&self, what: String, counts: bool, grows: bool) -> Option<Act> {
        let mut state = self.state();
        if state.dead {
            return self.hold(state);
        }
        let mut hit = None;
        if counts {
            state.count += 1;
            hit = state.plan.filter(|(n, _)| *n == state.count).map(|(_, fault)| fault);
            if hit.is_some() {
                let told = match state.trace.last() {
                    // What it was to make durable.
                    Some(last) if what.starts_with("sync folder") => format!("{what} after {last}"),
                    _ => what.clone(),
                };
                state.hits.push(told);
            }
            state.trace.push(what.clone());
        }
        let code = match hit {
            None if grows && self.platter.is_full() => ENOSPC,
            Some(Fault::Eio) => EIO,
            Some(Fault::Enospc) => ENOSPC,
            Some(Fault::Full) => {
                self.platter.set_full(true);
                ENOSPC
            }
            Some(Fault::Crash { happened: false }) => return self.die(state),
            Some(Fault::Crash { happened: true }) => {
                state.in_flight += 1;
                return Some(Act::DoAndDie);
            }
            None => {
                state.in_flight += 1;
                return Some(Act::Do);
            }
        };
        state.in_flight += 1;
        if hit.is_none() {
            state.failed.push(what);
        }
        Some(Act::Fail(code))
    }

    fn die(&self, mut state: MutexGuard<'_, State>) -> Option<Act> {
        state.dead = true;
        self.crashed.notify_one();
        self.hold(state)
    }

    fn hold(&self, mut state: MutexGuard<'_, State>) -> Option<Act> {
        while !state.released && std::thread::current().id() != self.home {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn end<T>(&self, act: Act, result: io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        state.in_flight -= 1;
        self.changed.notify_all();
        if act == Act::DoAndDie {
            self.die(state);
            return Err(death());
        }
        result
    }

    /// One whole operation.
    fn perform<T>(
        &self,
        what: String,
        grows: bool,
        operation: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let act = self.begin(what, true, grows).ok_or_else(death)?;
        let result = match act {
            Act::Fail(code) => Err(io::Error::from_raw_os_error(code)),
            Act::Do | Act::DoAndDie => operation(),
        };
        self.end(act, result)
    }

    /// A sync, which may fail only once for each file and process.
    fn sync<T>(
        &self,
        word: &str,
        path: &Path,
        operation: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let what = format!("{word} {}", self.platter.short(path));
        {
            let mut state = self.state();
            if !state.dead && state.failed_syncs.contains(path) {
                state.synced_again.push(what.clone());
            }
        }
        let result = self.perform(what, false, operation);
        let mut state = self.state();
        if result.is_err() && !state.dead {
            state.failed_syncs.insert(path.to_owned());
        }
        result
    }
}

/// What the daemon gets.
#[derive(Debug)]
struct Worker(Arc<Shared>);

impl Worker {
    fn named(&self, word: &str, path: &Path) -> String {
        format!("{word} {}", self.0.platter.short(path))
    }
}

impl Disk for Worker {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.perform(self.named("create", path), true, || {
            let file = OsDisk.create_new(path)?;
            self.0.platter.created(path);
            Ok(file)
        })?;
        let (path, shared) = (path.to_owned(), self.0.clone());
        Ok(Box::new(FaultyFile { file, path, shared, position: 0, sought: true }))
    }

    fn sync_file(&self, path: &Path) -> Result<(), SyncFileError> {
        let synced = self.0.sync("sync", path, || match OsDisk.sync_file(path) {
            Ok(()) => {
                self.0.platter.file_synced(path);
                Ok(Ok(()))
            }
            Err(SyncFileError::Failed(error)) => Err(error),
            // No sync was tried, so none has failed.
            Err(refused) => Ok(Err(refused)),
        });
        synced.unwrap_or_else(|error| Err(SyncFileError::Failed(error)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let what = format!("{} to {}", self.named("rename", from), self.0.platter.short(to));
        self.0.perform(what, false, || {
            OsDisk.rename(from, to)?;
            self.0.platter.renamed(from, to);
            Ok(())
        })
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        let what = format!("{} as {}", self.named("link", file), self.0.platter.short(name));
        self.0.perform(what, false, || {
            OsDisk.link(file, name)?;
            self.0.platter.linked(name);
            Ok(())
        })
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.0.sync("sync all below", dir, || OsDisk.sync_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync("sync folder", dir, || {
            OsDisk.sync_dir(dir)?;
            self.0.platter.folder_synced(dir);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.perform(self.named("remove", path), false, || {
            let kept = self.0.platter.bury(path)?;
            OsDisk.remove(path)?;
            self.0.platter.removed(path, kept);
            Ok(())
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let is_new = !path.exists();
        self.0.perform(self.named("create folder", path), is_new, || {
            OsDisk.create_dir(path)?;
            if is_new {
                self.0.platter.folder_created(path);
            }
            Ok(())
        })
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        OsDisk.free_bytes(dir)
    }
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    shared: Arc<Shared>,
    position: u64,
    /// The next write goes elsewhere than where the last one ended.
    sought: bool,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let into_unit = self.position % WRITE_UNIT;
        let room = usize::try_from(WRITE_UNIT - into_unit).unwrap_or(usize::MAX);
        let piece = &bytes[..bytes.len().min(room)];
        let counts = into_unit == 0 || self.sought;
        let what = format!("write {}", self.shared.platter.short(&self.path));
        let act = self.shared.begin(what, counts, true).ok_or_else(death)?;
        let result = match act {
            Act::Do | Act::DoAndDie => self.file.write_all(piece).map(|()| piece.len()),
            // A disk that fills up or fails takes the beginning.
            Act::Fail(code) => self
                .file
                .write_all(&piece[..piece.len() / 2])
                .and(Err(io::Error::from_raw_os_error(code))),
        };
        if let Ok(written) = result {
            self.position += written as u64;
            self.sought = false;
        }
        self.shared.end(act, result)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for FaultyFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = self.file.seek(to)?;
        self.sought |= position != self.position;
        self.position = position;
        Ok(position)
    }
}

impl DiskFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        let Self { file, path, shared, .. } = self;
        shared.sync("sync", path, || {
            file.sync()?;
            shared.platter.file_synced(path);
            Ok(())
        })
    }
}
