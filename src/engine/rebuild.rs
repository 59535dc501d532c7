//! What the vault says of its history when the catalog is gone: every file is read to its end, and
//! what the files say is put in order.
//!
//! A file that does not prove itself is none of the history: it stays where it is, and is told. Of
//! a file that several archives share, the manifest speaks of the one that stored it; of the others
//! only the name does, so their jobs at ROMA are not known any more. Nothing here writes: killed at
//! any point, nothing has happened. The same files give the same history.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use super::reconcile;
use crate::catalog::{RebuiltArchive, RebuiltSnapshot};
use crate::lifecycle::Found;
use crate::model::{ArchiveId, JobId, Name, PackageId, SnapshotId, StoredFile, Timestamp, story};
use crate::vault::{self, CheckError, Manifest, Place, Vault, VaultError};

/// Nobody ever had so many archives; those that come after it need numbers as well.
const LARGEST_NUMBER: i64 = 1 << 53;

/// One file of the vault that proves itself.
#[derive(Clone, Debug)]
pub struct Proven {
    /// What its path says.
    pub place: Place,
    /// What it says of itself, or of the archive that stored it.
    pub manifest: Manifest,
    /// What was read.
    pub file: StoredFile,
}

/// A file that is not taken over, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftAlone {
    /// Relative to `vault/`.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// What lies in the vault.
#[derive(Debug, Default)]
pub struct Gathered {
    /// In the order of their paths.
    pub proven: Vec<Proven>,
    /// None of them proves to be a package of ours.
    pub left: Vec<LeftAlone>,
    /// What the disk did not let be read: nobody knows what it is.
    pub unreadable: Vec<String>,
}

/// The history that follows.
#[derive(Debug, PartialEq, Eq)]
pub struct History {
    /// Oldest first: an archive that shares a file comes after the one that stored it.
    pub snapshots: Vec<RebuiltSnapshot>,
    /// Files that contradict others.
    pub left: Vec<LeftAlone>,
    /// The largest numbers that were ever given, as far as the files tell.
    pub highest: (ArchiveId, SnapshotId),
}

/// Reads everything below `vault/`. `progress` is told how many bytes of how many are done.
pub fn gather(vault: &Vault, progress: &mut dyn FnMut(u64, u64)) -> Gathered {
    let mut gathered = Gathered::default();
    let mut files: Vec<vault::Found> = Vec::new();
    let mut visit = |found| {
        files.push(found);
        ControlFlow::Continue(())
    };
    let mut troubles = Vec::new();
    vault.survey(&mut visit, &mut |error| troubles.push(story(&error)));
    gathered.unreadable = troubles;
    files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    let total = files.iter().filter_map(|file| file.bytes).sum();
    let mut done = 0;
    // All names of one file hold the same, so that it is read once.
    let mut known: HashMap<(u64, u64), usize> = HashMap::new();
    progress(done, total);
    for file in files {
        take(vault, &file, &mut known, &mut gathered);
        done += file.bytes.unwrap_or(0);
        progress(done, total);
    }
    gathered
}

fn take(
    vault: &Vault,
    found: &vault::Found,
    known: &mut HashMap<(u64, u64), usize>,
    gathered: &mut Gathered,
) {
    let path = found.path.display().to_string();
    let place = found.path.to_str().filter(|_| found.bytes.is_some()).and_then(Place::parse);
    let Some(place) = place else {
        let reason = "it has no name of a stored package".to_owned();
        gathered.left.push(LeftAlone { path, reason });
        return;
    };
    let number = vault.number_of(found);
    let same = number.and_then(|number| known.get(&number));
    let described = match same.and_then(|place| gathered.proven.get(*place)) {
        Some(Proven { manifest, file, .. }) => {
            Ok((manifest.clone(), StoredFile { path: path.clone(), ..file.clone() }))
        }
        None => vault.describe(&path),
    };
    match described {
        Ok((manifest, file)) => {
            let highest = manifest.archive_id.0.max(manifest.snapshot_id.0).max(place.snapshot.0);
            if highest > LARGEST_NUMBER {
                let reason = format!("its number {highest} was never given");
                gathered.left.push(LeftAlone { path, reason });
                return;
            }
            if let Some(number) = number {
                known.entry(number).or_insert(gathered.proven.len());
            }
            gathered.proven.push(Proven { place, manifest, file });
        }
        Err(CheckError::Failed(VaultError::UnsafePath { .. })) => {
            let reason = "it has no name of a stored package".to_owned();
            gathered.left.push(LeftAlone { path, reason });
        }
        Err(CheckError::Failed(error)) => gathered.unreadable.push(story(&error)),
        Err(CheckError::Damaged(reason)) => {
            gathered.left.push(LeftAlone { path, reason: reason.to_string() });
        }
    }
}

