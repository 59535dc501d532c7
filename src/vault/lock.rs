//! One daemon per state directory.
//!
//! The kernel holds the lock for as long as the process lives, so a crash before or after leaves
//! nothing to clean up: the file stays, the lock is gone. It must never be taken for granted by
//! the mere existence of the file, and never waits.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the state directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon works there.
    #[error("another daemon{} holds the state directory", process(*pid))]
    Held {
        /// Its process, as far as it said.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// The right to change a state directory, held until dropped or until the process ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock `<state_dir>/lock`; the directory must exist.
    pub fn acquire(state_dir: &Path) -> Result<Self, LockError> {
        let path = lock_path(state_dir);
        let failed = |source| LockError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&path)
            .map_err(failed)?;
        if !take(&file).map_err(failed)? {
            return Err(LockError::Held { pid: pid_in(&mut file) });
        }
        // The mode is set again because the umask may have kept the group from asking `is_held`.
        file.set_permissions(Permissions::from_mode(0o640)).map_err(failed)?;
        // The number only helps a person: it need not survive a power cut, and a full disk that has
        // no room for it must not keep the daemon from making some.
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }

    /// Whether a daemon works in the state directory at this moment.
    pub fn is_held(state_dir: &Path) -> bool {
        File::open(lock_path(state_dir)).is_ok_and(|file| is_exclusively_locked(&file))
    }
}

fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

/// Whether the lock is ours now.
fn take(file: &File) -> io::Result<bool> {
    if try_exclusive(file)? {
        return Ok(true);
    }
    // `is_held` takes the lock shared for an instant, which must not turn a daemon away.
    if is_exclusively_locked(file) { Ok(false) } else { try_exclusive(file) }
}

fn try_exclusive(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

fn is_exclusively_locked(file: &File) -> bool {
    let held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    if !held {
        // Nothing to do about a failure: dropping the file releases it as well.
        let _ = file.unlock();
    }
    held
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
