//! `roma-archived` keeps a verified, restorable history of Huawei Cloud ROMA Connect's asset
//! exports, whose packages can be downloaded only once.
//!
//! A pure core ([`lifecycle`], [`schedule`], [`retention`]) decides what each archive needs next;
//! a thin shell ([`engine`] over [`roma`], [`vault`] and [`catalog`]) commits the intent, performs
//! the effect and commits the fact. [`service`] hosts the loop, [`cli`] is what a person types,
//! and [`contents`] knows for it what is inside a package.
//! `ARCHITECTURE.md` holds the map, the invariants and the walk of one archive through the files.

// In the order in which to read them.
pub mod model;

pub mod lifecycle;

pub mod schedule;

pub mod retention;

pub mod contents;

pub mod settings;

pub mod health;

pub mod config;

pub mod clock;

pub mod roma;

pub mod vault;

pub mod catalog;

pub mod engine;

pub mod service;

pub mod telemetry;

pub mod exit;

pub mod cli;
