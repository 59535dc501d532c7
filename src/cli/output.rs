//! How answers look: tables for people, JSON for programs, errors with their causes.
//!
//! Colour is for terminals only and never the only bearer of a meaning; `NO_COLOR` and its kin are
//! obeyed.

use std::io::{IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use comfy_table::{
    Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets,
};
use serde_json::{Value, json};

use super::error::CliError;
use crate::catalog::ViewRows;
use crate::model::{Timestamp, story};
use crate::telemetry;

/// The version of all `--json` answers; it rises when something is removed or changes its meaning.
const SCHEMA_VERSION: u32 = 1;

/// A sentence in fewer columns cannot be read.
const NARROWEST: u16 = 24;

/// Prints one line. Whoever does not want to read on is no error: what is done is done to its end,
/// and the exit code says what it would have said.
pub(super) fn line(text: &str) -> Result<(), CliError> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Output(error))
        }
        _ => Ok(()),
    }
}

/// Prints a note for people, beside the answer itself.
pub(super) fn note(text: &str) {
    // Who closed standard error does not want notes.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Prints an answer for programs.
pub(super) fn json(mut answer: Value) -> Result<(), CliError> {
    if let Value::Object(fields) = &mut answer {
        fields.insert("schema_version".to_owned(), json!(SCHEMA_VERSION));
    }
    line(&serde_json::to_string_pretty(&answer).unwrap_or_default())
}

/// Prints an error and what caused it, in one paragraph.
pub(super) fn complain(error: &CliError) {
    let (mark, story) = ("error:", story(error));
    let coloured = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    let mark = if coloured { painted(mark, AnsiColor::Red) } else { mark.to_owned() };
    note(&telemetry::as_error(&format!("{mark} {story}")));
}

/// Whether standard output takes colours.
fn coloured() -> bool {
    AutoStream::choice(&std::io::stdout()) != ColorChoice::Never
}

fn painted(text: &str, colour: AnsiColor) -> String {
    let style = Style::new().bold().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}

/// A verdict on its own line: green if it is good, red if it is not.
pub(super) fn verdict(text: &str, good: bool) -> Result<(), CliError> {
    if !coloured() {
        return line(text);
    }
    line(&painted(text, if good { AnsiColor::Green } else { AnsiColor::Red }))
}

/// A line about what came (`+`), went (`-`) or changed (`~`).
pub(super) fn change(mark: char, text: &str) -> Result<(), CliError> {
    let colour = match mark {
        '+' => AnsiColor::Green,
        '-' => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    if !coloured() {
        return line(text);
    }
    let style = Style::new().fg_color(Some(colour.into()));
    line(&format!("{style}{text}{style:#}"))
}

/// The colour of a state of an archive or a snapshot; none for what is on its way.
fn tone(state: &str) -> Option<Color> {
    match state {
        "stored" | "complete" => Some(Color::Green),
        "lost" | "damaged" | "failed" | "incomplete" => Some(Color::Red),
        "trashed" | "deleting" => Some(Color::Yellow),
        "deleted" => Some(Color::DarkGrey),
        _ => None,
    }
}

/// An empty table with these headings, as wide as the terminal at most. Numbers, states and times
/// are never broken; what does not fit then is for the terminal to break.
pub(super) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    let coloured = coloured();
    let heading = |heading: &&str| {
        let cell = Cell::new(heading.to_uppercase());
        if coloured { cell.add_attribute(Attribute::Bold) } else { cell }
    };
    table.load_style(presets::NOTHING).set_header(headings.iter().map(heading));
    // The blanks between columns stay plain: `print` takes those away that end a line.
    table.style_text_only();
    if coloured {
        table.enforce_styling();
    }
    if let Some(width) = width().and_then(|width| u16::try_from(width).ok()) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        column.set_constraint(match *heading {
            "last_error" | "reason" | "detail" | "why" | "kept_because" => {
                ColumnConstraint::LowerBoundary(Width::Fixed(NARROWEST))
            }
            _ => ColumnConstraint::ContentWidth,
        });
    }
    table
}

/// Prints a table without the blanks that would end its lines.
pub(super) fn print(table: &Table) -> Result<(), CliError> {
    for row in table.to_string().lines() {
        line(row.trim_end())?;
    }
    Ok(())
}

/// The named columns of a view as a table.
pub(super) fn view_table(rows: &ViewRows, columns: &[&str]) -> Table {
    let mut table = table(columns);
    let coloured = coloured();
    let places: Vec<Option<usize>> = columns
        .iter()
        .map(|wanted| rows.columns.iter().position(|column| column == wanted))
        .collect();
    for row in &rows.rows {
        table.add_row(places.iter().zip(columns).map(|(place, column)| {
            let text = place
                .and_then(|place| row.get(place))
                .map_or(String::new(), |value| cell(column, value));
            let tone = if coloured && column.ends_with("state") { tone(&text) } else { None };
            let cell = Cell::new(text);
            match tone {
                Some(tone) => cell.fg(tone),
                None => cell,
            }
        }));
    }
    table
}

/// One value for people: sizes with units, times without the fraction, nothing for NULL.
pub(super) fn cell(column: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Number(number) if column.ends_with("_bytes") => {
            number.as_u64().map_or_else(|| number.to_string(), size)
        }
        Value::Number(number) if column == "id" || column == "seq" => number.to_string(),
        Value::String(text) if column.ends_with("_at") || column == "at" => short_time(text),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// A size with a binary unit.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

fn short_time(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(
        |_| printable(text),
        |time| time.to_jiff().strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// Text from outside must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The same of a text of several lines.
pub(super) fn printable_text(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().map(|c| if steers(c) && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Control characters, and those that turn the direction of what follows them.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns that a line may have: those of the terminal, `None` where there is none.
pub(super) fn width() -> Option<usize> {
    let stdout = std::io::stdout();
    // A terminal that says it has no columns does not know.
    let told = || Table::new().width().filter(|width| *width > 0);
    stdout.is_terminal().then(|| told().map_or(80, usize::from))
}

/// Prints a text that goes on in further, indented lines where the terminal ends.
pub(super) fn paragraph(text: &str) -> Result<(), CliError> {
    let Some(width) = width() else { return line(text) };
    let mut current = String::new();
    for word in text.split(' ') {
        if !current.trim().is_empty() && current.chars().count() + 1 + word.chars().count() > width
        {
            line(&current)?;
            current = String::from("   ");
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
    }
    line(&current)
}
