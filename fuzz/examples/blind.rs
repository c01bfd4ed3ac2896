//! Runs a check over inputs made from its corpus by chance, without looking at what they reach: ten times as fast as a
//! fuzzer, on any toolchain, and none the wiser for what it has seen.
//!
//! ```text
//! cargo run --release --example blind -- NAME RUNS SEED [DICTIONARY]
//! ```
//!
//! The first input that fails is written to `artifacts/NAME/blind-SEED`, and the process ends with the panic.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The longest input made, in bytes: long enough for every structure, short enough to be quick.
const BYTES_MAX: usize = 512;
/// What no single input may take.
const TIME_MAX: Duration = Duration::from_secs(5);

/// The input at hand, for the panic's hook.
static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, runs, seed, rest @ ..] = arguments.as_slice() else {
        panic!("usage: blind NAME RUNS SEED [DICTIONARY]")
    };
    let (runs, seed): (u64, u64) = (runs.parse().expect("RUNS"), seed.parse().expect("SEED"));
    let targets = distcc_fuzz::TARGETS;
    let (_, check) = targets.iter().find(|(known, _)| known == name).expect("NAME is a target");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut corpus = vec![Vec::new()];
    for kind in ["corpus", "regressions"] {
        let Ok(entries) = fs::read_dir(root.join(kind).join(name)) else { continue };
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("read the corpus").path()).collect();
        paths.sort();
        corpus.extend(paths.iter().map(|path| fs::read(path).expect("read the corpus")));
    }
    let artifact = root.join("artifacts").join(name).join(format!("blind-{seed}"));
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let input = INPUT.lock().map(|input| input.clone()).unwrap_or_default();
        fs::create_dir_all(artifact.parent().expect("it has one")).expect("make the artifacts' directory");
        fs::write(&artifact, input).expect("write the artifact");
        eprintln!("the input is in {}", artifact.display());
    }));
    let mut mutator =
        Mutator { random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, words: dictionary(rest.first()) };
    let (start, mut slowest) = (Instant::now(), Duration::ZERO);
    for _ in 0..runs {
        let input = mutator.input(&corpus);
        INPUT.lock().expect("nothing panics with it").clone_from(&input);
        let before = Instant::now();
        check(&input);
        slowest = slowest.max(before.elapsed());
        assert!(slowest < TIME_MAX, "one input took {slowest:?}");
    }
    println!("{name}: {runs} executions in {:.0?}, the slowest {slowest:.1?}", start.elapsed());
}

/// The words of a dictionary in libFuzzer's form: one in quotes a line, `\xNN` for a byte.
fn dictionary(path: Option<&String>) -> Vec<Vec<u8>> {
    let Some(path) = path else { return Vec::new() };
    let text = fs::read_to_string(path).expect("read the dictionary");
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(|word| unescaped(word.as_bytes())).collect()
}

fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = word.iter();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.as_slice()) {
            (b'\\', [b'x', high, low, rest @ ..]) => {
                let digit =
                    |digit: &u8| char::from(*digit).to_digit(16).expect("two hexadecimal digits") as u8;
                out.push(digit(high) << 4 | digit(low));
                bytes = rest.iter();
            }
            (b'\\', [escaped, rest @ ..]) => {
                out.push(*escaped);
                bytes = rest.iter();
            }
            (byte, _) => out.push(*byte),
        }
    }
    out
}

struct Mutator {
    random: u64,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// A number below `limit`, which is not 0 (xorshift64).
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) as usize % limit
    }

    fn piece<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.below(bytes.len() + 1);
        let length = self.below(bytes.len() - start + 1).min(1 + self.below(64));
        &bytes[start..start + length]
    }

    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(5) {
            let at = self.below(input.len() + 1);
            let left = input.len() - at;
            match self.below(8) {
                0 if left > 0 => input[at] ^= 1 << self.below(8),
                1 if left > 0 => {
                    input[at] = *b"\0\n\x01\x10\x7f\xff /@=-0\"\\".get(self.below(15)).unwrap_or(&b'a')
                }
                2 if left > 0 => input[at] = self.below(256) as u8,
                3 if left > 0 => {
                    let length = 1 + self.below(left.min(16));
                    input.drain(at..at + length);
                }
                4 => {
                    let piece = self.piece(&input).to_vec();
                    input.splice(at..at, piece);
                }
                5 => {
                    let other = &corpus[self.below(corpus.len())];
                    let piece = self.piece(other).to_vec();
                    let end = at + if self.below(2) == 0 { 0 } else { piece.len().min(left) };
                    input.splice(at..end, piece);
                }
                6 if !self.words.is_empty() => {
                    let word = self.below(self.words.len());
                    let separate = self.below(3) == 0;
                    let word = if separate {
                        [b"\n", &self.words[word][..]].concat()
                    } else {
                        self.words[word].clone()
                    };
                    input.splice(at..at, word);
                }
                _ => input.insert(at, b"0123456789abcdef\n "[self.below(18)]),
            }
        }
        input.truncate(BYTES_MAX);
        input
    }
}
