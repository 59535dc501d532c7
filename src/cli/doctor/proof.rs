//! Whether the past bears out the promise: how old the newest verified snapshot of each export is,
//! and when a job and a download last worked.

use serde_json::Value;

use super::Check;
use crate::catalog::{Access, Catalog, CatalogError};
use crate::cli::error::CliError;
use crate::clock::Clock;
use crate::model::{Timestamp, story};
use crate::settings::{Export, Settings};

/// The newest complete snapshot, and when one of its files was last read again.
const PROOF: &str = "\
SELECT s.taken_at, max(a.verified_at) AS verified_at
FROM snapshots AS s JOIN archives AS a ON a.snapshot_id = s.id
WHERE s.instance = ? AND s.export = ? AND s.state = 'complete'
GROUP BY s.id ORDER BY s.taken_at DESC LIMIT 1";

/// When a job of ours last ended well and a package last arrived: the two rights that nothing
/// tries.
const LAST: &str = "\
SELECT max(CASE WHEN export <> 'watched' THEN ready_at END) AS exported,
    max(downloaded_at) AS downloaded
FROM archives WHERE instance = ?";

pub(super) async fn checks(settings: &Settings) -> Result<Vec<Check>, CliError> {
    let catalog = match Catalog::open(&settings.state_dir, Access::Reader).await {
        Ok(catalog) => catalog,
        Err(CatalogError::Missing { .. }) => {
            let remedy = "start the daemon; this proves itself with the first run";
            return Ok(vec![Check::doubtful("proof", "nothing was exported yet", remedy)]);
        }
        Err(error) => {
            let remedy = "docs/operations.md tells what helps a catalog";
            return Ok(vec![Check::wrong("catalog", story(&error), remedy)]);
        }
    };
    let mut checks = Vec::new();
    for instance in &settings.instances {
        let rows = catalog.view(LAST, &[instance.name.to_string()]).await?.into_objects();
        let time = |key: &str| text(rows.first(), key);
        let subject = format!("instance {}", instance.name);
        checks.push(match (time("exported"), time("downloaded")) {
            (Some(job), Some(package)) => {
                let found = format!("last job ended {job}, last package arrived {package}");
                Check::well(subject, found)
            }
            _ => Check::doubtful(
                subject,
                "no job of ours was run and fetched yet: nothing else proves these rights",
                "`roma-archived export NAME` tries them now",
            ),
        });
    }
    for export in &settings.exports {
        let binds = [export.instance.to_string(), export.name.to_string()];
        let rows = catalog.view(PROOF, &binds).await?.into_objects();
        let times = (text(rows.first(), "taken_at"), text(rows.first(), "verified_at"));
        checks.push(proof(settings, export, times, Clock::System.now()));
    }
    catalog.close().await?;
    Ok(checks)
}

fn text(row: Option<&Value>, key: &str) -> Option<String> {
    Some(row?.get(key)?.as_str()?.to_owned())
}

fn proof(
    settings: &Settings,
    export: &Export,
    (taken_at, verified_at): (Option<String>, Option<String>),
    now: Timestamp,
) -> Check {
    let subject = format!("export {} of {}", export.name, export.instance);
    let parsed = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok();
    let (Some(taken), Some(verified)) = (parsed(&taken_at), parsed(&verified_at)) else {
        let remedy = format!("`roma-archived export {}` makes one now", export.name);
        return if export.rpo.is_some() {
            Check::wrong(subject, "there is no complete snapshot", remedy)
        } else {
            Check::doubtful(subject, "there is no complete snapshot", remedy)
        };
    };
    let found = format!("newest snapshot of {taken}, last read back {verified}");
    if export.rpo.is_some_and(|rpo| now.since(taken) > rpo) {
        let remedy = "`roma-archived status` and `roma-archived list --snapshots` show what failed";
        return Check::wrong(subject, format!("objective (rpo) missed: {found}"), remedy);
    }
    // It is due for its next reading, and a while for the reading itself.
    if settings.verify.daily_bytes > 0 && now.since(verified) > settings.verify.every * 2 {
        let remedy = "the daemon reads it again when it runs; [verify] budget may be too small";
        return Check::doubtful(subject, found, remedy);
    }
    Check::well(subject, found)
}
