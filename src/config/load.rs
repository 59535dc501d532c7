//! The layers of the configuration: the file, and above it the environment.
//!
//! The only user of the crate `config`, which merges the layers. Because it also coerces (1.9
//! becomes 2, 12345 becomes "12345") and drops line numbers, nothing enters it before `walk` or
//! `environment` has seen that the key is known and the value has its shape. No meaning of a
//! value is judged here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use config::{Environment, Map, Source, Value};
use toml::Spanned;
use toml::de::DeTable;
use url::Url;

use super::raw::{self, RawConfig, RawPolicyFile, Shape};
use super::walk::{self, Lines};
use super::{ConfigError, Fault, Loaded, Place, Report, Spot, quoted, sections, validate, values};
use crate::retention::Policy;

/// What every variable begins with, followed by two underscores.
const PREFIX: &str = "ROMA_ARCHIVED";
/// Overrides where the machine's metadata service answers; meant for tests, and no setting.
const METADATA: &str = "ROMA_ARCHIVED_METADATA_ENDPOINT";
/// Where it answers in the cloud (contract 6.3).
const METADATA_ENDPOINT: &str = "http://169.254.169.254";
/// Between the prefix, a section and a key.
const SEPARATOR: &str = "__";

/// Reads the file at `path`, and above it the variables `ROMA_ARCHIVED__SECTION__KEY`.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    load_with(path, std::env::vars_os())
}

/// Like [`load`], of a text that is called `name`, without environment.
pub fn parse(text: &str, name: &Path) -> Result<Loaded, ConfigError> {
    read(text, name, [])
}

pub(super) fn load_with(
    path: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    read(&text_of(path)?, path, variables)
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    String::from_utf8(std::fs::read(path).map_err(failed)?).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let readable = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let (line, column) = Lines::new(&readable).position(readable.len());
        let message = "this is not UTF-8 text".to_owned();
        ConfigError::Syntax { path: path.to_owned(), line, column, message }
    })
}

pub(super) fn read(
    text: &str,
    path: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let lines = Lines::new(text);
    let document = document(text, path, &lines)?;
    let mut report = Report::default();
    let file = walk::table(document.get_ref(), raw::ROOT, &Spot::default(), &lines, &mut report);
    let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();
    let metadata = metadata_endpoint(&variables, &mut report);
    let overrides = environment(variables, &mut report);
    let settings = merge(file, overrides)
        .map_err(|fault| report.refuse(&spot("configuration"), fault))
        .ok()
        .zip(metadata)
        .and_then(|(raw, metadata)| validate::settings(&raw, &metadata, &mut report));
    let warnings = std::mem::take(&mut report.warnings);
    let settings = report.finish(path, settings)?;
    Ok(Loaded { settings, warnings, path: path.to_owned() })
}

fn document<'t>(
    text: &'t str,
    path: &Path,
    lines: &Lines<'_>,
) -> Result<Spanned<DeTable<'t>>, ConfigError> {
    DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let (line, column) = lines.position(span.start);
        let message = match (error.message(), text.get(span)) {
            (duplicate @ "duplicate key", Some(key)) => format!("{duplicate} `{key}`"),
            (message, _) => message.to_owned(),
        };
        ConfigError::Syntax { path: path.to_owned(), line, column, message }
    })
}

/// A file that holds nothing but `[retention]`: a policy to be tried.
pub fn policy(path: &Path) -> Result<Policy, ConfigError> {
    let text = text_of(path)?;
    let lines = Lines::new(&text);
    let mut report = Report::default();
    let (keys, top) = (raw::POLICY_ROOT, Spot::default());
    let file =
        walk::table(document(&text, path, &lines)?.get_ref(), keys, &top, &lines, &mut report);
    let raw: Option<RawPolicyFile> = serde_path_to_error::deserialize(file)
        .map_err(|error| {
            report.refuse(&top, Fault::new(format!("cannot be read at `{}`", error.path())));
        })
        .ok();
    let raw = raw.and_then(|raw| raw.retention);
    if raw.is_none() {
        report.refuse(&top.key("retention"), Fault::new("is missing"));
    }
    let policy = sections::policy(raw.as_ref(), &top.key("retention"), &mut report);
    report.finish(path, Some(policy))
}

