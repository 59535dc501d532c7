//! Secrets in what a package contains: where they stand, and how a value looks without them.
//!
//! ROMA leaves most secrets out of a package (contract 3), but nobody promised it for each kind of
//! asset. Values are therefore shown only as [`Shown`], which is made here and nowhere else. It is
//! rather too careful: whatever stands under a name that sounds like a secret is hidden with all
//! that is in it, and texts lose credentials of URLs and of `name=value` pairs. `null`, `true`,
//! `false` and an empty text say that there is no secret, or only whether, and stay.

use serde::Serialize;
use serde_json::{Map, Value};

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";

/// A name that contains one of these, written together in small letters, is that of a secret.
const PARTS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "privatekey",
    "accesskey",
    "apikey",
    "appkey",
    "signaturekey",
    "signkey",
    "encryptkey",
    "authorization",
    "cookie",
];
/// So is one that has one of these as a word of its own.
const WORDS: [&str; 7] = ["ak", "sk", "pass", "pw", "pin", "jwt", "bearer"];
/// Names of fields that say what another field of the same object is.
const LABELS: [&str; 8] = ["name", "key", "field", "param", "header", "property", "code", "label"];
/// What such another field's name contains.
const VALUES: [&str; 6] = ["value", "default", "content", "data", "sample", "example"];
/// Texts in texts are looked into so deep.
const MAX_NESTING: u32 = 8;

/// A value without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Shown(Value);

impl Shown {
    /// What may be shown of a value that does not itself stand under a secret's name.
    pub fn of(value: &Value) -> Self {
        Self(masked(value, MAX_NESTING))
    }

    /// What may be shown of a secret: whether there is one.
    pub fn of_secret(value: &Value) -> Self {
        Self(hidden(value))
    }

    /// What may be shown of a field of this object.
    pub fn of_field(object: &Map<String, Value>, name: &str, value: &Value) -> Self {
        if is_hidden_field(object, name) { Self::of_secret(value) } else { Self::of(value) }
    }

    /// The value, for whoever writes it out.
    pub const fn as_value(&self) -> &Value {
        &self.0
    }
}

/// Whether a value under this name is a secret.
pub fn is_secret(name: &str) -> bool {
    let words = words(name);
    let together: String = words.concat();
    PARTS.iter().any(|part| together.contains(part))
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
}

/// Whether a field of this object is a secret, by its own name or because a neighbour says so:
/// `{"name": "password", "value": "x"}`.
pub(super) fn is_hidden_field(object: &Map<String, Value>, name: &str) -> bool {
    if is_secret(name) {
        return true;
    }
    let together = words(name).concat();
    VALUES.iter().any(|part| together.contains(part)) && names_a_secret(object)
}

fn names_a_secret(object: &Map<String, Value>) -> bool {
    object.iter().any(|(name, value)| {
        let last = words(name).pop().unwrap_or_default();
        LABELS.contains(&last.as_str()) && value.as_str().is_some_and(is_secret)
    })
}

/// A text without the secrets that stand in it.
pub fn scrub(text: &str) -> String {
    scrubbed(text, MAX_NESTING)
}

fn hidden(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::String(text) if text.is_empty() => value.clone(),
        _ => HIDDEN.into(),
    }
}

