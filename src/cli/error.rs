//! What a command can fail with, and the exit code of each.

use std::path::PathBuf;

use crate::catalog::CatalogError;
use crate::config::ConfigError;
use crate::engine::{EngineError, RestoreError};
use crate::exit::Exit;
use crate::lifecycle::FailureClass;
use crate::roma::ClientError;
use crate::service::{RebuildError, ServiceError};
use crate::vault::{EntryError, ExtractError, LockError, LookError};

/// A command that failed. The causes are printed once, by [`super::main`].
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command line names something that does not exist or does not fit.
    #[error("{0}")]
    Usage(String),
    /// The thing asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// The daemon ended.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A stored package cannot be read back.
    #[error("cannot extract {id}")]
    Extract {
        /// Which archive.
        id: crate::model::ArchiveId,
        /// Why.
        #[source]
        source: ExtractError,
    },
    /// Nobody can look into a package.
    #[error("cannot look into {id}")]
    Look {
        /// Which archive.
        id: crate::model::ArchiveId,
        /// Why.
        #[source]
        source: LookError,
    },
    /// An entry of a package is not to be had.
    #[error("cannot read `{entry}` of {id}")]
    Entry {
        /// Which archive.
        id: crate::model::ArchiveId,
        /// Which entry.
        entry: String,
        /// Why.
        #[source]
        source: EntryError,
    },
    /// ROMA cannot be spoken to.
    #[error("cannot prepare to speak to ROMA")]
    Client(#[from] ClientError),
    /// A package was not restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A file of the user's cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] std::io::Error),
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output(#[from] std::io::Error),
    /// The runtime does not start.
    #[error("cannot start")]
    Runtime(#[source] std::io::Error),
    /// The demonstration went wrong.
    #[error("the demonstration went wrong: {0}")]
    Demo(String),
}

impl CliError {
    /// Whether somebody closed standard output: enough was read.
    pub(super) fn is_of_a_closed_pipe(&self) -> bool {
        let (Self::Output(error)
        | Self::Extract { source: ExtractError::Output(error), .. }
        | Self::Entry { source: EntryError::Output(error), .. }) = self
        else {
            return false;
        };
        error.kind() == std::io::ErrorKind::BrokenPipe
    }

    /// The documented exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Client(_) => Exit::Config,
            Self::Usage(_) => Exit::Usage,
            Self::NotFound(_) => Exit::Data,
            Self::Extract { source, .. } => match source {
                ExtractError::Output(_) => Exit::Io,
                _ => Exit::NotWell,
            },
            Self::Look { source, .. } => match source {
                LookError::Damaged(_) => Exit::NotWell,
                LookError::Failed(_) => Exit::Io,
                LookError::Copy { .. } => Exit::CannotCreate,
            },
            Self::Entry { source, .. } => match source {
                EntryError::Disk(_) | EntryError::Output(_) => Exit::Io,
                _ => Exit::Data,
            },
            Self::Service(error) => service_exit(error),
            Self::Restore(error) => restore_exit(error),
            Self::Catalog(error) => catalog_exit(error),
            Self::Write { .. } => Exit::CannotCreate,
            Self::Input(_) | Self::Output(_) | Self::Runtime(_) => Exit::Io,
            Self::Demo(_) => Exit::Bug,
        }
    }
}

fn service_exit(error: &ServiceError) -> Exit {
    match error {
        ServiceError::StateDir { .. } | ServiceError::WrongUser { .. } => Exit::CannotCreate,
        ServiceError::Lock(LockError::Held { .. }) => Exit::Held,
        ServiceError::CatalogGone { .. } => Exit::Data,
        ServiceError::Rebuild(error) => match error {
            RebuildError::CatalogThere { .. } => Exit::CannotCreate,
            RebuildError::NoPackages { .. } => Exit::Data,
            RebuildError::Unreadable { .. } | RebuildError::Incomplete { .. } => Exit::Io,
        },
        ServiceError::Client(_) => Exit::Config,
        ServiceError::Catalog(error) | ServiceError::Engine(EngineError::Catalog(error)) => {
            catalog_exit(error)
        }
        ServiceError::Lock(LockError::Io { .. })
        | ServiceError::Vault(_)
        | ServiceError::Engine(EngineError::Disk(_)) => Exit::Io,
    }
}

fn restore_exit(error: &RestoreError) -> Exit {
    match error {
        RestoreError::Unreadable { .. } => Exit::NotWell,
        RestoreError::PackageWaits { .. } => Exit::Held,
        RestoreError::Refused { failure, .. } if failure.class == FailureClass::Transient => {
            Exit::Unavailable
        }
        RestoreError::Unanswered { .. } | RestoreError::OutOfSight { unreachable: true, .. } => {
            Exit::Unavailable
        }
        RestoreError::StillBusy { .. }
        | RestoreError::JobFailed { .. }
        | RestoreError::Refused { .. }
        | RestoreError::OutOfSight { .. } => Exit::Refused,
        RestoreError::Catalog(error) => catalog_exit(error),
    }
}

fn catalog_exit(error: &CatalogError) -> Exit {
    match error {
        error if error.is_unfinished_migration() => Exit::Io,
        CatalogError::CopyBroken { .. } => Exit::NotWell,
        CatalogError::Foreign { .. }
        | CatalogError::BadRow { .. }
        | CatalogError::Migrate { .. }
        | CatalogError::OlderSchema { .. }
        | CatalogError::NewerSchema { .. }
        | CatalogError::Refused(_) => Exit::Data,
        error if error.is_no_database() => Exit::Data,
        CatalogError::Illegal { .. } | CatalogError::SqliteTooOld(_) => Exit::Bug,
        _ => Exit::Io,
    }
}
