//! What can go wrong in the vault, said once, with the path.
//!
//! Never repeats the cause in its own words: that is what `source` is for. Pure data: a crash
//! before or after means nothing here.

use std::io;
use std::path::PathBuf;

use crate::model::Content;

/// Why work on the vault failed. Unless a variant says otherwise, nothing was lost and the same
/// call may be made again later.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The operating system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb: "create", "rename", ...
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it answered.
        #[source]
        source: io::Error,
    },
    /// An fsync failed: what the kernel still held may be gone, and a second fsync would claim
    /// success all the same. The process must end (exit 74) and look again at what is there.
    #[error("cannot make {} durable", path.display())]
    SyncFailed {
        /// The file or folder that was synced.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// A download was to begin although the package already lies whole in staging; another GET
    /// would be one too many. `Vault::inspect_staged` adopts what is there.
    #[error("{} already holds the whole package", path.display())]
    AlreadyStaged {
        /// The file that is whole.
        path: PathBuf,
    },
    /// The sender went away without saying that the package was complete.
    #[error("the download into {} was cut short after {bytes} bytes", path.display())]
    CutShort {
        /// The unfinished file, left for `Vault::inspect_staged`.
        path: PathBuf,
        /// What had arrived.
        bytes: u64,
    },
    /// An earlier write of this download failed, so that the file has a hole.
    #[error("{} is incomplete since a write to it failed", path.display())]
    Incomplete {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The downloaded package is no longer in staging.
    #[error("the downloaded package {} is gone", path.display())]
    StagedGone {
        /// Where it lay.
        path: PathBuf,
    },
    /// The downloaded package is no longer what was downloaded.
    #[error(
        "the downloaded package {} has changed ({} bytes were recorded)",
        path.display(),
        recorded.bytes
    )]
    StagedChanged {
        /// Where it lies.
        path: PathBuf,
        /// What it was.
        recorded: Content,
    },
    /// The packed copy, read back, did not hold what was put into it. The download is untouched.
    #[error("the packed copy {} does not read back as what was packed", path.display())]
    CopyDiffers {
        /// The packed copy, in staging.
        path: PathBuf,
        /// What was found instead.
        #[source]
        source: super::DamageReason,
    },
    /// The manifest speaks of another package than the one to be packed: a bug of the caller.
    #[error("the manifest for `{path}` describes another package")]
    ManifestDiffers {
        /// The wanted path below `vault/`.
        path: String,
    },
    /// The manifest cannot be written as JSON: a bug.
    #[error("cannot write the manifest for `{path}`")]
    Manifest {
        /// The wanted path below `vault/`.
        path: String,
        /// What serde answered.
        #[source]
        source: serde_json::Error,
    },
    /// A path that is not plain, or that leads through a link, is never touched.
    #[error("refusing `{path}`: not a plain path below the vault")]
    UnsafePath {
        /// As it was given.
        path: String,
    },
    /// The file to be deleted is not the recorded one, so it stays.
    #[error(
        "refusing to remove {}: it has {found} bytes, {recorded} were recorded",
        path.display()
    )]
    SizeDiffers {
        /// The file.
        path: PathBuf,
        /// By the catalog, in bytes.
        recorded: u64,
        /// On disk, in bytes.
        found: u64,
    },
    /// The file to be deleted has the recorded length, but it is neither the file that was stored
    /// nor a copy of it, so it stays.
    #[error(
        "refusing to remove {}: its SHA-256 is {}, {} was recorded",
        path.display(), found.sha256, recorded.sha256
    )]
    ContentDiffers {
        /// The file.
        path: PathBuf,
        /// By the catalog.
        recorded: Content,
        /// On disk.
        found: Content,
    },
    /// Somebody reads the file that is to be deleted.
    #[error("{} is being read; deletion is tried again", path.display())]
    BeingRead {
        /// The file.
        path: PathBuf,
    },
    /// The file that is to be read is being deleted at this moment.
    #[error("{} is being deleted", path.display())]
    BeingRemoved {
        /// The file.
        path: PathBuf,
    },
    /// `vault/`, `staging/` and `quarantine/` must share a file system: a finished file is renamed
    /// from one to the other, which is what makes it appear whole or not at all.
    #[error("{} is on another file system than its neighbours", path.display())]
    OtherFileSystem {
        /// The folder that differs.
        path: PathBuf,
    },
}

impl VaultError {
    /// Whether the process must end because of it: an fsync failed.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::SyncFailed { .. })
    }

    /// Whether there is no room: trying again helps once something was deleted.
    pub fn is_out_of_space(&self) -> bool {
        let (Self::Io { source, .. } | Self::SyncFailed { source, .. }) = self else {
            return false;
        };
        is_no_room(source)
    }
}

/// The disk is full, or what this user may have of it.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
