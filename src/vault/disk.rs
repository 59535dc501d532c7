//! The durable operations, behind a seam so that a test can make the n-th of them fail.
//!
//! Everything that changes the disk goes through here; reading goes straight to `std::fs`. It must
//! never overwrite a file, never retry, and never report a success that a power cut could undo
//! where the operation promises durability ([`DiskFile::sync`], [`Disk::sync_file`],
//! [`Disk::sync_dir`]). A crash before an operation leaves no trace of it. A crash after one leaves
//! it visible, but it survives a power cut only once the matching sync has returned.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// The owner writes, the group reads, nobody else sees it.
const FILE_MODE: u32 = 0o640;
/// The same for folders.
const DIR_MODE: u32 = 0o750;

/// A file being written. Blocking: use it on a blocking thread only.
pub trait DiskFile: Write + Seek + Send {
    /// Makes all that was written durable. A failure is final: never call it again.
    fn sync(&mut self) -> io::Result<()>;
}

/// The operations that change the disk. Blocking: use them on a blocking thread only.
pub trait Disk: Send + Sync + Debug {
    /// A new empty file of mode 0640; fails if anything has that name already.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Makes the content of a file durable that a dead process left, by writing it once more: if
    /// an fsync of that process failed, the kernel takes the pages it lost for clean, and another
    /// fsync alone would prove nothing.
    fn sync_file(&self, path: &Path) -> Result<(), SyncFileError>;

    /// Gives a file another name; fails with `AlreadyExists` rather than overwrite.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file one more name, equal to the first: the file is gone when all its names are.
    /// Fails with `AlreadyExists` rather than overwrite.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable: creations, renames, links and removals.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes all that was ever written to the file system of a folder durable, by whomever.
    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(dir)?)?)
    }

    /// Removes the name of a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// A folder of mode 0750; one that exists is fine and stays as it is.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// A new file of so many bytes without content, with room for all of them. It need not survive
    /// a power cut.
    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        allocate(path, bytes)
    }

    /// What an ordinary user can still write there, in bytes.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// Why [`Disk::sync_file`] did not make a file durable.
#[derive(Debug, thiserror::Error)]
pub enum SyncFileError {
    /// It did not come to the fsync. The file is as durable as it was, nothing is lost by that, and
    /// the whole may be done again.
    #[error("cannot {action} it")]
    Refused {
        /// What was tried, as a verb.
        action: &'static str,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The fsync failed, or a write told of pages that could not be written back: what the kernel
    /// still held may be gone.
    #[error("its fsync failed")]
    Failed(#[source] io::Error),
}

/// The real disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Disk for OsDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
        // The umask may have taken away what the group needs to read.
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok(Box::new(file))
    }

    fn sync_file(&self, path: &Path) -> Result<(), SyncFileError> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let file = opened.map_err(refused("open"))?;
        write_again(&file)?;
        file.sync_all().map_err(SyncFileError::Failed)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag (NFS and some FUSE do not).
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_and_unlink(from, to),
            result => Ok(result?),
        }
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        std::fs::hard_link(file, name)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(DIR_MODE).create(path) {
            Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(DIR_MODE)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// The same bytes to the same places: a crash in the middle changes nothing.
fn write_again(file: &File) -> Result<(), SyncFileError> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let count = file.read_at(&mut buffer, at).map_err(refused("read"))?;
        if count == 0 {
            return Ok(());
        }
        file.write_all_at(&buffer[..count], at).map_err(|source| {
            // Some file systems tell here that earlier pages could not be written back.
            if source.raw_os_error() == Some(Errno::IO.raw_os_error()) {
                SyncFileError::Failed(source)
            } else {
                refused("rewrite")(source)
            }
        })?;
        at += count as u64;
    }
}

fn refused(action: &'static str) -> impl FnOnce(io::Error) -> SyncFileError {
    move |source| SyncFileError::Refused { action, source }
}

fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        // Not every file system can; written zeros take room as well.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            io::copy(&mut io::repeat(0).take(bytes), &mut file).map(drop)
        }
        result => Ok(result?),
    }
}

/// A rename that cannot overwrite, for file systems without the flag. A crash in between leaves
/// both names for the one file, which every caller can live with: the old name lies in staging and
/// is discarded there.
fn link_and_unlink(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}

#[cfg(test)]
#[path = "disk_tests.rs"]
pub(super) mod tests;
