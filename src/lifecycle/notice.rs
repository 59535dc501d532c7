//! What happens to the daemon rather than to one archive or snapshot: also recorded as events, so
//! that every delay and every decision can be looked up later.

use serde::Serialize;

use crate::model::{Name, Timestamp};

/// An event of the view `events` that concerns no single archive or snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are named for what they hold")]
pub enum Notice {
    /// Calls to an instance failed several times in a row: nothing is sent there until `until`.
    InstancePaused { instance: Name, failures: u32, until: Timestamp, message: String },
    /// An instance that was paused answers again.
    InstanceResumed { instance: Name },
    /// The credential of an account was rejected, or it asked too often: nothing is sent for any of
    /// its instances until `until`.
    AccountPaused { account: Name, until: Timestamp, reason: String },
    /// A call of an account that was paused was accepted.
    AccountResumed { account: Name },
    /// Our clock differs from ROMA's: nothing is deleted, and nothing given up, by its word.
    ClockDoubted { message: String },
    /// Our clock agrees with ROMA's again.
    ClockTrusted,
    /// The disk has less room than `limits.min_free_space`: no download begins, and what lies in
    /// the trash goes before its time.
    SpaceShort { free_bytes: u64, wanted_bytes: u64 },
    /// There is room again.
    SpaceRestored { free_bytes: u64 },
    /// A file that belongs to no archive was moved to quarantine; both places are relative to the
    /// state directory.
    FileQuarantined { path: String, kept_as: String, message: String },
    /// The newest complete snapshot of an export is older than its objective (`rpo`), or there is
    /// none.
    ObjectiveMissed { instance: Name, export: Name, message: String },
    /// The objective is met again.
    ObjectiveMet { instance: Name, export: Name },
    /// The catalog was lost or broken, and this one made of what the files of the vault say;
    /// `left` files say nothing that can be believed.
    CatalogRebuilt { snapshots: usize, archives: u64, bytes: u64, left: usize },
}

impl Notice {
    /// The word in the column `events.event`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::InstancePaused { .. } => "instance_paused",
            Self::InstanceResumed { .. } => "instance_resumed",
            Self::AccountPaused { .. } => "account_paused",
            Self::AccountResumed { .. } => "account_resumed",
            Self::ClockDoubted { .. } => "clock_doubted",
            Self::ClockTrusted => "clock_trusted",
            Self::SpaceShort { .. } => "space_short",
            Self::SpaceRestored { .. } => "space_restored",
            Self::FileQuarantined { .. } => "file_quarantined",
            Self::ObjectiveMissed { .. } => "objective_missed",
            Self::ObjectiveMet { .. } => "objective_met",
            Self::CatalogRebuilt { .. } => "catalog_rebuilt",
        }
    }
}
