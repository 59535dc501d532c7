//! What this machine must have: files with the right owner and modes, room on the disk, a daemon.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use super::Check;
use crate::catalog::FILE_NAME;
use crate::cli::output;
use crate::config::Loaded;
use crate::model::story;
use crate::settings::Settings;
use crate::vault::{OsDisk, StateLock, Vault};

/// Nobody but the service and its group may read what is exported.
const MOST_OF_A_FOLDER: u32 = 0o750;
const MOST_OF_A_FILE: u32 = 0o640;

pub(super) fn checks(loaded: &Loaded) -> Vec<Check> {
    let settings = &loaded.settings;
    let mut checks = vec![configuration(&loaded.path, &loaded.warnings)];
    let Ok(found) = settings.state_dir.metadata() else {
        checks.push(Check::doubtful(
            "state",
            format!("{} does not exist yet", settings.state_dir.display()),
            "the first start of the daemon creates it",
        ));
        return checks;
    };
    checks.push(state_dir(settings, &found));
    checks.extend(modes(&settings.state_dir));
    checks.push(room(settings));
    checks.push(if StateLock::is_held(&settings.state_dir) {
        Check::well("daemon", "running")
    } else {
        let remedy = "`systemctl start roma-archived`, or `roma-archived run`";
        Check::doubtful("daemon", "not running: nothing is exported", remedy)
    });
    checks
}

fn configuration(path: &Path, warnings: &[String]) -> Check {
    let shown = path.display().to_string();
    let Ok(found) = path.metadata() else { return Check::well("configuration", shown) };
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Check::wrong(
            "configuration",
            format!(
                "{shown} has mode {mode:04o}: others may change what is exported, and where to"
            ),
            format!("chmod go-w {shown}"),
        );
    }
    match warnings {
        [] => Check::well("configuration", format!("{shown} is valid")),
        warnings => Check::doubtful(
            "configuration",
            warnings.join("; "),
            "`roma-archived check-config` shows all of it",
        ),
    }
}

fn state_dir(settings: &Settings, found: &Metadata) -> Check {
    let shown = settings.state_dir.display();
    let (owner, we) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != we && we != 0 {
        return Check::doubtful(
            "state",
            format!("{shown} belongs to user {owner}, and this is user {we}"),
            "run this as its owner: `sudo -u roma-archived roma-archived doctor`",
        );
    }
    Check::well("state", format!("{shown} belongs to user {owner}"))
}

/// Everything at the top, and the newest files, stand for all: modes are set when a file is made.
fn modes(state_dir: &Path) -> Vec<Check> {
    let folders = ["", "vault", "staging", "quarantine"].map(|name| (name, MOST_OF_A_FOLDER));
    let log = format!("{FILE_NAME}-wal");
    let index = format!("{FILE_NAME}-shm");
    let files = [FILE_NAME, &log, &index].map(|name| (name, MOST_OF_A_FILE));
    let mut wrong = Vec::new();
    for (name, most) in folders.into_iter().chain(files) {
        let path = state_dir.join(name);
        let Ok(found) = path.symlink_metadata() else { continue };
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o777 & !most != 0 {
            wrong.push(Check::wrong(
                "modes",
                format!("{} has mode {mode:04o}", path.display()),
                format!("chmod {most:o} {}", path.display()),
            ));
        }
    }
    if wrong.is_empty() {
        wrong.push(Check::well("modes", "nobody but the service and its group reads the state"));
    }
    wrong
}

fn room(settings: &Settings) -> Check {
    let vault = Vault::at(&settings.state_dir, Arc::new(OsDisk));
    let wanted = settings.limits.min_free_bytes;
    match vault.free_bytes() {
        Ok(free) if free < wanted => Check::wrong(
            "disk",
            format!(
                "{} free, {} are wanted (limits.min_free_space): no download begins",
                output::size(free),
                output::size(wanted)
            ),
            "make room, or lower the limit; `roma-archived plan` shows what retention would delete",
        ),
        Ok(free) if free / 3 < wanted => Check::doubtful(
            "disk",
            format!("{} free, little above limits.min_free_space", output::size(free)),
            "make room before the next run",
        ),
        Ok(free) => Check::well("disk", format!("{} free", output::size(free))),
        Err(error) => Check::doubtful(
            "disk",
            format!("free space is not known: {}", story(&error)),
            "the first start of the daemon creates the folders",
        ),
    }
}
