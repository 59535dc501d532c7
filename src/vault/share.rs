//! One file for several archives: a package that did not change is not stored once more, the file
//! that holds it gets one more name (a hard link).
//!
//! All names of a file are equal. It stays as long as one of them does, so that no archive depends
//! on another. This module must never let an archive share a file that was not just read to its end
//! and compared. A crash leaves a name in the vault that no archive claims; the same call
//! recognises it, and packing in its stead moves it out of the way.

use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

use super::lease::is_same;
use super::{CheckError, Vault, examine, io_error};
use crate::model::{Content, StoredFile};

/// What came of the wish to share a file.
#[derive(Debug)]
pub enum Shared {
    /// The file as the other archive records it.
    Yes(StoredFile),
    /// It has to be stored by itself: the file cannot have more names here, or something else has
    /// the name already.
    No(io::Error),
}

impl Vault {
    /// Gives the file that holds the package `raw` the further name `path`, relative to `vault/`,
    /// durable on return. Before that the file is read to its end and compared: `Damaged` speaks of
    /// it, and nothing has changed then.
    pub fn share(&self, file: &StoredFile, raw: Content, path: &str) -> Result<Shared, CheckError> {
        let target = self.resolve(path)?;
        // Neither it nor another of its names is removed meanwhile.
        let lease = self.lease(file)?;
        self.check(file, raw)?;
        let original = self.stored_path(file);
        let linked = self.put_in(&target, |disk| disk.link(&original, &target))?;
        match linked {
            Ok(()) => {}
            // By a process that died before it was recorded.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !lease.is_named(&target)? {
                    return Ok(Shared::No(error));
                }
            }
            Err(error) if is_impossible(&error) => return Ok(Shared::No(error)),
            Err(error) => return Err(io_error("link", &target)(error).into()),
        }
        if !lease.is_named(&target)? {
            // What was read has lost its name to something else since: nobody has read that.
            self.quarantine(&target, "unexpected")?;
            let error = io::Error::other("another file has had its name since a moment ago");
            return Err(io_error("link", &original)(error).into());
        }
        self.sync_dir(target.parent().unwrap_or(&target))?;
        let inode = examine(&target)?.map(|found| found.ino());
        Ok(Shared::Yes(StoredFile { path: path.to_owned(), inode, ..file.clone() }))
    }

    /// Whether these two are names of one file. What cannot be examined is not.
    pub fn is_shared(&self, one: &StoredFile, other: &StoredFile) -> bool {
        let found = |file| examine(&self.stored_path(file)).ok().flatten();
        matches!((found(one), found(other)), (Some(one), Some(other)) if is_same(&one, &other))
    }
}

/// Not now and not later: the file has as many names as it may have, the file system knows no hard
/// links, or the two folders lie on different ones.
fn is_impossible(error: &io::Error) -> bool {
    const NO_LINKS: [Errno; 6] =
        [Errno::MLINK, Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::XDEV, Errno::INVAL];
    NO_LINKS.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
