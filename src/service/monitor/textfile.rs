//! The metrics in a file for `node_exporter`: written beside it under a name that nobody reads,
//! then renamed over it. A file that cannot be written is told once, and never stops anything.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// It holds no secret, and `node_exporter` is another user.
const MODE: u32 = 0o644;

/// Where the metrics go.
#[derive(Debug)]
pub(super) struct Textfile {
    path: PathBuf,
    /// The last attempt failed, and somebody was told.
    is_failing: bool,
}

impl Textfile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, is_failing: false }
    }

    /// Replaces the file, away from the threads that others need.
    pub(super) async fn write(&mut self, text: String) {
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
        let shown = self.path.display();
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) if self.is_failing => {
                tracing::info!("metrics.textfile {shown} is written again");
                self.is_failing = false;
            }
            Ok(()) => {}
            Err(error) if self.is_failing => tracing::debug!(%error, "still no metrics"),
            Err(error) => {
                tracing::warn!(
                    "metrics.textfile {shown} cannot be written: {error}; the folder must exist, \
                     belong to the service, and be opened by ReadWritePaths= in a drop-in of the \
                     unit (docs/monitoring.md)"
                );
                self.is_failing = true;
            }
        }
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let written = write(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Nobody reads it; the next attempt removes it as well.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write(beside: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(beside)?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_replaced_as_a_whole_and_everybody_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roma.prom");
        fs::write(folder.path().join("roma.prom.tmp"), "left by a crash").unwrap();
        for text in ["a 1\n", "a 2\n"] {
            let before = OpenOptions::new().read(true).open(&path);
            replace(&path, text).unwrap();
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
        let mut textfile = Textfile::new(path.clone());
        textfile.write("a 1\n".to_owned()).await;
        assert!(textfile.is_failing);
        textfile.write("a 2\n".to_owned()).await;
        assert!(textfile.is_failing);
        fs::create_dir(folder.path().join("later")).unwrap();
        textfile.write("a 3\n".to_owned()).await;
        assert!(!textfile.is_failing);
        assert_eq!(fs::read_to_string(path).unwrap(), "a 3\n");
    }
}
