//! Packs a large package while it is still coming in, so that it is finished soon after its last
//! byte.
//!
//! One thread follows `a34.part` and deflates what is there of it into `a34.zip`, another reads
//! that back. When the package is to be packed, [`Vault::pack`] gives the zip its frame, makes it
//! durable and compares; if anything is odd, nothing of it is used and packing begins anew. The
//! bytes are the same either way. This module must never hold up a download, never touch what it
//! received, and never let anything into the vault by itself. A crash leaves a `.zip` in staging,
//! which is discarded as any other.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::Duration;

use super::container::{Layout, Out, WriteError, choose};
use super::crew::cores;
use super::deflate::{BLOCK, Gate};
use super::disk::DiskFile;
use super::following::{Followed, Progress, follow};
use super::frame::Sealed;
use super::pack::open_raw;
use super::staging::{StagedKind, sniff};
use super::{CheckError, PackJob, Vault, VaultError, io_error};
use crate::model::{ArchiveId, Format, Method, StoredFile};
use crate::settings::PackMethod;

/// Shorter packages are packed in a moment once they are there, in bytes.
pub const PACKED_AHEAD_FROM: u64 = 16 << 20;
/// How often to look whether more has come.
const LOOK: Duration = Duration::from_millis(20);

/// All packages that are packed ahead or were, and are not stored yet.
#[derive(Debug, Default)]
pub(super) struct AheadOfAll(Mutex<HashMap<ArchiveId, Arc<Ahead>>>);

/// One of them.
struct Ahead {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    coming: Coming,
    has_ended: bool,
    made: Option<Made>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Coming {
    #[default]
    OnItsWay,
    Whole,
    /// It will never be whole, or nobody wants to have it packed.
    Never,
}

/// A zip without its frame, in staging.
struct Made {
    out: Out<Box<dyn DiskFile>>,
    followed: Followed,
    /// How long a manifest there is room for, in bytes.
    manifest: usize,
    level: u32,
    entry: &'static str,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ahead").finish_non_exhaustive()
    }
}

/// Stands for a download whose package is packed ahead. Dropped without [`Follower::whole`], it
/// says that the package does not come.
#[derive(Debug)]
pub struct Follower(Arc<Ahead>);

impl Follower {
    /// The whole package has come.
    pub fn whole(self) {
        self.0.change(|state| state.coming = Coming::Whole);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl Ahead {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn give_up(&self) {
        self.change(|state| {
            if state.coming == Coming::OnItsWay {
                state.coming = Coming::Never;
            }
        });
    }

    /// Waits for what becomes of it.
    fn made(&self) -> Option<Made> {
        let mut state = self.state();
        while !state.has_ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.made.take()
    }
}

/// Says that the thread has ended, however it did.
struct Ending<'a>(&'a Ahead);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.has_ended = true);
    }
}

/// The package as far as it has come.
struct Part<'a> {
    file: &'a File,
    ahead: &'a Ahead,
}

impl Gate for Part<'_> {
    fn is_open(&self, bytes: u64) -> io::Result<bool> {
        if self.ahead.state().coming == Coming::Never {
            return Err(io::Error::other("the package does not come"));
        }
        Ok(self.file.metadata()?.len() >= bytes)
    }

    fn wait(&self, bytes: u64) -> io::Result<()> {
        loop {
            // Asked before the file is: what is whole then can be read then.
            let was_whole = self.ahead.state().coming == Coming::Whole;
            if self.is_open(bytes)? {
                return Ok(());
            }
            if was_whole {
                return Err(io::Error::other("the package is shorter than it was announced"));
            }
            let state = self.ahead.state();
            drop(self.ahead.changed.wait_timeout(state, LOOK));
        }
    }
}

impl Vault {
    /// Begins to pack a package that is being received; `draft` is as much of the job as can be
    /// known, with its length as it was announced. `None`: it is packed when it is there.
    pub fn pack_ahead(&self, draft: PackJob) -> Option<Follower> {
        let id = draft.id;
        let is_for_it = draft.raw.bytes >= PACKED_AHEAD_FROM
            && draft.format == Format::Json
            && draft.options.method != PackMethod::Store;
        if !is_for_it {
            return None;
        }
        let part = File::open(self.staged_path(id, StagedKind::Part)).ok()?;
        let ahead = Arc::new(Ahead { state: Mutex::default(), changed: Condvar::new() });
        {
            let mut all = self.inner.ahead.lock();
            if all.len() >= cores() || all.contains_key(&id) {
                return None;
            }
            all.insert(id, Arc::clone(&ahead));
        }
        let (vault, its) = (self.clone(), Arc::clone(&ahead));
        let work = move || {
            let _ending = Ending(&its);
            match vault.follow_part(&draft, &part, &its) {
                Ok(made) => its.change(|state| state.made = Some(made)),
                Err(error) => {
                    tracing::debug!(archive.id = %id, %error, "it is packed when it is there");
                    vault.inner.ahead.forget(id, &its);
                }
            }
        };
        if Builder::new().name("ahead".to_owned()).spawn(work).is_err() {
            self.inner.ahead.forget(id, &ahead);
            return None;
        }
        Some(Follower(ahead))
    }

