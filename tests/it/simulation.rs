//! Seeded lives of the whole engine: servers of every kind, faults of wire and disk, crashes, power
//! cuts and clocks that jump, one task at a time so that a seed is always the same life. When it is
//! over, the oracle checks O1 to O8.
//!
//! `ROMA_SEED=7` lives through one seed; `ROMA_SEEDS=100000 ROMA_SEED_FROM=1` through many, on all
//! cores.

pub(crate) mod dice;
mod life;
mod setting;

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use life::{Outcome, live};

use crate::support::say;

/// Seeds that the gate lives through.
const SEEDS: u64 = 200;
/// After so many seeds that failed there is enough to look into.
const ENOUGH: usize = 10;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Lives through one seed on a runtime of its own.
fn run(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome =
        std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(Box::pin(live(seed)))));
    // Whatever a failed life left behind must not hold up the others.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn every_life_comes_to_a_good_rest() {
    let (from, count) = match number("ROMA_SEED") {
        Some(seed) => (seed, 1),
        None => (number("ROMA_SEED_FROM").unwrap_or(1), number("ROMA_SEEDS").unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(from);
    let failed = Mutex::new(Vec::new());
    let total = Mutex::new(Outcome::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count || failed.lock().unwrap().len() >= ENOUGH {
                return;
            }
            match std::panic::catch_unwind(|| run(seed)) {
                Ok(outcome) => {
                    let mut total = total.lock().unwrap();
                    total.deaths += outcome.deaths;
                    total.failures += outcome.failures;
                    total.archives += outcome.archives;
                    total.lost += outcome.lost;
                    total.held += outcome.held;
                    total.gap += outcome.gap;
                }
                Err(_) => failed.lock().unwrap().push(seed),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads.min(usize::try_from(count).unwrap_or(usize::MAX)) {
            scope.spawn(work);
        }
    });
    say(&format!("{count} seeds from {from}: {:?}", total.into_inner().unwrap()));
    let failed = failed.into_inner().unwrap();
    let advice: Vec<String> = failed
        .iter()
        .map(|s| format!("seed {s}: replay with ROMA_SEED={s} cargo test --test it simulation"))
        .collect();
    assert!(failed.is_empty(), "{}", advice.join("\n"));
}

#[test]
fn a_seed_is_always_the_same_life() {
    for seed in [1, 2, 3, 4, 5] {
        let (first, second) = (run(seed).log, run(seed).log);
        let differs = first.iter().zip(&second).find(|(one, other)| one != other);
        assert!(differs.is_none(), "seed {seed}: {differs:#?}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
        assert!(!first.is_empty());
    }
}
