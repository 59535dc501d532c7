//! The real disk, with as much room as a test says, or with files that it refuses to read.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use roma_archived::vault::{Disk, DiskFile, OsDisk, SyncFileError};

/// The operations named are those of the real disk.
macro_rules! as_the_real_disk {
    (@ create_new) => {
        fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            OsDisk.create_new(path)
        }
    };
    (@ sync_file) => {
        fn sync_file(&self, path: &Path) -> Result<(), SyncFileError> {
            OsDisk.sync_file(path)
        }
    };
    (@ rename) => {
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            OsDisk.rename(from, to)
        }
    };
    (@ link) => {
        fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
            OsDisk.link(file, name)
        }
    };
    (@ sync_dir) => {
        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            OsDisk.sync_dir(dir)
        }
    };
    (@ remove) => {
        fn remove(&self, path: &Path) -> io::Result<()> {
            OsDisk.remove(path)
        }
    };
    (@ create_dir) => {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            OsDisk.create_dir(path)
        }
    };
    (@ free_bytes) => {
        fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
            OsDisk.free_bytes(dir)
        }
    };
    ($($operation:ident),+) => {
        $(as_the_real_disk!(@ $operation);)+
    };
}

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
    as_the_real_disk!(create_new, sync_file, rename, link, sync_dir, create_dir);
    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.extension().is_some_and(|extension| extension == "zip") && path.exists() {
            self.free.fetch_add(self.gain, Ordering::SeqCst);
        }
        OsDisk.remove(path)
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
    as_the_real_disk!(create_new, rename, link, sync_dir, remove, create_dir, free_bytes);
    fn sync_file(&self, path: &Path) -> Result<(), SyncFileError> {
        if self.0.load(Ordering::SeqCst) {
            let source = io::Error::from_raw_os_error(5);
            return Err(SyncFileError::Refused { action: "read", source });
        }
        OsDisk.sync_file(path)
    }
}

/// A disk that gives no file another name.
#[derive(Debug)]
pub(crate) struct Linkless;

impl Disk for Linkless {
    as_the_real_disk!(create_new, sync_file, rename, sync_dir, remove, create_dir, free_bytes);
    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(1))
    }
}

/// A disk on which the folder of the metrics is dead: whoever touches it there never comes back.
#[derive(Debug, Default)]
pub(crate) struct Dead {
    pub(crate) touched: AtomicUsize,
}

impl Disk for Dead {
    as_the_real_disk!(create_new, sync_file, rename, link, sync_dir, create_dir, free_bytes);
    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.ends_with("roma.prom.tmp") {
            self.touched.fetch_add(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        OsDisk.remove(path)
    }
}
