//! Seeded numbers: everything in the simulator that looks random comes from here and can be
//! repeated. Must never ask the operating system for randomness.

/// Spreads the bits of one number over all 64 (the finaliser of splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One number out of a seed, a word and a counter.
pub(crate) fn hash(seed: u64, word: &str, number: u64) -> u64 {
    let mut state = mix(seed);
    for byte in word.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(mix(state) ^ number)
}

/// An id of 32 hexadecimal digits, as ROMA gives to jobs and packages.
pub(crate) fn hex_id(seed: u64, word: &str, number: u64) -> String {
    let first = hash(seed, word, number);
    format!("{first:016x}{:016x}", mix(first))
}

/// An id in the form of a UUID, as ROMA gives to instances and applications.
pub(crate) fn uuid(seed: u64, word: &str, number: u64) -> String {
    let id = hex_id(seed, word, number);
    format!("{}-{}-4{}-a{}-{}", &id[0..8], &id[8..12], &id[13..16], &id[17..20], &id[20..32])
}

/// Below `bound`; `bound` zero gives zero. The bias does not matter here.
pub(crate) fn below(value: u64, bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
    usize::try_from(value % bound).unwrap_or(0)
}

/// True with the given probability.
pub(crate) fn happens(value: u64, probability: f64) -> bool {
    let upper = u32::try_from(value >> 32).unwrap_or(u32::MAX);
    f64::from(upper) < probability * (f64::from(u32::MAX) + 1.0)
}

/// The generator xoshiro256++: several gigabytes per second, incompressible.
#[derive(Clone, Debug)]
pub(crate) struct Prng {
    state: [u64; 4],
}

impl Prng {
    pub(crate) fn new(seed: u64) -> Prng {
        let first = mix(seed);
        let second = mix(first);
        let third = mix(second);
        Prng { state: [first, second, third, mix(third)] }
    }

    pub(crate) fn next(&mut self) -> u64 {
        let state = &mut self.state;
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// Fills the buffer. A buffer whose length is no multiple of eight loses the rest of its
    /// last number, so the same stream needs the same buffer sizes.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        let mut words = buffer.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
        let rest = words.into_remainder();
        if !rest.is_empty() {
            let last = self.next().to_le_bytes();
            let length = rest.len();
            rest.copy_from_slice(&last[..length]);
        }
    }
}
