//! The catalog: one SQLite database that records everything, and that others read.
//!
//! Writes go through one writer task with group commit (`writer`); two functions (`archives`)
//! make and change archives, and nothing else does. Reads use a second connection. The catalog
//! performs no effect on the outside and never waits for one: a transaction spans no network and
//! no file. When a write fails, nothing of it is recorded, and the caller must not do what it
//! meant to record.

use std::path::Path;
use std::sync::Arc;

use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

mod archives;
mod connect;
mod copy;
mod error;
mod exports;
mod facts;
mod files;
mod journal;
mod log;
mod operation;
mod pins;
mod read;
mod rebuild;
mod record;
mod refusal;
mod row;
mod runs;
mod shares;
mod sql;
mod strain;
mod write;
mod writer;

pub use copy::{Copied, check_copy};
pub use error::CatalogError;
pub use log::FileStamp;
pub use pins::{Pin, Unpin};
pub use read::{RECENT, ViewRows};
pub use rebuild::{RebuiltArchive, RebuiltSnapshot};
pub use record::{
    Adopted, Adoption, Change, ExportRecord, ExportState, NewSnapshot, Opened, Origin, Planning,
    Sequel, SnapshotRecord, Uncovered, UnplannedSnapshot, VerdictNote,
};
pub use refusal::Refusal;
pub use strain::{Relief, Waiting};

use crate::lifecycle::{Archive, Notice};
use crate::model::{ArchiveId, JobId, Name, PackageId, SnapshotId, Timestamp};
use connect::{
    check_identity, check_sqlite, create_private, look_before_opening, options, prepare,
    require_schema,
};
use operation::{Operation, Outcome};
use strain::Strain;
use writer::{Request, Writer};

/// The database file in the state directory.
pub const FILE_NAME: &str = "catalog.db";
/// How the catalog is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// By the holder of the state directory's lock: creates and migrates.
    Owner,
    /// By a command in the daemon's stead, while none runs: the same, but it waits for nothing.
    Deputy,
    /// By a command beside a running daemon: reads and writes, never migrates.
    Command,
    /// Reads only.
    Reader,
}

type WriterTask = JoinHandle<Result<(), CatalogError>>;

impl Access {
    /// Whether it may create a catalog and change its schema.
    const fn may_migrate(self) -> bool {
        matches!(self, Self::Owner | Self::Deputy)
    }
}

/// A handle on the open catalog; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    reader: Arc<Mutex<SqliteConnection>>,
    writer: Option<mpsc::Sender<Request>>,
    task: Arc<Mutex<Option<WriterTask>>>,
    strain: Strain,
    path: Arc<Path>,
}

