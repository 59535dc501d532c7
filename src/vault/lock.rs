//! One daemon per state directory.
//!
//! The kernel holds the lock for as long as the process lives, so a crash before or after leaves
//! nothing to clean up: the file stays, the lock is gone. It must never be taken for granted by
//! the mere existence of the file, and never wait for another daemon. A daemon does wait for a
//! command that does at this moment what only a start may do, and commands wait for each other.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at a lock that is about to be free.
const LOOK: Duration = Duration::from_millis(10);
/// A command needs the lock for milliseconds, or as long as a migration takes.
const LOOKS: u32 = 6_000;

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
        let mut file = open(&path).map_err(failed)?;
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

    /// For a command that is about to do what else only a start does, such as to create the
    /// catalog: keeps daemons and other commands from it until dropped. `None` while a daemon
    /// works in the state directory, which has done it.
    pub fn keep_daemons_out(state_dir: &Path) -> Result<Option<Moment>, LockError> {
        let path = lock_path(state_dir);
        let failed = |source| LockError::Io { path: path.clone(), source };
        let turn = File::open(state_dir).map_err(failed)?;
        turn.lock().map_err(failed)?;
        let file = open(&path).map_err(failed)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Moment { _file: file, _turn: turn })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Whether a daemon works in the state directory at this moment.
    pub fn is_held(state_dir: &Path) -> bool {
        File::open(lock_path(state_dir)).is_ok_and(|file| is_exclusively_locked(&file))
    }
}

/// See [`StateLock::keep_daemons_out`]. It holds the lock shared, which a daemon can tell from
/// another daemon, and the directory itself, by which commands queue.
#[derive(Debug)]
pub struct Moment {
    _file: File,
    _turn: File,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(path)
}

fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

/// Whether the lock is ours now; false when another daemon has it.
fn take(file: &File) -> io::Result<bool> {
    for _ in 0..LOOKS {
        if try_exclusive(file)? {
            return Ok(true);
        }
        if is_exclusively_locked(file) {
            return Ok(false);
        }
        // A command has it shared, or `is_held` for an instant: neither turns a daemon away.
        std::thread::sleep(LOOK);
    }
    Err(io::ErrorKind::TimedOut.into())
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
