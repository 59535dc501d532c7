//! What the running daemon knows and the catalog does not: the signs of life that the engine hands
//! over with each beat of its loop.

use crate::model::{Name, Timestamp};

/// What the engine knows at one moment.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    /// Each configured instance.
    pub instances: Vec<InstanceSigns>,
    /// Each configured account.
    pub accounts: Vec<AccountSigns>,
    /// Left on the disk, in bytes, if it could be asked.
    pub free_bytes: Option<u64>,
    /// `limits.min_free_space`, in bytes.
    pub wanted_bytes: u64,
}

/// What is known of one instance.
#[derive(Clone, Debug)]
pub struct InstanceSigns {
    /// Its name.
    pub name: Name,
    /// Nothing is sent to it, because calls failed in a row.
    pub is_paused: bool,
    /// How far its clock is ahead of ours, in milliseconds, as its last answer said.
    pub clock_offset_ms: Option<i64>,
}

/// What is known of one account.
#[derive(Clone, Debug)]
pub struct AccountSigns {
    /// Its name.
    pub name: Name,
    /// Nothing is sent for it, because its credential was rejected or it asked too often.
    pub is_paused: bool,
    /// When the credential at hand ends, where that is known.
    pub credential_ends: Option<Timestamp>,
}
