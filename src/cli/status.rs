//! `status`: is all well? Its exit code is meant for monitoring.

use serde_json::{Value, json};

use super::error::CliError;
use super::{open, output};
use crate::catalog::ViewRows;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::vault::{OsDisk, StateLock, Vault};

const COUNTS: &str = "SELECT state, count(*) AS archives, sum(stored_bytes) AS stored_bytes \
                      FROM archives GROUP BY state ORDER BY state";

const EXPORTS: &str = "SELECT * FROM exports ORDER BY instance, name";

const WAITING: &str = "\
SELECT * FROM archives WHERE last_error IS NOT NULL AND next_attempt_at IS NOT NULL ORDER BY id
LIMIT 20";

/// Runs whose scope is not read yet, because it cannot be or because another run of the export has
/// not come to its end: they have no archive that could show it.
const UNPLANNED: &str = "\
SELECT 's' || s.id AS run, s.export, s.instance, s.taken_at,
    (SELECT 's' || max(o.id) FROM snapshots AS o
     WHERE o.instance = s.instance AND o.export = s.export AND o.state = 'open' AND o.id < s.id
    ) AS waits_for,
    (SELECT json_extract(e.detail, '$.failure.message') FROM events AS e
     WHERE e.snapshot_id = s.id AND e.event = 'planning_postponed'
     ORDER BY e.seq DESC LIMIT 1) AS last_error
FROM snapshots AS s WHERE s.state = 'open' AND s.parts IS NULL ORDER BY s.id LIMIT 20";

/// Accounts whose last event was a pause; its end may be past, and then one call tries.
const PAUSED: &str = "\
SELECT json_extract(detail, '$.account') AS account, at AS paused_at,
    json_extract(detail, '$.until') AS until, json_extract(detail, '$.reason') AS reason
FROM events WHERE event = 'account_paused' AND seq IN (
    SELECT max(seq) FROM events WHERE archive_id IS NULL AND snapshot_id IS NULL
      AND event IN ('account_paused', 'account_resumed')
    GROUP BY json_extract(detail, '$.account'))
ORDER BY account";

pub(super) async fn run(loaded: &Loaded, as_json: bool) -> Result<Exit, CliError> {
    let state_dir = &loaded.settings.state_dir;
    let catalog = open::reader(state_dir).await?;
    let counts = catalog.view(COUNTS, &[]).await?;
    let exports = catalog.view(EXPORTS, &[]).await?;
    let losses = catalog.unsettled_losses().await?;
    let damaged = catalog.unsettled_damage().await?;
    let waiting = catalog.view(WAITING, &[]).await?;
    let unplanned = catalog.view(UNPLANNED, &[]).await?;
    let paused = paused_accounts(loaded, catalog.view(PAUSED, &[]).await?);
    let facts = catalog.facts().await?;
    let judgement = facts.judge(Clock::System.now());
    let well = judgement.is_well();
    let missed = judgement.missed.iter().map(|e| format!("{} of {}", e.name, e.instance));
    let missed: Vec<String> = missed.collect();
    let running = StateLock::is_held(state_dir);
    let vault = Vault::at(state_dir, std::sync::Arc::new(OsDisk));
    let free = vault.free_bytes().ok();
    let quarantined = vault.quarantined().ok();
    if as_json {
        output::json(json!({
            "well": well,
            "daemon_running": running,
            "free_bytes": free,
            "quarantined_files": quarantined,
            "archives": counts.into_objects(),
            "exports": exports.into_objects(),
            "unsettled_losses": losses.into_objects(),
            "damaged": damaged.into_objects(),
            "missed_objectives": missed,
            "paused_accounts": paused.into_objects(),
            "waiting": waiting.into_objects(),
            "unplanned": unplanned.into_objects(),
        }))?;
    } else {
        let daemon = if running { "running" } else { "not running" };
        let free = free.map_or_else(|| "unknown".to_owned(), output::size);
        output::line(&format!("daemon {daemon}, {free} free in {}", state_dir.display()))?;
        if let Some(count) = quarantined.filter(|count| *count > 0) {
            output::line(&format!(
                "{count} in quarantine/: files that belong to no archive, for a person to look at"
            ))?;
        }
        section("archives", &counts, &["state", "archives", "stored_bytes"])?;
        section(
            "exports",
            &exports,
            &[
                "instance",
                "name",
                "next_due_at",
                "last_complete_at",
                "last_failure_at",
                "last_error",
            ],
        )?;
        section("paused accounts", &paused, &["account", "paused_at", "until", "reason"])?;
        section(
            "waiting",
            &waiting,
            &["id", "state", "attempts", "next_attempt_at", "last_error"],
        )?;
        let columns = ["run", "export", "taken_at", "waits_for", "last_error"];
        section("not planned yet", &unplanned, &columns)?;
        section("damaged", &damaged, &["id", "export", "path", "last_error"])?;
        section("lost", &losses, &["id", "export", "scheduled_at", "job_id", "last_error"])?;
        conclude(&missed, well)?;
    }
    Ok(if well { Exit::Ok } else { Exit::NotWell })
}

fn conclude(missed: &[String], well: bool) -> Result<(), CliError> {
    output::line("")?;
    for name in missed {
        output::line(&format!(
            "objective missed: no verified snapshot of {name} is recent enough"
        ))?;
    }
    output::verdict(if well { "all is well" } else { "not well" }, well)
}

fn section(title: &str, rows: &ViewRows, columns: &[&str]) -> Result<(), CliError> {
    if rows.rows.is_empty() {
        return Ok(());
    }
    output::line(&format!("\n{title}"))?;
    output::print(&output::view_table(rows, columns))
}

/// One that was taken out of the configuration is nobody's business any more.
fn paused_accounts(loaded: &Loaded, mut paused: ViewRows) -> ViewRows {
    let is_configured =
        |name: &Value| loaded.settings.accounts.iter().any(|a| name == a.name.as_str());
    paused.rows.retain(|row| row.first().is_some_and(is_configured));
    paused
}
