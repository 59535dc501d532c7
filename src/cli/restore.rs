//! `restore`: sends stored packages to an instance, which imports them. Without `--yes` it shows
//! what would be sent, and all that can be told beforehand is told before the first byte goes: a
//! snapshot that is imported by half helps nobody.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{RestoreArgs, RestoreMode};
use super::error::CliError;
use super::packages::{find, holding, lease, mention_trash};
use super::progress::Progress;
use super::{open, output, who};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::engine::{RestoreOrder, RestoreProgress, Restorer, restored_file_name};
use crate::exit::Exit;
use crate::lifecycle::{Archive, Holding, State};
use crate::model::{Format, Name, Reference};
use crate::roma::{FORM_BYTES, ImportMode, ImportOptions, LARGEST_REQUEST, Roma};
use crate::settings::{Instance, Settings};
use crate::vault::{OsDisk, StateLock, Vault};

/// What no package holds (contract 3): told where it matters.
const NOT_IN_A_PACKAGE: &str = "ROMA exports no secrets of applications, no authorisations, no \
    addresses and passwords of data sources, no APIs that are not published in RELEASE, no \
    environments and no policies: set these by hand afterwards";

pub(super) async fn run(loaded: &Loaded, args: &RestoreArgs) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let target = target(settings, &args.instance)?;
    let reader = open::reader(&settings.state_dir).await?;
    let mut archives = find(&reader, args.id).await?;
    archives.sort_by_key(|archive| (archive.part, archive.id));
    let vault = Vault::at(&settings.state_dir, Arc::new(OsDisk));
    // All of them before the first byte: retention may decide at any moment.
    let _leases = lease(&reader, &vault, &archives).await?;
    let parts = archives.iter().map(Part::of).collect::<Result<Vec<_>, _>>()?;
    refuse_what_cannot_go(&parts)?;
    refuse_the_source(&vault, settings, &parts, target, args)?;
    read_all(&vault, &parts)?;
    archives.iter().for_each(mention_trash);
    mention_earlier(&reader, args.id, &target.name).await?;
    if !args.yes {
        show_plan(&parts, target, args)?;
        return Ok(Exit::Ok);
    }
    let catalog = open::writer(settings).await?;
    let done = send(settings, &catalog, vault, &parts, target, args).await;
    let closed = catalog.close().await;
    let jobs = done?;
    closed?;
    if args.json {
        let sent = parts.iter().zip(&jobs).map(|(part, job)| part.as_json(Some(job)));
        answer(args, target, false, &sent.collect::<Vec<_>>())?;
    } else {
        output::line(&format!("{} is restored into {}", args.id, target.name))?;
        output::note(&format!("note: {NOT_IN_A_PACKAGE}"));
    }
    Ok(Exit::Ok)
}

/// One package on its way.
struct Part<'a> {
    archive: &'a Archive,
    held: &'a Holding,
    file_name: String,
}

impl<'a> Part<'a> {
    fn of(archive: &'a Archive) -> Result<Self, CliError> {
        let held = holding(archive)?;
        if let State::Damaged(_) = archive.state {
            let why = archive.last_error.as_deref().unwrap_or_default();
            return Err(CliError::NotFound(format!("{} is damaged: {why}", archive.id)));
        }
        Ok(Self { archive, held, file_name: restored_file_name(archive) })
    }

    fn request_bytes(&self) -> u64 {
        self.held.raw.bytes.saturating_add(FORM_BYTES)
    }

    fn as_json(&self, job: Option<&crate::model::JobId>) -> Value {
        json!({
            "archive_id": self.archive.id,
            "part": self.archive.part,
            "file_name": self.file_name,
            "bytes": self.held.raw.bytes,
            "sha256": self.held.raw.sha256,
            "job_id": job,
        })
    }
}

/// Each is what it was.
fn read_all(vault: &Vault, parts: &[Part<'_>]) -> Result<(), CliError> {
    let size = |part: &Part<'_>| part.held.file.content.bytes;
    let progress = Progress::of_bytes(parts.iter().map(size).sum(), "reading");
    for part in parts {
        vault
            .check(&part.held.file, part.held.raw)
            .map_err(|error| CliError::Extract { id: part.archive.id, source: error.into() })?;
        progress.add(size(part));
    }
    Ok(())
}

fn target<'s>(settings: &'s Settings, name: &Name) -> Result<&'s Instance, CliError> {
    settings.instances.iter().find(|instance| instance.name == *name).ok_or_else(|| {
        let known = settings.instances.iter().map(|i| i.name.as_str()).collect::<Vec<_>>();
        let known = known.join(", ");
        CliError::Usage(format!("there is no instance `{name}`; configured: {known}"))
    })
}

