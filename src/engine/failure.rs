//! Adapter errors to failures: the only translator between the shell and the core.

use crate::catalog::CatalogError;
use crate::lifecycle::{Effect, Failure, FailureClass};
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
        VaultError::UnsafePath { .. } | VaultError::SizeDiffers { .. } => FailureClass::Permanent,
        _ => FailureClass::Local,
    };
    Ok(Failure { class, effect, message: chain(&error), retry_after_ms: None })
}

/// A local reason to leave the package at ROMA for now.
pub(super) fn local(message: impl Into<String>) -> Failure {
    Failure {
        class: FailureClass::Local,
        effect: Effect::NotDone,
        message: message.into(),
        retry_after_ms: None,
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    shorten(&text)
}
