//! LZO1X, the compression of bodies: raw streams without length or checksum, ended by `11 00 00`. The only
//! home of the crate minilzo-rs. Does not know what is compressed, nor that an empty body is sent as no bytes
//! at all instead of an empty stream: that is the sender's business.
//!
//! The crate compresses. Its decompressor is not used: the decompressed length does not travel with a stream, and
//! the crate's function can neither report it nor work without it, so that every stream had to be read twice. The
//! walk below makes the output as it goes, and refuses a bomb before it makes more than the caller takes. It is
//! also nearly twice as fast (docs/performance.md). The tests hold it to accept precisely what the library accepts.

use std::fmt;

use minilzo_rs::LZO;

/// Preprocessed text and objects become this many times shorter at most, as a rule; more only costs a reallocation.
const EXPANSION_EXPECTED: usize = 6;

/// Why a stream does not decompress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LzoError {
    /// The stream ends before its end marker.
    Truncated,
    /// A token refers to bytes before the beginning.
    BadDistance {
        /// Where the token ends in the stream, in bytes.
        offset: usize,
    },
    /// Bytes follow the end marker.
    TrailingBytes(usize),
    /// More than the caller takes.
    TooLong {
        /// The most bytes the caller takes.
        limit: usize,
    },
    /// The library refuses what the walk accepted: the two should never disagree.
    Library,
}

impl fmt::Display for LzoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LzoError::Truncated => f.write_str("LZO stream ends early"),
            LzoError::BadDistance { offset } => {
                write!(f, "LZO stream refers to bytes before its beginning, at offset {offset}")
            }
            LzoError::TrailingBytes(count) => write!(f, "{count} bytes after the end of the LZO stream"),
            LzoError::TooLong { limit } => write!(f, "more than {limit} bytes when decompressed"),
            LzoError::Library => f.write_str("LZO library refuses the stream"),
        }
    }
}

impl std::error::Error for LzoError {}

/// Decompresses one whole stream of at most `limit` bytes when decompressed.
pub fn decompress(src: &[u8], limit: usize) -> Result<Vec<u8>, LzoError> {
    let expected = src.len().saturating_mul(EXPANSION_EXPECTED).min(limit);
    let mut output = walk(src, limit, Bytes::with_room(expected))?;
    output.room.truncate(output.made);
    Ok(output.room)
}

/// Compresses bodies; owns the library's work memory (128 KiB, made at first use) so that it is reused.
#[derive(Default)]
pub struct Compressor {
    library: Option<Box<LZO>>,
}

impl Compressor {
    /// A compressor, without its memory as yet.
    pub fn new() -> Compressor {
        Compressor::default()
    }

    /// Compresses `src` into a stream of at most `src.len() + src.len() / 16 + 67` bytes. Of nothing this
    /// makes the bare end marker; the protocol wants an empty body to be sent as length 0 instead.
    pub fn compress(&mut self, src: &[u8]) -> Vec<u8> {
        let library = self.library.get_or_insert_with(open_library);
        library.compress(src).expect("LZO1X-1 compresses any input")
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("ready", &self.library.is_some()).finish()
    }
}

fn open_library() -> Box<LZO> {
    // Fails only when the library was compiled with other integer sizes than ours.
    Box::new(LZO::init().expect("the LZO library fits this machine"))
}

/// The exact length of a stream when decompressed, which must not pass `limit`. Accepts precisely what
/// [`decompress`] accepts; no output is made.
pub fn decompressed_len(src: &[u8], limit: usize) -> Result<usize, LzoError> {
    walk(src, limit, Length(0)).map(|output| output.0)
}

