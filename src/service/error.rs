//! Why the daemon, or what works in its stead, ended: each with what stands in the way. What that
//! means as an exit code is the command line's business.

use super::RebuildError;
use crate::catalog::CatalogError;
use crate::engine::EngineError;
use crate::roma::ClientError;
use crate::vault::{LockError, VaultError};

/// Why the daemon ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The state directory cannot be created.
    #[error("cannot create the state directory {}", path.display())]
    StateDir {
        /// `state_dir`.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Files made here would be out of reach for the daemon.
    #[error(
        "{} belongs to user {owner}, and this is user {we}: work there as its owner, for the \
         service `sudo -u roma-archived roma-archived ...`",
        path.display()
    )]
    WrongUser {
        /// `state_dir`.
        path: std::path::PathBuf,
        /// Number of the user it belongs to.
        owner: u32,
        /// Number of the user that runs this.
        we: u32,
    },
    /// Another daemon works there, or the lock cannot be taken.
    #[error("cannot take over the state directory")]
    Lock(#[from] LockError),
    /// The vault cannot be opened.
    #[error("cannot open the vault")]
    Vault(#[from] VaultError),
    /// The catalog cannot be opened.
    #[error("cannot open the catalog")]
    Catalog(#[from] CatalogError),
    /// Packages are there, and the catalog that knows them is not: an empty one would take all of
    /// them for nobody's.
    #[error(
        "there is no catalog at {}, but vault/ beside it holds files: put a backup of the catalog \
         there (docs/operations.md), or let `roma-archived rebuild` make it anew from the vault",
        path.display()
    )]
    CatalogGone {
        /// Where the catalog was looked for.
        path: std::path::PathBuf,
    },
    /// The catalog cannot be rebuilt.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The HTTP client cannot be set up.
    #[error("cannot prepare to speak to ROMA")]
    Client(#[from] ClientError),
    /// The engine had to stop.
    #[error("the daemon must stop")]
    Engine(#[from] EngineError),
}
