//! A simulator of ROMA Connect's asset export, and of the token endpoint of IAM, on one port.
//!
//! The API gives a package out a single time. What the vendor's documents leave open is a
//! [`Knobs`] value; what can go wrong is a scripted [`Fault`]; what really was served is in the
//! [`Ledger`], which a test asks instead of believing the client.
//!
//! It reads the vendor's documents on its own and must never depend on the client it tests.
//!
//! The files in reading order: [`defaults`], [`knobs`], [`fault`], [`content`] and [`ledger`] hold
//! the words; [`world`] answers a request (pure: no socket, no clock); `shape` says how an answer
//! goes over the wire; `server`, `http`, `transmit` do it; `admin` is for scripts.

mod admin;
mod auth;
mod calendar;
mod chaos;
mod choices;
pub mod clock;
pub mod content;
pub mod defaults;
pub mod fault;
mod http;
pub mod knobs;
pub mod ledger;
mod prng;
mod reply;
mod route;
pub mod server;
mod shape;
mod supply;
mod transmit;
mod wire;
pub mod world;

pub use clock::SimClock;
pub use content::ContentSpec;
pub use fault::{Effect, Endpoint, Fault, ListMove, UnauthorizedKind};
pub use knobs::Knobs;
pub use ledger::{GetRecord, Ledger, PackageRecord};
pub use server::{SimOptions, Simulator};
pub use wire::JobReason;
pub use world::{CreatedJob, InstanceSpec, JobSpec, JobState, KeySpec, UserSpec, World};