/// What ROMA would refuse is refused here, before a part of the snapshot is sent.
fn refuse_what_cannot_go(parts: &[Part<'_>]) -> Result<(), CliError> {
    let mut reasons = Vec::new();
    for Part { archive, held, .. } in parts {
        if held.file.format != Format::Zip {
            let kind = held.file.format.word();
            reasons.push(format!("{} is no zip but {kind}, and ROMA imports only zip", archive.id));
        }
    }
    for part in parts.iter().filter(|part| part.request_bytes() > LARGEST_REQUEST) {
        let (id, size) = (part.archive.id, output::size(part.held.raw.bytes));
        reasons.push(format!(
            "{id} has {size}, and the gateway before ROMA refuses requests of more than 12 MB, \
             however they are signed: write it to a file with `roma-archived extract {id} -o {}` \
             and import that in the console of ROMA Connect",
            part.file_name
        ));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(CliError::NotFound(format!("nothing was sent: {}", reasons.join("; "))))
}

/// An instance that imports its own past may lose its present: only when that is meant.
fn refuse_the_source(
    vault: &Vault,
    settings: &Settings,
    parts: &[Part<'_>],
    target: &Instance,
    args: &RestoreArgs,
) -> Result<(), CliError> {
    if args.into_source {
        return Ok(());
    }
    for part in parts {
        let source = &part.archive.instance;
        // An instance may be configured under another name by now, or under two.
        let configured = settings.instances.iter().find(|instance| instance.name == *source);
        let known = configured.map(|instance| instance.instance_id.clone());
        let written = || vault.describe(&part.held.file.path).ok()?.0.instance_id;
        let is_source = *source == target.name
            || [known, written()].iter().flatten().any(|id| *id == target.instance_id);
        if is_source {
            return Err(CliError::Usage(format!(
                "{} comes from {} itself: to write it into there, say --into-source (with --mode \
                 merge to update what is there, or --mode add-new to create everything beside it)",
                part.archive.id, target.name
            )));
        }
    }
    Ok(())
}

/// The last attempts, so that nobody restores the same twice without knowing.
const EARLIER: &str = "\
SELECT at, event, json_extract(detail, '$.archive_id') AS part, json_extract(detail, '$.job') AS job
FROM events WHERE snapshot_id = ? AND json_extract(detail, '$.instance') = ?
    AND event IN ('restore_started', 'restore_accepted', 'restore_finished', 'restore_failed')
    AND seq IN (SELECT max(seq) FROM events WHERE snapshot_id = ? AND event LIKE 'restore\\_%'
                ESCAPE '\\' GROUP BY json_extract(detail, '$.archive_id'))
ORDER BY seq";

async fn mention_earlier(
    catalog: &Catalog,
    id: Reference,
    instance: &Name,
) -> Result<(), CliError> {
    let snapshot = match id {
        Reference::Snapshot(id) => id,
        Reference::Archive(id) => match catalog.archive(id).await? {
            Some(archive) => archive.snapshot,
            None => return Ok(()),
        },
    };
    let number = snapshot.0.to_string();
    let binds = [number.clone(), instance.to_string(), number];
    for row in catalog.view(EARLIER, &binds).await?.into_objects() {
        let text = |key: &str| row.get(key).map(|value| value.as_str().unwrap_or_default());
        let (at, event, job) = (text("at"), text("event"), text("job").unwrap_or_default());
        let part = row.get("part").and_then(Value::as_i64).unwrap_or_default();
        if matches!(id, Reference::Archive(one) if one.0 != part) {
            continue;
        }
        let what = match event.unwrap_or_default() {
            "restore_finished" => format!("was restored into {instance} before (job {job})"),
            "restore_failed" => continue,
            "restore_accepted" => {
                format!("was sent to {instance}, and nobody saw how job {job} ended")
            }
            _ => format!("may have been sent to {instance}: nobody saw an answer"),
        };
        output::note(&format!("note: a{part} {what}, at {}", at.unwrap_or_default()));
    }
    Ok(())
}

fn show_plan(parts: &[Part<'_>], target: &Instance, args: &RestoreArgs) -> Result<(), CliError> {
    if args.json {
        let all: Vec<Value> = parts.iter().map(|part| part.as_json(None)).collect();
        return answer(args, target, true, &all);
    }
    let Some(first) = parts.first() else { return Ok(()) };
    let Archive { export, instance, scheduled_at, .. } = first.archive;
    output::line(&format!(
        "{} ({export} of {instance}, taken {scheduled_at}) would go to {}, {}:",
        args.id,
        target.name,
        manner(args)
    ))?;
    let mut table = output::table(&["part", "archive", "file", "size", "sha256"]);
    for part in parts {
        table.add_row([
            part.archive.part.to_string(),
            part.archive.id.to_string(),
            part.file_name.clone(),
            output::size(part.held.raw.bytes),
            part.held.raw.sha256.to_string(),
        ]);
    }
    output::print(&table)?;
    if parts.len() > 1 {
        output::line("one after the other, each job to its end before the next part is sent")?;
    }
    output::line(&format!("{NOT_IN_A_PACKAGE}."))?;
    output::line("The files were read and are what they were. Nothing was sent; --yes does it.")
}

fn manner(args: &RestoreArgs) -> String {
    let mode = match args.mode {
        RestoreMode::AddNew => "which creates everything anew beside what is there (AddNew)",
        RestoreMode::Merge => "which updates what is there (Merge)",
    };
    let prefix = args.prefix.as_deref().map_or_else(String::new, |prefix| {
        format!(", each application's name beginning with `{}`", output::printable(prefix))
    });
    let sources = if args.overwrite_datasources { ", replacing data sources" } else { "" };
    format!("{mode}{prefix}{sources}")
}

fn answer(
    args: &RestoreArgs,
    target: &Instance,
    dry_run: bool,
    parts: &[Value],
) -> Result<(), CliError> {
    output::json(json!({
        "dry_run": dry_run,
        "instance": target.name,
        "mode": import_mode(args.mode).word(),
        "prefix": args.prefix,
        "overwrite_datasources": args.overwrite_datasources,
        "parts": parts,
    }))
}

const fn import_mode(mode: RestoreMode) -> ImportMode {
    match mode {
        RestoreMode::AddNew => ImportMode::AddNew,
        RestoreMode::Merge => ImportMode::Merge,
    }
}

/// Sends part after part, and stops at the first that is not imported.
async fn send(
    settings: &Settings,
    catalog: &Catalog,
    vault: Vault,
    parts: &[Part<'_>],
    target: &Instance,
    args: &RestoreArgs,
) -> Result<Vec<crate::model::JobId>, CliError> {
    let roma = Roma::new(&settings.accounts, &settings.instances, &settings.limits, &settings.tls)?;
    let siblings = settings.instances.iter().filter(|other| other.account == target.account);
    let restorer = Restorer {
        catalog: catalog.clone(),
        vault,
        roma,
        clock: Clock::System,
        pace: settings.limits.pace,
        siblings: siblings.map(|instance| instance.name.clone()).collect(),
        daemon_runs: StateLock::is_held(&settings.state_dir),
    };
    let options = ImportOptions {
        mode: import_mode(args.mode),
        prefix: args.prefix.clone(),
        overwrite_datasources: args.overwrite_datasources,
    };
    let order = RestoreOrder { instance: target.name.clone(), options, by: who::name() };
    let mut jobs = Vec::with_capacity(parts.len());
    let all = parts.len();
    let progress = Progress::of_waiting("");
    for part in parts {
        let id = part.archive.id;
        progress.say(format!("{id}: part {} of {all} is sent", jobs.len() + 1));
        let mut last = String::new();
        let mut tell = |step| match step {
            RestoreProgress::Waiting(reason, until) => {
                if reason != last {
                    let line = format!("{id}: waits, next try at {until}: {reason}");
                    progress.aside(|| output::note(&line));
                    last = reason;
                }
            }
            RestoreProgress::Accepted(job) => {
                let line = format!("{id}: {} imports it, job {job}", target.name);
                progress.aside(|| output::note(&line));
                progress.say(format!("{id}: part {} of {all} is imported", jobs.len() + 1));
            }
        };
        match restorer.restore(part.archive, &order, &mut tell).await {
            Ok(job) => {
                if !args.json {
                    let size = output::size(part.held.raw.bytes);
                    let line = format!("{id}: imported ({size}, job {job})");
                    progress.aside(|| output::line(&line))?;
                }
                jobs.push(job);
            }
            Err(error) => {
                if all > 1 {
                    let line = format!(
                        "{} of {all} parts are imported; the rest was not sent: go on part by \
                         part, from {id}, when this is mended",
                        jobs.len()
                    );
                    progress.aside(|| output::note(&line));
                }
                return Err(error.into());
            }
        }
    }
    Ok(jobs)
}
