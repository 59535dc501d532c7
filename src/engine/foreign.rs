//! Whether somebody else has written to the catalog: commands do, beside a running daemon.
//!
//! Asking the database costs some wake-ups each time, a look at its files one. So as long as these
//! stay as they are, it is asked now and then only. It must never take silence for certain: the
//! time of a file is coarse. It only reads; a crash means nothing here.

use crate::catalog::{Catalog, FileStamp};

/// Looks that found the files as they were, before they are believed.
const BELIEVED_AFTER: u32 = 3;
/// Every so many looks the database is asked all the same.
const ANYHOW: u32 = 30;

/// What is known of the writing of others.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    version: Option<i64>,
    stamp: Option<FileStamp>,
    unchanged: u32,
}

impl Foreign {
    /// The next look asks the database, and whatever it says counts as something new.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether the database need not be asked.
    pub(super) fn is_silent(&mut self, catalog: &Catalog) -> bool {
        let stamp = catalog.file_stamp();
        let same = self.version.is_some() && self.stamp.replace(stamp) == Some(stamp);
        self.unchanged = if same { self.unchanged.saturating_add(1) } else { 0 };
        self.unchanged > BELIEVED_AFTER && !self.unchanged.is_multiple_of(ANYHOW)
    }

    /// Whether the database says another version than before.
    pub(super) fn is_new(&mut self, version: i64) -> bool {
        self.version.replace(version) != Some(version)
    }
}
