//! The operator's TOML becomes [`Settings`] that cannot be wrong.
//!
//! `raw` says which keys there are, `load` reads the file and the environment against them,
//! `values` turns one text into one value, and `validate` puts the values together. Whatever is
//! wrong is collected and reported at once, each with its line, its reason and a remedy: a daemon
//! that does not start at three in the morning shall be mended in one go.
//!
//! This module never reads a secret, never repeats a text that could be one, never asks the
//! network, and never corrects silently what was written: it refuses.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::settings::Settings;

mod load;
mod raw;
mod sections;
mod validate;
mod values;
mod walk;

pub use load::{load, parse, policy};
pub use raw::known_keys;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the operator chose.
    pub settings: Settings,
    /// What is allowed but probably not meant; a sentence each.
    pub warnings: Vec<String>,
    /// The file it came from.
    pub path: PathBuf,
}

/// What helps somebody whom the file is not for.
fn who_may(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            ", which is for the service's group: join it (`usermod -aG roma-archived NAME`, then \
             sign in anew), or run this as the service's user"
        }
        _ => "",
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration {}{}", path.display(), who_may(source))]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML. Only the first fault is named: those after it may be its consequence.
    /// The line itself is not repeated, for it may hold a secret.
    #[error("{}:{line}: not valid TOML: {message} (column {column})", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// The file is TOML but does not make sense; here is all that is wrong with it.
    #[error("{}", listing(path, problems))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// At least one, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line of the file, counted from 1; that of the section when a key is missing in it.
    pub line: Option<usize>,
    /// Which key, such as `export[nightly].schedule`; the variable when it came from one.
    pub key: String,
    /// The reason and the remedy, on one line.
    pub message: String,
    /// An environment variable is wrong, not the file.
    pub from_environment: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// One problem a line, each beginning with the place, as compilers and editors write it.
fn listing(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| match problem.line {
            _ if problem.from_environment => format!("environment: {problem}"),
            Some(line) => format!("{}:{line}: {problem}", path.display()),
            None => format!("{}: {problem}", path.display()),
        })
        .collect();
    lines.join("\n")
}

/// A key of the configuration: as the program finds it, and as the operator recognizes it.
#[derive(Clone, Debug, Default)]
struct Spot {
    /// `export[0].schedule`.
    path: String,
    /// `export[nightly].schedule`.
    shown: String,
}

impl Spot {
    /// The key `name` inside this section.
    fn key(&self, name: &str) -> Self {
        let join = |parent: &str| match parent {
            "" => name.to_owned(),
            parent => format!("{parent}.{name}"),
        };
        Self { path: join(&self.path), shown: join(&self.shown) }
    }

    /// The section number `index` of this list, shown by its own name where it has a usable one.
    fn item(&self, index: usize, name: Option<&str>) -> Self {
        let shown = match name.filter(|name| values::name(name).is_ok()) {
            Some(name) => format!("{}[{name}]", self.shown),
            None => format!("{}[#{}]", self.shown, index + 1),
        };
        Self { path: format!("{}[{index}]", self.path), shown }
    }
}

/// Where a key was set.
#[derive(Clone, Debug)]
enum Place {
    Line(usize),
    Variable(String),
}

/// Why a value is refused, and what to do about it.
#[derive(Clone, Debug)]
struct Fault {
    why: String,
    /// `None`: the example of the key is the remedy.
    remedy: Option<String>,
}

impl Fault {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: None }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Report {
    places: HashMap<String, Place>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    /// Keys that something was said about already, by path: their absence is no second problem.
    settled: HashSet<String>,
}

impl Report {
    /// Remembers where a key was set.
    fn place(&mut self, at: &Spot, place: Place) {
        self.places.insert(at.path.clone(), place);
    }

    /// Where a key was set, or else the section that should have it.
    fn place_of(&self, at: &Spot) -> Option<&Place> {
        let mut path = at.path.as_str();
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// The line where a key was set.
    fn line_of(&self, at: &Spot) -> Option<usize> {
        match self.place_of(at) {
            Some(Place::Line(line)) => Some(*line),
            Some(Place::Variable(_)) | None => None,
        }
    }

    fn refuse(&mut self, at: &Spot, fault: Fault) {
        self.settled.insert(at.path.clone());
        let (line, variable) = match self.place_of(at) {
            Some(Place::Line(line)) => (Some(*line), None),
            Some(Place::Variable(variable)) => (None, Some(variable.clone())),
            None => (None, None),
        };
        let remedy = fault.remedy.or_else(|| {
            let example = raw::example(&at.path)?;
            Some(match &variable {
                Some(variable) => format!("for example {variable}={}", example.trim_matches('"')),
                None => format!("for example {}", assignment(&at.path, example)),
            })
        });
        let message = remedy.map_or(fault.why.clone(), |remedy| format!("{}; {remedy}", fault.why));
        self.problems.push(Problem {
            line,
            from_environment: variable.is_some(),
            key: one_line(&variable.unwrap_or_else(|| at.shown.clone())),
            message: one_line(&message),
        });
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Its absence is explained by a problem that was reported already.
    fn settle(&mut self, at: &Spot) {
        self.settled.insert(at.path.clone());
    }

    fn is_settled(&self, at: &Spot) -> bool {
        self.settled.contains(&at.path)
    }

    /// The value of a key that may be left out.
    fn optional<T, R: ?Sized>(
        &mut self,
        at: &Spot,
        given: Option<&R>,
        read: impl FnOnce(&R) -> Result<T, Fault>,
    ) -> Option<T> {
        read(given?).map_err(|fault| self.refuse(at, fault)).ok()
    }

    /// The value of a key that must be there.
    fn required<T, R: ?Sized>(
        &mut self,
        at: &Spot,
        given: Option<&R>,
        read: impl FnOnce(&R) -> Result<T, Fault>,
    ) -> Option<T> {
        if given.is_none() && !self.is_settled(at) {
            self.refuse(at, Fault::new("is missing"));
        }
        self.optional(at, given, read)
    }

    /// Replaces the default where the key is there.
    fn replace<T, R: ?Sized>(
        &mut self,
        target: &mut T,
        at: &Spot,
        given: Option<&R>,
        read: impl FnOnce(&R) -> Result<T, Fault>,
    ) {
        if let Some(value) = self.optional(at, given, read) {
            *target = value;
        }
    }

    /// All that was found, in the order of the file; what has no line comes last.
    fn finish<T>(mut self, path: &Path, read: Option<T>) -> Result<T, ConfigError> {
        match read {
            Some(read) if self.problems.is_empty() => Ok(read),
            _ => {
                self.problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
                Err(ConfigError::Invalid { path: path.to_owned(), problems: self.problems })
            }
        }
    }
}

/// `downloads = 8`, or the header where the key is a section.
fn assignment(path: &str, example: &str) -> String {
    match path.rsplit('.').next() {
        Some(name) if !example.starts_with('[') => format!("{name} = {example}"),
        _ => example.to_owned(),
    }
}

/// More of a value does not help to recognize it.
const MAX_QUOTED_CHARS: usize = 60;

/// A value as it was written, for `got ...`: on one line, in quotes, not too long.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The candidate that was probably meant.
fn similar<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let length = text.chars().count();
    if length > MAX_QUOTED_CHARS {
        return None;
    }
    let text = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&text, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= length.max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whatever was quoted from a file, a message stays on its line and moves no cursor.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
