//! `extract`: a package as ROMA sent it. A file appears under its name only after its hash was
//! checked.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::args::ExtractArgs;
use super::error::CliError;
use super::packages::{find, holding, lease, mention_trash};
use super::progress::Progress;
use super::{files, open, output};
use crate::config::Loaded;
use crate::exit::Exit;
use crate::lifecycle::{Archive, Holding};
use crate::model::{Format, Reference};
use crate::vault::{OsDisk, Vault};

pub(super) async fn run(loaded: &Loaded, args: &ExtractArgs) -> Result<Exit, CliError> {
    let state_dir = &loaded.settings.state_dir;
    let catalog = open::reader(state_dir).await?;
    let archives = find(&catalog, args.id).await?;
    let vault = Vault::at(state_dir, Arc::new(OsDisk));
    let targets = targets(args, &archives)?;
    let held = archives.iter().map(holding).collect::<Result<Vec<_>, _>>()?;
    // All of them before the first byte: retention may decide at any moment.
    let _leases = lease(&catalog, &vault, &archives).await?;
    archives.iter().for_each(mention_trash);
    let total = held.iter().map(|held| held.raw.bytes).sum();
    let progress = Progress::of_bytes(total, "extracting");
    let mut written = Vec::new();
    for ((archive, held), target) in archives.iter().zip(held).zip(targets) {
        match target {
            Some(path) => {
                to_file(&vault, archive, held, (&path, args.force), &progress)?;
                let (bytes, sha256) = (held.raw.bytes, held.raw.sha256);
                written.push(json!({
                    "archive_id": archive.id, "path": path, "bytes": bytes, "sha256": sha256,
                }));
                if !args.json {
                    let size = output::size(bytes);
                    let line = format!("{sha256}  {} ({size})", path.display());
                    progress.aside(|| output::line(&line))?;
                }
            }
            None => to_stdout(&vault, archive, held, &progress)?,
        }
    }
    if args.json {
        output::json(json!({ "files": written }))?;
    }
    Ok(Exit::Ok)
}

/// Where each archive goes; `None` is standard output.
fn targets(args: &ExtractArgs, archives: &[Archive]) -> Result<Vec<Option<PathBuf>>, CliError> {
    match (&args.output, archives) {
        (None, [_]) if std::io::stdout().is_terminal() => Err(CliError::Usage(
            "a package does not belong on a terminal: name a file with --output".to_owned(),
        )),
        (None, [_]) => Ok(vec![None]),
        (None, _) => Err(CliError::Usage(
            "this snapshot has several parts: name a directory with --output".to_owned(),
        )),
        (Some(path), [one]) if matches!(args.id, Reference::Archive(_)) => {
            Ok(vec![Some(if path.is_dir() { path.join(file_name(one)) } else { path.clone() })])
        }
        (Some(directory), several) => {
            std::fs::create_dir_all(directory)
                .map_err(|source| CliError::Write { path: directory.clone(), source })?;
            Ok(several.iter().map(|archive| Some(directory.join(file_name(archive)))).collect())
        }
    }
}

/// `s12-1.zip`: ours, never a name that the server sent.
fn file_name(archive: &Archive) -> String {
    let extension = match archive.state.holding().map(|held| held.file.format) {
        Some(Format::Zip) => "zip",
        Some(Format::Json) => "json",
        _ => "bin",
    };
    format!("{}-{}.{extension}", archive.snapshot, archive.part)
}

fn to_stdout(
    vault: &Vault,
    archive: &Archive,
    held: &Holding,
    progress: &Progress,
) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    vault
        .extract(&held.file, held.raw, &mut progress.counting(&mut stdout))
        .map_err(|source| CliError::Extract { id: archive.id, source })?;
    stdout.flush().map_err(CliError::Output)
}

fn to_file(
    vault: &Vault,
    archive: &Archive,
    held: &Holding,
    (path, force): (&Path, bool),
    progress: &Progress,
) -> Result<(), CliError> {
    if path.exists() && !force {
        return Err(files::is_there(path));
    }
    let temporary = tempfile::NamedTempFile::new_in(files::folder_of(path));
    let mut temporary = temporary.map_err(files::failed(path))?;
    vault
        .extract(&held.file, held.raw, &mut progress.counting(temporary.as_file_mut()))
        .map_err(|source| CliError::Extract { id: archive.id, source })?;
    files::put_in_place(temporary, path, force)
}
