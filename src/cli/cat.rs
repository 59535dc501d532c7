//! `cat`: the bytes of one entry of a package. What it writes is the user's own data, so nothing is
//! left out of it; only a terminal is protected from what would steer it.

use std::io::{self, IsTerminal, Write};

use super::args::CatArgs;
use super::error::CliError;
use super::inside::{hold, mention_flaw};
use super::{open, output};
use crate::config::Loaded;
use crate::exit::Exit;
use crate::lifecycle::Archive;
use crate::model::ArchiveId;
use crate::vault::{EntryError, EntryKind, Inside};

/// A name this much alike is worth a question.
const ALIKE: f64 = 0.7;

pub(super) async fn run(loaded: &Loaded, args: &CatArgs) -> Result<Exit, CliError> {
    let catalog = open::reader(&loaded.settings.state_dir).await?;
    let held = hold(&catalog, &loaded.settings, args.id).await?;
    let mut found: Option<(ArchiveId, Inside, usize)> = None;
    let mut others = Vec::new();
    for archive in &held.archives {
        let inside = held.open(archive)?;
        mention_flaw(archive, &inside);
        let mut numbers = numbers_of(&inside, &args.entry);
        match (numbers.next(), numbers.next()) {
            (Some(_), Some(_)) => return Err(several(&args.entry, archive)),
            (Some(number), None) => {
                drop(numbers);
                if let Some((first, ..)) = found {
                    return Err(in_parts(&args.entry, first, archive.id));
                }
                found = Some((archive.id, inside, number));
            }
            (None, _) => others.extend(inside.entries().iter().map(|entry| entry.name.clone())),
        }
    }
    let Some((id, mut inside, number)) = found else {
        return Err(unknown(&args.entry, args.id.to_string().as_str(), &others));
    };
    if inside.entries().get(number).is_some_and(|entry| entry.kind == EntryKind::Folder) {
        return Err(CliError::Usage(format!("`{}` is a folder", output::printable(&args.entry))));
    }
    write(&mut inside, number).map_err(|source| match source {
        EntryError::Output(error) if error.kind() == io::ErrorKind::InvalidData => {
            let entry = output::printable(&args.entry);
            CliError::Usage(format!("`{entry}` {error}"))
        }
        EntryError::Output(error) => CliError::Output(error),
        source => CliError::Entry { id, entry: output::printable(&args.entry), source },
    })?;
    Ok(Exit::Ok)
}

fn numbers_of<'i>(inside: &'i Inside, name: &str) -> impl Iterator<Item = usize> + use<'i> {
    let name = name.to_owned();
    let entries = inside.entries().iter().enumerate();
    entries.filter(move |(_, entry)| entry.name == name).map(|(number, _)| number)
}

fn several(entry: &str, archive: &Archive) -> CliError {
    let (entry, id) = (output::printable(entry), archive.id);
    CliError::NotFound(format!(
        "{id} has several entries that are called `{entry}` when read as text: take them from the \
         package itself (`roma-archived extract {id}`)"
    ))
}

fn in_parts(entry: &str, one: ArchiveId, other: ArchiveId) -> CliError {
    let entry = output::printable(entry);
    CliError::Usage(format!(
        "`{entry}` is in several parts: name one of them (`roma-archived cat {one} ...` or \
         `... cat {other} ...`)"
    ))
}

fn unknown(entry: &str, id: &str, known: &[String]) -> CliError {
    let alike = known
        .iter()
        .map(|name| (strsim::jaro_winkler(name, entry), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let question = alike.map_or_else(String::new, |(_, name)| {
        format!(": did you mean `{}`?", output::printable(name))
    });
    let entry = output::printable(entry);
    CliError::NotFound(format!(
        "{id} has no entry `{entry}`{question} (`roma-archived ls {id}` lists them)"
    ))
}

fn write(inside: &mut Inside, number: usize) -> Result<(), EntryError> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        let mut screen = Screen { out: stdout.lock(), rest: Vec::new(), is_started: false };
        inside.read(number, &mut screen)?;
        return screen.finish().map_err(EntryError::Output);
    }
    let mut out = stdout.lock();
    inside.read(number, &mut out)?;
    out.flush().map_err(EntryError::Output)
}

/// A terminal that shows text and nothing else: what would steer it is replaced, and what does not
/// begin like text is refused.
struct Screen<W> {
    out: W,
    /// The beginning of a character whose end has not come yet.
    rest: Vec<u8>,
    is_started: bool,
}

impl<W: Write> Screen<W> {
    fn finish(mut self) -> io::Result<()> {
        if !self.rest.is_empty() {
            self.out.write_all("\u{fffd}".as_bytes())?;
        }
        self.out.flush()
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.rest);
        // A character has at most four bytes; one that is still open waits for the rest.
        let open = match str::from_utf8(&all) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => all.len(),
        };
        let (known, open) = all.split_at(open);
        if !self.is_started && (known.contains(&0) || str::from_utf8(known).is_err()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "is no text, which does not belong on a terminal: send it to a file with `>`",
            ));
        }
        self.is_started = true;
        open.clone_into(&mut self.rest);
        self.out.write_all(output::printable_text(&String::from_utf8_lossy(known)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]]) -> io::Result<String> {
        let mut screen = Screen { out: Vec::new(), rest: Vec::new(), is_started: false };
        for piece in pieces {
            screen.write_all(piece)?;
        }
        let mut out = Vec::new();
        let Screen { out: written, rest, is_started } = screen;
        Screen { out: &mut out, rest, is_started }.finish()?;
        Ok(String::from_utf8([written, out].concat()).unwrap())
    }

    #[test]
    fn a_terminal_gets_text_that_cannot_steer_it() {
        let text = shown(&[b"a\x1b[2J\tb\r\n", "\u{9b}31m\u{202e}c".as_bytes()]).unwrap();
        assert_eq!(text, "a\u{fffd}[2J\tb\n\u{fffd}31m\u{fffd}c");
    }

    #[test]
    fn a_character_may_come_in_two_pieces_or_never_end() {
        assert_eq!(shown(&[b"{\"\xc3", b"\xa4\"}"]).unwrap(), "{\"\u{e4}\"}");
        assert_eq!(shown(&[b"a\xe2\x82"]).unwrap(), "a\u{fffd}");
        assert_eq!(shown(&[b"text", b"\xff then"]).unwrap(), "text\u{fffd} then");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for bytes in [&b"PK\x03\x04\x00"[..], b"\xff\xfe", b"a\0b"] {
            let error = shown(&[bytes]).unwrap_err();
            assert!(error.to_string().contains("does not belong on a terminal"), "{error}");
        }
    }
}
