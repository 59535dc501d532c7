//! What the engine is to look after, as the host hands it over.

use std::collections::HashMap;
use std::time::Duration;

use super::agenda::Agenda;
use super::foresight::Retention;
use crate::model::{Name, Timestamp};
use crate::settings::{Export, Verify};

/// What the engine is to look after.
#[derive(Debug)]
pub struct Assignment {
    /// The configured exports.
    pub exports: Vec<Export>,
    /// Retention of each export, `watched` ones included.
    pub retentions: Vec<Retention>,
    /// The account of each configured instance: one job at a time for each.
    pub accounts: HashMap<Name, Name>,
    /// The zone of schedules.
    pub zone: jiff::tz::TimeZone,
    /// How often to look whether a command has changed the catalog.
    pub check_interval: Duration,
    /// How often stored files are read again.
    pub verify: Verify,
    /// Tasks that may run at the same time, beside the limits of each kind. One at a time makes a
    /// run repeatable; a daemon has no such bound.
    pub at_once: usize,
}

/// ROMA runs one asset job of a user at a time, over all its instances (contract 1, U10).
/// After a refusal for that reason all its requests wait together.
pub(super) fn account_is_free(
    agenda: &Agenda,
    accounts: &HashMap<Name, Name>,
    instance: &Name,
    now: Timestamp,
) -> bool {
    let is_free =
        |instance: &Name| !agenda.occupies(instance) && !agenda.awaits_turn(instance, now);
    let account = accounts.get(instance);
    accounts.iter().filter(|(_, other)| Some(*other) == account).all(|(other, _)| is_free(other))
        && (account.is_some() || is_free(instance))
}
