//! A failed attempt, and the two questions that every failure answers: *may it be retried?*
//! ([`FailureClass`]) and *could it have happened?* ([`Effect`]).

use serde::{Deserialize, Serialize};

/// May it be retried, and how eagerly?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// It may work the next time: network, server fault, local I/O.
    Transient,
    /// ROMA runs another asset job of this user: a normal wait (contract 7, ROMA 10012).
    Busy,
    /// The gateway asks for patience (429).
    Throttled,
    /// The credential was refused. One renewal, then a pause: repeated refusals lock the user or
    /// the key (contract 6.1, 6.2).
    Unauthorized,
    /// The account pauses, because its credential was rejected: nothing was asked, which is no
    /// attempt.
    Paused,
    /// It will not work until somebody changes something.
    Permanent,
    /// ROMA says that the thing asked for no longer exists.
    Gone,
    /// This machine is not ready: no space, no permission. The package waits at ROMA meanwhile.
    Local,
}

impl FailureClass {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Transient,
        Self::Busy,
        Self::Throttled,
        Self::Unauthorized,
        Self::Paused,
        Self::Permanent,
        Self::Gone,
        Self::Local,
    ];

    /// The word in the detail of an event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Busy => "busy",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Paused => "paused",
            Self::Permanent => "permanent",
            Self::Gone => "gone",
            Self::Local => "local",
        }
    }

    /// Waiting for one's turn, which is no failed attempt.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Busy | Self::Paused)
    }
}

/// Could the effect have happened in spite of the failure?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Certainly not.
    NotDone,
    /// Nobody knows.
    Unknown,
}

/// A failed attempt, as stored in the event's detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// May it be retried?
    pub class: FailureClass,
    /// Could it have happened?
    pub effect: Effect,
    /// For people: what failed and why, without secrets.
    pub message: String,
    /// The server's own wish, already measured against its clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A failure without a wish of the server's.
    pub fn new(class: FailureClass, effect: Effect, message: impl Into<String>) -> Self {
        Self { class, effect, message: message.into(), retry_after_ms: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_events() {
        for class in FailureClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }
}