/// Puts in order what was found. `staged`: the largest number that a download in staging has; no
/// other archive may get it, or its start would take that download for a copy.
pub fn arrange(mut proven: Vec<Proven>, staged: ArchiveId) -> History {
    proven.sort_by(|one, other| order(one).cmp(&order(other)));
    let mut arranging = Arranging::new(staged);
    for file in &proven {
        let named = (file.manifest.archive_id, file.manifest.snapshot_id.max(file.place.snapshot));
        let highest = &mut arranging.history.highest;
        *highest = (highest.0.max(named.0), highest.1.max(named.1));
    }
    let own: Vec<(usize, ArchiveId)> = proven
        .iter()
        .enumerate()
        .filter(|(_, file)| file.is_own())
        .filter_map(|(index, file)| Some((index, arranging.own_number(file)?)))
        .collect();
    let own: BTreeMap<usize, ArchiveId> = own.into_iter().collect();
    arranging.stored = own
        .iter()
        .map(|(index, id)| (proven[*index].file.path.clone(), (*id, proven[*index].file.clone())))
        .collect();
    for (index, file) in proven.iter().enumerate() {
        match own.get(&index) {
            Some(id) => arranging.enter(file, *id, Holder::Itself),
            None if file.is_own() => {}
            None => arranging.enter_shared(file),
        }
    }
    arranging.finish()
}

fn order(file: &Proven) -> (Timestamp, SnapshotId, u32, &str) {
    let Place { taken_at, snapshot, part, .. } = &file.place;
    (*taken_at, *snapshot, *part, &file.file.path)
}

impl Proven {
    /// Whether it lies where it was stored: then its manifest is its own.
    fn is_own(&self) -> bool {
        self.manifest.place() == self.file.path
    }

    /// Whether the archive that stored it may have shared it with one of this name.
    fn may_be_shared(&self) -> bool {
        let Manifest { instance, export, part, scheduled_at, snapshot_id, .. } = &self.manifest;
        let Place { instance: here, export: of, part: as_part, taken_at, snapshot } = &self.place;
        (here, of, as_part) == (instance, export, part)
            && snapshot > snapshot_id
            // The name of the file has no fraction of a second.
            && taken_at.as_millis() + 999 >= scheduled_at.as_millis()
    }
}

/// A run as its files name it.
type Run = (SnapshotId, Name, Name, Timestamp);

/// As whose a file counts.
#[derive(Clone, Copy)]
enum Holder {
    /// As its own: it has stored it, and the manifest speaks of it.
    Itself,
    /// As its own, for the one that stored it has it no longer.
    Inherited,
    /// As this one's.
    Other(ArchiveId),
}

impl Holder {
    const fn other(self) -> Option<ArchiveId> {
        match self {
            Self::Itself | Self::Inherited => None,
            Self::Other(id) => Some(id),
        }
    }
}

struct Arranging {
    history: History,
    archives: BTreeSet<ArchiveId>,
    jobs: BTreeSet<(Name, JobId)>,
    packages: BTreeSet<(Name, PackageId)>,
    /// Files that lie where they were stored, by path.
    stored: BTreeMap<String, (ArchiveId, StoredFile)>,
    /// Who holds a shared file whose first archive has it no longer.
    holders: BTreeMap<(String, StoredContent), ArchiveId>,
    runs: BTreeMap<Run, Sketch>,
}

/// Bytes and digest of a file.
type StoredContent = (u64, [u8; 32]);

/// A run that is being put together.
#[derive(Default)]
struct Sketch {
    /// When it fell due, to the millisecond, if a manifest of its own says so.
    taken_at: Option<Timestamp>,
    /// The number of its parts, and when that was written: a part may be given up later.
    parts: Option<(Timestamp, u32)>,
    /// The number of parts of the run that a shared file comes from.
    shared_parts: u32,
    archives: Vec<RebuiltArchive>,
}

