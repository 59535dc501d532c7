//! Adapter errors to failures: the only translator between the shell and the core.

use crate::catalog::CatalogError;
use crate::lifecycle::{Effect, Failure, FailureClass};
use crate::model::story;
use crate::roma::shorten;
use crate::vault::VaultError;

/// Ends the daemon: what cannot be recorded, or is not durable, must not be built upon.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The catalog cannot be read or written (exit 74).
    #[error("the catalog failed")]
    Catalog(#[from] CatalogError),
    /// An fsync failed; the next start looks at what is really there (exit 74).
    #[error("the disk failed")]
    Disk(#[source] VaultError),
}

/// What a failed file operation means for the archive it belongs to; an fsync that failed ends the
/// daemon instead.
pub(super) fn of_vault(error: VaultError, effect: Effect) -> Result<Failure, EngineError> {
    if error.is_fatal() {
        return Err(EngineError::Disk(error));
    }
    let class = match &error {
        VaultError::StagedGone { .. } | VaultError::StagedChanged { .. } => FailureClass::Gone,
        VaultError::UnsafePath { .. }
        | VaultError::SizeDiffers { .. }
        | VaultError::ContentDiffers { .. } => FailureClass::Permanent,
        _ => FailureClass::Local,
    };
    Ok(Failure::new(class, effect, shorten(&story(&error))))
}

/// A local reason to leave the package at ROMA for now.
pub(super) fn local(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Local, Effect::NotDone, message)
}
