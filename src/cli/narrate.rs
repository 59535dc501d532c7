//! Events as sentences: what the demonstration prints while it runs.

use serde_json::Value;

use super::error::CliError;
use super::output;
use crate::catalog::Catalog;

const NEWS: &str = "\
SELECT seq, at, archive_id, snapshot_id, event, detail FROM events WHERE seq > ? ORDER BY seq";

/// Tells each event once.
#[derive(Debug, Default)]
pub(super) struct Narrator {
    seen: i64,
}

impl Narrator {
    /// Prints what has happened since the last time.
    pub(super) async fn tell(&mut self, catalog: &Catalog) -> Result<(), CliError> {
        for row in catalog.view(NEWS, &[self.seen.to_string()]).await?.into_objects() {
            self.seen = row.get("seq").and_then(Value::as_i64).unwrap_or(self.seen);
            let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
            let detail: Value = serde_json::from_str(text("detail")).unwrap_or_default();
            let number = |key: &str| row.get(key).and_then(Value::as_i64);
            let who = match (number("archive_id"), number("snapshot_id")) {
                (Some(id), _) => format!("a{id}"),
                (None, Some(id)) => format!("s{id}"),
                (None, None) => String::new(),
            };
            if let Some(sentence) = sentence(text("event"), &detail) {
                let at = text("at").get(..16).unwrap_or_default().replace('T', " ");
                output::line(&format!("{at}  {who:<4} {}", output::printable(&sentence)))?;
            }
        }
        Ok(())
    }
}

/// One event in words; `None` for those that only repeat what the next one says.
fn sentence(event: &str, detail: &Value) -> Option<String> {
    let number = |key: &str| detail.get(key).and_then(Value::as_u64);
    let text = |key: &str| detail.get(key).and_then(Value::as_str).unwrap_or_default();
    let reason = || {
        let message = detail.pointer("/failure/message").and_then(Value::as_str);
        message.unwrap_or("no reason given").to_owned()
    };
    Some(match event {
        "snapshot_opened" => "due: the schedule says so".to_owned(),
        "parts_planned" => format!(
            "{} applications and {} tasks make {} job",
            number("apps")?,
            number("tasks")?,
            number("parts")?
        ),
        "archive_opened" => match number("replaces") {
            Some(lost) => format!("the same scope is exported again, in place of a{lost}"),
            None => return None,
        },
        "job_accepted" => format!("ROMA runs job {}", text("job")),
        "job_succeeded" => format!("package {} is ready for its one download", text("package")),
        "download_finished" => format!(
            "downloaded, {}, sha256 {}…",
            output::size(detail.pointer("/raw/bytes")?.as_u64()?),
            detail.pointer("/raw/sha256")?.as_str()?.get(..12)?
        ),
        "download_interrupted" => format!("the download broke off: {}", reason()),
        "package_lost" => format!("LOST: {}", text("message")),
        "file_stored" => format!(
            "packed and stored, {}: {}",
            output::size(detail.pointer("/file/content/bytes")?.as_u64()?),
            detail.pointer("/file/path")?.as_str()?
        ),
        "file_shared" => format!(
            "contains the same as before: shares the file of a{}, {}",
            number("original")?,
            detail.pointer("/file/path")?.as_str()?
        ),
        "snapshot_complete" => "complete and verified".to_owned(),
        "snapshot_incomplete" => "at rest, but incomplete".to_owned(),
        "deletion_decided" => format!(
            "to the trash: {}; files stay until {}",
            detail.pointer("/deletion/reason")?.as_str()?,
            text("purge_at").get(..10)?
        ),
        "file_deleted" => "deleted; its record stays".to_owned(),
        event if event.ends_with("_postponed") => format!("put off: {}", reason()),
        "request_unanswered" | "request_refused" => format!("not exported: {}", reason()),
        "job_failed" => format!("ROMA's job failed: {}", text("reasons")),
        "planning_failed" => format!("not exported: {}", text("message")),
        _ => return None,
    })
}
