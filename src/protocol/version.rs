//! The protocol's versions and what each implies (manual, "Host Specifications": `,lzo` and `,cpp`). Knows
//! nothing of how they are written on the wire.

use std::fmt;

/// The number a request begins with; it says how bodies are compressed and who preprocesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(u32);

impl Version {
    /// Bodies as they are; the client preprocesses.
    pub const PLAIN: Version = Version(1);
    /// Bodies compressed; the client preprocesses (host option `,lzo`).
    pub const LZO: Version = Version(2);
    /// Bodies compressed; the client sends source and headers, and the server preprocesses (`,lzo,cpp`).
    pub const PUMP: Version = Version(3);

    /// The version a peer's number stands for. Servers of 3.4 take 0 for 1 and echo it as 0, so it is kept
    /// apart.
    pub fn from_wire(number: u32) -> Option<Version> {
        (number <= Version::PUMP.0).then_some(Version(number))
    }

    /// The number on the wire.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether bodies travel as LZO1X streams.
    pub fn compresses(self) -> bool {
        self.0 >= Version::LZO.0
    }

    /// Whether the server runs the preprocessor, on files that came with the request.
    pub fn preprocesses_remotely(self) -> bool {
        self == Version::PUMP
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "protocol version {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_decides_compression_and_place_of_preprocessing() {
        // (number, compresses, preprocesses remotely)
        let known = [(0, false, false), (1, false, false), (2, true, false), (3, true, true)];
        for (number, compresses, preprocesses_remotely) in known {
            let version = Version::from_wire(number).unwrap();
            assert_eq!(version.number(), number);
            assert_eq!(version.compresses(), compresses, "{version}");
            assert_eq!(version.preprocesses_remotely(), preprocesses_remotely, "{version}");
        }
    }

    #[test]
    fn numbers_beyond_three_are_unknown() {
        for number in [4, 5, 4000, u32::MAX] {
            assert_eq!(Version::from_wire(number), None);
        }
    }
}
