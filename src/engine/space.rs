//! Watches how much room is left. When it is short, what lies in the trash goes before its time,
//! and nothing else does; when there is plenty again, what waited for room is tried at once.
//!
//! It must never decide what goes to the trash: that is retention's.

use std::sync::Arc;
use std::time::Duration;

use super::shell::Shell;
use crate::lifecycle::Notice;
use crate::model::{Timestamp, story};
use crate::vault::Vault;

/// How often the disk is asked.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is known of the room on the disk.
#[derive(Debug)]
pub(super) struct Space {
    next_look: Timestamp,
    /// While room is short: how many bytes more must become free.
    missing_bytes: Option<u64>,
    /// At the last look.
    free_bytes: u64,
}

/// What a look at the disk means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing new.
    None,
    /// From now on there is too little.
    Short(Notice),
    /// There is much more than a moment ago.
    More,
    /// There is enough again.
    Enough(Notice),
}

impl Space {
    /// Looks at the first occasion.
    pub(super) const fn new() -> Self {
        Self { next_look: Timestamp::EARLIEST, missing_bytes: None, free_bytes: u64::MAX }
    }

    /// Whether room is short, as far as the last look told.
    pub(super) const fn is_short(&self) -> bool {
        self.missing_bytes.is_some()
    }

    /// How many bytes more must become free; none while there is enough.
    pub(super) fn missing_bytes(&self) -> u64 {
        self.missing_bytes.unwrap_or(0)
    }

    /// What was left at the last look; nothing before the first one.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        Some(self.free_bytes).filter(|free| *free != u64::MAX)
    }

    /// When the disk is looked at next, if anything depends on it.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.is_short().then_some(self.next_look)
    }

    /// Something changed: the next look is not put off any longer.
    pub(super) const fn look_again(&mut self) {
        self.next_look = Timestamp::EARLIEST;
    }

    /// Looks at the disk, when it is time to, and fills the reserve when there is room for it.
    pub(super) async fn look(&mut self, shell: &Arc<Shell>, now: Timestamp) -> Change {
        if now < self.next_look {
            return Change::None;
        }
        let wanted = shell.limits.min_free_bytes;
        let look = move |vault: &Vault| {
            let free = vault.free_bytes()?;
            if let Err(error) = vault.fill_reserve(wanted) {
                tracing::debug!(error = %story(&error), "there is no reserve of room");
            }
            Ok::<_, crate::vault::VaultError>(free)
        };
        let change = match shell.blocking(look).await {
            Ok(free) => self.judge(free, wanted),
            Err(error) => {
                tracing::warn!(error = %story(&error), "the room on the disk is not known");
                Change::None
            }
        };
        self.next_look = now.plus(INTERVAL);
        change
    }

    fn judge(&mut self, free_bytes: u64, wanted_bytes: u64) -> Change {
        // Between the two bounds it stays as it is, so that it does not go to and fro.
        let enough = wanted_bytes.saturating_add(wanted_bytes / 8);
        let was_short = self.is_short();
        let doubled = free_bytes / 2 > self.free_bytes;
        self.free_bytes = free_bytes;
        if free_bytes < wanted_bytes || (was_short && free_bytes < enough) {
            self.missing_bytes = Some(enough - free_bytes);
        } else {
            self.missing_bytes = None;
        }
        if !was_short && self.is_short() {
            return Change::Short(Notice::SpaceShort { free_bytes, wanted_bytes });
        }
        if was_short && !self.is_short() {
            return Change::Enough(Notice::SpaceRestored { free_bytes });
        }
        if doubled && !was_short { Change::More } else { Change::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_once_and_ends_only_with_some_room_to_spare() {
        let mut space = Space::new();
        assert_eq!(space.judge(800, 800), Change::None);
        assert!(matches!(space.judge(799, 800), Change::Short(_)));
        assert_eq!(space.judge(0, 800), Change::None);
        assert_eq!(space.judge(899, 800), Change::None);
        assert!(space.is_short());
        assert!(matches!(space.judge(900, 800), Change::Enough(_)));
        assert!(!space.is_short());
        assert_eq!(space.judge(1_800, 800), Change::None);
        assert_eq!(space.judge(9_000, 800), Change::More);
    }
}
