//! `backup`: a consistent copy of the catalog, also beside a running daemon. The vault is files,
//! which any tool copies; `docs/operations.md` says in which order.
//!
//! It must never touch what is there under the name before the copy was read through, and never
//! write into the state directory. Killed in the middle, a hidden `.partial` file is left.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::NamedTempFile;

use super::args::BackupArgs;
use super::error::CliError;
use super::{files, open, output};
use crate::catalog::{Copied, check_copy};
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::model::Timestamp;

/// What a copy is called in a folder: this, the time, and `.db`.
const PREFIX: &str = "roma-catalog-";
const SUFFIX: &str = ".db";
/// The owner writes, the group reads.
const MODE: u32 = 0o640;

pub(super) async fn run(loaded: &Loaded, args: &BackupArgs) -> Result<Exit, CliError> {
    let state_dir = &loaded.settings.state_dir;
    let target = Target::of(args, Clock::System.now())?;
    target.refuse_state_dir(state_dir)?;
    let catalog = open::reader(state_dir).await?;
    let partial = target.partial()?;
    catalog.copy_into(partial.path()).await?;
    catalog.close().await?;
    let copied = check_copy(partial.path()).await?;
    let bytes = target.put_in_place(partial, args.force)?;
    let removed = match args.keep {
        Some(keep) => target.thin_out(keep.get())?,
        None => Vec::new(),
    };
    report(args, &target.path(), bytes, copied, &removed)?;
    Ok(Exit::Ok)
}

fn report(
    args: &BackupArgs,
    path: &Path,
    bytes: u64,
    copied: Copied,
    removed: &[PathBuf],
) -> Result<(), CliError> {
    let Copied { snapshots, archives, last_seq, last_event_at } = copied;
    if args.json {
        return output::json(json!({
            "path": path,
            "bytes": bytes,
            "snapshots": snapshots,
            "archives": archives,
            "last_event_seq": last_seq,
            "last_event_at": last_event_at,
            "removed": removed,
        }));
    }
    let until = last_event_at.map_or_else(String::new, |at| format!(", until {at}"));
    output::line(&format!(
        "{}: {}, {snapshots} snapshots with {archives} archives{until}; read through and durable",
        path.display(),
        output::size(bytes)
    ))?;
    for path in removed {
        output::line(&format!("removed {}", path.display()))?;
    }
    Ok(())
}

/// Where the copy goes.
struct Target {
    folder: PathBuf,
    name: PathBuf,
}

impl Target {
    fn of(args: &BackupArgs, now: Timestamp) -> Result<Self, CliError> {
        let given = &args.target;
        if given.is_dir() {
            let name = format!("{PREFIX}{}{SUFFIX}", now.compact());
            return Ok(Self { folder: given.clone(), name: name.into() });
        }
        if args.keep.is_some() {
            return Err(CliError::Usage(format!(
                "--keep needs a folder to keep copies in, and {} is none",
                given.display()
            )));
        }
        let folder = files::folder_of(given).to_owned();
        // `name/` means a folder, which is not there.
        let is_folder = given.as_os_str().as_encoded_bytes().ends_with(b"/");
        match given.file_name().filter(|_| !is_folder) {
            Some(name) => Ok(Self { folder, name: name.into() }),
            None => Err(CliError::Usage(format!("there is no folder {}", given.display()))),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn failed(&self) -> impl Fn(io::Error) -> CliError {
        files::failed(&self.path())
    }

    /// A copy there would go with what it is a copy of, or be on top of it.
    fn refuse_state_dir(&self, state_dir: &Path) -> Result<(), CliError> {
        let folder = self.folder.canonicalize().map_err(self.failed())?;
        let Ok(state_dir) = state_dir.canonicalize() else { return Ok(()) };
        if folder.starts_with(&state_dir) {
            return Err(CliError::Usage(format!(
                "{} is in the state directory: a backup belongs elsewhere, on another disk",
                self.path().display()
            )));
        }
        Ok(())
    }

    fn partial(&self) -> Result<NamedTempFile, CliError> {
        let partial = tempfile::Builder::new()
            .prefix(&format!(".{PREFIX}"))
            .suffix(".partial")
            .permissions(fs::Permissions::from_mode(MODE))
            .tempfile_in(&self.folder)
            .map_err(self.failed())?;
        // The umask may have taken away what the group needs to read.
        let mode = fs::Permissions::from_mode(MODE);
        partial.as_file().set_permissions(mode).map_err(self.failed())?;
        Ok(partial)
    }

    /// Gives the copy its name; the answer is its length.
    fn put_in_place(&self, partial: NamedTempFile, force: bool) -> Result<u64, CliError> {
        let bytes = partial.as_file().metadata().map_err(self.failed())?.len();
        files::put_in_place(partial, &self.path(), force)?;
        Ok(bytes)
    }

    /// Removes the oldest of the copies in the folder, never the one that was just made.
    fn thin_out(&self, keep: usize) -> Result<Vec<PathBuf>, CliError> {
        let failed = self.failed();
        let mut copies = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let is_file = entry.file_type().map_err(&failed)?.is_file();
            if let Some(name) = entry.file_name().to_str()
                && is_file
                && is_ours(name)
            {
                copies.push(name.to_owned());
            }
        }
        copies.sort_unstable();
        // The clock may have gone back since the others were made.
        copies.retain(|name| Path::new(name) != self.name);
        let surplus = (copies.len() + 1).saturating_sub(keep);
        let mut removed = Vec::new();
        for name in copies.into_iter().take(surplus) {
            let path = self.folder.join(name);
            fs::remove_file(&path).map_err(files::failed(&path))?;
            removed.push(path);
        }
        if !removed.is_empty() {
            files::sync_folder(&self.path())?;
        }
        Ok(removed)
    }
}

/// Whether `backup` gives such names: `roma-catalog-20261124T020000Z.db`.
fn is_ours(name: &str) -> bool {
    let time = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    time.is_some_and(|time| {
        time.len() == 16
            && time.bytes().enumerate().all(|(place, byte)| match place {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_its_own_are_thinned_out() {
        let now: Timestamp = "2026-11-24T02:00:00.5Z".parse().unwrap();
        let own = format!("{PREFIX}{}{SUFFIX}", now.compact());
        assert_eq!(own, "roma-catalog-20261124T020000Z.db");
        assert!(is_ours(&own));
        for other in [
            "roma-catalog-.db",
            "roma-catalog-20261124T020000Z.db.gz",
            "roma-catalog-20261124-020000Z.db",
            "roma-catalog-2026112\u{e4}T02000Z.db",
            "my-roma-catalog-20261124T020000Z.db",
            "roma-catalog-before-update1.db",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
