//! What a power cut leaves of the files: keeps account of what was not synced, and undoes it.
//!
//! The model is stricter than any one file system. A name that came, changed or went is durable
//! once its folder was synced (of a rename: the target's), and not before; a file's bytes are
//! durable once the file was synced. The account outlives the process that made the changes, as
//! the kernel's cache does.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What becomes of bytes that were written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// The file ends where it was synced.
    Cut,
    /// It is as long as it was, with zeros at the end.
    Zeroed,
}

/// The disk below all processes of one trial.
#[derive(Clone, Debug)]
pub(crate) struct Platter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    /// Changed names that are not durable, oldest first.
    names: Vec<Change>,
    /// By inode: how much of a file with unsynced bytes is durable.
    unsynced: HashMap<u64, u64>,
    buried: u32,
    /// Nothing more can be written.
    full: bool,
}

#[derive(Debug)]
enum Change {
    Created(PathBuf),
    Folder(PathBuf),
    Renamed { from: PathBuf, to: PathBuf },
    Removed { path: PathBuf, kept: PathBuf },
}

impl Change {
    /// The folder whose sync makes it durable.
    fn folder(&self) -> &Path {
        let (Self::Created(path)
        | Self::Folder(path)
        | Self::Renamed { to: path, .. }
        | Self::Removed { path, .. }) = self;
        path.parent().unwrap()
    }
}

impl Platter {
    /// For the state directory `root`.
    pub(crate) fn new(root: &Path) -> Self {
        let inner = Inner { root: root.to_owned(), records: Mutex::default() };
        Self(Arc::new(inner))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path as a person would write it: below the state directory.
    pub(crate) fn short(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.0.root).unwrap_or(path).display().to_string();
        if below.is_empty() { ".".to_owned() } else { below }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records().full
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.records().full = full;
    }

    pub(crate) fn created(&self, path: &Path) {
        let inode = fs::symlink_metadata(path).unwrap().ino();
        let mut records = self.records();
        records.unsynced.insert(inode, 0);
        records.names.push(Change::Created(path.to_owned()));
    }

    /// One more name of a file whose bytes are as durable as they were.
    pub(crate) fn linked(&self, name: &Path) {
        self.records().names.push(Change::Created(name.to_owned()));
    }

    pub(crate) fn folder_created(&self, path: &Path) {
        self.records().names.push(Change::Folder(path.to_owned()));
    }

    pub(crate) fn renamed(&self, from: &Path, to: &Path) {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.records().names.push(Change::Renamed { from, to });
    }

    /// Keeps the file for the case that its removal is undone; call it before the removal.
    pub(crate) fn bury(&self, path: &Path) -> io::Result<PathBuf> {
        let grave = self.0.root.join("removed");
        fs::create_dir_all(&grave)?;
        let mut records = self.records();
        records.buried += 1;
        let kept = grave.join(records.buried.to_string());
        fs::hard_link(path, &kept)?;
        Ok(kept)
    }

    pub(crate) fn removed(&self, path: &Path, kept: PathBuf) {
        self.records().names.push(Change::Removed { path: path.to_owned(), kept });
    }

    pub(crate) fn file_synced(&self, path: &Path) {
        if let Ok(found) = fs::symlink_metadata(path) {
            self.records().unsynced.remove(&found.ino());
        }
    }

    pub(crate) fn folder_synced(&self, folder: &Path) {
        // What is gone from a folder that is itself gone was synced with the nearest one above.
        self.records().names.retain(|change| {
            change.folder().ancestors().find(|above| above.is_dir()) != Some(folder)
        });
    }

    /// The power fails: what was not synced never happened. `kept` says how much of the bytes that
    /// were not synced reached the disk all the same.
    pub(crate) fn lose_power(&self, tail: Tail, mut kept: impl FnMut(u64) -> u64) {
        let mut records = self.records();
        while let Some(change) = records.names.pop() {
            match change {
                Change::Created(path) => drop(fs::remove_file(path)),
                Change::Folder(path) => drop(fs::remove_dir_all(path)),
                Change::Renamed { from, to } => {
                    if to.exists() {
                        fs::rename(to, from).unwrap();
                    }
                }
                Change::Removed { path, kept } => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::rename(kept, path).unwrap();
                }
            }
        }
        let mut folders: Vec<PathBuf> =
            ["vault", "staging", "quarantine"].map(|folder| self.0.root.join(folder)).into();
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            for path in paths {
                let found = fs::symlink_metadata(&path).unwrap();
                if found.is_dir() {
                    folders.push(path);
                } else if let Some(synced) = records.unsynced.remove(&found.ino()) {
                    damage(&path, found.len(), synced, tail, &mut kept).unwrap();
                }
            }
        }
        records.unsynced.clear();
    }
}

fn damage(
    path: &Path,
    length: u64,
    synced: u64,
    tail: Tail,
    kept: &mut impl FnMut(u64) -> u64,
) -> io::Result<()> {
    let Some(loose) = length.checked_sub(synced).filter(|loose| *loose > 0) else { return Ok(()) };
    let file: File = OpenOptions::new().write(true).open(path)?;
    file.set_len(synced + kept(loose).min(loose))?;
    if tail == Tail::Zeroed {
        file.set_len(length)?;
    }
    Ok(())
}
