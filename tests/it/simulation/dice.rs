//! Chance that can be had again: the same seed gives the same throws. `SplitMix64`, written out so
//! that a seed means the same tomorrow whatever becomes of a library.

/// Dice with a memory.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// Any number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// True one time in `count`.
    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    /// One of these.
    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        let place = self.between(0, choices.len() as u64 - 1);
        choices[usize::try_from(place).unwrap()].clone()
    }

    /// Dice of their own, which do not disturb these.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}
