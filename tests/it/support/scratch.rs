//! Where tests put their state directories: in memory if the machine offers that, because a test
//! syncs as often as a daemon does and has nothing that must outlast it.

use std::path::Path;

use tempfile::TempDir;

/// A folder that goes with its owner.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(Path::new("/dev/shm")).or_else(|_| tempfile::tempdir()).unwrap()
}
