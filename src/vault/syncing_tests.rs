//! Syncs that end when a test lets them: who shares which.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::*;

/// A folder whose syncs end when the test lets them.
struct Folder {
    syncs: Syncs,
    begun: mpsc::Sender<usize>,
    release: Mutex<mpsc::Receiver<io::Result<()>>>,
    count: AtomicUsize,
}

impl Folder {
    fn sync(&self) -> io::Result<()> {
        self.syncs.share(Path::new("folder"), || {
            self.begun.send(self.count.fetch_add(1, Ordering::SeqCst)).unwrap();
            self.release.lock().unwrap().recv().unwrap()
        })
    }

    fn waiting(&self) -> usize {
        let folders = self.syncs.folders();
        let next = folders.get(Path::new("folder")).and_then(|turns| turns.next.as_ref());
        next.map_or(0, Arc::strong_count)
    }
}

fn folder() -> (Arc<Folder>, mpsc::Receiver<usize>, mpsc::Sender<io::Result<()>>) {
    let (begun, begins) = mpsc::channel();
    let (releases, release) = mpsc::channel();
    let folder = Folder {
        syncs: Syncs::default(),
        begun,
        release: Mutex::new(release),
        count: AtomicUsize::new(0),
    };
    (Arc::new(folder), begins, releases)
}

fn start(folder: &Arc<Folder>) -> thread::JoinHandle<io::Result<()>> {
    let folder = Arc::clone(folder);
    thread::spawn(move || folder.sync())
}

/// Starts so many callers, all of which wait for the sync after the one under way.
fn queue(folder: &Arc<Folder>, callers: usize) -> Vec<thread::JoinHandle<io::Result<()>>> {
    let callers: Vec<_> = (0..callers).map(|_| start(folder)).collect();
    // The map has one handle on the batch, each caller another.
    while folder.waiting() < callers.len() + 1 {
        thread::yield_now();
    }
    callers
}

#[test]
fn who_comes_during_a_sync_shares_the_next_one() {
    let (folder, begins, releases) = folder();
    let first = start(&folder);
    assert_eq!(begins.recv().unwrap(), 0);
    let later = queue(&folder, 7);
    assert!(later.iter().all(|caller| !caller.is_finished()), "that one may have passed theirs");
    releases.send(Ok(())).unwrap();
    first.join().unwrap().unwrap();
    assert_eq!(begins.recv().unwrap(), 1);
    releases.send(Ok(())).unwrap();
    for caller in later {
        caller.join().unwrap().unwrap();
    }
    assert!(begins.try_recv().is_err(), "one sync served all seven");
    assert_eq!(folder.waiting(), 0);
}

#[test]
fn a_sync_that_fails_fails_for_everybody_who_shares_it_and_for_nobody_else() {
    let (folder, begins, releases) = folder();
    let first = start(&folder);
    begins.recv().unwrap();
    let shared = queue(&folder, 3);
    releases.send(Ok(())).unwrap();
    first.join().unwrap().unwrap();
    begins.recv().unwrap();
    let last = queue(&folder, 1);
    releases.send(Err(io::Error::from_raw_os_error(5))).unwrap();
    for caller in shared {
        assert_eq!(caller.join().unwrap().unwrap_err().raw_os_error(), Some(5));
    }
    begins.recv().unwrap();
    releases.send(Ok(())).unwrap();
    for caller in last {
        caller.join().unwrap().unwrap();
    }
}

#[test]
fn a_thread_that_breaks_lets_nobody_wait_for_ever() {
    let (folder, begins, releases) = folder();
    let first = start(&folder);
    begins.recv().unwrap();
    let shared = queue(&folder, 2);
    releases.send(Ok(())).unwrap();
    first.join().unwrap().unwrap();
    begins.recv().unwrap();
    // Without a sender the closure of the second sync panics.
    drop(releases);
    let ends: Vec<_> = shared.into_iter().map(thread::JoinHandle::join).collect();
    assert_eq!(ends.iter().filter(|end| end.is_err()).count(), 1, "{ends:?}");
    let told = ends.into_iter().flatten().next().unwrap();
    assert!(told.unwrap_err().to_string().contains("broke"));
    assert_eq!(folder.waiting(), 0);
}

#[test]
fn folders_do_not_wait_for_each_other() {
    let syncs = Syncs::default();
    let other = || syncs.share(Path::new("other"), || Ok(()));
    syncs.share(Path::new("folder"), other).unwrap();
}