fn masked(value: &Value, nesting: u32) -> Value {
    match value {
        Value::String(text) => scrubbed(text, nesting).into(),
        Value::Array(elements) => elements.iter().map(|e| masked(e, nesting)).collect(),
        Value::Object(fields) => {
            let show = |(name, value): (&String, &Value)| {
                let is_hidden = is_hidden_field(fields, name);
                let shown = if is_hidden { hidden(value) } else { masked(value, nesting) };
                (scrubbed(name, nesting), shown)
            };
            Value::Object(fields.iter().map(show).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn scrubbed(text: &str, nesting: u32) -> String {
    if text.contains("PRIVATE KEY") {
        return HIDDEN.to_owned();
    }
    if let Some(value) = super::json::parse(text.as_bytes()) {
        // A text in a text in a text: nobody looks so deep, and nothing is shown unseen.
        return match nesting.checked_sub(1) {
            Some(nesting) => masked(&value, nesting).to_string(),
            None => HIDDEN.to_owned(),
        };
    }
    hide_pairs(&hide_user_info(text))
}

/// `scheme://user:word@host` becomes `scheme://***@host`.
fn hide_user_info(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    // Once a word, not once a `://`: a word may be the whole text and hold many of them.
    let (mut word_end, mut last_at) = (0, None);
    while let Some(found) = text[done..].find("://") {
        let start = done + found + 3;
        clean.push_str(&text[done..start]);
        let after = &text[start..];
        if start >= word_end {
            let is_end = |c: char| c.is_whitespace() || c == '"';
            word_end = after.find(is_end).map_or(text.len(), |end| start + end);
            last_at = text[start..word_end].rfind('@').map(|at| start + at);
        }
        let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<');
        let host = &after[..after.find(is_end).unwrap_or(after.len())];
        let user_end = host.rfind('@').map(|at| start + at).or_else(|| {
            // A password may hold what should have been escaped: the last `@` before the blank.
            let slash = last_at.filter(|at| *at >= start)?;
            // `https://host:443/@name` has none: what stands before the slash is host and port.
            let (_, word) = host.split_once(':')?;
            (!word.bytes().all(|byte| byte.is_ascii_digit())).then_some(slash)
        });
        if user_end.is_some() {
            clean.push_str(HIDDEN);
        }
        done = user_end.unwrap_or(start);
    }
    clean.push_str(&text[done..]);
    clean
}

/// `token=x`, `password: "x"` and `Bearer x` lose the x.
fn hide_pairs(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_of_name) {
        let name_end = rest[start..].find(|c| !is_of_name(c)).map_or(rest.len(), |n| start + n);
        let name = &rest[start..name_end];
        let after = &rest[name_end..];
        let value_start = if matches!(name.to_ascii_lowercase().as_str(), "bearer" | "basic") {
            let blanks = after.len() - after.trim_start().len();
            (blanks > 0).then_some(blanks)
        } else if is_secret(name) {
            pair_value(after)
        } else {
            None
        };
        let Some(value_start) = value_start.filter(|at| *at < after.len()) else {
            clean.push_str(&rest[..name_end]);
            rest = after;
            continue;
        };
        clean.push_str(&rest[..name_end + value_start]);
        clean.push_str(HIDDEN);
        let value = &after[value_start..];
        rest = &value[value_length(value)..];
    }
    clean.push_str(rest);
    clean
}

const fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Where the value begins after a name: behind `=` or `:`, whatever quotes stand around the name.
fn pair_value(after: &str) -> Option<usize> {
    let mark = after.trim_start_matches(['"', '\'', '\\', ']', ' ', '>']);
    let value = mark.strip_prefix("%3D").or_else(|| mark.strip_prefix("%3d"));
    let value = value.or_else(|| mark.strip_prefix(['=', ':']))?;
    let value = value.trim_start_matches([' ', '=', ':', '>']);
    Some(after.len() - value.len())
}

/// How long the value is that begins this text: in quotes to the closing one, else to whatever
/// usually stands between pairs. `Bearer x` behind a name is one value.
fn value_length(text: &str) -> usize {
    let quoted = text.trim_start_matches('\\');
    if let Some(quote) = quoted.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let inside = text.len() - quoted.len() + 1;
        let mut is_escaped = false;
        for (at, c) in text[inside..].char_indices() {
            match c {
                c if c == quote && !is_escaped => return inside + at + 1,
                '\\' => is_escaped = !is_escaped,
                _ => is_escaped = false,
            }
        }
        return text.len();
    }
    let is_end = |c: char| c.is_whitespace() || matches!(c, '&' | ';' | ',' | '"' | '\'' | '<');
    let first = text.find(is_end).unwrap_or(text.len());
    let word = text[..first].to_ascii_lowercase();
    if matches!(word.as_str(), "bearer" | "basic") {
        let blanks = text[first..].len() - text[first..].trim_start().len();
        let rest = &text[first + blanks..];
        return first + blanks + rest.find(is_end).unwrap_or(rest.len());
    }
    first
}

/// The words of a name in small letters: `appSecretKey`, `app_secret-key` and `APP.SECRET` alike.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut was_lower = false;
    let mut is_open = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            (is_open, was_lower) = (false, false);
            continue;
        }
        if !is_open || (was_lower && c.is_uppercase()) {
            words.push(String::new());
            is_open = true;
        }
        was_lower = c.is_lowercase() || c.is_numeric();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
#[path = "secret_tests.rs"]
pub(super) mod tests;