/// Follows a stream to its end, token by token.
fn walk<O: Output>(src: &[u8], limit: usize, output: O) -> Result<O, LzoError> {
    let mut walk = Walk { src, at: 0, output, limit };
    let mut before = Before::Match;
    if let Some(first @ 18..) = src.first() {
        // A first byte of this size is a literal run of its own, without a token.
        walk.at = 1;
        before = walk.literals(usize::from(first - 17))?;
    }
    loop {
        let token = usize::from(walk.byte()?);
        // How far back, how many bytes, and how many literals follow (two bits in the token's last byte but
        // one).
        let (distance, length, literals) = match (token, before) {
            (0..=15, Before::Match) => {
                let length = 3 + if token == 0 { walk.long_count(15)? } else { token };
                before = walk.literals(length)?;
                continue;
            }
            (0..=15, Before::FewLiterals) => (1 + (token >> 2) + walk.scaled_byte(2)?, 2, token),
            (0..=15, Before::LiteralRun) => (0x801 + (token >> 2) + walk.scaled_byte(2)?, 3, token),
            (16..=31, _) => {
                let length = 2 + if token & 7 == 0 { walk.long_count(7)? } else { token & 7 };
                let pair = walk.pair()?;
                let distance = ((token & 8) << 11) + (pair >> 2);
                if distance == 0 {
                    return walk.end();
                }
                (0x4000 + distance, length, pair)
            }
            (32..=63, _) => {
                let length = 2 + if token & 31 == 0 { walk.long_count(31)? } else { token & 31 };
                let pair = walk.pair()?;
                (1 + (pair >> 2), length, pair)
            }
            (64.., _) => (1 + (token >> 2 & 7) + walk.scaled_byte(3)?, (token >> 5) + 1, token),
        };
        if distance > walk.output.produced() {
            return Err(LzoError::BadDistance { offset: walk.at });
        }
        walk.room_for(length)?;
        walk.output.copy_back(distance, length);
        before = walk.literals(literals & 3)?;
    }
}

/// What stands before a token; the meaning of the smallest tokens depends on it.
#[derive(Clone, Copy)]
enum Before {
    /// A back-reference without literals, or the beginning.
    Match,
    /// One to three literals.
    FewLiterals,
    /// A run of four or more literals.
    LiteralRun,
}

/// What a walk makes.
trait Output {
    /// Bytes made so far.
    fn produced(&self) -> usize;
    /// Appends the first `count` of these bytes, of which there are at least as many.
    fn append(&mut self, from: &[u8], count: usize);
    /// Appends `length` bytes that begin `distance` before the end, which may be among those appended.
    fn copy_back(&mut self, distance: usize, length: usize);
}

/// Only the length of the output.
struct Length(usize);

impl Output for Length {
    fn produced(&self) -> usize {
        self.0
    }

    fn append(&mut self, _: &[u8], count: usize) {
        self.0 += count;
    }

    fn copy_back(&mut self, _: usize, length: usize) {
        self.0 += length;
    }
}

/// The output itself. The bytes from `made` on are room that is not used yet.
struct Bytes {
    room: Vec<u8>,
    made: usize,
}

/// Short copies are of this many bytes, whatever was asked for: what is too much is overwritten by the next one.
/// Most are shorter, and a copy of fixed size is two instructions.
const CHUNK: usize = 16;

impl Bytes {
    fn with_room(bytes: usize) -> Bytes {
        Bytes { room: vec![0; bytes], made: 0 }
    }

    fn reserve(&mut self, count: usize) {
        let needed = self.made + count + CHUNK;
        if needed > self.room.len() {
            self.room.resize(needed + needed / 2, 0);
        }
    }

    fn put_chunk(&mut self, at: usize, chunk: [u8; CHUNK]) {
        self.room[at..at + CHUNK].copy_from_slice(&chunk);
    }
}

fn chunk(bytes: &[u8]) -> Option<[u8; CHUNK]> {
    bytes.first_chunk().copied()
}

impl Output for Bytes {
    fn produced(&self) -> usize {
        self.made
    }

    fn append(&mut self, from: &[u8], count: usize) {
        self.reserve(count);
        match chunk(from) {
            Some(chunk) if count <= CHUNK => self.put_chunk(self.made, chunk),
            _ => self.room[self.made..self.made + count].copy_from_slice(&from[..count]),
        }
        self.made += count;
    }

