//! The metrics in a file for `node_exporter`: written beside it under a name that nobody reads,
//! then renamed over it. A file that cannot be written is told once, and never stops anything.
//!
//! A folder may also hang, as that of a dead network mount does. So a thread writes that nobody
//! waits for: neither whoever offers a text, nor the runtime when it ends, nor the process.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::{FAREWELL, PATIENCE};
use crate::clock::pause;
use crate::model::Timestamp;
use crate::vault::Disk;

/// It holds no secret, and `node_exporter` is another user.
const MODE: u32 = 0o644;

/// Where the metrics go.
#[derive(Debug)]
pub(super) struct Textfile {
    target: Target,
    desk: Arc<watch::Sender<Desk>>,
}

/// What is to be written, and how that goes.
#[derive(Debug, Default)]
struct Desk {
    /// The newest text that is not written yet, and when it was offered.
    next: Option<(Timestamp, String)>,
    /// When the text was offered that a thread is writing. There is no thread otherwise.
    under_way: Option<Timestamp>,
    /// The last attempt failed or takes too long, and somebody was told.
    is_failing: bool,
}

#[derive(Clone, Debug)]
struct Target {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Textfile {
    pub(super) fn new(path: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { target: Target { path, disk }, desk: Arc::new(watch::Sender::default()) }
    }

    /// Has the file replaced. A text that the thread has not come to yet is dropped for this one.
    pub(super) fn offer(&mut self, text: String, now: Timestamp) {
        let (mut is_idle, mut is_stuck) = (false, false);
        self.desk.send_modify(|desk| {
            desk.next = Some((now, text));
            is_idle = desk.under_way.is_none();
            let since = *desk.under_way.get_or_insert(now);
            is_stuck = !desk.is_failing && now.since(since) >= PATIENCE;
            desk.is_failing |= is_stuck;
        });
        let shown = self.target.path.display();
        if is_stuck {
            tracing::warn!(
                "metrics.textfile {shown} hangs: its folder has not answered for {} s; look at \
                 what is mounted there; nothing else waits for it (docs/monitoring.md)",
                PATIENCE.as_secs()
            );
        }
        if is_idle {
            let (target, desk) = (self.target.clone(), self.desk.clone());
            let work = move || write_all(&target, &desk);
            // Detached: whoever waited for it could wait for ever.
            if let Err(error) = std::thread::Builder::new().name("textfile".to_owned()).spawn(work)
            {
                self.desk.send_modify(|desk| desk.under_way = None);
                self.target.tell(&self.desk, Err(error));
            }
        }
    }

    /// Waits a moment for the newest text to be written.
    pub(super) async fn finish(&mut self) {
        let mut desk = self.desk.subscribe();
        let idle = async { desk.wait_for(|desk| desk.under_way.is_none()).await.is_ok() };
        tokio::select! {
            _ = idle => {}
            () = pause(FAREWELL) => {
                let shown = self.target.path.display();
                tracing::warn!("metrics.textfile {shown} hangs: the last metrics are not written");
            }
        }
    }
}

/// Writes until nothing is left to be written.
fn write_all(target: &Target, desk: &watch::Sender<Desk>) {
    loop {
        let mut next = None;
        desk.send_modify(|desk| {
            next = desk.next.take();
            desk.under_way = next.as_ref().map(|(offered_at, _)| *offered_at);
        });
        let Some((_, text)) = next else { return };
        target.tell(desk, target.replace(&text));
    }
}

impl Target {
    /// Says it once when it begins to fail, and when that is over.
    fn tell(&self, desk: &watch::Sender<Desk>, written: io::Result<()>) {
        let mut was_failing = false;
        desk.send_modify(|desk| {
            was_failing = desk.is_failing;
            desk.is_failing = written.is_err();
        });
        let shown = self.path.display();
        match written {
            Ok(()) if was_failing => tracing::info!("metrics.textfile {shown} is written again"),
            Ok(()) => {}
            Err(error) if was_failing => tracing::debug!(%error, "still no metrics"),
            Err(error) => tracing::warn!(
                "metrics.textfile {shown} cannot be written: {error}; the folder must exist, \
                 belong to the service, and be opened by ReadWritePaths= in a drop-in of the \
                 unit (docs/monitoring.md)"
            ),
        }
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        let written = self.write(&beside, text).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            // Nobody reads it; the next attempt removes it as well.
            let _ = self.disk.remove(&beside);
        }
        written
    }

    fn write(&self, beside: &Path, text: &str) -> io::Result<()> {
        match self.disk.remove(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(beside)?;
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::OsDisk;

    #[test]
    fn it_is_replaced_as_a_whole_and_everybody_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roma.prom");
        let target = Target { path: path.clone(), disk: Arc::new(OsDisk) };
        fs::write(folder.path().join("roma.prom.tmp"), "left by a crash").unwrap();
        for text in ["a 1\n", "a 2\n"] {
            let before = OpenOptions::new().read(true).open(&path);
            target.replace(text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
            // Whoever reads the one before reads all of it.
            if let Ok(mut before) = before {
                let mut old = String::new();
                io::Read::read_to_string(&mut before, &mut old).unwrap();
                assert_eq!(old, "a 1\n");
            }
        }
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["roma.prom"]);
    }

    #[tokio::test]
    async fn a_folder_that_is_missing_is_borne_and_served_once_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/roma.prom");
        let mut textfile = Textfile::new(path.clone(), Arc::new(OsDisk));
        textfile.offer("a 1\n".to_owned(), Timestamp::from_millis(1));
        textfile.finish().await;
        assert!(textfile.desk.borrow().is_failing);
        textfile.offer("a 2\n".to_owned(), Timestamp::from_millis(2));
        textfile.finish().await;
        assert!(textfile.desk.borrow().is_failing);
        fs::create_dir(folder.path().join("later")).unwrap();
        textfile.offer("a 3\n".to_owned(), Timestamp::from_millis(3));
        textfile.finish().await;
        assert!(!textfile.desk.borrow().is_failing);
        assert_eq!(fs::read_to_string(path).unwrap(), "a 3\n");
    }
}
