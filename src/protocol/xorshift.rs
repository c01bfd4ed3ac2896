//! Made-up bytes for tests: the same in each run. Knows nothing of what they are for.

/// Marsaglia's generator: the same numbers in each run.
pub(super) struct Xorshift(u64);

impl Xorshift {
    pub(super) fn new(seed: u64) -> Xorshift {
        Xorshift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to `end`, without `end` unless it is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.number() >> 16) as usize % end.max(1)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.number() >> 32) as u8).collect()
    }

    /// A copy with one to three bytes changed, lost, doubled or put in.
    pub(super) fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(damaged.len());
            let byte = self.number() as u8;
            match self.below(5) {
                _ if damaged.is_empty() => damaged.push(byte),
                0 => damaged[at] = byte,
                1 => damaged[at] ^= 1 << self.below(8),
                2 => drop(damaged.remove(at)),
                3 => damaged.insert(at, damaged[at]),
                _ => damaged.insert(at, byte),
            }
        }
        damaged
    }
}
