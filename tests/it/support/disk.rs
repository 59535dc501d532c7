//! The real disk, with as much room as a test says, or with files that it refuses to read.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use roma_archived::vault::{Disk, DiskFile, OsDisk, SyncFileError};

/// A disk with this many bytes free.
#[derive(Debug)]
pub(crate) struct Tight {
    free: Arc<AtomicU64>,
    /// What each file of the vault gives back that goes.
    gain: u64,
    /// What lies in staging takes room as well.
    staging_counts: bool,
}

impl Tight {
    pub(crate) fn new(free: Arc<AtomicU64>) -> Self {
        Self { free, gain: 0, staging_counts: false }
    }

    pub(crate) fn with_gain(free: Arc<AtomicU64>, gain: u64) -> Self {
        Self { free, gain, staging_counts: false }
    }

    /// What lies in staging takes room as well.
    pub(crate) fn with_staging(free: Arc<AtomicU64>) -> Self {
        Self { free, gain: 0, staging_counts: true }
    }
}

impl Disk for Tight {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        OsDisk.create_new(path)
    }
    fn sync_file(&self, path: &Path) -> Result<(), SyncFileError> {
        OsDisk.sync_file(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        OsDisk.link(file, name)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.extension().is_some_and(|extension| extension == "zip") && path.exists() {
            self.free.fetch_add(self.gain, Ordering::SeqCst);
        }
        OsDisk.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir(path)
    }
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let mut taken = 0;
        if self.staging_counts {
            assert!(folder.ends_with("staging"), "{}", folder.display());
            for entry in folder.read_dir()? {
                taken += entry?.metadata()?.len();
            }
        }
        Ok(self.free.load(Ordering::SeqCst).saturating_sub(taken))
    }
}

/// A disk on which, while told so, no file of a dead process can be read to be made durable.
#[derive(Debug)]
pub(crate) struct Illegible(pub(crate) Arc<AtomicBool>);

impl Disk for Illegible {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        OsDisk.create_new(path)
    }
    fn sync_file(&self, path: &Path) -> Result<(), SyncFileError> {
        if self.0.load(Ordering::SeqCst) {
            let source = io::Error::from_raw_os_error(5);
            return Err(SyncFileError::Refused { action: "read", source });
        }
        OsDisk.sync_file(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        OsDisk.link(file, name)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir(path)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        OsDisk.free_bytes(dir)
    }
}

/// A disk that gives no file another name.
#[derive(Debug)]
pub(crate) struct Linkless;

impl Disk for Linkless {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        OsDisk.create_new(path)
    }
    fn sync_file(&self, path: &Path) -> Result<(), SyncFileError> {
        OsDisk.sync_file(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(1))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir(path)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        OsDisk.free_bytes(dir)
    }
}
