//! `rebuild`: the catalog from the vault alone, when it is gone or broken and there is no backup.

use std::sync::Arc;

use serde_json::json;

use super::args::RebuildArgs;
use super::error::CliError;
use super::output;
use super::progress::Progress;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::service::{self, Rebuilt};
use crate::vault::OsDisk;

pub(super) async fn run(loaded: &Loaded, args: &RebuildArgs) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let bar = Progress::of_bytes(0, "reading the vault");
    let mut progress = |done: u64, total: u64| bar.stands(done, total);
    let disk = Arc::new(OsDisk);
    let rebuilt =
        service::rebuild(settings, &Clock::System, disk, args.force, &mut progress).await?;
    drop(bar);
    let Rebuilt { snapshots, archives, bytes, left, staged, moved_aside } = &rebuilt;
    if args.json {
        let left: Vec<_> =
            left.iter().map(|file| json!({ "path": file.path, "reason": file.reason })).collect();
        output::json(json!({
            "snapshots": snapshots,
            "archives": archives,
            "bytes": bytes,
            "left": left,
            "staged_files": staged,
            "moved_aside": moved_aside,
        }))?;
    } else {
        tell(&rebuilt)?;
    }
    Ok(if left.is_empty() { Exit::Ok } else { Exit::NotWell })
}

fn tell(rebuilt: &Rebuilt) -> Result<(), CliError> {
    let Rebuilt { snapshots, archives, bytes, left, staged, moved_aside } = rebuilt;
    let bytes = output::size(*bytes);
    output::line(&format!(
        "the catalog has {snapshots} snapshots with {archives} archives again: {bytes}, each file \
         read to its end"
    ))?;
    if let Some(path) = moved_aside {
        output::line(&format!("the one before is kept as {}", path.display()))?;
    }
    for file in left {
        let line = format!("left where it is: vault/{}: {}", file.path, file.reason);
        output::line(&output::printable(&line))?;
    }
    if !left.is_empty() {
        output::line("the daemon moves what was left to quarantine/ when it starts")?;
    }
    if *staged > 0 {
        output::line(&format!(
            "{staged} downloads in staging/ belong to no archive any more: the daemon moves them \
             to quarantine/ when it starts"
        ))?;
    }
    output::line(
        "forgotten: pins, losses, what was deleted, jobs under way. Pin anew what retention must \
         not take, before `policy_grace` is over; `roma-archived plan` shows what it would take",
    )
}
