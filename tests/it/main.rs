//! Integration tests: one binary, one module a behaviour.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic, its helpers as well")]

mod architecture;
mod catalog;
mod config;
mod hostile;
mod systemd;
mod whole_life;
