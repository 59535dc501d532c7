//! How many threads may compute for the vault at once: as many as there are cores, over all
//! packages together.
//!
//! Whoever waits is served in the order of asking, so that a large package cannot keep a small one
//! waiting for longer than one of its pieces. This module must never hand out more than there is.
//! It holds no file; a crash means nothing here.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// More threads than this would hold more memory than they are worth.
const MAX_CORES: usize = 8;

/// So many cores as the vault may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_CORES)
}

/// A number of something that is handed out and comes back.
#[derive(Debug)]
pub(super) struct Permits {
    all: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Numbers that were drawn by those who had to wait, and whose turn it is.
    drawn: u64,
    turn: u64,
}

/// One of them; comes back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a Permits);

impl Permits {
    pub(super) fn new(all: usize) -> Self {
        let state = State { free: all, drawn: 0, turn: 0 };
        Self { all, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for one. Whoever holds one already might wait for ever.
    pub(super) fn take(&self) -> Permit<'_> {
        let mut state = self.state();
        let number = state.drawn;
        state.drawn += 1;
        while state.turn != number || state.free == 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.turn += 1;
        state.free -= 1;
        // There may be one for the next as well.
        self.changed.notify_all();
        Permit(self)
    }

    /// One that is free and that nobody waits for.
    pub(super) fn try_take(&self) -> Option<Permit<'_>> {
        let mut state = self.state();
        if state.turn != state.drawn || state.free == 0 {
            return None;
        }
        state.free -= 1;
        Some(Permit(self))
    }

    /// Whether somebody waits for one.
    pub(super) fn are_wanted(&self) -> bool {
        let state = self.state();
        state.turn != state.drawn
    }

    /// Whether nobody holds any, or waits for one.
    pub(super) fn are_idle(&self) -> bool {
        let state = self.state();
        state.free == self.all && state.turn == state.drawn
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two numbers that are changed together without anything that could panic in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.state().free += 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn there_are_never_more_out_than_there_are() {
        let permits = Permits::new(3);
        let (out, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _permit = permits.take();
                        most.fetch_max(1 + out.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                        thread::yield_now();
                        out.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert!(permits.are_idle());
        let all: Vec<_> = (0..3).map(|_| permits.try_take().unwrap()).collect();
        assert!(permits.try_take().is_none() && !permits.are_idle());
        drop(all);
        assert!(permits.are_idle());
    }

    #[test]
    fn nobody_jumps_the_queue() {
        let permits = Permits::new(1);
        let first = permits.take();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(permits.take()));
            while permits.state().drawn < 2 {
                thread::sleep(Duration::from_millis(1));
            }
            // Free for nobody but the one who waits.
            permits.state().free += 1;
            assert!(permits.try_take().is_none());
            permits.state().free -= 1;
            drop(first);
            waiting.join().unwrap();
        });
        assert!(permits.are_idle());
    }
}
