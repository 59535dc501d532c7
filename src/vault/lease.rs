//! Who reads stored files holds them: a lease keeps their removal off until all is read.
//!
//! A lease is a shared lock on the file itself, which needs no room, is gone with whoever held it,
//! and works between processes. Of a file that has several names it keeps all of them. Whoever
//! removes takes the lock exclusively and waits for nobody: it comes again later. Nothing here may
//! wait either, follow a link, or open anything but what can be read without waiting.
//!
//! Some file systems know no locks. There the file is opened all the same, and what is open can be
//! read to its end by whoever has it open, though its name be gone.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{CheckError, DamageReason, Vault, VaultError, examine, io_error};
use crate::model::StoredFile;

/// Keeps a stored file from being removed until it is dropped, or until the process ends.
#[derive(Debug)]
pub struct Lease {
    file: File,
}

impl Vault {
    /// Takes a lease on a stored file. Whoever needs several takes all of them before the first
    /// byte is read.
    pub fn lease(&self, file: &StoredFile) -> Result<Lease, CheckError> {
        let path = self.stored_path(file);
        self.folders_lead_to(&path)?;
        let opened = match open_plain(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DamageReason::Missing.into());
            }
            Err(error) if is_link(&error) => return Err(DamageReason::NotAFile.into()),
            Err(error) => return Err(io_error("open", &path)(error).into()),
        };
        if !locked(opened.try_lock_shared()).map_err(io_error("lock", &path))? {
            return Err(VaultError::BeingRemoved { path }.into());
        }
        let found = opened.metadata().map_err(io_error("examine", &path))?;
        // Removed between the two: the lock is on nothing, or on what has other names.
        match examine(&path)? {
            Some(named) if is_same(&named, &found) => Ok(Lease { file: opened }),
            _ => Err(DamageReason::Missing.into()),
        }
    }
}

impl Lease {
    /// Whether the file that is held has this name.
    pub(super) fn is_named(&self, path: &Path) -> Result<bool, VaultError> {
        let held = self.file.metadata().map_err(io_error("examine", path))?;
        Ok(examine(path)?.is_some_and(|named| is_same(&named, &held)))
    }
}

/// Whether both are one file, whatever its names.
pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Opens for reading what has this name itself, and never waits, as opening a pipe would.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Whether it could not be opened because it is a link.
pub(super) fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Whether nobody reads the file; then nobody can begin to, as long as it stays open.
pub(super) fn try_exclusive(file: &File) -> io::Result<bool> {
    locked(file.try_lock())
}

fn locked(result: Result<(), TryLockError>) -> io::Result<bool> {
    // The last is what NFS says of a file that is open for reading only.
    const NO_LOCKS: [Errno; 5] =
        [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::BADF];
    match result {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => {
            let knows_none =
                NO_LOCKS.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()));
            if knows_none { Ok(true) } else { Err(error) }
        }
    }
}
