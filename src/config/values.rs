//! One text becomes one value, or a reason why not and a remedy.
//!
//! Pure, and knows nothing of the keys around a value. A text that may be a secret, or a URL that
//! may hold one, is never repeated in the reason.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use jiff::fmt::friendly::SpanParser;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo};
use url::{Host, Url};

use super::raw::{Hidden, RawSelection};
use super::{Fault, quoted, similar};
use crate::model::{InvalidName, Name, WATCHED_EXPORT};
use crate::retention::Count;
use crate::schedule::{InvalidSchedule, Schedule};
use crate::settings::{HiddenUrl, SecretPlace, Selection};

/// ROMA's identifiers are no longer than this where they are configured.
const MAX_ID_CHARS: usize = 64;
/// Sizes are stored in SQLite, whose integers are signed.
const MAX_BYTES: u64 = i64::MAX.unsigned_abs();

pub(super) fn name(text: &str) -> Result<Name, Fault> {
    text.parse().map_err(|error: InvalidName| {
        let text = error.to_string();
        // It brings its remedy along, behind a colon.
        match text.rsplit_once(": ") {
            Some((why, remedy)) => Fault::new(why).remedy(remedy),
            None => Fault::new(text),
        }
    })
}

pub(super) fn export_name(text: &str) -> Result<Name, Fault> {
    if text == WATCHED_EXPORT {
        return Err(Fault::new(format!(
            "`{WATCHED_EXPORT}` is reserved for jobs adopted by `watch`"
        ))
        .remedy("choose another name"));
    }
    name(text)
}

pub(super) fn schedule(text: &str) -> Result<Schedule, Fault> {
    text.parse().map_err(|error| {
        let why = match error {
            InvalidSchedule::Syntax { reason, .. } => format!("is not a schedule ({reason})"),
            InvalidSchedule::Never(_) => "never comes, for no such date exists".to_owned(),
        };
        Fault::new(format!("{why} (got {})", quoted(text)))
            .remedy("write five cron fields such as \"0 2 * * *\", or @daily")
    })
}

/// A name that must be one of `known`, which are the names of all `kind`s.
pub(super) fn reference(text: &str, kind: &str, known: &[&str]) -> Result<Name, Fault> {
    if known.contains(&text) {
        return name(text);
    }
    let fault = Fault::new(format!("there is no {kind} of this name (got {})", quoted(text)));
    Err(match (similar(text, known.iter().copied()), known) {
        (Some(meant), _) => fault.remedy(format!("did you mean \"{meant}\"?")),
        (None, []) => fault.remedy(format!("add an [[{kind}]]")),
        (None, known) => {
            let known: Vec<String> = known.iter().map(|name| quoted(name)).collect();
            fault.remedy(format!("there is {}", known.join(", ")))
        }
    })
}

/// One of a few words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words = || choices.iter().map(|(word, _)| *word);
    let fault = Fault::new(format!("is not one of the known words (got {})", quoted(text)));
    let remedy = similar(text, words()).map_or_else(
        || format!("write {}", words().map(quoted).collect::<Vec<_>>().join(" or ")),
        |meant| format!("did you mean \"{meant}\"?"),
    );
    Err(fault.remedy(remedy))
}

/// A name or title that ROMA is told: anything but nothing.
pub(super) fn plain_text(text: &str) -> Result<String, Fault> {
    if text.trim().is_empty() {
        Err(Fault::new("is empty"))
    } else if text.chars().any(char::is_control) {
        Err(Fault::new(format!("holds a control character (got {})", quoted(text)))
            .remedy("write it on one line"))
    } else {
        Ok(text.to_owned())
    }
}

pub(super) fn absolute_path(text: &str) -> Result<PathBuf, Fault> {
    if Path::new(text).is_absolute() && !text.contains('\0') {
        Ok(PathBuf::from(text))
    } else {
        Err(Fault::new(format!("must be an absolute path (got {})", quoted(text))))
    }
}

/// A file for the textfile collector.
pub(super) fn textfile(text: &str) -> Result<PathBuf, Fault> {
    let path = absolute_path(text)?;
    if path.extension().is_some_and(|extension| extension == "prom") {
        return Ok(path);
    }
    let why = format!("must end in .prom, for node_exporter reads no other (got {})", quoted(text));
    Err(Fault::new(why))
}

/// Where a secret lies. What was written may be the secret itself, so it is not repeated.
pub(super) fn secret_place(text: &Hidden) -> Result<SecretPlace, Fault> {
    let fault = || {
        Fault::new("must say where the secret lies, not what it is (the value is not shown here)")
            .remedy(
                "write \"credential:NAME\" for a credential given by systemd, or the absolute \
                 path of a file",
            )
    };
    if let Some(name) = text.0.strip_prefix("credential:") {
        let printable = name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        return if printable && !matches!(name, "" | "." | "..") && name.len() <= 255 {
            Ok(SecretPlace::Credential(name.to_owned()))
        } else {
            Err(fault())
        };
    }
    absolute_path(&text.0).map(SecretPlace::File).map_err(|_| fault())
}

