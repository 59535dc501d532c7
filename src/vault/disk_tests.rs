//! A disk that writes down what is asked of it and fails where a test says, and tests of the real
//! one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;
use crate::model::{ArchiveId, Content, StoredFile};
use crate::settings::Pack;
use crate::vault::manifest::tests::manifest_of;
use crate::vault::{PackJob, Vault};

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::vault) enum Fault {
    /// Only that one fails.
    Once,
    /// That one and all that follow, as if the process had died there.
    Dead,
    /// None fails, but a bit of what that one writes is another.
    Lie,
}

/// Records operations by paths relative to `root`; writes to one file in a row count as one line,
/// but as one operation each.
#[derive(Debug)]
pub(in crate::vault) struct TestDisk {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    root: std::path::PathBuf,
    log: Mutex<Vec<String>>,
    done: AtomicUsize,
    fault: Mutex<Option<(usize, Fault)>>,
}

impl TestDisk {
    pub(in crate::vault) fn new(root: &Path) -> Arc<Self> {
        let state = State {
            root: root.to_owned(),
            log: Mutex::default(),
            done: AtomicUsize::new(0),
            fault: Mutex::default(),
        };
        Arc::new(Self { state: Arc::new(state) })
    }

    /// Operation number `n` from now (0 is the next) fails.
    pub(in crate::vault) fn fail_at(&self, n: usize, fault: Fault) {
        self.state.done.store(0, Ordering::SeqCst);
        *self.state.fault.lock().unwrap() = Some((n, fault));
    }

    /// No more faults; whether one occurred.
    pub(in crate::vault) fn heal(&self) -> bool {
        let fault = self.state.fault.lock().unwrap().take();
        fault.is_some_and(|(n, _)| self.state.done.load(Ordering::SeqCst) > n)
    }

    /// The lines since the last call.
    pub(in crate::vault) fn take_log(&self) -> String {
        std::mem::take(&mut *self.state.log.lock().unwrap()).join("\n")
    }
}

impl State {
    /// Whether the operation just now is the one that lies.
    fn is_lying(&self) -> bool {
        let number = self.done.load(Ordering::SeqCst);
        self.fault
            .lock()
            .unwrap()
            .is_some_and(|(at, fault)| fault == Fault::Lie && number == at + 1)
    }

