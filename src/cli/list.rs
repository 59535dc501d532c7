//! `list`: archives or snapshots, newest first.

use serde_json::json;

use super::args::ListArgs;
use super::error::CliError;
use super::{open, output};
use crate::config::Loaded;
use crate::exit::Exit;

pub(super) async fn run(loaded: &Loaded, args: &ListArgs) -> Result<Exit, CliError> {
    if let Some(state) = &args.state
        && !args.known_states().contains(&state.as_str())
    {
        return Err(CliError::Usage(format!(
            "there is no state `{}`; known: {}",
            output::printable(state),
            args.known_states().join(", ")
        )));
    }
    let (view, columns): (&str, &[&str]) = if args.snapshots {
        (
            "snapshots",
            &[
                "id",
                "state",
                "instance",
                "export",
                "taken_at",
                "parts",
                "parts_stored",
                "stored_bytes",
                "kept_because",
                "expected_delete_at",
            ],
        )
    } else {
        (
            "archives",
            &[
                "id",
                "state",
                "instance",
                "export",
                "snapshot_id",
                "part",
                "scheduled_at",
                "raw_bytes",
                "stored_bytes",
                "last_error",
            ],
        )
    };
    let (filter, binds) = filter(args);
    let limit = if args.limit == 0 { String::new() } else { format!("LIMIT {}", args.limit) };
    let select = format!("SELECT * FROM {view} {filter} ORDER BY id DESC {limit}");
    let catalog = open::reader(&loaded.settings.state_dir).await?;
    let rows = catalog.view(&select, &binds).await?;
    if args.json {
        output::json(json!({ view: rows.into_objects() }))?;
    } else if rows.rows.is_empty() {
        output::note(&format!("no {view} match"));
    } else {
        output::print(&output::view_table(&rows, columns))?;
        if rows.rows.len() == usize::try_from(args.limit).unwrap_or(0) {
            output::note(&format!("the newest {} are shown; --limit 0 shows all", args.limit));
        }
    }
    Ok(Exit::Ok)
}

/// The conditions as SQL, and what they compare with.
fn filter(args: &ListArgs) -> (String, Vec<String>) {
    let conditions =
        [("export", &args.export), ("instance", &args.instance), ("state", &args.state)];
    let (wheres, binds): (Vec<String>, Vec<String>) = conditions
        .into_iter()
        .filter_map(|(column, value)| Some((format!("{column} = ?"), value.clone()?)))
        .unzip();
    let filter =
        if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
    (filter, binds)
}