impl Catalog {
    /// Opens `<state_dir>/catalog.db`.
    pub async fn open(state_dir: &Path, access: Access) -> Result<Self, CatalogError> {
        let path = state_dir.join(FILE_NAME);
        let open_error = |source| CatalogError::Open { path: path.clone(), source };
        let holds_something = match path.metadata() {
            Ok(found) => found.len() > 0,
            Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(CatalogError::Denied { path, source });
            }
            Err(_) => false,
        };
        if holds_something {
            // Before anything is touched: opening it for writing would change another's file.
            look_before_opening(&path, access).await?;
        } else if !access.may_migrate() {
            return Err(CatalogError::Missing { path });
        }
        let writer = if access == Access::Reader {
            None
        } else {
            if access.may_migrate() {
                create_private(&path)?;
            }
            let mut db = options(&path, access).connect().await.map_err(open_error)?;
            check_sqlite(&mut db).await?;
            prepare(&mut db, &path, access).await?;
            Some(db)
        };
        let mut reader = options(&path, Access::Reader).connect().await.map_err(open_error)?;
        // For a writer this is known already; reading it makes the connection join the log of
        // changes, whose side files then outlive the writer (see `close`).
        check_identity(&mut reader, &path).await?;
        require_schema(&mut reader, &path).await?;
        let strain = Strain::default();
        let (sender, task) = match writer {
            Some(connection) => {
                let (sender, requests) = mpsc::channel(256);
                let strain = strain.clone();
                let writer = Writer::new(connection, path, access, strain);
                (Some(sender), Some(tokio::spawn(writer::serve(writer, requests))))
            }
            None => (None, None),
        };
        Ok(Self {
            reader: Arc::new(Mutex::new(reader)),
            writer: sender,
            task: Arc::new(Mutex::new(task)),
            strain,
            path: state_dir.join(FILE_NAME).into(),
        })
    }

    /// Whom the daemon's writer asks for room when the disk is full. Before that it only waits.
    pub fn relieve_with(&self, relief: Relief) {
        self.strain.relieve_with(relief);
    }

    /// What the writer waits for at this moment, and every caller with it.
    pub fn waiting(&self) -> Option<Waiting> {
        self.strain.waiting()
    }

    /// Ends the writer after what waits is committed, and closes the database. The reading
    /// connection goes last: it cannot remove the side files, which others need to read. An error
    /// is a failed sync; all that was answered is recorded nevertheless.
    pub async fn close(self) -> Result<(), CatalogError> {
        drop(self.writer);
        let Some(task) = self.task.lock().await.take() else { return Ok(()) };
        task.await.unwrap_or_else(|error| {
            tracing::error!(error = %error, "the catalog's writer broke");
            Err(CatalogError::WriterGone)
        })
    }

    async fn write(&self, operation: Operation, at: Timestamp) -> Result<Outcome, CatalogError> {
        let writer = self.writer.as_ref().ok_or(CatalogError::WriterGone)?;
        let (reply, answer) = oneshot::channel();
        writer
            .send(Request { operation, at, reply })
            .await
            .map_err(|_| CatalogError::WriterGone)?;
        answer.await.map_err(|_| CatalogError::WriterGone)?
    }

    /// Records that `event` happened to `archive`; the answer is the archive as it is now.
    pub async fn commit(&self, change: Change, at: Timestamp) -> Result<Archive, CatalogError> {
        let mut archives = self.commit_all(vec![change], at).await?;
        if archives.is_empty() { Err(CatalogError::WriterGone) } else { Ok(archives.remove(0)) }
    }

    /// Records several changes, all or none. The answer holds every archive that was changed or,
    /// as a replacement, opened; the last change's archive comes first.
    pub async fn commit_all(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
    ) -> Result<Vec<Archive>, CatalogError> {
        match self.write(Operation::Commit(changes), at).await? {
            Outcome::Archives(archives) => Ok(archives),
            _ => Err(CatalogError::WriterGone),
        }
    }

    /// Takes over a job that was started elsewhere. Doing it again changes nothing, unless the
    /// adoption says so of a job that was taken for lost.
    pub async fn adopt(&self, adoption: Adoption, at: Timestamp) -> Result<Adopted, CatalogError> {
        match self.write(Operation::Adopt(adoption), at).await? {
            Outcome::Adopted(adopted) => Ok(*adopted),
            _ => Err(CatalogError::WriterGone),
        }
    }

    /// Records the configured exports; those that are no longer configured keep their rows.
    pub async fn configure_exports(
        &self,
        exports: Vec<ExportRecord>,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(Operation::ConfigureExports(exports), at).await.map(drop)
    }

    /// Writes why snapshots are kept.
    pub async fn note_verdicts(
        &self,
        notes: Vec<VerdictNote>,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(Operation::NoteVerdicts(notes), at).await.map(drop)
    }

    /// Records what concerns no single archive or snapshot.
    pub async fn notify(&self, notices: Vec<Notice>, at: Timestamp) -> Result<(), CatalogError> {
        self.write(Operation::Notify(notices), at).await.map(drop)
    }

    /// Writes one value about the catalog itself.
    pub async fn stamp(
        &self,
        key: &'static str,
        value: String,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(Operation::Stamp { key, value, replace: true }, at).await.map(drop)
    }

    /// Writes one value about the catalog itself, unless it is there already.
    pub async fn stamp_once(
        &self,
        key: &'static str,
        value: String,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(Operation::Stamp { key, value, replace: false }, at).await.map(drop)
    }

    /// A number that changes whenever another connection has written.
    pub async fn foreign_version(&self, at: Timestamp) -> Result<i64, CatalogError> {
        match self.write(Operation::DataVersion, at).await? {
            Outcome::DataVersion(version) => Ok(version),
            _ => Err(CatalogError::WriterGone),
        }
    }

    /// Every archive that is not at rest; independent of how long the history is.
    pub async fn active(&self) -> Result<Vec<Archive>, CatalogError> {
        read::active(&mut *self.reader.lock().await).await
    }

    /// One archive.
    pub async fn archive(&self, id: ArchiveId) -> Result<Option<Archive>, CatalogError> {
        read::archive(&mut *self.reader.lock().await, id).await
    }

    /// All archives of a snapshot, lost ones and their replacements included, by part.
    pub async fn archives_of(&self, snapshot: SnapshotId) -> Result<Vec<Archive>, CatalogError> {
        read::archives_of(&mut *self.reader.lock().await, snapshot).await
    }

    /// The archives that events after `seq` concern, and the newest `seq`.
    pub async fn changed_since(&self, seq: i64) -> Result<(i64, Vec<Archive>), CatalogError> {
        read::changed_since(&mut *self.reader.lock().await, seq).await
    }

    /// The newest event's `seq`, 0 when there is none.
    pub async fn last_seq(&self) -> Result<i64, CatalogError> {
        read::last_seq(&mut *self.reader.lock().await).await
    }

    /// The newest time that an event carries: the clock has been there.
    pub async fn latest_event_time(&self) -> Result<Option<Timestamp>, CatalogError> {
        read::latest_event_time(&mut *self.reader.lock().await).await
    }

    /// What is recorded of the configured exports.
    pub async fn exports(&self) -> Result<Vec<ExportState>, CatalogError> {
        read::exports(&mut *self.reader.lock().await).await
    }

    /// Accounts whose last event was a pause, and until when that is; the end may be past.
    pub async fn paused_accounts(&self) -> Result<Vec<(Name, Timestamp)>, CatalogError> {
        read::paused_accounts(&mut *self.reader.lock().await).await
    }

    /// The snapshots of an export that retention decides about: those at rest that have files.
    pub async fn snapshots_of(
        &self,
        instance: &Name,
        export: &Name,
        now: Timestamp,
    ) -> Result<Vec<SnapshotRecord>, CatalogError> {
        read::snapshots_of(&mut *self.reader.lock().await, instance, export, now).await
    }

    /// Sizes of an instance's last packages, in bytes, in the order in which they came; not more
    /// than [`RECENT`].
    pub async fn recent_sizes(&self, instance: &Name) -> Result<Vec<u64>, CatalogError> {
        read::recent_sizes(&mut *self.reader.lock().await, instance).await
    }

    /// Another archive that has, or had, this package (contract U17).
    pub async fn claimant(
        &self,
        instance: &Name,
        package: &PackageId,
        besides: ArchiveId,
    ) -> Result<Option<ArchiveId>, CatalogError> {
        read::claimant(&mut *self.reader.lock().await, instance, package, besides).await
    }

    /// A page of the archives that claim a file: stored, in the trash or damaged, by number; at
    /// first with `after` = 0. Also the number to go on after; `None`: that was all.
    pub async fn holding_page(
        &self,
        after: ArchiveId,
    ) -> Result<(Vec<Archive>, Option<ArchiveId>), CatalogError> {
        files::holding_page(&mut *self.reader.lock().await, after).await
    }

    /// Archives whose file may lie in the vault already although the catalog does not say so yet.
    /// To be asked for before [`Catalog::unclaimed`], or one is missed that is recorded meanwhile.
    pub async fn packing(&self) -> Result<Vec<Archive>, CatalogError> {
        files::packing(&mut *self.reader.lock().await).await
    }

    /// Those of these paths that no archive claims; a deleted one does not.
    pub async fn unclaimed(&self, paths: &[String]) -> Result<Vec<String>, CatalogError> {
        files::unclaimed(&mut *self.reader.lock().await, paths).await
    }

    /// Stored archives whose file was last read before `until`, the longest ago first, from `after`
    /// on; not more than a few hundred.
    pub async fn to_verify(
        &self,
        after: (Timestamp, ArchiveId),
        until: Timestamp,
    ) -> Result<Vec<Archive>, CatalogError> {
        files::to_verify(&mut *self.reader.lock().await, after, until).await
    }

    /// When a stored file was last read again, if that was after `since`, and its length in bytes.
    pub async fn last_verified(
        &self,
        since: Timestamp,
    ) -> Result<Option<(Timestamp, u64)>, CatalogError> {
        files::last_verified(&mut *self.reader.lock().await, since).await
    }

    /// The newest archive of a job.
    pub async fn of_job(
        &self,
        instance: &Name,
        job: &JobId,
    ) -> Result<Option<Archive>, CatalogError> {
        files::of_job(&mut *self.reader.lock().await, instance, job).await
    }

    /// When an archive was opened.
    pub async fn opened_at(&self, id: ArchiveId) -> Result<Option<Timestamp>, CatalogError> {
        files::opened_at(&mut *self.reader.lock().await, id).await
    }

    /// How many parts a snapshot has; 0 while nobody knows.
    pub async fn parts_of(&self, snapshot: SnapshotId) -> Result<u32, CatalogError> {
        read::parts_of(&mut *self.reader.lock().await, snapshot).await
    }

    /// Reads a public view; `select` is our own text, `binds` may be anything.
    pub async fn view(&self, select: &str, binds: &[String]) -> Result<ViewRows, CatalogError> {
        read::view(&mut *self.reader.lock().await, select, binds).await
    }
}
