//! Secrets in what a package contains: where they stand, and how a value looks without them.
//!
//! ROMA leaves most secrets out of a package (contract 3), but nobody promised it for each kind of
//! asset. Values are therefore shown only as [`Shown`], which is made here and nowhere else. It is
//! rather too careful: whatever stands under a name that sounds like a secret is hidden with all
//! that is in it, and texts lose credentials of URLs and of `name=value` pairs. `null`, `true`,
//! `false` and an empty text say that there is no secret, or only whether, and stay.

use serde::Serialize;
use serde_json::{Map, Value};

use super::texts::{is_secret_option, without_secrets};

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";

/// A name that contains one of these, written together in small letters, is that of a secret.
const PARTS: [&str; 21] = [
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
    "signature",
    "appcode",
    "sessionid",
    "\u{5bc6}\u{7801}",
    "\u{53e3}\u{4ee4}",
    "\u{5bc6}\u{94a5}",
    "\u{4ee4}\u{724c}",
    "jsession",
    "authorization",
    "cookie",
];
/// So is one that has one of these as a word of its own.
const WORDS: [&str; 9] = ["ak", "sk", "pass", "pw", "pin", "jwt", "bearer", "salt", "pem"];
/// And so is one that ends with `key`, but for these, ...
const OPEN_KEYS: [&str; 30] = [
    "key",
    "publickey",
    "primarykey",
    "foreignkey",
    "uniquekey",
    "sortkey",
    "partitionkey",
    "shardkey",
    "rowkey",
    "indexkey",
    "groupkey",
    "joinkey",
    "mergekey",
    "routingkey",
    "cachekey",
    "messagekey",
    "recordkey",
    "objectkey",
    "filekey",
    "tagkey",
    "labelkey",
    "fieldkey",
    "columnkey",
    "itemkey",
    "dictkey",
    "mapkey",
    "headerkey",
    "paramkey",
    "hotkey",
    "monkey",
];
/// ... and for these, which only sound like one.
const OPEN_NAMES: [&str; 3] = ["apikeyname", "accesskeyname", "tokentype"];
/// Names of fields that say what another field of the same object is.
const LABELS: [&str; 12] = [
    "name", "key", "field", "param", "header", "property", "code", "label", "type", "id", "k",
    "title",
];
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
    if OPEN_NAMES.contains(&together.as_str()) {
        return false;
    }
    let one = together.strip_suffix('s').unwrap_or(&together);
    (one.ends_with("key") && !OPEN_KEYS.contains(&one))
        || PARTS.iter().any(|part| together.contains(part))
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
}

/// Whether a field of this object is a secret, by its own name or because a neighbour says so:
/// `{"name": "password", "value": "x"}`. All but the neighbour is then taken for the secret.
pub(super) fn is_hidden_field(object: &Map<String, Value>, name: &str) -> bool {
    let says = || object.get(name).is_some_and(|value| says_secret(name, value));
    is_secret(name) || (names_a_secret(object) && !says())
}

/// The same for a field of an asset itself, of which an API may well be called `get-token`: only
/// what sounds like a value is taken for one.
pub(super) fn is_hidden_of_asset(object: &Map<String, Value>, name: &str) -> bool {
    if is_secret(name) {
        return true;
    }
    let together = words(name).concat();
    VALUES.iter().any(|part| together.contains(part)) && names_a_secret(object)
}

fn names_a_secret(object: &Map<String, Value>) -> bool {
    object.iter().any(|(name, value)| says_secret(name, value))
}

/// Whether this field says that another is a secret.
fn says_secret(name: &str, value: &Value) -> bool {
    let last = words(name).pop().unwrap_or_default();
    LABELS.contains(&last.as_str()) && value.as_str().is_some_and(is_secret)
}

/// Which elements come behind the option of a command whose value is a secret.
pub(super) fn is_behind_option(elements: &[Value], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| elements.get(before));
    before.and_then(Value::as_str).is_some_and(is_secret_option)
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
        Value::Array(elements) => {
            let show = |(at, element)| {
                let is_hidden = is_behind_option(elements, at);
                if is_hidden { hidden(element) } else { masked(element, nesting) }
            };
            elements.iter().enumerate().map(show).collect()
        }
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
    without_secrets(text)
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
