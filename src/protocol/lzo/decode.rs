//! The LZO1X decoder: one pass over a stream from a stranger, in safe code. Does not know how streams are made.
//!
//! Two loops share the work. The quick one takes the tokens that fill most streams (a short back-reference with
//! its literals, a short literal run) while it is far from the end of the input and of the room; there it may
//! copy in fixed pieces that reach beyond what the token asks for, since what follows overwrites the surplus. At
//! anything else it stops and the careful one takes one token, with every check. The quick loop never refuses: a
//! fault is left to the careful one, so that there is one place for each error.

use super::LzoError;

/// Output is made room for, which means zeroed, in pieces of this many bytes just before it is written, so that
/// the zeroes are still in the processor's cache when they are replaced.
const ROOM_STEP: usize = 32 << 10;

/// The first reservation per byte of input, as distcc 3.4 has it; preprocessed sources are made 4 to 5 times
/// smaller. Pages which stay untouched cost nothing.
const EXPECTED_RATIO: usize = 8;

/// The most input one turn of the quick loop reads: a reference of 3 bytes and its literals (4 read), or a run's
/// token and literals (33 read).
const QUICK_INPUT: usize = 40;

/// The most output one turn of the quick loop touches: a reference written as 48 bytes, of which 33 count, and 4
/// of literals.
const QUICK_ROOM: usize = 64;

/// How much is handed over at once, in bytes.
const PIECE: usize = 256 << 10;

/// What of it must stay, in bytes: a reference reaches no further back (2 * 16 KiB beyond [`FAR`]).
const WINDOW: usize = 48 << 10;

/// The form for far references counts from here; with nothing more it is the end marker.
const FAR: u16 = 0x4000;

/// Decompresses one whole stream of at most `limit` bytes when decompressed. Never reserves more than `limit`.
pub fn decompress(src: &[u8], limit: usize) -> Result<Vec<u8>, LzoError> {
    let reserved = src.len().saturating_mul(EXPECTED_RATIO).min(limit);
    let mut out = Vec::new();
    out.try_reserve_exact(reserved).map_err(|_| LzoError::NoMemory { bytes: reserved })?;
    let made = decompress_into(src, limit, &mut out)?.len();
    out.truncate(made);
    Ok(out)
}

/// The same into a buffer that is used again and again, so that no memory is asked for and none is zeroed. What was in
/// it counts for nothing; after an error it is empty.
pub fn decompress_into<'a>(src: &[u8], limit: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], LzoError> {
    let mut decoder = Decoder::new(src, limit, std::mem::take(buffer), Whole);
    decoder.run()?;
    *buffer = decoder.out;
    Ok(&buffer[..decoder.made])
}

/// The same in pieces, handed over one after the other, with no more memory than a piece and what the stream may
/// refer back to. A stream of some megabytes may stand for gigabytes.
pub fn decompress_to<E: From<LzoError>>(
    src: &[u8],
    limit: usize,
    take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut decoder = Decoder::new(src, limit, Vec::new(), Pieces { take });
    decoder.run()?;
    let Decoder { out, made, kept, drain: Pieces { mut take }, .. } = decoder;
    take(&out[kept..made])
}

