//! Holds a parsed file against the tree of known keys.
//!
//! What is known and has its shape goes on, with its line remembered; everything else becomes a
//! problem, and the walk continues, so that one misspelt key does not hide the others. Says
//! nothing about what a value means, and repeats no text that may be a secret.

use toml::de::{DeTable, DeValue};

use super::raw::{self, Known, Shape};
use super::{Fault, Place, Report, Spot, quoted, similar};

/// Keys that are refused for a reason of their own. A secret written into the file is the most
/// likely mistake, and the one that must not be answered with "did you mean".
const SPECIAL: [(&str, &str, &str); 11] = [
    ("password", SECRET, "password_file"),
    ("passwd", SECRET, "password_file"),
    ("pass", SECRET, "password_file"),
    ("token", SECRET, "token_file"),
    ("access_key", SECRET, "access_key_file"),
    ("ak", SECRET, "access_key_file"),
    ("secret_key", SECRET, "secret_key_file"),
    ("secret_access_key", SECRET, "secret_key_file"),
    ("secret", SECRET, "secret_key_file"),
    ("sk", SECRET, "secret_key_file"),
    ("security_token", SECRET, "security_token_file"),
];
const SECRET: &str = "secrets do not belong in this file";

/// Finds lines and columns.
pub(super) struct Lines<'t> {
    text: &'t str,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// Line and column of a byte, counted from 1.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|index| self.starts.get(index)).copied();
        let before = self.text.get(start.unwrap_or(0)..at).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    fn place(&self, at: usize) -> Place {
        Place::Line(self.position(at).0)
    }
}

/// The known part of a table.
pub(super) fn table(
    table: &DeTable<'_>,
    keys: &'static [Known],
    at: &Spot,
    lines: &Lines<'_>,
    report: &mut Report,
) -> toml::Table {
    let mut clean = toml::Table::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let spot = at.key(&shown_key(name));
        report.place(&spot, lines.place(key.span().start));
        let Some(known) = keys.iter().find(|known| known.name == name) else {
            let (fault, meant) = unknown(name, keys);
            report.refuse(&spot, fault);
            if let Some(meant) = meant {
                report.settle(&at.key(meant));
            }
            continue;
        };
        if let Some(value) = shaped(value.get_ref(), known, &spot, lines, report) {
            clean.insert(name.to_owned(), value);
        }
    }
    clean
}

/// Keys are usually bare words; others are shown in quotes, so that their dots do not mislead.
fn shown_key(name: &str) -> String {
    let bare = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if bare && (1..=60).contains(&name.len()) { name.to_owned() } else { quoted(name) }
}

fn shaped(
    value: &DeValue<'_>,
    known: &Known,
    at: &Spot,
    lines: &Lines<'_>,
    report: &mut Report,
) -> Option<toml::Value> {
    match (known.shape, value) {
        (
            Shape::Text | Shape::Hidden | Shape::Selection | Shape::History,
            DeValue::String(text),
        ) => Some(toml::Value::String(text.to_string())),
        (Shape::Integer, DeValue::Integer(number)) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            if read.is_err() {
                let got = quoted(&number.to_string());
                report.refuse(at, Fault::new(format!("is too large a number (got {got})")));
            }
            read.ok().map(toml::Value::Integer)
        }
        (Shape::Table(keys), DeValue::Table(section)) => {
            Some(toml::Value::Table(table(section, keys, at, lines, report)))
        }
        (Shape::Selection | Shape::History, DeValue::Array(ids)) => {
            let texts: Vec<Option<toml::Value>> = ids
                .iter()
                .enumerate()
                .map(|(index, id)| {
                    let text = id.get_ref().as_str().map(toml::Value::from);
                    if text.is_none() {
                        let at = at.item(index, None);
                        report.place(&at, lines.place(id.span().start));
                        let why = format!("must be text in quotes (got {})", shown(id.get_ref()));
                        report.refuse(&at, Fault::new(why).remedy("write each in quotes"));
                    }
                    text
                })
                .collect();
            texts.into_iter().collect::<Option<_>>().map(toml::Value::Array)
        }
        (Shape::List(keys), DeValue::Array(sections))
            if sections.iter().all(|section| section.get_ref().is_table()) =>
        {
            let mut clean = Vec::new();
            for (index, section) in sections.iter().enumerate() {
                let Some(entries) = section.get_ref().as_table() else { continue };
                let name = entries.get("name").and_then(|name| name.get_ref().as_str());
                let at = at.item(index, name);
                report.place(&at, lines.place(section.span().start));
                clean.push(toml::Value::Table(table(entries, keys, &at, lines, report)));
            }
            Some(toml::Value::Array(clean))
        }
        (_, other) => {
            report.refuse(at, misshapen(known, other));
            None
        }
    }
}

fn misshapen(known: &Known, value: &DeValue<'_>) -> Fault {
    let wanted = match known.shape {
        Shape::Text | Shape::Hidden => "text in quotes",
        Shape::Integer => "a whole number",
        Shape::Selection => "\"all\" or a list of ids",
        Shape::History => "a phrase such as \"daily since 2026-01-01\", or a list of times",
        Shape::Table(_) => "a section",
        Shape::List(_) => "a list of sections",
    };
    let got = match known.shape {
        Shape::Hidden => format!("a value of type {}, not shown here", value.type_str()),
        _ => shown(value),
    };
    let fault = Fault::new(format!("must be {wanted} (got {got})"));
    match known.shape {
        Shape::Table(_) | Shape::List(_) => fault.remedy(format!("write {}", known.example)),
        _ => fault,
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

/// Why `name` is not one of `keys`, and which of them was probably meant.
pub(super) fn unknown(name: &str, keys: &[Known]) -> (Fault, Option<&'static str>) {
    let names = || keys.iter().map(|known| known.name);
    let lower = name.to_lowercase();
    if let Some((_, why, instead)) = SPECIAL.iter().find(|(special, _, _)| *special == lower) {
        let fault = Fault::new(*why);
        let remedy = format!("put it into a file of its own and name that with `{instead}`");
        return (fault.remedy(remedy), names().find(|name| name == instead));
    }
    let fault = Fault::new("there is no such key");
    if let Some(meant) = similar(name, names()) {
        return (fault.remedy(format!("did you mean `{meant}`?")), Some(meant));
    }
    let homes = raw::homes(&lower);
    if homes.is_empty() {
        let known: Vec<&str> = names().collect();
        return (fault.remedy(format!("known here: {}", known.join(", "))), None);
    }
    let mut homes: Vec<&str> = homes
        .iter()
        .map(|home| home.unwrap_or("the top of the file, above every [section]"))
        .collect();
    homes.dedup();
    let fault = Fault::new("there is no such key in this section");
    (fault.remedy(format!("it belongs to {}", homes.join(" or "))), None)
}