    /// Finishes what was packed ahead, durable on return; waits for it if need be. `None`: there is
    /// nothing, or it is not what was downloaded.
    pub(super) fn finish_ahead(
        &self,
        job: &PackJob,
        raw: &Path,
        packed: &Path,
    ) -> Result<Option<StoredFile>, VaultError> {
        let Some(made) = self.made_ahead(job.id) else { return Ok(None) };
        let manifest = job.manifest_bytes()?;
        let mut package = open_raw(raw, job.raw)?;
        let method =
            choose(&mut package, job.raw.bytes, job.options).map_err(io_error("read", raw))?;
        let layout = Layout::of(job, &manifest, method);
        let fits = made.followed.package == job.raw
            && made.manifest == manifest.len()
            && (made.level, made.entry) == (layout.level, layout.entry)
            && method == Method::Deflate;
        if !fits {
            return Ok(None);
        }
        // What the disk refuses now it may take when all is written anew.
        let Ok(mut file) = made.out.seal(&layout.frame(), made.followed.sealed) else {
            return Ok(None);
        };
        file.sync().map_err(|source| VaultError::SyncFailed { path: packed.to_owned(), source })?;
        drop(file);
        match self.source(packed, job.format, job.raw).read_rest(&made.followed) {
            Ok(reading) if reading.manifest == manifest => {
                let (path, content) = (job.path.clone(), reading.whole);
                Ok(Some(StoredFile { path, content, format: job.format, method, inode: None }))
            }
            Ok(_) | Err(CheckError::Damaged(_)) => Ok(None),
            Err(CheckError::Failed(error)) => Err(error),
        }
    }

    /// What was made of a package that is whole, without its frame.
    fn made_ahead(&self, id: ArchiveId) -> Option<Made> {
        let ahead = self.inner.ahead.lock().get(&id).cloned()?;
        // Still on its way? Then it is not this one that came.
        ahead.give_up();
        let made = ahead.made();
        self.inner.ahead.forget(id, &ahead);
        made
    }

    /// Nobody wants to have this package any more. Nothing is written for it on return.
    pub(super) fn forget_ahead(&self, id: ArchiveId) {
        let Some(ahead) = self.inner.ahead.lock().get(&id).cloned() else { return };
        ahead.change(|state| state.coming = Coming::Never);
        drop(ahead.made());
        self.inner.ahead.forget(id, &ahead);
    }

    /// Deflates the package as it comes, while a second thread reads it back.
    fn follow_part(&self, draft: &PackJob, file: &File, ahead: &Ahead) -> io::Result<Made> {
        let part = Part { file, ahead };
        part.wait(BLOCK as u64)?;
        let mut first = [0; 8];
        let mut package = file;
        package.read_exact(&mut first)?;
        let will_shrink = choose(&mut package, BLOCK as u64, draft.options)? == Method::Deflate;
        if sniff(&first) != draft.format || !will_shrink {
            return Err(io::Error::other("it looks different from what is packed ahead"));
        }
        package.rewind()?;
        let path = self.staged_path(draft.id, StagedKind::Zip);
        self.remove_if_there(&path).map_err(io::Error::other)?;
        let out = Out::new(self.inner.disk.create_new(&path)?);
        self.write_ahead(draft, &part, out).inspect_err(|_| {
            // What it took is room that the download may need.
            drop(self.inner.disk.remove(&path));
        })
    }

    fn write_ahead(
        &self,
        draft: &PackJob,
        part: &Part<'_>,
        mut out: Out<Box<dyn DiskFile>>,
    ) -> io::Result<Made> {
        let manifest = draft.manifest.to_json()?;
        let layout = Layout::of(draft, &manifest, Method::Deflate);
        let front = layout.frame().front(Sealed::default());
        out.put(&front)?;
        let begin = front.len() as u64;
        let path = self.staged_path(draft.id, StagedKind::Zip);
        let (stock, progress) = (&self.inner.stock, Progress::default());
        let (crc32, followed) = thread::scope(|scope| {
            let read = || follow(&path, begin, &progress, stock.cores());
            let reader = Builder::new().name("reread".to_owned()).spawn_scoped(scope, read)?;
            let mut put = |piece: &[u8]| {
                out.put(piece)?;
                progress.reached(out.written().max(begin));
                Ok(())
            };
            let mut file = part.file;
            let package = (&mut file as &mut dyn Read, part as &dyn Gate);
            let written = stock
                .deflate(layout.level, package, layout.bytes, &mut put)
                .map_err(io::Error::from)
                .and_then(|crc32| out.flush().map(|()| crc32));
            match &written {
                Ok(_) => {
                    progress.reached(out.written());
                    progress.end();
                }
                Err(_) => progress.give_up(),
            }
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, io::Error>((written?, read?))
        })?;
        if followed.sealed.crc32 != crc32 {
            return Err(io::Error::other("what was written is not what was read back"));
        }
        let (manifest, level, entry) = (manifest.len(), layout.level, layout.entry);
        Ok(Made { out, followed, manifest, level, entry })
    }
}

impl AheadOfAll {
    fn lock(&self) -> MutexGuard<'_, HashMap<ArchiveId, Arc<Ahead>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unless there is another one by now.
    fn forget(&self, id: ArchiveId, ahead: &Arc<Ahead>) {
        let mut all = self.lock();
        if all.get(&id).is_some_and(|its| Arc::ptr_eq(its, ahead)) {
            all.remove(&id);
        }
    }
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Raw(error) | WriteError::Zip(error) => error,
            WriteError::Length => Self::other("the package is longer than it was announced"),
        }
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
