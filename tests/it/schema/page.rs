//! Reads what the documents say: the tables of `docs/schema.md` and the queries of all pages.

use std::path::{Path, PathBuf};

pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

pub(crate) fn read(relative: &str) -> String {
    std::fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// A column as the page describes it.
pub(crate) struct Column {
    pub(crate) name: String,
    /// `INTEGER` or `TEXT`, as SQLite says.
    pub(crate) storage: String,
    /// What stands behind it: `time`, `bytes`, ...; may be empty.
    pub(crate) unit: String,
    pub(crate) never_null: bool,
}

/// The views of `docs/schema.md` and their columns, in the order of the page.
pub(crate) fn views() -> Vec<(String, Vec<Column>)> {
    sections()
        .into_iter()
        .map(|(view, rows)| {
            let columns = rows.into_iter().filter(|row| row.len() == 4).map(|row| {
                let (storage, unit) = row[1].split_once(", ").unwrap_or((&row[1], ""));
                Column {
                    name: code(&row[0]).to_owned(),
                    storage: storage.to_owned(),
                    unit: unit.to_owned(),
                    never_null: row[2] == "never",
                }
            });
            (view, columns.collect())
        })
        .collect()
}

/// The first words of the tables below a view that have this many columns: states, events.
pub(crate) fn words(view: &str, width: usize) -> Vec<String> {
    let (_, rows) = sections().into_iter().find(|(name, _)| name == view).unwrap();
    let rows = rows.into_iter().filter(|row| row.len() == width);
    rows.map(|row| code(&row[0]).to_owned()).collect()
}

/// Sections whose heading is the name of a view, each with the rows of its tables.
fn sections() -> Vec<(String, Vec<Vec<String>>)> {
    let mut sections = Vec::new();
    let mut inside = false;
    for line in read("docs/schema.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            inside = heading.starts_with('`');
            if inside {
                sections.push((code(heading).to_owned(), Vec::new()));
            }
        } else if inside && line.starts_with("| `") {
            let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            let (_, rows) = sections.last_mut().unwrap();
            rows.push(cells.collect());
        }
    }
    sections
}

fn code(text: &str) -> &str {
    text.strip_prefix('`').and_then(|text| text.strip_suffix('`')).unwrap_or(text)
}

/// Every query that an operator is shown, with the page it stands on: blocks of SQL, and what is
/// handed to `sqlite3 -readonly` in a shell.
pub(crate) fn queries() -> Vec<(String, String)> {
    let mut pages = vec!["README.md".to_owned()];
    for entry in std::fs::read_dir(path("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        pages.push(format!("docs/{name}"));
    }
    pages.sort();
    let mut queries = Vec::new();
    for page in pages {
        let text = read(&page);
        let blocks = text.split("\n```").skip(1).step_by(2);
        for block in blocks {
            let (language, body) = block.split_once('\n').unwrap_or((block, ""));
            if language == "sql" {
                queries.push((page.clone(), body.to_owned()));
            } else {
                queries.extend(in_shell(body).map(|query| (page.clone(), query)));
            }
        }
    }
    queries
}

fn in_shell(block: &str) -> impl Iterator<Item = String> {
    block.lines().filter(|line| line.contains("sqlite3 -readonly")).map(|line| {
        let (_, query) = line.split_once("catalog.db ").unwrap_or_else(|| panic!("{line}"));
        let quote = query.chars().next().filter(|c| "'\"".contains(*c)).unwrap();
        let end = query.rfind(quote).filter(|end| *end > 0).unwrap();
        query[1..end].to_owned()
    })
}
