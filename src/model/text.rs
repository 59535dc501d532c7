//! Names people choose and identifiers ROMA chooses.
//!
//! A [`Name`] becomes a folder, so it is strict. ROMA's identifiers are opaque: they may hold
//! anything (contract U16) and therefore never become part of a path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::WATCHED_EXPORT;

/// A configured name of an account, an instance or an export: 1 to 64 of `A-Za-z0-9._-`, not
/// beginning with a dot or a dash, so that it is safe as a folder and as a command-line argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Text that cannot be a [`Name`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` cannot be a name: use 1 to 64 letters, digits, `.`, `_` or `-`, \
     beginning with a letter or a digit"
)]
pub struct InvalidName(String);

impl Name {
    /// The reserved export of adopted jobs, [`WATCHED_EXPORT`].
    pub fn watched() -> Self {
        Self(WATCHED_EXPORT.to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if first && rest && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An identifier without a single character.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an identifier cannot be empty")]
pub struct EmptyId;

macro_rules! opaque_id {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl TryFrom<String> for $name {
            type Error = EmptyId;

            fn try_from(text: String) -> Result<Self, EmptyId> {
                Self::new(text).ok_or(EmptyId)
            }
        }

        impl $name {
            /// Takes ROMA's text as it is; `None` when it is empty, which names nothing.
            pub fn new(text: impl Into<String>) -> Option<Self> {
                let text = text.into();
                (!text.is_empty()).then_some(Self(text))
            }

            /// The identifier as ROMA wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            /// Control characters are escaped: this text reaches terminals and logs.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for c in self.0.chars() {
                    if c.is_control() {
                        write!(f, "{}", c.escape_default())?;
                    } else {
                        write!(f, "{c}")?;
                    }
                }
                Ok(())
            }
        }
    };
}

opaque_id!(JobId, "ROMA's identifier of a job: opaque, up to 128 characters (contract 1).");
opaque_id!(PackageId, "ROMA's identifier of a package, which it calls `archive_id` (contract 2).");

/// An error and what caused it, in one line.
pub fn story(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let below = error.to_string();
        // Some errors repeat their cause in their own text, or only pass it through.
        if !text.ends_with(&below) {
            text.push_str(": ");
            text.push_str(&below);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_folders_and_arguments() {
        for good in ["prod", "A", "crm-nightly", "a.b_c-9"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".hidden", "-rf", "a/b", "a b", "ä", "a\0"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(65).parse::<Name>().is_err());
    }

    #[test]
    fn opaque_ids_show_no_control_characters() {
        let id = JobId::new("a\u{1b}[31m\0b\n").unwrap();
        assert!(!id.to_string().chars().any(char::is_control));
        assert_eq!(id.as_str(), "a\u{1b}[31m\0b\n");
        assert_eq!(JobId::new(""), None);
    }
}