pub(super) fn zone(text: &str) -> Result<TimeZone, Fault> {
    TimeZone::get(text).map_err(|_| {
        let fault = Fault::new(format!("is no time zone known here (got {})", quoted(text)));
        let available: Vec<String> =
            jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
        match similar(text, available.iter().map(String::as_str)) {
            Some(meant) => fault.remedy(format!("did you mean \"{meant}\"?")),
            None if available.is_empty() => fault.remedy("install the package tzdata"),
            None => fault.remedy("write an IANA name such as \"Europe/Berlin\", or \"UTC\""),
        }
    })
}

/// A whole number within limits.
pub(super) fn whole<T: TryFrom<i64>>(
    limits: RangeInclusive<i64>,
) -> impl FnOnce(&i64) -> Result<T, Fault> {
    move |number| {
        let fitting = limits.contains(number).then(|| T::try_from(*number).ok()).flatten();
        fitting.ok_or_else(|| {
            let why = match (*limits.start(), *limits.end()) {
                (least, i64::MAX) => format!("must be {least} or more (got {number})"),
                (least, most) => format!("must be from {least} to {most} (got {number})"),
            };
            Fault::new(why)
        })
    }
}

/// How many buckets a rule keeps.
pub(super) fn count(number: i64) -> Result<Count, Fault> {
    match number {
        -1 => Ok(Count::Unlimited),
        0 => Err(Fault::new("0 would keep nothing, which no rule can ask for")
            .remedy("leave the rule out, or write -1 to keep without limit")),
        _ => whole(1..=i64::from(u32::MAX))(&number)
            .map(Count::Limited)
            .map_err(|fault| fault.remedy("write -1 to keep without limit")),
    }
}

/// A size in bytes; zero is one.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let fault = |why: &str| {
        Fault::new(format!("{why} (got {})", quoted(text)))
            .remedy("write a number and a unit, such as \"500MB\" (decimal) or \"64GiB\" (binary)")
    };
    let unit = text.trim_end().ends_with(|c: char| c.is_ascii_alphabetic());
    if !unit && text != "0" {
        return Err(fault("is a size without a unit"));
    }
    let ByteSize(bytes) = text.parse().map_err(|_| fault("is not a size"))?;
    if bytes > MAX_BYTES { Err(fault("is more than 8 EiB")) } else { Ok(bytes) }
}

/// A size that is more than nothing.
pub(super) fn positive_size(text: &str) -> Result<u64, Fault> {
    match size(text)? {
        0 => Err(Fault::new(format!("must be more than nothing (got {})", quoted(text)))),
        bytes => Ok(bytes),
    }
}

fn positive_span(text: &str, remedy: &str) -> Result<Span, Fault> {
    let fault =
        |why: &str| Fault::new(format!("{why} (got {})", quoted(text))).remedy(remedy.to_owned());
    if !text.contains(char::is_alphabetic) {
        return Err(fault("is a length of time without a unit"));
    }
    let span = SpanParser::new().parse_span(text).map_err(|_| fault("is not a length of time"))?;
    if span.is_positive() { Ok(span) } else { Err(fault("must be more than nothing")) }
}

/// A length of time in units that always last equally long; `m` is minutes, a day is 24 hours.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let span = positive_span(
        text,
        "write a number and a unit, such as \"30s\", \"5min\", \"26h\" or \"7d\"",
    )?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(Fault::new(format!(
            "months and years do not always last equally long (got {})",
            quoted(text)
        ))
        .remedy("write days, such as \"60d\""));
    }
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .ok()
        .and_then(|length| Duration::try_from(length).ok())
        .ok_or_else(|| Fault::new(format!("is too long (got {})", quoted(text))))?;
    // The program counts time in milliseconds.
    if length < Duration::from_millis(1) {
        return Err(Fault::new(format!("is less than a millisecond (got {})", quoted(text))));
    }
    Ok(length)
}

/// Like [`duration`], where somebody may well mean months: a trash emptied after a minute instead
/// of a month cannot be undone, so a lone `m` is refused.
pub(super) fn long_duration(text: &str) -> Result<Duration, Fault> {
    if has_lone_m(text) {
        return Err(Fault::new(format!("`m` could be minutes or months (got {})", quoted(text)))
            .remedy("write `min` for minutes, or days such as \"30d\""));
    }
    duration(text)
}

