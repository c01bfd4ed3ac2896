//! CRC-32: the only home of the crate crc32fast. Knows nothing of what is summed up, or why.

/// Sums up bytes that come in pieces.
#[derive(Clone, Debug, Default)]
pub struct Crc32(crc32fast::Hasher);

impl Crc32 {
    /// Of nothing yet.
    pub fn new() -> Crc32 {
        Crc32::default()
    }

    /// Adds a piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The sum of all pieces.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// The sum of one piece.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_usual_one_however_the_bytes_come() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let mut sum = Crc32::new();
        sum.update(b"1234");
        sum.update(b"56789");
        assert_eq!(sum.finish(), 0xcbf4_3926);
    }
}
