//! `diff`: what differs between two snapshots or archives, by asset first, then by JSON path. What
//! is shown of values comes from [`contents::Shown`], which knows no secrets.

use serde_json::{Value, json};

use super::args::DiffArgs;
use super::error::CliError;
use super::inside::{Held, Read, hold, mention_flaw, read};
use super::{open, output};
use crate::config::Loaded;
use crate::contents::{
    self, Aside, AssetChange, Bytes, Count, Difference, Entry, EntryChange, EntryDifference, Fate,
    Kind, Report, Shown, Side,
};
use crate::exit::Exit;
use crate::vault::EntryKind;

/// Columns before a difference.
const INDENT: usize = 6;
/// What a value may have where there is no terminal to fit, ...
const LONG: usize = 120;
/// ... and what it has on the narrowest of them.
const SHORT: usize = 12;

/// What the documents of one side may have altogether, in bytes: as values they take several times
/// as much memory, and both sides are there at once.
const BUDGET: u64 = 32 << 20;

pub(super) async fn run(loaded: &Loaded, args: &DiffArgs) -> Result<Exit, CliError> {
    let catalog = open::reader(&loaded.settings.state_dir).await?;
    // Both before the first byte: retention may decide at any moment.
    let old = hold(&catalog, &loaded.settings, args.old).await?;
    let new = hold(&catalog, &loaded.settings, args.new).await?;
    let mut unseen = Vec::new();
    let sides = (side(&old, &mut unseen)?, side(&new, &mut unseen)?);
    let report = contents::compare(sides.0, sides.1, args.all);
    if args.json {
        output::json(to_json(args, &old, &new, &report, &unseen))?;
    } else {
        print(args, &report)?;
        for Unseen { archive, entry, why } in &unseen {
            output::note(&format!(
                "note: {} of {archive} is compared as a whole: {why}",
                output::printable(&contents::scrub(entry))
            ));
        }
    }
    Ok(if args.exit_code && !report.is_same() { Exit::NotWell } else { Exit::Ok })
}

/// An entry that nobody could look into although one might expect it.
struct Unseen {
    archive: crate::model::ArchiveId,
    entry: String,
    why: String,
}

/// Everything that the packages of one side contain.
fn side(held: &Held, unseen: &mut Vec<Unseen>) -> Result<Side, CliError> {
    let mut budget = BUDGET;
    let mut side = Side::new();
    for archive in &held.archives {
        let mut inside = held.open(archive)?;
        mention_flaw(archive, &inside);
        for number in 0..inside.entries().len() {
            let entry = inside.entries()[number].clone();
            // The name of a folder holds nothing that could differ.
            if entry.kind == EntryKind::Folder && entry.bytes == 0 {
                continue;
            }
            let mut refuse = |why: String| {
                unseen.push(Unseen { archive: archive.id, entry: entry.name.clone(), why });
            };
            let (content, document, packed_because) = match read(&mut inside, number, &mut budget)?
            {
                Read::Document(document, content) => (content, Some(document), None),
                Read::Bytes(content) => {
                    if super::inside::looks_like_json(&entry.name) {
                        refuse(super::inside::TOO_MUCH.to_owned());
                    }
                    (content, None, None)
                }
                Read::Sealed(error) => {
                    let why = error.to_string();
                    refuse(why.clone());
                    let packed = inside.measure_packed(number);
                    let packed = packed.map_err(|source| CliError::Entry {
                        id: archive.id,
                        entry: output::printable(&entry.name),
                        source,
                    })?;
                    (packed, None, Some(why))
                }
            };
            let (length, sha256) = (content.bytes, content.sha256.to_string());
            let bytes = Bytes { length, sha256, packed_because };
            side.push(Entry { name: entry.name, bytes, document });
        }
    }
    Ok(side)
}

fn print(args: &DiffArgs, report: &Report) -> Result<(), CliError> {
    let page = Page { width: output::width() };
    if report.is_same() {
        page.say(&format!("{} and {} contain the same", args.old, args.new))?;
    }
    for kind in Kind::ALL {
        let count = report.counts.get(&kind).copied().unwrap_or_default();
        if count == Count::default() {
            continue;
        }
        page.say(&format!("{}: {}", kind.plural(), sentence(count)))?;
        for change in report.assets.iter().filter(|change| change.asset.kind == kind) {
            page.change(mark(&change.fate), &title(change))?;
            if let Fate::Changed(found) = &change.fate {
                page.differences(found)?;
            }
        }
    }
    if report.entry_count != Count::default() {
        page.say(&format!("other content: {}", sentence(report.entry_count)))?;
    }
    for EntryChange { name, bytes, fate } in &report.entries {
        let name = contents::scrub(name);
        match fate {
            Fate::Changed(EntryDifference::Values(found)) => {
                page.change('~', &name)?;
                page.differences(found)?;
            }
            Fate::Changed(EntryDifference::Bytes(old, new)) => {
                page.change('~', &format!("{name}: {} -> {}", measure(old), measure(new)))?;
            }
            fate => page.change(mark(fate), &format!("{name}: {}", measure(bytes)))?,
        }
    }
    if !report.aside.is_empty() {
        output::note(&aside(report));
    }
    Ok(())
}

