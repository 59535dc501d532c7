//! What can go wrong with the catalog.

use std::path::PathBuf;
use std::sync::Arc;

use super::refusal::Refusal;
use crate::lifecycle::IllegalTransition;
use crate::model::{ArchiveId, SnapshotId};

/// A failed read or write of the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file cannot be opened as a catalog.
    #[error("cannot open the catalog {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
    /// There is no catalog yet.
    #[error(
        "there is no catalog at {}: start the daemon once (`roma-archived run`), or name the right \
         configuration with --config",
        path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// This user may not look into the state directory.
    #[error(
        "cannot look at the catalog {}: it is for the service and its group. Join the group \
         (`usermod -aG roma-archived NAME`, then sign in anew), or run this as the service's user",
        path.display()
    )]
    Denied {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A copy cannot be made or read.
    #[error("cannot copy the catalog to {}", path.display())]
    Copy {
        /// The copy.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
    /// A copy is not whole, and so may the catalog not be.
    #[error(
        "the copy {} of the catalog does not add up ({problem}): keep the older backups, and look \
         at the catalog itself with `sqlite3 -readonly ... 'PRAGMA integrity_check'`",
        path.display()
    )]
    CopyBroken {
        /// The copy.
        path: PathBuf,
        /// What was found first.
        problem: String,
    },
    /// The file is a database of something else.
    #[error("{} is not a catalog of roma-archived (application_id {found:#x})", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
        /// Its `application_id`.
        found: i64,
    },
    /// The schema is another version's.
    #[error("cannot bring the catalog {} to this version's schema", path.display())]
    Migrate {
        /// The database file.
        path: PathBuf,
        /// Which migration, and why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The catalog is older than this program, and a command does not migrate it.
    #[error(
        "the catalog {} has an older schema: start the daemon of this version once, it migrates it",
        path.display()
    )]
    OlderSchema {
        /// The database file.
        path: PathBuf,
    },
    /// The catalog is newer than this program.
    #[error(
        "the catalog {} was written by a newer version: use that one, or restore an older backup",
        path.display()
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
    },
    /// The bundled SQLite lacks the fix of a corruption (ecosystem, SQLite 3.51.3).
    #[error("SQLite {0} is too old: 3.51.3 is the first without the WAL-reset corruption")]
    SqliteTooOld(String),
    /// A read failed.
    #[error("cannot read the catalog")]
    Read(#[source] sqlx::Error),
    /// A transaction failed; nothing of it is recorded. What cannot be recorded must not be done.
    #[error("cannot write the catalog")]
    Write(#[source] Arc<sqlx::Error>),
    /// A promise of the schema would be broken; the operation left no trace.
    #[error("the catalog refuses the change")]
    Constraint(#[source] sqlx::Error),
    /// A row says something this version does not understand.
    #[error("the catalog's record of {what} is not readable: {why}")]
    BadRow {
        /// Which row.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else changed the archive in the meantime.
    #[error("{0} was changed by somebody else in the meantime")]
    Stale(ArchiveId),
    /// The event cannot follow the state. A bug.
    #[error("{id}: refused")]
    Illegal {
        /// Which archive.
        id: ArchiveId,
        /// What was tried.
        #[source]
        source: IllegalTransition,
    },
    /// Another archive already has this package (contract U17).
    #[error("{by} already has this package")]
    PackageClaimed {
        /// The archive that has it.
        by: ArchiveId,
    },
    /// The snapshot cannot be planned twice.
    #[error("{0} is planned already")]
    AlreadyPlanned(SnapshotId),
    /// A pin, or the trash, stands in the way.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The writer has ended; its own error was reported where it happened.
    #[error("the catalog's writer has stopped")]
    WriterGone,
}

impl CatalogError {
    /// Whether the file is something else than a database of SQLite.
    pub fn is_no_database(&self) -> bool {
        /// `SQLITE_NOTADB`.
        const NOT_A_DATABASE: u32 = 26;
        matches!(self, Self::Open { source, .. } if sqlite_code(source) == Some(NOT_A_DATABASE))
    }

    /// Whether the schema could not be changed for the disk's sake, and not for another version's.
    pub const fn is_unfinished_migration(&self) -> bool {
        use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
        matches!(self, Self::Migrate { source: Execute(_) | ExecuteMigration(..), .. })
    }

    /// Whether the catalog itself failed, after which nothing may be done any more (exit 74); the
    /// others concern one archive.
    pub const fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::Stale(_)
                | Self::Constraint(_)
                | Self::Illegal { .. }
                | Self::PackageClaimed { .. }
                | Self::AlreadyPlanned(_)
                | Self::Refused(_)
        )
    }
}

/// SQLite's own number of an error, extended; its lowest byte is the plain one.
pub(super) fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code)?;
    code.parse().ok()
}

/// A statement that breaks a promise of the schema concerns one archive; any other that fails means
/// that the catalog cannot be written.
pub(super) fn failed(error: sqlx::Error) -> CatalogError {
    match &error {
        sqlx::Error::Database(refusal) if refusal.kind() != sqlx::error::ErrorKind::Other => {
            CatalogError::Constraint(error)
        }
        _ => CatalogError::Write(Arc::new(error)),
    }
}