/// A checked layer, as the crate `config` wants to see it.
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Later layers win. Only a fault of this program can make this fail.
fn merge(file: toml::Table, overrides: Vec<(String, toml::Value)>) -> Result<RawConfig, Fault> {
    let merged = || -> Result<toml::Table, Box<dyn std::error::Error>> {
        let mut layers = config::Config::builder().add_source(Layer(file.try_into()?));
        for (path, value) in overrides {
            layers = layers.set_override(path, value.try_into::<Value>()?)?;
        }
        Ok(layers.build()?.try_deserialize()?)
    };
    // The causes are not repeated, for they may quote a value that is a secret.
    let merged = merged().map_err(|_| Fault::new("file and environment cannot be merged"))?;
    serde_path_to_error::deserialize(merged)
        .map_err(|error| Fault::new(format!("cannot be read at `{}`", error.path())))
}

/// Where the machine's metadata service answers.
fn metadata_endpoint(variables: &[(OsString, OsString)], report: &mut Report) -> Option<Url> {
    let set = variables.iter().find(|(name, _)| name == METADATA).map(|(_, value)| value);
    let at = spot(METADATA);
    if set.is_some() {
        report.place(&at, Place::Variable(METADATA.to_owned()));
    }
    let text = set.map_or(METADATA_ENDPOINT.into(), |value| value.to_string_lossy());
    report.required(&at, Some(text.as_ref()), values::metadata_endpoint)
}

/// The settings in the environment, by path. They are always text; where a number belongs, the
/// text must be one.
fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    report: &mut Report,
) -> Vec<(String, toml::Value)> {
    let mut ours = Map::new();
    let mut names = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| is_ours(name)) else { continue };
        let path = name[PREFIX.len() + SEPARATOR.len()..].to_lowercase().replace(SEPARATOR, ".");
        let at = spot(&path);
        report.place(&at, Place::Variable(name.to_owned()));
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        match value.into_string() {
            _ if !name.chars().all(plain) => report.refuse(
                &at,
                Fault::new("is not the name of a setting")
                    .remedy("write it in capitals, such as ROMA_ARCHIVED__LIMITS__DOWNLOADS"),
            ),
            Ok(value) => {
                ours.insert(name.to_owned(), value);
                names.insert(path, name.to_owned());
            }
            Err(_) => report.refuse(&at, Fault::new("is not UTF-8 text")),
        }
    }
    let source = Environment::with_prefix(PREFIX).separator(SEPARATOR).source(Some(ours));
    let Ok(collected) = source.collect() else { return Vec::new() };
    let collected: BTreeMap<String, Value> = collected.into_iter().collect();
    let mut overrides = Vec::new();
    for (path, value) in collected {
        let Ok(text) = value.into_string() else { continue };
        match scalar(&path, text) {
            Ok(value) => overrides.push((path, value)),
            Err(fault) => report.refuse(&spot(&path), fault),
        }
    }
    overrides
}

/// Prefix and separator; their case is looked at later, because a variable that is almost right
/// must not be overlooked.
fn is_ours(name: &str) -> bool {
    let start = PREFIX.len() + SEPARATOR.len();
    name.get(..start)
        .is_some_and(|start| start.eq_ignore_ascii_case(&format!("{PREFIX}{SEPARATOR}")))
}

fn spot(path: &str) -> Spot {
    Spot { path: path.to_owned(), shown: path.to_owned() }
}

/// The value of the variable that sets the key at `path`.
fn scalar(path: &str, text: String) -> Result<toml::Value, Fault> {
    let mut keys = raw::ROOT;
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        let Some(known) = keys.iter().find(|known| known.name == segment) else {
            return Err(walk::unknown(segment, keys).0);
        };
        keys = match known.shape {
            Shape::List(_) => {
                return Err(Fault::new("cannot be set by a variable, for there may be several")
                    .remedy(format!("write it into the file, under {}", known.example)));
            }
            Shape::Table(_) if segments.peek().is_none() => {
                return Err(Fault::new("is a section").remedy("set one of its keys"));
            }
            Shape::Table(keys) => keys,
            _ if segments.peek().is_some() => {
                return Err(Fault::new("there is no such key")
                    .remedy(format!("`{segment}` is a key, not a section")));
            }
            Shape::Integer => {
                let fault = || format!("must be a whole number (got {})", quoted(&text));
                let number = text.parse().map_err(|_| Fault::new(fault()))?;
                return Ok(toml::Value::Integer(number));
            }
            Shape::Text | Shape::Hidden | Shape::Selection | Shape::History => {
                return Ok(toml::Value::String(text));
            }
        };
    }
    Err(Fault::new("is not the name of a setting"))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