/// Where lines end: what does not fit is cut.
struct Page {
    width: Option<usize>,
}

impl Page {
    fn fit(&self, text: &str) -> String {
        let text = output::printable(text);
        self.width.map_or_else(|| text.clone(), |width| fitted(&text, width))
    }

    fn say(&self, text: &str) -> Result<(), CliError> {
        output::line(&self.fit(text))
    }

    fn change(&self, mark: char, text: &str) -> Result<(), CliError> {
        output::change(mark, &self.fit(&format!("  {mark} {text}")))
    }

    fn differences(&self, found: &[Difference]) -> Result<(), CliError> {
        let told = |found| format!("{:INDENT$}{}", "", told(found, self.width));
        found.iter().try_for_each(|found| self.say(&told(found)))
    }
}

/// `1 added, 2 changed, 9 the same`.
fn sentence(count: Count) -> String {
    let parts = [
        (count.added, "added"),
        (count.removed, "removed"),
        (count.changed, "changed"),
        (count.unchanged, "the same"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    parts.map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>().join(", ")
}

const fn mark<T>(fate: &Fate<T>) -> char {
    match fate {
        Fate::Added => '+',
        Fate::Removed => '-',
        Fate::Changed(_) => '~',
    }
}

/// `API orders (id 81ab) of crm`.
fn title(change: &AssetChange) -> String {
    let asset = &change.asset;
    let kind = asset.kind.word();
    let scrubbed = |text: &Option<String>| text.as_deref().map(contents::scrub);
    let who = match (scrubbed(&asset.name), scrubbed(&asset.id)) {
        (Some(name), Some(id)) => format!("{name} (id {})", short(&id)),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => String::new(),
    };
    match scrubbed(&asset.of) {
        Some(of) => format!("{kind} {who} of {of}"),
        None => format!("{kind} {who}"),
    }
}

/// One difference in one line.
fn told(Difference { path, old, new, .. }: &Difference, width: Option<usize>) -> String {
    use unicode_width::UnicodeWidthStr;
    let room = width.map(|width| width.saturating_sub(INDENT + path.width() + 8));
    let shown = |value: &Shown| value.as_value().to_string();
    let one = |value: &Shown| fitted(&shown(value), room.unwrap_or(LONG).max(SHORT));
    match (old, new) {
        (Some(old), Some(new)) if old == new => {
            format!("{path}: {} (what is hidden in it changed)", one(old))
        }
        (Some(old), Some(new)) => {
            let half = room.map_or(LONG, |room| room / 2).max(SHORT);
            let (old, new) = excerpts(&shown(old), &shown(new), half);
            format!("{path}: {old} -> {new}")
        }
        (Some(old), None) => format!("- {path}: {}", one(old)),
        (None, Some(new)) => format!("+ {path}: {}", one(new)),
        (None, None) => path.clone(),
    }
}

/// Two texts cut to a width, from a little before where they begin to differ.
fn excerpts(old: &str, new: &str, width: usize) -> (String, String) {
    use unicode_width::UnicodeWidthStr;
    if old.width() <= width && new.width() <= width {
        return (old.to_owned(), new.to_owned());
    }
    let common = old.chars().zip(new.chars()).take_while(|(one, other)| one == other).count();
    let skip = common.saturating_sub(width / 3);
    let cut = |text: &str| {
        if skip < 2 {
            return fitted(text, width);
        }
        let rest: String = std::iter::once('…').chain(text.chars().skip(skip)).collect();
        fitted(&rest, width)
    };
    (cut(old), cut(new))
}

fn measure(bytes: &Bytes) -> String {
    let digest = bytes.sha256.get(..12).unwrap_or_default();
    let packed = if bytes.packed_because.is_some() { " packed" } else { "" };
    format!("{}{packed}, sha256 {digest}…", output::size(bytes.length))
}

/// What was left out, in one sentence.
fn aside(report: &Report) -> String {
    let words = [
        (Aside::Anew, "set anew by every export"),
        (Aside::Order, "another order"),
        (Aside::Writing, "written differently"),
        (Aside::NewId, "new ids of everything"),
    ];
    let parts: Vec<String> = words
        .into_iter()
        .filter_map(|(aside, word)| {
            let of_it = report.aside.iter().filter(|(_, d)| d.aside == Some(aside)).count();
            (of_it > 0).then(|| format!("{of_it} {word}"))
        })
        .collect();
    format!("note: left out: {}; --all shows them", parts.join(", "))
}

/// Cuts a text that is wider.
fn fitted(text: &str, width: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

/// The beginning of a long id.
fn short(id: &str) -> String {
    fitted(id, 12)
}

fn to_json(args: &DiffArgs, old: &Held, new: &Held, report: &Report, unseen: &[Unseen]) -> Value {
    let side = |id: &dyn std::fmt::Display, held: &Held| {
        let archives: Vec<_> = held.archives.iter().map(|archive| archive.id).collect();
        json!({ "id": id.to_string(), "archives": archives })
    };
    let count = |kind: Kind| count_json(report.counts.get(&kind).copied().unwrap_or_default());
    let asides = report.aside.iter().map(|(place, difference)| {
        let mut value = difference_json(difference);
        value["in"] = contents::scrub(place).into();
        value
    });
    let unseen = unseen.iter().map(|Unseen { archive, entry, why }| {
        json!({ "archive_id": archive, "entry": contents::scrub(entry), "reason": why })
    });
    json!({
        "old": side(&args.old, old),
        "new": side(&args.new, new),
        "same": report.is_same(),
        "counts": {
            "applications": count(Kind::Application),
            "apis": count(Kind::Api),
            "tasks": count(Kind::Task),
            "other": count_json(report.entry_count),
        },
        "assets": report.assets.iter().map(asset_json).collect::<Vec<_>>(),
        "entries": report.entries.iter().map(entry_json).collect::<Vec<_>>(),
        "left_out": asides.collect::<Vec<_>>(),
        "compared_as_a_whole": unseen.collect::<Vec<_>>(),
    })
}

fn count_json(count: Count) -> Value {
    json!({
        "added": count.added,
        "removed": count.removed,
        "changed": count.changed,
        "the_same": count.unchanged,
    })
}

fn asset_json(AssetChange { asset, fate }: &AssetChange) -> Value {
    let mut value = json!({
        "kind": asset.kind,
        "id": asset.id.as_deref().map(contents::scrub),
        "name": asset.name.as_deref().map(contents::scrub),
        "application": asset.of.as_deref().map(contents::scrub),
        "change": fate.word(),
    });
    if let Fate::Changed(found) = fate {
        value["differences"] = found.iter().map(difference_json).collect();
    }
    value
}

fn entry_json(EntryChange { name, bytes, fate }: &EntryChange) -> Value {
    let mut value = json!({ "name": contents::scrub(name), "change": fate.word() });
    match fate {
        Fate::Added => value["new"] = bytes_json(bytes),
        Fate::Removed => value["old"] = bytes_json(bytes),
        Fate::Changed(EntryDifference::Values(found)) => {
            value["differences"] = found.iter().map(difference_json).collect();
        }
        Fate::Changed(EntryDifference::Bytes(old, new)) => {
            (value["old"], value["new"]) = (bytes_json(old), bytes_json(new));
        }
    }
    value
}

fn bytes_json(bytes: &Bytes) -> Value {
    json!({
        "bytes": bytes.length,
        "sha256": bytes.sha256,
        "packed_because": bytes.packed_because,
    })
}

/// `old` and `new` are missing where there was or is nothing; `hidden_change` says that what
/// differs is not shown.
fn difference_json(Difference { path, old, new, aside }: &Difference) -> Value {
    let mut value = json!({ "path": path });
    for (name, shown) in [("old", old), ("new", new)] {
        if let Some(shown) = shown {
            value[name] = shown.as_value().clone();
        }
    }
    if old.is_some() && old == new {
        value["hidden_change"] = true.into();
    }
    if let Some(aside) = aside {
        value["reason"] = match aside {
            Aside::Anew => "set_anew",
            Aside::Order => "order",
            Aside::Writing => "writing",
            Aside::NewId => "new_id",
        }
        .into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_columns_and_never_inside_a_character() {
        for (text, width, cut) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("\u{4e2d}\u{6587}\u{5b57}", 5, "\u{4e2d}\u{6587}…"),
            ("\u{4e2d}\u{6587}\u{5b57}", 4, "\u{4e2d}…"),
            ("\u{1f600}\u{1f600}", 1, "…"),
        ] {
            assert_eq!(fitted(text, width), cut);
        }
    }

    #[test]
    fn long_values_are_shown_where_they_differ() {
        let (old, new) = (format!("{}1", "x".repeat(90)), format!("{}2", "x".repeat(90)));
        assert_eq!(excerpts(&old, &new, 12), ("…xxxx1".to_owned(), "…xxxx2".to_owned()));
        assert_eq!(excerpts("1", "2", 12), ("1".to_owned(), "2".to_owned()));
        let (old, new) = excerpts("ab", &"y".repeat(50), 12);
        assert_eq!((old.as_str(), new.as_str()), ("ab", "yyyyyyyyyyy…"));
    }
}
