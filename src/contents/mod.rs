//! What is inside a package, as far as one can tell: the assets in its JSON documents, how two
//! packages differ, and which of their values are secrets that nobody shows.
//!
//! It knows values, no files: whoever has the bytes hands them over, and what becomes of them in
//! memory is bounded there. Nothing here may hide that something differs: what is not understood is
//! compared as it is, and what is left out of an answer is counted.

mod asset;
mod compare;
mod json;
mod pairing;
mod report;
mod secret;
mod texts;
mod values;

pub use asset::{Asset, Identity, Kind, Occurrence, Pieces, take_apart};
pub use compare::compare;
pub use json::parse;
pub use report::{
    AssetChange, Bytes, Count, Entry, EntryChange, EntryDifference, Fate, Report, Side,
};
pub use secret::{HIDDEN, Shown, is_secret, scrub};
pub use values::{Aside, Difference, Within, differences};
