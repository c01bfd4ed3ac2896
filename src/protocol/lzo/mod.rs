//! LZO1X, the compression of bodies: raw streams without length or checksum, ended by `11 00 00`. The only
//! home of the crate minilzo-rs, which compresses. Does not know what is compressed, nor that an empty body is
//! sent as no bytes at all instead of an empty stream: that is the sender's business.
//!
//! The decompressed length does not travel with a stream. The crate's decompressor can neither report it nor work
//! without it, so that a stream would have to be walked twice; ours (`decode`) takes one pass, which is three
//! times as fast as that on preprocessed sources.

mod decode;

pub use decode::{decompress, decompress_into, decompress_to};

use std::fmt;

use minilzo_rs::LZO;

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
    /// This machine has no memory for what it unpacks to.
    NoMemory {
        /// How many bytes there was no room for.
        bytes: usize,
    },
}

impl fmt::Display for LzoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LzoError::Truncated => f.write_str("LZO stream ends early"),
            LzoError::BadDistance { offset } => {
                write!(f, "LZO stream refers to bytes before its beginning, at offset {offset}")
            }
            LzoError::TrailingBytes(count) => write!(f, "{count} bytes after the end of the LZO stream"),
            LzoError::NoMemory { bytes } => write!(f, "no memory for {bytes} bytes of text"),
            LzoError::TooLong { limit } => write!(f, "more than {limit} bytes when decompressed"),
        }
    }
}

impl std::error::Error for LzoError {}

/// The library's work memory and what compressing may add to a few bytes, in bytes, rounded up.
const WORK_BYTES: usize = 256 << 10;

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

    /// The same where memory may be short: the library ends the process when it gets none, so it is asked for first.
    pub fn compress_if_room(&mut self, src: &[u8]) -> Result<Vec<u8>, LzoError> {
        let bytes = src.len() + src.len() / 16 + WORK_BYTES;
        let room = Vec::<u8>::new().try_reserve_exact(bytes);
        room.map_err(|_| LzoError::NoMemory { bytes })?;
        Ok(self.compress(src))
    }
}