    fn step(&self, verb: &str, path: &Path) -> io::Result<()> {
        let path = path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        let line = format!("{verb} {}", if path.is_empty() { "." } else { &path });
        let mut log = self.log.lock().unwrap();
        if verb != "write" || log.last() != Some(&line) {
            log.push(line);
        }
        let number = self.done.fetch_add(1, Ordering::SeqCst);
        match *self.fault.lock().unwrap() {
            Some((at, Fault::Once)) if number == at => Err(io::ErrorKind::StorageFull.into()),
            Some((at, Fault::Dead)) if number >= at => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

struct TestFile {
    inner: Box<dyn DiskFile>,
    path: std::path::PathBuf,
    state: Arc<State>,
}

impl Write for TestFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.state.step("write", &self.path) {
            // A full disk takes a part first.
            self.inner.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        if self.state.is_lying() {
            let mut other = bytes.to_vec();
            other[bytes.len() / 2] ^= 1;
            return self.inner.write(&other);
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Seek for TestFile {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

impl DiskFile for TestFile {
    fn sync(&mut self) -> io::Result<()> {
        self.state.step("sync", &self.path)?;
        self.inner.sync()
    }
}

impl Disk for TestDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.state.step("create_new", path)?;
        let inner = OsDisk.create_new(path)?;
        Ok(Box::new(TestFile { inner, path: path.to_owned(), state: Arc::clone(&self.state) }))
    }

    fn sync_file(&self, path: &Path) -> Result<(), SyncFileError> {
        self.state.step("sync_file", path).map_err(SyncFileError::Failed)?;
        OsDisk.sync_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let target = to.strip_prefix(&self.state.root).unwrap_or(to).display();
        let from_name = from.strip_prefix(&self.state.root).unwrap_or(from).display();
        self.state.step("rename", Path::new(&format!("{from_name} {target}")))?;
        OsDisk.rename(from, to)
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        let short =
            |path: &Path| path.strip_prefix(&self.state.root).unwrap_or(path).display().to_string();
        let line = format!("{} {}", short(file), short(name));
        self.state.step("link", Path::new(&line))?;
        OsDisk.link(file, name)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state.step("sync_dir", dir)?;
        OsDisk.sync_dir(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.step("remove", path)?;
        OsDisk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.state.step("create_dir", path)?;
        OsDisk.create_dir(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.state.step("free_bytes", dir)?;
        OsDisk.free_bytes(dir)
    }
}

/// A vault in a temporary folder.
pub(in crate::vault) struct Bench {
    pub(in crate::vault) dir: TempDir,
    pub(in crate::vault) disk: Arc<TestDisk>,
    pub(in crate::vault) vault: Vault,
}

impl Bench {
    pub(in crate::vault) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = TestDisk::new(dir.path());
        let vault = Vault::open(dir.path(), disk.clone()).unwrap();
        disk.take_log();
        Self { dir, disk, vault }
    }

    /// The vault as a new process finds it.
    pub(in crate::vault) fn reopen(&mut self) {
        self.vault = Vault::open(self.dir.path(), self.disk.clone()).unwrap();
        self.disk.take_log();
    }

    pub(in crate::vault) fn path(&self, relative: &str) -> std::path::PathBuf {
        self.dir.path().join(relative)
    }

    /// Receives, packs and stores a package, as the daemon does.
    pub(in crate::vault) fn store(
        &self,
        path: &str,
        package: &[u8],
        options: Pack,
    ) -> (StoredFile, Content) {
        let mut receiver = self.vault.receive(ArchiveId(34)).unwrap();
        receiver.write(package).unwrap();
        let staged = receiver.finish().unwrap();
        let job = PackJob {
            id: ArchiveId(34),
            raw: staged.content,
            format: staged.format,
            path: path.to_owned(),
            manifest: manifest_of(staged.content, staged.format),
            options,
        };
        let file = self.vault.pack(&job).unwrap();
        self.vault.discard_staged(ArchiveId(34)).unwrap();
        (file, staged.content)
    }

    pub(in crate::vault) fn put(&self, relative: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.path(relative).parent().unwrap()).unwrap();
        std::fs::write(self.path(relative), bytes).unwrap();
    }
}

/// The permission bits.
pub(in crate::vault) fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Bytes that do not shrink, always the same for a seed.
pub(in crate::vault) fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A JSON document of about this length.
pub(in crate::vault) fn json(length: usize) -> Vec<u8> {
    let mut text = String::from("{\"apis\": [");
    for number in 0.. {
        if text.len() >= length {
            break;
        }
        let hash = u64::from_le_bytes(random(number, 8).try_into().unwrap());
        let id = format!("{{\"id\": \"{hash:016x}\", ");
        text.push_str(&id);
        let name = format!("\"name\": \"api-{number}\", \"on\": true}},\n");
        text.push_str(&name);
    }
    text += "null]}\n";
    text.into_bytes()
}

#[test]
fn what_is_created_has_its_mode_and_is_never_created_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = (dir.path().join("f"), dir.path().join("d"));
    OsDisk.create_new(&file).unwrap();
    OsDisk.create_dir(&folder).unwrap();
    assert_eq!((mode(&file), mode(&folder)), (0o640, 0o750));
    let again = OsDisk.create_new(&file).err().unwrap();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    OsDisk.create_dir(&folder).unwrap();
    assert!(OsDisk.create_dir(&file).is_err(), "a file is no folder");
    assert!(OsDisk.free_bytes(dir.path()).unwrap() > 0);
}

#[test]
fn a_rename_never_overwrites() {
    type Rename = fn(&Path, &Path) -> io::Result<()>;
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let ways: [Rename; 2] = [|from, to| OsDisk.rename(from, to), link_and_unlink];
    for rename in ways {
        std::fs::write(&from, "new").unwrap();
        std::fs::write(&to, "old").unwrap();
        assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&to).unwrap(), b"old");
        assert_eq!(std::fs::read(&from).unwrap(), b"new");
        std::fs::remove_file(&to).unwrap();
        rename(&from, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"new");
        assert!(!from.exists());
    }
}

/// Files that the kernel itself makes refuse one thing.
#[test]
fn only_a_failed_fsync_counts_as_one() {
    let refusal = |path: &str| match OsDisk.sync_file(Path::new(path)).unwrap_err() {
        SyncFileError::Refused { action, source } => (action, source.kind()),
        failed @ SyncFileError::Failed(_) => panic!("{path}: {failed}"),
    };
    assert_eq!(refusal("/proc/nothing"), ("open", io::ErrorKind::NotFound));
    assert_eq!(refusal("/proc"), ("open", io::ErrorKind::IsADirectory));
    assert_eq!(refusal("/dev/full"), ("rewrite", io::ErrorKind::StorageFull));
    // Nothing lies at address zero: as unreadable as a broken sector.
    assert_eq!(refusal("/proc/self/mem").0, "read");
    let unsynced = OsDisk.sync_file(Path::new("/dev/null")).unwrap_err();
    assert!(matches!(unsynced, SyncFileError::Failed(_)), "{unsynced:?}");
}
