//! What a part has to say.

use crate::support::audit::Gap;
use crate::support::stage::{Dice, from_environment};

/// The outcome of one part.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) tried: u64,
    unit: &'static str,
    pub(crate) findings: Vec<String>,
    notes: Vec<String>,
    /// What could not be done here.
    skipped: Vec<String>,
    pub(crate) seconds: u64,
}

impl Report {
    pub(crate) fn new(unit: &'static str) -> Self {
        let (findings, notes, skipped) = (Vec::new(), Vec::new(), Vec::new());
        Self { tried: 0, unit, findings, notes, skipped, seconds: 0 }
    }

    /// So many rounds of something that answers with its findings, each with dice of its own.
    pub(crate) fn of(
        unit: &'static str,
        rounds: u64,
        round: impl Fn(&mut Dice) -> Vec<String>,
    ) -> Self {
        let mut report = Self::new(unit);
        for number in 0..rounds {
            let seed = seed(number);
            let findings = round(&mut Dice(seed));
            report.tried += 1;
            for finding in findings {
                report.find(format!("seed {seed}: {finding}"));
            }
        }
        report
    }

    pub(crate) fn find(&mut self, what: String) {
        println!("  FOUND {what}");
        self.findings.push(what);
    }

    pub(crate) fn note(&mut self, what: String) {
        self.notes.push(what);
    }

    pub(crate) fn skip(&mut self, why: impl Into<String>) {
        self.skipped.push(why.into());
    }

    /// Takes over what a part of it has to say.
    pub(crate) fn add(&mut self, other: Self) {
        self.tried += other.tried;
        self.findings.extend(other.findings);
        self.notes.extend(other.notes);
        self.skipped.extend(other.skipped);
    }

    pub(crate) fn print(&self) {
        for note in &self.notes {
            println!("  {note}");
        }
        for why in &self.skipped {
            println!("  SKIPPED {why}");
        }
    }

    pub(crate) fn line(&self) -> String {
        let (tried, unit, found) = (self.tried, self.unit, self.findings.len());
        let skipped = if self.skipped.is_empty() { "" } else { "  something was skipped" };
        format!("{tried:>8} {unit:<22} {found:>8} {:>5}s{skipped}", self.seconds)
    }
}

/// The dice of one round; `ROMA_CAMPAIGN_SEED` begins elsewhere.
pub(crate) fn seed(round: u64) -> u64 {
    from_environment("ROMA_CAMPAIGN_SEED", 1).wrapping_add(round.wrapping_mul(1_000_003))
}

/// Does work of which there are `count` pieces on both cores; the reports come in order.
pub(crate) fn on_two_cores(count: u64, work: impl Fn(u64) -> Report + Sync) -> Vec<Report> {
    use std::sync::atomic::{AtomicU64, Ordering};
    let next = AtomicU64::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return done;
            }
            done.push((piece, work(piece)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let other = scope.spawn(take);
        let mut done = take();
        done.extend(other.join().unwrap());
        done
    });
    done.sort_by_key(|(piece, _)| *piece);
    done.into_iter().map(|(_, report)| report).collect()
}

/// Whether the process was gone, or the disk refused what the server had sent.
pub(crate) fn is_explained(gap: &Gap) -> bool {
    // EIO, ENOSPC and EROFS, as the standard library tells them.
    let refusals = ["(os error 5)", "(os error 28)", "(os error 30)"];
    gap.is_by_a_kill() || refusals.iter().any(|refusal| gap.because.contains(refusal))
}
