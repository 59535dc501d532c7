//! What is compared, and what a comparison says. Values are in a report only as
//! [`Shown`](super::Shown), so that whoever prints one cannot print a secret of them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::asset::{Asset, Kind};
use super::values::Difference;

/// Bytes that were read, or that could not be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes {
    /// How many.
    pub length: u64,
    /// Their SHA-256, as text.
    pub sha256: String,
    /// Why these are the packed ones.
    pub packed_because: Option<String>,
}

/// One entry of a package.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// What it says, if it is a document that is looked into.
    pub document: Option<Value>,
}

/// All entries of one side.
pub type Side = Vec<Entry>;

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<T> {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed(T),
}

impl<T> Fate<T> {
    /// The word for it in answers.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed(_) => "changed",
        }
    }
}

/// An asset that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetChange {
    /// Which: as it is now, unless it was removed.
    pub asset: Asset,
    /// How.
    pub fate: Fate<Vec<Difference>>,
}

/// How an entry differs that is no asset, or what it has besides assets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryDifference {
    /// It was a document before and after.
    Values(Vec<Difference>),
    /// Anything else.
    Bytes(Bytes, Bytes),
}

/// An entry that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryChange {
    /// Which.
    pub name: String,
    /// Its bytes: now, or before, if it was removed.
    pub bytes: Bytes,
    /// How.
    pub fate: Fate<EntryDifference>,
}

/// How many of something are what they were, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// New ones.
    pub added: usize,
    /// Those that are gone.
    pub removed: usize,
    /// Other ones.
    pub changed: usize,
    /// The same ones.
    pub unchanged: usize,
}

/// All that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By kind, then by name.
    pub assets: Vec<AssetChange>,
    /// By name.
    pub entries: Vec<EntryChange>,
    /// How many assets of each kind.
    pub counts: BTreeMap<Kind, Count>,
    /// How many entries, besides assets.
    pub entry_count: Count,
    /// What was left out: where, and why.
    pub aside: Vec<(String, Difference)>,
}

impl Report {
    /// Whether nothing differs but what was put aside.
    pub const fn is_same(&self) -> bool {
        self.assets.is_empty() && self.entries.is_empty()
    }
}
