//! SQLite's log of changes (the WAL): when it is moved into the database, and what a failure of
//! that means.
//!
//! SQLite would do it by itself after a commit, but keeps to itself how that went. After a failed
//! sync nothing may be written any more, so it is done here, where a failure is seen.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sqlx::SqliteConnection;

use super::Catalog;
use super::strain::{is_busy, is_full};

const PAGE: u64 = 4_096;
/// Pages that an operation adds, about.
const PAGES_AN_OPERATION: u64 = 8;

/// How the log is moved into the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// As far as readers let it, without waiting for them.
    WhatCanBe,
    /// All of it, and the file is emptied.
    All,
}

/// The log beside a database.
#[derive(Debug)]
pub(super) struct Log {
    file: PathBuf,
    /// How long it may grow, in pages.
    limit: u64,
    /// Operations since it was last moved.
    operations: u64,
    /// How long it was then, in bytes.
    moved_at: u64,
    /// Somebody has been told that it does not become shorter.
    told: bool,
}

/// How the files of the catalog look from outside. It changes when somebody writes, but the time in
/// it is coarse: two changes within some milliseconds may look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp([(u64, i64, i64); 2]);

impl Catalog {
    /// How the files look now. A look only: no database is asked.
    pub fn file_stamp(&self) -> FileStamp {
        let stamp = |path: &Path| {
            let found = std::fs::metadata(path).ok();
            found.map_or((0, 0, 0), |found| (found.len(), found.mtime(), found.mtime_nsec()))
        };
        FileStamp([stamp(&self.path), stamp(&log_of(&self.path))])
    }
}

/// The file beside a database.
pub(super) fn log_of(database: &Path) -> PathBuf {
    let mut file = database.to_owned().into_os_string();
    file.push("-wal");
    file.into()
}

impl Log {
    pub(super) fn of(database: &Path) -> Self {
        Self {
            file: log_of(database),
            limit: limit(database),
            operations: 0,
            moved_at: 0,
            told: false,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |found| found.len())
    }

    /// So many operations more are in it.
    pub(super) const fn grew(&mut self, operations: u64) {
        self.operations += operations;
    }

    /// Whether it is long enough to be moved. The file keeps its length when it begins anew, so
    /// that alone does not tell, unless it has grown.
    pub(super) fn is_long(&self) -> bool {
        let bytes = self.bytes();
        let has_grown = self.operations >= self.limit / PAGES_AN_OPERATION || bytes > self.moved_at;
        has_grown && bytes >= self.limit * PAGE
    }

    /// Moves it into the database. A failure loses nothing, for the log stays as it is.
    pub(super) async fn moved(
        &mut self,
        db: &mut SqliteConnection,
        how: Move,
    ) -> Result<(), sqlx::Error> {
        const TOO_LONG: u64 = 8;
        self.operations = 0;
        self.moved_at = self.bytes();
        let left = move_into_database(db, how).await?;
        let is_too_long = left > self.limit * TOO_LONG;
        if is_too_long && !self.told {
            tracing::warn!(
                pages = left,
                "a program that reads the catalog for long keeps its log of changes from being \
                 moved into the database; it grows until that program is done"
            );
        }
        self.told = is_too_long;
        Ok(())
    }
}

/// Moves the log of changes into the database; the answer is how many pages could not be moved.
pub(super) async fn move_into_database(
    db: &mut SqliteConnection,
    how: Move,
) -> Result<u64, sqlx::Error> {
    let pragma = match how {
        Move::WhatCanBe => "PRAGMA wal_checkpoint(PASSIVE)",
        Move::All => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let (_busy, log, moved): (i64, i64, i64) = sqlx::query_as(pragma).fetch_one(db).await?;
    Ok(u64::try_from(log - moved).unwrap_or(0))
}

/// On a small disk the log must be short, because moving it takes room that the log itself may have
/// used up.
fn limit(database: &Path) -> u64 {
    const PART_OF_DISK: u64 = 64;
    let folder = database.parent().unwrap_or(database);
    let bytes = rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_blocks * disk.f_frsize);
    (bytes / PART_OF_DISK / PAGE).clamp(16, 1_000)
}

/// Whether there was only no lock or no room for moving the log. Any other failure lasts, or was
/// that of a sync: then what a later one promises could rest on what is not there.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    is_busy(error) || is_full(error)
}
