//! The nouns: identifiers, names, times, digests and sizes that every other module speaks.
//!
//! Values here are valid by construction, so that nothing downstream has to check them again.
//! This module knows no file, no network, no database and no clock.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

mod text;
mod time;

pub use text::{EmptyId, InvalidName, JobId, Name, PackageId, story};
pub use time::{FUTURE_TOLERANCE, InvalidTimestamp, Timestamp};

/// The export name reserved for jobs that were started elsewhere and adopted by `watch`.
pub const WATCHED_EXPORT: &str = "watched";

/// Number of an archive; written `a34`, the number being the `id` of the view `archives`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArchiveId(pub i64);

/// Number of a snapshot; written `s12`, the number being the `id` of the view `snapshots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(pub i64);

impl fmt::Display for ArchiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}", self.0)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// What a person may name on the command line: one archive, or a snapshot, meaning all its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// One package's record and file.
    Archive(ArchiveId),
    /// All parts of one run.
    Snapshot(SnapshotId),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(id) => id.fmt(f),
            Self::Snapshot(id) => id.fmt(f),
        }
    }
}

/// A reference that is neither `a34` nor `s12`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an id: write s12 for a snapshot or a34 for an archive")]
pub struct InvalidReference(String);

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidReference(text.to_owned());
        let digits = text.get(1..).ok_or_else(invalid)?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let number = digits.parse().map_err(|_| invalid())?;
        match text.as_bytes().first() {
            Some(b'a') => Ok(Self::Archive(ArchiveId(number))),
            Some(b's') => Ok(Self::Snapshot(SnapshotId(number))),
            _ => Err(invalid()),
        }
    }
}

/// A SHA-256 digest; shown and parsed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Digest(pub [u8; 32]);

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a SHA-256 digest has 64 hexadecimal digits")]
pub struct InvalidDigest;

impl FromStr for Sha256Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidDigest);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| InvalidDigest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidDigest)?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for Sha256Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How much and what: the identity of a run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Length in bytes.
    pub bytes: u64,
    /// Digest of all of them.
    pub sha256: Sha256Digest,
}

/// What a package looks like from its first bytes. Opaque all the same: anything is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Begins like a zip archive, as ROMA's import accepts (contract 3).
    Zip,
    /// Begins like a JSON document, as the 2022 documents describe (contract U6).
    Json,
    /// Neither; kept, flagged by this word.
    Other,
}

impl Format {
    /// The word used in the catalog and in `manifest.json`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Json => "json",
            Self::Other => "other",
        }
    }

    /// The name of the package inside the stored zip.
    pub const fn entry_name(self) -> &'static str {
        match self {
            Self::Zip => "package.zip",
            Self::Json => "package.json",
            Self::Other => "package.bin",
        }
    }
}

/// How the package lies in the stored zip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Compressed.
    Deflate,
    /// As it came, because it does not shrink or because the operator asked for it.
    Store,
}

impl Method {
    /// The word used in the catalog.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deflate => "deflate",
            Self::Store => "store",
        }
    }
}

/// A word in the catalog that this version does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown {kind} `{word}`")]
pub struct UnknownWord {
    kind: &'static str,
    word: String,
}

impl UnknownWord {
    /// `word` was found where one of the words of `kind` belongs.
    pub fn new(kind: &'static str, word: &str) -> Self {
        Self { kind, word: word.to_owned() }
    }
}

impl FromStr for Format {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Zip, Self::Json, Self::Other]
            .into_iter()
            .find(|format| format.word() == word)
            .ok_or_else(|| UnknownWord::new("format", word))
    }
}

impl FromStr for Method {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Deflate, Self::Store]
            .into_iter()
            .find(|method| method.word() == word)
            .ok_or_else(|| UnknownWord::new("method", word))
    }
}

/// A finished file of the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Relative to `vault/`, made of our own ids and configured names only.
    pub path: String,
    /// The zip's own length and digest.
    pub content: Content,
    /// What the package inside looks like.
    pub format: Format,
    /// How it is stored.
    pub method: Method,
    /// Number of its inode when it was stored or found; another one means another file. `None`: it
    /// is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
}

/// The assets one job exports: at most 100 applications and tasks together (contract 1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Ids of applications.
    pub apps: Vec<String>,
    /// Ids of FDI tasks.
    pub tasks: Vec<String>,
    /// ROMA takes no empty list: the one that is empty is left out (contract U19).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub omit_empty: bool,
}

impl Scope {
    /// Applications and tasks together.
    pub fn len(&self) -> usize {
        self.apps.len() + self.tasks.len()
    }

    /// One of the two lists is empty, and not the other.
    pub const fn is_one_sided(&self) -> bool {
        self.apps.is_empty() != self.tasks.is_empty()
    }

    /// What is in this scope and not in `other`: applications, and tasks.
    pub fn without(&self, other: &Self) -> (Vec<String>, Vec<String>) {
        let missing = |all: &[String], kept: &[String]| {
            let kept: std::collections::HashSet<&String> = kept.iter().collect();
            all.iter().filter(|id| !kept.contains(id)).cloned().collect()
        };
        (missing(&self.apps, &other.apps), missing(&self.tasks, &other.tasks))
    }

    /// Nothing to export; ROMA may refuse such a job (contract U19), so none is started.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_a_letter_and_a_number() {
        assert_eq!("a34".parse(), Ok(Reference::Archive(ArchiveId(34))));
        assert_eq!("s12".parse(), Ok(Reference::Snapshot(SnapshotId(12))));
        for bad in ["", "a", "34", "x1", "a-1", "a+1", "a1 ", "é1", "a99999999999999999999"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn digests_survive_their_own_text() {
        let digest = Sha256Digest(std::array::from_fn(|i| u8::try_from(i * 7 % 256).unwrap()));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("zz".repeat(32).parse::<Sha256Digest>(), Err(InvalidDigest));
        assert_eq!("+1".repeat(32).parse::<Sha256Digest>(), Err(InvalidDigest));
    }
}