    fn copy_back(&mut self, distance: usize, length: usize) {
        self.reserve(length);
        let (from, to) = (self.made - distance, self.made);
        if distance >= CHUNK {
            for offset in (0..length).step_by(CHUNK) {
                let chunk = chunk(&self.room[from + offset..]).expect("BUG: there is room for a chunk");
                self.put_chunk(to + offset, chunk);
            }
        } else {
            // A copy that reaches into itself repeats a pattern.
            for offset in 0..length {
                self.room[to + offset] = self.room[from + offset];
            }
        }
        self.made += length;
    }
}

/// A position in a stream, and what it made so far.
struct Walk<'a, O> {
    src: &'a [u8],
    at: usize,
    output: O,
    limit: usize,
}

impl<O: Output> Walk<'_, O> {
    fn byte(&mut self) -> Result<u8, LzoError> {
        let byte = *self.src.get(self.at).ok_or(LzoError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn scaled_byte(&mut self, shift: u32) -> Result<usize, LzoError> {
        Ok(usize::from(self.byte()?) << shift)
    }

    fn pair(&mut self) -> Result<usize, LzoError> {
        Ok(usize::from(u16::from_le_bytes([self.byte()?, self.byte()?])))
    }

    /// A count too large for its token: 255 for each zero byte, then one byte that ends it.
    fn long_count(&mut self, base: usize) -> Result<usize, LzoError> {
        let mut count = base;
        loop {
            match self.byte()? {
                0 => count = count.saturating_add(255),
                last => return Ok(count.saturating_add(usize::from(last))),
            }
        }
    }

    fn literals(&mut self, count: usize) -> Result<Before, LzoError> {
        if count > self.src.len() - self.at {
            return Err(LzoError::Truncated);
        }
        self.room_for(count)?;
        self.output.append(&self.src[self.at..], count);
        self.at += count;
        Ok(match count {
            0 => Before::Match,
            1..=3 => Before::FewLiterals,
            _ => Before::LiteralRun,
        })
    }

    fn room_for(&self, count: usize) -> Result<(), LzoError> {
        let fits = count <= self.limit - self.output.produced();
        if fits { Ok(()) } else { Err(LzoError::TooLong { limit: self.limit }) }
    }

    fn end(self) -> Result<O, LzoError> {
        match self.src.len() - self.at {
            0 => Ok(self.output),
            count => Err(LzoError::TrailingBytes(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::from_hex;
    use super::super::xorshift::Xorshift;
    use super::*;

    /// More than any of these tests makes.
    const AMPLE: usize = 1 << 24;

    fn captured() -> Vec<(&'static [u8], &'static str)> {
        const BUILT_IN: &[u8] = b"# 0 \"t.c\"\n# 0 \"<built-in>\"\n# 0 \"<command-line>\"\n\
            # 1 \"/usr/include/stdc-predef.h\" 1 3 4\n# 0 \"<command-line>\" 2\n# 1 \"t.c\"\nint x;\n";
        vec![
            (b"", "110000"),
            (b"a", "1261110000"),
            (b"int x;\n", "18696e7420783b0a110000"),
            (b"int foo(){return 0;}", "25696e7420666f6f28297b72657475726e20303b7d110000"),
            (&[b'A'; 1000], "02414141414120000000b610000c414141414141414141414141414141110000"),
            (
                BUILT_IN,
                "072320302022742e63220a8401073c6275696c742d696e3ee00209636f6d6d616e642d6c696e65900200123120\
                 222f7573722f696e636c7564652f737464632d7072656465662e6822203120332034d0092cec00000220320a23\
                 20312022742e63220a696e7420783b0a110000",
            ),
        ]
    }

    fn library_accepts(src: &[u8], length: usize) -> bool {
        open_library().decompress_safe(src, length).is_ok()
    }

    /// Sizes at which the encodings of lengths, distances and blocks change.
    const SIZES: [usize; 26] = [
        0,
        1,
        2,
        3,
        4,
        5,
        16,
        17,
        18,
        19,
        33,
        237,
        238,
        239,
        255,
        256,
        2047,
        2048,
        2049,
        2050,
        16_384,
        16_385,
        48_000,
        49_151,
        49_152,
        1 << 20,
    ];

    /// Inputs of one size: constant, random, of few letters, of repeated far blocks, and random with long
    /// copies.
    fn inputs(size: usize, random: &mut Xorshift) -> Vec<Vec<u8>> {
        let noise = random.bytes(size);
        let letters = noise.iter().map(|byte| b"if (x){}\n"[usize::from(byte % 9)]).collect();
        let blocks = (0..size).map(|index| noise[index % 20_000]).collect();
        let mut copies = noise.clone();
        let mut at = 1;
        while at < size {
            let distance = 1 + random.below(at.min(49_000));
            let end = size.min(at + random.below(700));
            for index in at..end {
                copies[index] = copies[index - distance];
            }
            at = end + 1 + random.below(40);
        }
        vec![vec![0; size], noise, letters, blocks, copies]
    }

    #[test]
    fn captured_streams_are_made_and_read() {
        let mut compressor = Compressor::new();
        for (plain, stream) in captured() {
            let stream = from_hex(stream);
            assert_eq!(compressor.compress(plain), stream, "{}", plain.escape_ascii());
            assert_eq!(decompressed_len(&stream, plain.len()), Ok(plain.len()));
            assert_eq!(decompress(&stream, plain.len()).as_deref(), Ok(plain));
        }
    }

    #[test]
    fn every_size_and_kind_of_input_comes_back() {
        let mut random = Xorshift::new(1);
        let mut compressor = Compressor::new();
        for size in SIZES {
            for plain in inputs(size, &mut random) {
                let stream = compressor.compress(&plain);
                assert_eq!(decompressed_len(&stream, size), Ok(size));
                assert!(decompress(&stream, size) == Ok(plain), "size {size}");
                if size > 0 {
                    let short = size - 1;
                    assert_eq!(decompressed_len(&stream, short), Err(LzoError::TooLong { limit: short }));
                    assert!(!library_accepts(&stream, short), "the walk's length is not exact");
                }
            }
        }
    }

    #[test]
    fn a_compressor_is_not_changed_by_what_it_compressed_before() {
        let mut used = Compressor::new();
        let mut random = Xorshift::new(2);
        for plain in inputs(5000, &mut random) {
            assert_eq!(used.compress(&plain), Compressor::new().compress(&plain));
        }
    }

    #[test]
    fn every_truncation_and_every_extension_is_refused() {
        let mut random = Xorshift::new(3);
        let mut compressor = Compressor::new();
        let mut streams: Vec<Vec<u8>> = captured().iter().map(|(_, hex)| from_hex(hex)).collect();
        streams.extend(inputs(3000, &mut random).iter().map(|plain| compressor.compress(plain)));
        for mut stream in streams {
            for cut in 0..stream.len() {
                assert_eq!(decompress(&stream[..cut], AMPLE), Err(LzoError::Truncated), "cut at {cut}");
            }
            stream.push(0);
            assert_eq!(decompress(&stream, AMPLE), Err(LzoError::TrailingBytes(1)));
        }
    }

    #[test]
    fn hand_made_streams_are_judged_by_their_first_fault() {
        let bomb = [&[0x12, b'a', 0x20], [0; 4000].as_slice(), &[1, 0, 0, 0x11, 0, 0]].concat();
        let cases: [(&[u8], Result<usize, LzoError>); 7] = [
            (&[0x11, 0, 0], Ok(0)),
            // One literal, then two bytes from one back: the smallest back-reference.
            (&[0x12, b'a', 0, 0, 0x11, 0, 0], Ok(3)),
            // The same from two back, where nothing is.
            (&[0x12, b'a', 4, 0, 0x11, 0, 0], Err(LzoError::BadDistance { offset: 4 })),
            // A reference as the very first token.
            (&[0x10, 4, 0, 0x11, 0, 0], Err(LzoError::BadDistance { offset: 4 })),
            (&[0x11, 4, 0, 0x11, 0, 0], Err(LzoError::BadDistance { offset: 3 })),
            (&[0xff, b'a', 0x11, 0, 0], Err(LzoError::Truncated)),
            (&bomb, Err(LzoError::TooLong { limit: 1_000_000 })),
        ];
        for (stream, expected) in cases {
            assert_eq!(decompressed_len(stream, 1_000_000), expected, "{stream:x?}");
        }
    }

    #[test]
    fn each_form_of_reference_reaches_exactly_as_far_as_its_distance() {
        // A reference after a literal run, and its distance.
        let forms: [(&[u8], usize); 7] = [
            (&[0x40 + 7 * 4, 0xff], 0x800),
            (&[0x00, 0x00], 0x801),
            (&[0x0c, 0xff], 0xc00),
            (&[0x21, 0xfc, 0xff], 0x4000),
            (&[0x11, 0x04, 0x00], 0x4001),
            (&[0x19, 0x00, 0x00], 0x8000),
            (&[0x19, 0xfc, 0xff], 0xbfff),
        ];
        for (reference, distance) in forms {
            for literals in [distance - 1, distance] {
                let (zeros, last) = ((literals - 19) / 255, (literals - 19) % 255 + 1);
                let head = [vec![0; 1 + zeros], vec![last as u8]].concat();
                let stream = [&head, vec![b'x'; literals].as_slice(), reference, &[0x11, 0, 0]].concat();
                let reached = literals == distance;
                assert_eq!(
                    decompressed_len(&stream, AMPLE).is_ok(),
                    reached,
                    "{distance:#x} in {literals:#x}"
                );
                assert_eq!(library_accepts(&stream, AMPLE), reached, "{distance:#x} in {literals:#x}");
            }
        }
    }

    #[test]
    fn the_walk_and_the_library_agree_on_damaged_streams() {
        let mut random = Xorshift::new(4);
        let mut compressor = Compressor::new();
        let mut plains = inputs(600, &mut random);
        plains.extend(captured().iter().map(|(plain, _)| plain.to_vec()));
        let (mut accepted, mut refused) = (0, 0);
        for plain in plains {
            let stream = compressor.compress(&plain);
            for _ in 0..1500 {
                let damaged = random.damage(&stream);
                // A stream of this size cannot make more: one zero byte adds 255 bytes at most.
                let most = damaged.len() * 255 + 300;
                match decompressed_len(&damaged, most) {
                    Ok(length) => {
                        accepted += 1;
                        assert!(decompress(&damaged, length).is_ok(), "{damaged:x?}");
                        assert!(length == 0 || !library_accepts(&damaged, length - 1), "{damaged:x?}");
                    }
                    Err(_) => {
                        refused += 1;
                        assert!(!library_accepts(&damaged, most), "{damaged:x?}");
                    }
                }
            }
        }
        assert!(accepted > 1000 && refused > 1000, "the damage is one-sided: {accepted} and {refused}");
    }

    #[test]
    fn random_bytes_are_judged_as_the_library_does() {
        let mut random = Xorshift::new(5);
        for _ in 0..20_000 {
            let length = random.below(24);
            let mut stream = random.bytes(length);
            // Small bytes make short tokens and low distances, which reach further into a stream.
            stream.iter_mut().for_each(|byte| *byte >>= random.below(8));
            stream.extend([0x11, 0, 0]);
            let most = stream.len() * 255 + 300;
            assert_eq!(
                decompressed_len(&stream, most).is_ok(),
                library_accepts(&stream, most),
                "{stream:x?}"
            );
        }
    }
}