impl Arranging {
    fn new(staged: ArchiveId) -> Self {
        let highest = (staged, SnapshotId(0));
        Self {
            history: History { snapshots: Vec::new(), left: Vec::new(), highest },
            archives: BTreeSet::new(),
            jobs: BTreeSet::new(),
            packages: BTreeSet::new(),
            stored: BTreeMap::new(),
            holders: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }

    /// The number of an archive that lies where it was stored; `None`: it contradicts another.
    fn own_number(&mut self, file: &Proven) -> Option<ArchiveId> {
        let Manifest { instance, job_id, package_id, archive_id, .. } = &file.manifest;
        let is_new = self.jobs.insert((instance.clone(), job_id.clone()))
            & self.packages.insert((instance.clone(), package_id.clone()));
        if !is_new {
            let reason = format!("another file holds the package of job {job_id} as well");
            self.leave(file, reason);
            return None;
        }
        if archive_id.0 > 0 && self.archives.insert(*archive_id) {
            return Some(*archive_id);
        }
        Some(self.new_number())
    }

    fn new_number(&mut self) -> ArchiveId {
        let highest = &mut self.history.highest.0;
        highest.0 += 1;
        *highest
    }

    fn leave(&mut self, file: &Proven, reason: String) {
        self.history.left.push(LeftAlone { path: file.file.path.clone(), reason });
    }

    fn enter_shared(&mut self, file: &Proven) {
        if !file.may_be_shared() {
            let reason = format!("its manifest says that it belongs at {}", file.manifest.place());
            self.leave(file, reason);
            return;
        }
        let content = file.file.content;
        let stored = self.stored.get(&file.manifest.place());
        let original = stored.filter(|(_, stored)| stored.content == content).map(|(id, _)| *id);
        let key = (file.manifest.place(), (content.bytes, content.sha256.0));
        let holder = original.or_else(|| self.holders.get(&key).copied());
        let id = self.new_number();
        let holder = if let Some(other) = holder {
            Holder::Other(other)
        } else {
            self.holders.insert(key, id);
            Holder::Inherited
        };
        self.enter(file, id, holder);
    }

    fn enter(&mut self, file: &Proven, id: ArchiveId, holder: Holder) {
        let Proven { place, manifest, file: stored } = file;
        let Place { instance, export, taken_at, snapshot, part } = place;
        let run = (*snapshot, instance.clone(), export.clone(), *taken_at);
        let sketch = self.runs.entry(run).or_default();
        let mut found = reconcile::found(manifest, stored.clone());
        match holder {
            Holder::Itself => {
                sketch.taken_at = sketch.taken_at.or(Some(manifest.scheduled_at));
                let said = (manifest.downloaded_at, manifest.parts);
                sketch.parts = sketch.parts.max(Some(said));
            }
            Holder::Inherited | Holder::Other(_) => {
                sketch.shared_parts = sketch.shared_parts.max(manifest.parts);
                found.original = holder.other();
                (found.ready_at, found.downloaded_at) = (None, None);
            }
        }
        sketch.archives.push(RebuiltArchive { id, part: *part, found });
    }

    fn finish(mut self) -> History {
        let mut taken = BTreeSet::new();
        let mut runs = Vec::new();
        for ((number, instance, export, named), mut sketch) in std::mem::take(&mut self.runs) {
            let id = if taken.insert(number) {
                number
            } else {
                self.history.highest.1.0 += 1;
                self.history.highest.1
            };
            sketch.archives.sort_by_key(|archive| archive.part);
            let there = u32::try_from(sketch.archives.len()).unwrap_or(u32::MAX);
            let said = sketch.parts.map_or(sketch.shared_parts, |(_, parts)| parts);
            for archive in &mut sketch.archives {
                if archive.found.downloaded_at.is_none() {
                    name_unknown(&mut archive.found, id, archive.part);
                }
            }
            let snapshot = RebuiltSnapshot {
                id,
                instance,
                export,
                taken_at: sketch.taken_at.unwrap_or(named),
                parts: said.max(there),
                archives: sketch.archives,
            };
            runs.push(((named, number), snapshot));
        }
        // By what the names say: that puts the one that stored a file before all that share it,
        // also if only its manifest knows the fraction of the second.
        runs.sort_by_key(|(name, snapshot)| (*name, snapshot.id));
        self.history.snapshots = runs.into_iter().map(|(_, snapshot)| snapshot).collect();
        self.history
    }
}

/// Its job and package are not known any more; no two archives may seem to have the same.
fn name_unknown(found: &mut Found, snapshot: SnapshotId, part: u32) {
    let name = format!("unknown-{snapshot}-{part}");
    if let (Some(job), Some(package)) = (JobId::new(name.clone()), PackageId::new(name)) {
        (found.job, found.package) = (job, package);
    }
}

#[cfg(test)]
#[path = "rebuild_tests.rs"]
mod tests;