/// A span of the calendar: hours, days, weeks, months and years.
pub(super) fn span(text: &str) -> Result<Span, Fault> {
    const REMEDY: &str =
        "write hours, days, weeks, months or years, such as \"36h\", \"14d\", \"6mo\" or \"2y\"";
    if has_lone_m(text) {
        return Err(Fault::new(format!("`m` would be minutes (got {})", quoted(text)))
            .remedy("write `mo` for months"));
    }
    let span = positive_span(text, REMEDY)?;
    let below_hours = [
        span.get_minutes(),
        span.get_seconds(),
        span.get_milliseconds(),
        span.get_microseconds(),
        span.get_nanoseconds(),
    ];
    if below_hours == [0; 5] {
        Ok(span)
    } else {
        Err(Fault::new(format!("must be whole hours or longer units (got {})", quoted(text)))
            .remedy(REMEDY))
    }
}

/// Whether a number is followed by `m` alone.
fn has_lone_m(text: &str) -> bool {
    text.char_indices().any(|(at, c)| {
        matches!(c, 'm' | 'M')
            && text[..at].trim_end().ends_with(|c: char| c.is_ascii_digit())
            && !text[at + 1..].starts_with(char::is_alphabetic)
    })
}

fn web_url(text: &str) -> Result<Url, Fault> {
    // What stands before an @ may be a password.
    let got = if text.contains('@') { String::new() } else { format!(" (got {})", quoted(text)) };
    let scheme = text.starts_with("https://") || text.starts_with("http://");
    // The parser would silently drop line breaks and surrounding spaces.
    let spaced = text.contains(|c: char| c.is_whitespace() || c.is_control());
    match Url::parse(text) {
        Ok(url) if scheme && !spaced => {
            if url.username().is_empty() && url.password().is_none() {
                Ok(url)
            } else {
                Err(Fault::new("must not hold a user or a password (the value is not shown here)")
                    .remedy("take out what stands before the @"))
            }
        }
        _ => Err(Fault::new(format!("is not a URL{got}"))),
    }
}

/// The parser itself adds the path `/`.
fn bare(url: Url) -> Result<Url, Fault> {
    if url.path() == "/" && url.query().is_none() && url.fragment().is_none() {
        return Ok(url);
    }
    let server = url.origin().ascii_serialization();
    Err(Fault::new(format!("must end after the host (got {})", quoted(url.as_str())))
        .remedy(format!("write \"{server}\"")))
}

/// Where a service answers; credentials go there, so it must be encrypted or this very machine.
pub(super) fn endpoint(text: &str) -> Result<Url, Fault> {
    let url = bare(web_url(text)?)?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || loopback {
        return Ok(url);
    }
    Err(Fault::new(format!("would send credentials unencrypted (got {})", quoted(text)))
        .remedy("write https://; http:// is for loopback addresses only"))
}

/// Where a machine's metadata service answers: on its own link, and therefore without TLS.
pub(super) fn metadata_endpoint(text: &str) -> Result<Url, Fault> {
    bare(web_url(text)?)
}

pub(super) fn proxy(text: &str) -> Result<Url, Fault> {
    bare(web_url(text)?)
}

/// An address to be called; it usually holds a token and is not repeated.
pub(super) fn hidden_url(text: &Hidden) -> Result<HiddenUrl, Fault> {
    web_url(&text.0).map(HiddenUrl::new).map_err(|fault| Fault {
        why: "is not a URL without user and password (the value is not shown here)".to_owned(),
        ..fault
    })
}

/// A part of every ROMA path.
pub(super) fn path_id(text: &str) -> Result<String, Fault> {
    let fitting = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fitting && (1..=MAX_ID_CHARS).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(format!(
            "must be 1 to {MAX_ID_CHARS} letters, digits, `_` or `-` (got {})",
            quoted(text)
        ))
        .remedy("copy it from the console of ROMA Connect"))
    }
}

/// `"all"`, or a list of ids. The shape was seen to already.
pub(super) fn selection(raw: &RawSelection) -> Result<Selection, Fault> {
    let ids = match raw {
        RawSelection::Word(word) if word == "all" => return Ok(Selection::All),
        RawSelection::Word(word) => {
            return Err(Fault::new(format!(
                "must be \"all\" or a list of ids (got {})",
                quoted(word)
            ))
            .remedy(format!("write \"all\" or [{}]", quoted(word))));
        }
        RawSelection::Ids(ids) => ids,
    };
    let mut seen = std::collections::HashSet::new();
    for id in ids {
        if id.trim().is_empty() {
            return Err(Fault::new("holds an empty id").remedy("take it out"));
        }
        if id.chars().count() > MAX_ID_CHARS {
            return Err(Fault::new(format!(
                "holds an id of more than {MAX_ID_CHARS} characters (got {})",
                quoted(id)
            ))
            .remedy("copy it from the console of ROMA Connect"));
        }
        if !seen.insert(id) {
            return Err(Fault::new(format!("names an id twice (got {})", quoted(id)))
                .remedy("take one of them out"));
        }
    }
    Ok(Selection::Ids(ids.clone()))
}
