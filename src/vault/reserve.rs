//! A little room kept back, so that a disk that runs full does not stop the very work that makes
//! room: the file `reserve` of the state directory is given up when the catalog finds no room, and
//! filled again once there is plenty.
//!
//! It must never hold anything worth keeping, never take room that downloads were promised, and is
//! no reason to fail: where it cannot be made the daemon works without it. A crash leaves it there
//! or not, whole or not; all are fine, because one that is too short is filled anew.

use std::io;
use std::path::PathBuf;

use super::{Vault, VaultError, examine, io_error};

/// Thousands of commits: the log of changes is used again and again, so what counts is the growth
/// of the database itself.
const LARGEST: u64 = 8 << 20;
/// A small disk gives this part of itself.
const PART_OF_DISK: u64 = 32;
/// Less is not worth having.
const SMALLEST: u64 = 64 << 10;

impl Vault {
    /// Fills the reserve, if it is not there and at least four times its size, and `besides`, would
    /// be free. The answer is whether it is there now.
    pub fn fill_reserve(&self, besides: u64) -> Result<bool, VaultError> {
        let path = self.reserve_path();
        let folder = &self.inner.staging;
        let failed = io_error("ask for the size of the disk of", folder);
        let size = rustix::fs::statvfs(folder).map_err(|error| failed(error.into()))?;
        let whole = size.f_blocks.saturating_mul(size.f_frsize);
        let bytes = (whole / PART_OF_DISK).clamp(SMALLEST, LARGEST);
        if let Some(found) = examine(&path)? {
            // Its length says how much of it was filled; where zeros are compressed, blocks do not.
            if found.len() >= bytes {
                return Ok(true);
            }
            let _ = self.release_reserve();
        }
        let free = self.free_bytes()?;
        if free < bytes.saturating_mul(4).saturating_add(besides) {
            return Ok(false);
        }
        let filled = self.inner.disk.allocate(&path, bytes);
        if let Err(error) = filled {
            let _ = self.release_reserve();
            return Err(io_error("fill", &path)(error));
        }
        Ok(true)
    }

    /// Gives the reserve up; whether there was one.
    pub fn release_reserve(&self) -> io::Result<bool> {
        match self.inner.disk.remove(&self.reserve_path()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn reserve_path(&self) -> PathBuf {
        self.inner.state_dir.join("reserve")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;

    use super::*;
    use crate::vault::OsDisk;

    #[test]
    fn it_takes_real_room_and_gives_it_back_once() {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(directory.path(), Arc::new(OsDisk)).unwrap();
        assert!(!vault.release_reserve().unwrap());
        assert!(vault.fill_reserve(0).unwrap());
        let found = directory.path().join("reserve").metadata().unwrap();
        assert!(found.len() >= SMALLEST && found.blocks() * 512 >= found.len(), "{found:?}");
        assert!(vault.fill_reserve(u64::MAX).unwrap(), "it is there already");
        assert!(vault.release_reserve().unwrap());
        assert!(!vault.fill_reserve(u64::MAX).unwrap(), "there is not so much room");
        assert!(!directory.path().join("reserve").exists());
    }

    #[test]
    fn one_that_a_crash_left_empty_is_filled() {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(directory.path(), Arc::new(OsDisk)).unwrap();
        std::fs::write(directory.path().join("reserve"), "").unwrap();
        assert!(vault.fill_reserve(0).unwrap());
        let found = directory.path().join("reserve").metadata().unwrap();
        assert!(found.len() >= SMALLEST && found.blocks() * 512 >= found.len(), "{found:?}");
        assert!(vault.fill_reserve(u64::MAX).unwrap());
    }
}
