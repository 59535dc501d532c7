//! The real disk, with as much room as a test says.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roma_archived::vault::{Disk, DiskFile, OsDisk};

/// A disk with this many bytes free.
#[derive(Debug)]
pub(crate) struct Tight(pub(crate) Arc<AtomicU64>);

impl Disk for Tight {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        OsDisk.create_new(path)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_file(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
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
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.load(Ordering::SeqCst))
    }
}
