//! Which snapshots stay and which go, as a pure function that people can predict.
//!
//! [`plan()`] is the only code that decides about deletion: the daemon acts on it, the commands
//! show it, and the columns `kept_because` and `expected_delete_at` are written from it. Where
//! nothing else is said the rules are restic's; every deviation is on the keeping side. Nothing
//! here reads a clock or a file: the caller brings `now`, the zone and the facts.

mod forecast;
#[cfg(test)]
mod naive;
mod plan;
mod policy;
mod policy_test;
mod reason;
mod rules;

pub use forecast::forecast;
pub use plan::{Circumstances, Pin, SnapshotFacts, Verdict, plan};
pub use policy::{Count, CountRule, Period, Policy, WithinRule};
pub use policy_test::{
    Given, Moment, PolicyTest, TestFailure, UnreadableTest, failing_test, failing_tests,
};
pub use reason::{Miss, Reason};
