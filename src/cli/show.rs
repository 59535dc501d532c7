//! `show`: all about one archive or snapshot, and everything that happened to it.

use serde_json::{Value, json};

use super::args::ShowArgs;
use super::error::CliError;
use super::{open, output};
use crate::catalog::{Catalog, ViewRows};
use crate::config::Loaded;
use crate::exit::Exit;
use crate::model::Reference;

pub(super) async fn run(loaded: &Loaded, args: &ShowArgs) -> Result<Exit, CliError> {
    let catalog = open::reader(&loaded.settings.state_dir).await?;
    match args.id {
        Reference::Archive(id) => {
            let archive = one(&catalog, "archives", id.0, &id.to_string()).await?;
            let events = catalog
                .view(
                    "SELECT at, event, from_state, to_state, detail FROM events \
                     WHERE archive_id = ? ORDER BY seq",
                    &[id.0.to_string()],
                )
                .await?;
            if args.json {
                let archive = archive.into_objects().pop().unwrap_or_default();
                output::json(json!({ "archive": archive, "events": events.into_objects() }))?;
            } else {
                fields(&archive)?;
                history(&events)?;
            }
        }
        Reference::Snapshot(id) => {
            let snapshot = one(&catalog, "snapshots", id.0, &id.to_string()).await?;
            let bind = [id.0.to_string()];
            let archives = catalog
                .view("SELECT * FROM archives WHERE snapshot_id = ? ORDER BY part, id", &bind)
                .await?;
            let events = catalog
                .view(
                    "SELECT at, archive_id, event, from_state, to_state, detail FROM events \
                     WHERE snapshot_id = ? ORDER BY seq",
                    &bind,
                )
                .await?;
            let pins = catalog
                .view("SELECT * FROM pins WHERE snapshot_id = ? ORDER BY pinned_at, name", &bind)
                .await?;
            if args.json {
                let snapshot = snapshot.into_objects().pop().unwrap_or_default();
                output::json(json!({
                    "snapshot": snapshot,
                    "archives": archives.into_objects(),
                    "pins": pins.into_objects(),
                    "events": events.into_objects(),
                }))?;
            } else {
                fields(&snapshot)?;
                let columns =
                    ["id", "part", "state", "raw_bytes", "stored_bytes", "path", "last_error"];
                output::line("")?;
                output::print(&output::view_table(&archives, &columns))?;
                if !pins.rows.is_empty() {
                    let columns = ["name", "reason", "pinned_at", "until", "pinned_by"];
                    output::line("")?;
                    output::print(&output::view_table(&pins, &columns))?;
                }
                history(&events)?;
            }
        }
    }
    Ok(Exit::Ok)
}

async fn one(catalog: &Catalog, view: &str, number: i64, id: &str) -> Result<ViewRows, CliError> {
    let rows =
        catalog.view(&format!("SELECT * FROM {view} WHERE id = ?"), &[number.to_string()]).await?;
    if rows.rows.is_empty() {
        return Err(CliError::NotFound(format!("there is no {id} in the catalog")));
    }
    Ok(rows)
}

/// One field a line; those without a value are left out.
fn fields(rows: &ViewRows) -> Result<(), CliError> {
    let width = rows.columns.iter().map(String::len).max().unwrap_or(0);
    let Some(row) = rows.rows.first() else { return Ok(()) };
    for (column, value) in rows.columns.iter().zip(row).filter(|(_, value)| !value.is_null()) {
        output::line(&format!("{column:width$}  {}", output::cell(column, value)))?;
    }
    Ok(())
}

fn history(events: &ViewRows) -> Result<(), CliError> {
    output::line("")?;
    let mut shown = events.clone();
    let place = shown.columns.iter().position(|column| column == "detail");
    for row in &mut shown.rows {
        if let Some(Value::String(detail)) = place.and_then(|place| row.get_mut(place)) {
            *detail = sentence(detail);
        }
    }
    let columns: Vec<&str> = shown.columns.iter().map(String::as_str).collect();
    output::print(&output::view_table(&shown, &columns))
}

/// `{"a":1,"b":{"c":"x"}}` as `a=1 c=x`: for eyes, not for parsing.
fn sentence(detail: &str) -> String {
    fn words(value: &Value, name: &str, into: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, v)| words(v, name, into)),
            Value::Null => {}
            Value::String(text) => into.push(format!("{name}={text}")),
            other => into.push(format!("{name}={other}")),
        }
    }
    let Ok(value) = serde_json::from_str::<Value>(detail) else { return detail.to_owned() };
    let mut into = Vec::new();
    words(&value, "", &mut into);
    into.join(" ")
}
