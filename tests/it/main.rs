//! Integration tests: one binary, one module a behaviour.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic, its helpers as well")]

mod architecture;
mod catalog;
mod commands;
mod config;
mod crash;
mod deleting;
mod demo;
mod doctor;
mod downloading;
mod fixtures;
mod full_disk;
mod hostile;
mod instances;
mod kill;
mod launching;
mod mishaps;
mod openapi;
mod pins;
mod plans;
mod polling;
mod reconcile;
mod recovery;
mod restoring;
mod retention;
mod schema;
mod scopes;
mod shutdown;
mod signing_in;
mod simulation;
mod storing;
mod support;
mod systemd;
mod verifying;
mod whole_life;
mod wire_faults;