/// Where decompressed bytes go before all are there.
trait Drain {
    type Error: From<LzoError>;
    /// How many bytes are made before the drain is asked to take some.
    const STEP: usize;
    fn take(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Nowhere: the buffer grows.
struct Whole;

impl Drain for Whole {
    type Error = LzoError;
    const STEP: usize = usize::MAX;
    fn take(&mut self, _: &[u8]) -> Result<(), LzoError> {
        unreachable!("BUG: a buffer of this size is no buffer")
    }
}

/// To someone else.
struct Pieces<F> {
    take: F,
}

impl<E: From<LzoError>, F: FnMut(&[u8]) -> Result<(), E>> Drain for Pieces<F> {
    type Error = E;
    const STEP: usize = PIECE;
    fn take(&mut self, bytes: &[u8]) -> Result<(), E> {
        (self.take)(bytes)
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

#[derive(PartialEq)]
enum Turn {
    More,
    End,
}

/// A position in a stream and what it made so far: the first `made` bytes of `out`, the rest of which is room.
struct Decoder<'a, D> {
    src: &'a [u8],
    at: usize,
    out: Vec<u8>,
    made: usize,
    before: Before,
    /// How much there may be in `out`.
    limit: usize,
    /// How much there may be at all.
    limit_of_all: usize,
    /// How much of `out` the drain has taken: it is kept to be referred to.
    kept: usize,
    drain: D,
}

impl<'a, D: Drain> Decoder<'a, D> {
    fn new(src: &'a [u8], limit: usize, out: Vec<u8>, drain: D) -> Decoder<'a, D> {
        let before = Before::Match;
        Decoder { src, at: 0, out, made: 0, before, limit, limit_of_all: limit, kept: 0, drain }
    }

    fn run(&mut self) -> Result<(), D::Error> {
        if let Some(first @ 18..) = self.src.first() {
            // A first byte of this size is a literal run of its own, without a token.
            self.at = 1;
            self.literals(usize::from(first - 17))?;
        }
        loop {
            self.quick_tokens();
            if self.token()? == Turn::End {
                break;
            }
            self.hand_over()?;
        }
        match self.src.len() - self.at {
            0 => Ok(()),
            count => Err(LzoError::TrailingBytes(count).into()),
        }
    }

    /// Lets the drain take a piece, if there is one.
    fn hand_over(&mut self) -> Result<(), D::Error> {
        if self.made < D::STEP {
            return Ok(());
        }
        self.drain.take(&self.out[self.kept..self.made])?;
        let gone = self.made - WINDOW;
        self.out.copy_within(gone..self.made, 0);
        (self.made, self.kept) = (WINDOW, WINDOW);
        self.limit -= gone;
        Ok(())
    }

    /// Takes tokens for as long as they are short and sound and both ends are far.
    fn quick_tokens(&mut self) {
        let src = self.src;
        let Some(last_at) = src.len().checked_sub(QUICK_INPUT) else { return };
        let Some(last_made) = self.out.len().min(self.limit).checked_sub(QUICK_ROOM) else { return };
        let out = self.out.as_mut_slice();
        let (mut at, mut made, mut before) = (self.at, self.made, self.before);
        while at <= last_at && made <= last_made {
            let word = u32::from_le_bytes(piece(src, at));
            let form = &FORMS[usize::from(word as u8)];
            if form.length == 0 {
                let token = word as usize & 0xff;
                // A run's length of 0 announces a longer count; after literals these tokens are references.
                if !matches!(before, Before::Match) || !(1..16).contains(&token) {
                    break;
                }
                copy::<16>(src, at + 1, out, made);
                copy::<16>(src, at + 17, out, made + 16);
                at += 1 + 3 + token;
                made += 3 + token;
                before = Before::LiteralRun;
                continue;
            }
            let distance = usize::from(form.base) + ((word >> form.shift) & u32::from(form.mask)) as usize;
            let length = usize::from(form.length);
            let few = usize::from((word >> form.few_shift) as u8 & 3);
            let Some(from) = made.checked_sub(distance) else { break };
            if form.base == FAR && distance == usize::from(FAR) {
                break; // the end marker
            }
            if distance >= 16 {
                copy_within::<16>(out, from, made);
                if length > 16 {
                    copy_within::<16>(out, from + 16, made + 16);
                    copy_within::<16>(out, from + 32, made + 32);
                }
            } else if distance >= 8 {
                for step in (0..length).step_by(8) {
                    copy_within::<8>(out, from + step, made + step);
                }
            } else {
                for step in 0..length {
                    out[made + step] = out[from + step];
                }
            }
            made += length;
            at += usize::from(form.size);
            copy::<4>(src, at, out, made);
            at += few;
            made += few;
            before = if few == 0 { Before::Match } else { Before::FewLiterals };
        }
        (self.at, self.made, self.before) = (at, made, before);
    }

    /// Takes one token of any kind.
    fn token(&mut self) -> Result<Turn, D::Error> {
        let token = usize::from(self.byte()?);
        // How far back, how many bytes, and how many literals follow (two bits in the token's last byte but
        // one).
        let (distance, length, literals) = match (token, self.before) {
            (0..=15, Before::Match) => {
                let length = 3 + if token == 0 { self.long_count(15)? } else { token };
                self.literals(length)?;
                return Ok(Turn::More);
            }
            (0..=15, Before::FewLiterals) => (1 + (token >> 2) + self.scaled_byte(2)?, 2, token),
            (0..=15, Before::LiteralRun) => (0x801 + (token >> 2) + self.scaled_byte(2)?, 3, token),
            (16..=31, _) => {
                let length = 2 + if token & 7 == 0 { self.long_count(7)? } else { token & 7 };
                let pair = self.pair()?;
                let distance = ((token & 8) << 11) + (pair >> 2);
                if distance == 0 {
                    return Ok(Turn::End);
                }
                (usize::from(FAR) + distance, length, pair)
            }
            (32..=63, _) => {
                let length = 2 + if token & 31 == 0 { self.long_count(31)? } else { token & 31 };
                let pair = self.pair()?;
                (1 + (pair >> 2), length, pair)
            }
            (64.., _) => (1 + (token >> 2 & 7) + self.scaled_byte(3)?, (token >> 5) + 1, token),
        };
        self.reference(distance, length)?;
        self.literals(literals & 3)?;
        Ok(Turn::More)
    }

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

    /// Copies literals; none is a state of its own too.
    fn literals(&mut self, count: usize) -> Result<(), D::Error> {
        let bytes = self.src[self.at..].get(..count).ok_or(LzoError::Truncated)?;
        for piece in bytes.chunks(D::STEP) {
            self.make_room(piece.len())?;
            self.out[self.made..][..piece.len()].copy_from_slice(piece);
            self.made += piece.len();
            self.hand_over()?;
        }
        self.at += count;
        self.before = match count {
            0 => Before::Match,
            1..=3 => Before::FewLiterals,
            _ => Before::LiteralRun,
        };
        Ok(())
    }

    /// Repeats `length` bytes from `distance` before the end of what is made; they may overlap what they make.
    fn reference(&mut self, distance: usize, mut length: usize) -> Result<(), D::Error> {
        if distance > self.made {
            return Err(LzoError::BadDistance { offset: self.at }.into());
        }
        if length > self.limit - self.made {
            return Err(LzoError::TooLong { limit: self.limit_of_all }.into());
        }
        // One reference may be as long as everything there may be.
        while length > D::STEP {
            self.repeat(distance, D::STEP)?;
            self.hand_over()?;
            length -= D::STEP;
        }
        Ok(self.repeat(distance, length)?)
    }

    fn repeat(&mut self, distance: usize, length: usize) -> Result<(), LzoError> {
        let from = self.made - distance;
        self.make_room(length)?;
        let end = self.made + length;
        while self.made < end {
            // What is there to copy doubles with each turn.
            let count = (self.made - from).min(end - self.made);
            self.out.copy_within(from..from + count, self.made);
            self.made += count;
        }
        Ok(())
    }

    /// Makes sure of room for `count` bytes more, and of some for the quick loop if the limit allows it.
    fn make_room(&mut self, count: usize) -> Result<(), LzoError> {
        if count > self.limit - self.made {
            return Err(LzoError::TooLong { limit: self.limit_of_all });
        }
        let needed = self.made + count;
        if needed.saturating_add(QUICK_ROOM) <= self.out.len() || self.out.len() >= self.limit {
            return Ok(());
        }
        let room = needed.saturating_add(ROOM_STEP).min(self.limit);
        let capacity = self.out.capacity();
        if room > capacity {
            let wanted = capacity.saturating_mul(2).clamp(room, self.limit);
            let no_memory = |_| LzoError::NoMemory { bytes: wanted };
            self.out.try_reserve_exact(wanted - self.out.len()).map_err(no_memory)?;
        }
        self.out.resize(room, 0);
        Ok(())
    }
}

/// How to read the reference that a token begins, from its four bytes as a little-endian word.
#[derive(Clone, Copy)]
struct Form {
    /// In bytes; 0 for tokens that are no references or have a longer count.
    length: u8,
    /// In bytes, token included.
    size: u8,
    /// Where the count of literals is in the word.
    few_shift: u8,
    /// Where the varying part of the distance is in the word.
    shift: u8,
    mask: u16,
    /// What is added to that part.
    base: u16,
}

const _: () = assert!(size_of::<Form>() == 8);

static FORMS: [Form; 256] = forms();

const fn forms() -> [Form; 256] {
    let none = Form { length: 0, size: 0, few_shift: 0, shift: 0, mask: 0, base: 0 };
    let pair = Form { size: 3, few_shift: 8, shift: 10, mask: 0x3fff, ..none };
    let mut forms = [none; 256];
    let mut token = 0;
    while token < 256 {
        let byte = token as u8;
        forms[token] = match byte {
            0..=15 => none,
            16..=31 if byte & 7 == 0 => none,
            16..=31 => Form { length: 2 + (byte & 7), base: FAR + ((byte & 8) as u16) * 0x800, ..pair },
            32..=63 if byte & 31 == 0 => none,
            32..=63 => Form { length: 2 + (byte & 31), base: 1, ..pair },
            // The shift leaves the low three bits of the distance empty; they are in the base.
            64.. => Form {
                length: 1 + (byte >> 5),
                size: 2,
                few_shift: 0,
                shift: 5,
                mask: 0x7f8,
                base: 1 + (byte >> 2 & 7) as u16,
            },
        };
        token += 1;
    }
    forms
}

fn piece<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the quick loop is far from the end")
}

fn copy<const N: usize>(src: &[u8], from: usize, out: &mut [u8], to: usize) {
    out[to..to + N].copy_from_slice(&piece::<N>(src, from));
}

fn copy_within<const N: usize>(out: &mut [u8], from: usize, to: usize) {
    let bytes: [u8; N] = piece(out, from);
    out[to..to + N].copy_from_slice(&bytes);
}
