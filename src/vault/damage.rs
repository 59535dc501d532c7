//! What a check of a stored file may say but yes, and what reading it may.
//!
//! It must never take a disk that cannot be read for a file that is damaged: the one passes, the
//! other is recorded. Pure data: nothing can crash here.

use std::io;

use super::VaultError;
use crate::model::Content;

/// What is wrong with a stored file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageReason {
    /// There is no such file.
    #[error("the file is missing")]
    Missing,
    /// Something else has its name.
    #[error("it is not a regular file")]
    NotAFile,
    /// Something else has the name of a folder that leads to it.
    #[error("something that is no folder stands in its way")]
    Obstructed,
    /// It was cut or extended.
    #[error("it has {found} bytes, {recorded} were recorded")]
    SizeDiffers {
        /// By the catalog, in bytes.
        recorded: u64,
        /// On disk, in bytes.
        found: u64,
    },
    /// Its bytes changed.
    #[error("its SHA-256 is {}, {} was recorded", found.sha256, recorded.sha256)]
    DigestDiffers {
        /// By the catalog.
        recorded: Content,
        /// On disk.
        found: Content,
    },
    /// The package in it is not the one that was downloaded.
    #[error(
        "the package in it has {} bytes and the SHA-256 {}, {} and {} were recorded",
        found.bytes, found.sha256, recorded.bytes, recorded.sha256
    )]
    PackageDiffers {
        /// By the catalog or the manifest.
        recorded: Content,
        /// In the file; no more than one buffer beyond the recorded length is read.
        found: Content,
    },
    /// Its manifest is not the one that was written.
    #[error("the manifest in it has changed")]
    ManifestDiffers,
    /// It is no zip that this program writes.
    #[error("it cannot be read as a zip: {0}")]
    Unreadable(String),
}

impl DamageReason {
    /// Whether what is in the file is wrong, whatever name it was reached by.
    pub const fn is_of_content(&self) -> bool {
        match self {
            Self::Missing | Self::NotAFile | Self::Obstructed => false,
            Self::SizeDiffers { .. }
            | Self::DigestDiffers { .. }
            | Self::PackageDiffers { .. }
            | Self::ManifestDiffers
            | Self::Unreadable(_) => true,
        }
    }
}

/// Why a check did not say yes.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The file is not what was stored.
    #[error(transparent)]
    Damaged(#[from] DamageReason),
    /// The disk did not let it be read, which says nothing about the file.
    #[error(transparent)]
    Failed(#[from] VaultError),
}

/// Why a package was not, or not faithfully, written out.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The file is not what was stored. What was written so far must not be used.
    #[error(transparent)]
    Damaged(#[from] DamageReason),
    /// The disk did not let it be read.
    #[error(transparent)]
    Failed(#[from] VaultError),
    /// The receiving side refused more.
    #[error("cannot write the package out")]
    Output(#[source] io::Error),
}

impl From<CheckError> for ExtractError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Damaged(reason) => Self::Damaged(reason),
            CheckError::Failed(error) => Self::Failed(error),
        }
    }
}
