//! Short file names for long descriptions.
//!
//! A collision makes two lines wait as one, or a text be said once less: never a wrong result, so 32 bits do.

use crate::checksum::Crc32;

/// A number for these parts in this order.
pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut sum = Crc32::new();
    for part in parts {
        sum.update(part);
        // What ends one part cannot begin the next.
        sum.update(&[0]);
    }
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let hash = |parts: &[&str]| of_parts(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
        assert_ne!(hash(&["a", "b"]), hash(&["ab"]));
        assert_ne!(hash(&["a", "b"]), hash(&["b", "a"]));
    }
}