/// A stream that holds `src` as it is. For small bodies, which are not worth a compressor's work memory.
pub fn store(src: &[u8]) -> Vec<u8> {
    /// Longest text whose length fits into the first byte.
    const SHORT_MAX: usize = 238;
    let mut out = Vec::with_capacity(src.len() + src.len() / 255 + 8);
    match src.len() {
        0 => {}
        short @ ..=SHORT_MAX => out.push(17 + short as u8),
        long => {
            let rest = long - 18;
            out.push(0);
            out.resize(1 + (rest - 1) / 255, 0);
            out.push(((rest - 1) % 255) as u8 + 1);
        }
    }
    out.extend_from_slice(src);
    out.extend_from_slice(&[17, 0, 0]);
    out
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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::cases::from_hex;
    use super::super::xorshift::Xorshift;
    use super::*;

    /// More than any of these tests makes.
    const AMPLE: usize = 1 << 24;

    #[test]
    fn stored_text_is_a_stream() {
        assert_eq!(store(b"a"), from_hex("1261110000"));
        for length in [0, 1, 3, 4, 17, 18, 238, 239, 273, 274, 528, 529, 70_000] {
            let text: Vec<u8> = (0..length).map(|byte: usize| (byte * 7) as u8).collect();
            assert_eq!(decompress(&store(&text), AMPLE), Ok(text), "{length}");
        }
    }

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

    /// The library as the oracle. Its decompressor needs none of the work memory in it.
    static LIBRARY: LazyLock<Box<LZO>> = LazyLock::new(open_library);

    fn library_accepts(src: &[u8], length: usize) -> bool {
        LIBRARY.decompress_safe(src, length).is_ok()
    }

    /// That the library and we make the same of a stream, whatever the limit, and that one byte less is too
    /// little for both.
    fn check_round_trip(plain: &[u8], stream: &[u8]) {
        let size = plain.len();
        assert!(LIBRARY.decompress_safe(stream, size).is_ok_and(|bytes| bytes == plain), "size {size}");
        for limit in [size, size + 1, size + 100, AMPLE] {
            assert!(
                decompress(stream, limit).is_ok_and(|bytes| bytes == plain),
                "size {size}, limit {limit}"
            );
            for used in [0, size / 2, size + 200] {
                let mut buffer = vec![b'#'; used];
                let made = decompress_into(stream, limit, &mut buffer);
                assert!(made.is_ok_and(|bytes| bytes == plain), "size {size}, limit {limit}, buffer {used}");
            }
        }
        if let Some(short) = size.checked_sub(1) {
            assert_eq!(decompress(stream, short), Err(LzoError::TooLong { limit: short }));
            let mut buffer = vec![0; size + 200];
            assert_eq!(decompress_into(stream, short, &mut buffer), Err(LzoError::TooLong { limit: short }));
            assert!(!library_accepts(stream, short), "size {size}");
        }
    }

    /// Our verdict on any bytes, which must be the library's: the length, if it is a stream.
    fn check_verdict(stream: &[u8]) -> Result<usize, LzoError> {
        // A stream of this size cannot make more: one zero byte adds 255 bytes at most.
        let most = stream.len() * 255 + 300;
        let ours = decompress(stream, most);
        assert_eq!(in_pieces(stream, most).map(|(whole, _)| whole), ours);
        match &ours {
            Ok(bytes) => {
                let theirs = LIBRARY.decompress_safe(stream, bytes.len());
                assert!(theirs.is_ok_and(|theirs| theirs == *bytes), "{stream:x?}");
                assert!(bytes.is_empty() || !library_accepts(stream, bytes.len() - 1), "{stream:x?}");
            }
            Err(_) => assert!(!library_accepts(stream, most), "{stream:x?}"),
        }
        ours.map(|bytes| bytes.len())
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
                check_round_trip(&plain, &stream);
            }
        }
    }

    /// What comes out in pieces, and how long the longest is.
    fn in_pieces(stream: &[u8], limit: usize) -> Result<(Vec<u8>, usize), LzoError> {
        let (mut whole, mut longest) = (Vec::new(), 0);
        decompress_to(stream, limit, |piece| {
            whole.extend_from_slice(piece);
            longest = longest.max(piece.len());
            Ok::<(), LzoError>(())
        })?;
        Ok((whole, longest))
    }

    #[test]
    fn pieces_are_small_and_make_up_the_whole() {
        let mut random = Xorshift::new(7);
        let mut compressor = Compressor::new();
        for size in [0, 1, 49_152, 262_143, 262_144, 262_145, 262_144 + 49_152, 3 << 20] {
            for plain in inputs(size, &mut random) {
                for stream in [compressor.compress(&plain), store(&plain)] {
                    let (whole, longest) = in_pieces(&stream, size).unwrap();
                    assert!(whole == plain, "{size}");
                    assert!(longest <= 2 * 262_144, "{size}: {longest}");
                    let less = size.checked_sub(1).map(|limit| in_pieces(&stream, limit).map(drop));
                    assert!(less.is_none_or(|less| less == Err(LzoError::TooLong { limit: size - 1 })));
                }
            }
        }
    }

    #[test]
    fn a_reference_before_the_beginning_is_refused_alike() {
        let mut stream = Compressor::new().compress(&[b'a'; 1000]);
        let end = stream.len() - 3;
        stream.splice(end.., [0x11 + 8, 0xff, 0xff, 17, 0, 0]);
        assert_eq!(in_pieces(&stream, 1 << 20).map(drop), decompress(&stream, 1 << 20).map(drop));
        assert!(matches!(in_pieces(&stream, 1 << 20), Err(LzoError::BadDistance { .. })));
    }

    #[test]
    fn a_drain_may_refuse() {
        let stream = Compressor::new().compress(&[0; 1 << 20]);
        let mut pieces = 0;
        let stopped = decompress_to(&stream, usize::MAX, |_| {
            pieces += 1;
            Err(LzoError::Truncated)
        });
        assert_eq!((stopped, pieces), (Err(LzoError::Truncated), 1));
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
            // One, and enough for the end marker not to be near the end.
            for count in [1, 100] {
                stream.resize(stream.len() + count, 0);
                assert_eq!(decompress(&stream, AMPLE), Err(LzoError::TrailingBytes(count)));
                stream.truncate(stream.len() - count);
            }
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
            assert_eq!(decompress(stream, 1_000_000).map(|bytes| bytes.len()), expected, "{stream:x?}");
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
                let reached = literals == distance;
                // With nothing behind it, and with enough for it not to be near the end.
                for tail in [&[][..], &[&[0, 82], [b'y'; 100].as_slice()].concat()] {
                    let end = &[0x11, 0, 0];
                    let stream = [&head, vec![b'x'; literals].as_slice(), reference, tail, end].concat();
                    assert_eq!(check_verdict(&stream).is_ok(), reached, "{distance:#x} in {literals:#x}");
                }
            }
        }
    }

    #[test]
    fn repetitions_come_back_whatever_their_period_and_distance() {
        let mut random = Xorshift::new(6);
        let mut compressor = Compressor::new();
        let noise = random.bytes(60_000);
        for period in (1..=300).chain([2047, 2048, 2049, 16_383, 16_384, 16_385, 49_150, 49_151, 49_152]) {
            let plain: Vec<u8> = (0..2 * period + 700).map(|index| noise[index % period]).collect();
            check_round_trip(&plain, &compressor.compress(&plain));
        }
    }

    #[test]
    fn no_more_is_reserved_than_the_limit() {
        let plain = vec![0; 10 << 20];
        let stream = Compressor::new().compress(&plain);
        check_round_trip(&plain, &stream);
        for limit in [plain.len(), plain.len() + 1, AMPLE] {
            let made = decompress(&stream, limit).expect("the limit is not passed");
            assert!(made.capacity() <= limit, "{} bytes for {limit}", made.capacity());
        }
    }

    #[test]
    fn damaged_streams_are_judged_as_the_library_does() {
        let mut random = Xorshift::new(4);
        let mut compressor = Compressor::new();
        let mut plains = inputs(600, &mut random);
        plains.extend(inputs(3000, &mut random));
        plains.extend(captured().iter().map(|(plain, _)| plain.to_vec()));
        let (mut accepted, mut refused) = (0, 0);
        for plain in plains {
            let stream = compressor.compress(&plain);
            for _ in 0..700 {
                match check_verdict(&random.damage(&stream)) {
                    Ok(_) => accepted += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(accepted > 1000 && refused > 1000, "the damage is one-sided: {accepted} and {refused}");
    }

    #[test]
    fn random_bytes_are_judged_as_the_library_does() {
        let mut random = Xorshift::new(5);
        let mut accepted = 0;
        for turn in 0..20_000 {
            // Long enough, half of the time, not to be near the end from the beginning.
            let length = random.below(if turn % 2 == 0 { 24 } else { 150 });
            let mut stream = random.bytes(length);
            // Small bytes make short tokens and low distances, which reach further into a stream.
            let shift = random.below(8);
            stream.iter_mut().for_each(|byte| *byte >>= shift.max(random.below(8)));
            stream.extend([0x11, 0, 0]);
            accepted += usize::from(check_verdict(&stream).is_ok());
        }
        assert!(accepted > 100, "{accepted} streams accepted");
    }
}
