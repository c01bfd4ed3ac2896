//! LZO bodies, with the library as second opinion.

use std::sync::LazyLock;

use distcc::protocol::lzo::{self, Compressor, LzoError};
use minilzo_rs::LZO;

/// Its decompressor needs none of the work memory in it.
static LIBRARY: LazyLock<Box<LZO>> =
    LazyLock::new(|| Box::new(LZO::init().expect("the LZO library fits this machine")));

thread_local! {
    static COMPRESSOR: std::cell::RefCell<Compressor> = std::cell::RefCell::new(Compressor::new());
}

/// A stream is what the library takes for one, means the same to both, and never makes nor reserves more than the limit,
/// into a new buffer or a used one.
pub fn decompress(bytes: &[u8]) {
    let Some((limit, stream)) = bytes.split_first_chunk() else { return };
    let limit = usize::from(u16::from_le_bytes(*limit));
    // A stream cannot make more: one zero byte adds 255 bytes at most.
    let most = stream.len() * 255 + 300;
    let whole = lzo::decompress(stream, most);
    match &whole {
        Ok(plain) => {
            let theirs = LIBRARY.decompress_safe(stream, plain.len());
            assert!(theirs.is_ok_and(|theirs| theirs == *plain), "the library makes something else");
            let shorter = plain.len().checked_sub(1);
            assert!(shorter.is_none_or(|less| LIBRARY.decompress_safe(stream, less).is_err()));
        }
        Err(error) => {
            assert!(LIBRARY.decompress_safe(stream, most).is_err(), "the library takes what is {error}");
        }
    }
    let limited = lzo::decompress(stream, limit);
    match (&whole, &limited) {
        (Ok(plain), Ok(made)) => assert!(plain == made && made.len() <= limit && made.capacity() <= limit),
        (Ok(plain), Err(error)) => {
            assert!(plain.len() > limit && *error == LzoError::TooLong { limit }, "{error}");
        }
        (Err(error), Err(other)) => assert!(error == other || *other == LzoError::TooLong { limit }),
        (Err(error), Ok(_)) => panic!("a lower limit mends {error}"),
    }
    let mut used = vec![b'#'; limit / 2];
    assert_eq!(lzo::decompress_into(stream, limit, &mut used).map(<[u8]>::to_vec), limited);
}

/// What is compressed or stored comes back, from both decompressors, and has the size that is promised.
pub fn compress(plain: &[u8]) {
    let stream = COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(plain));
    assert!(stream.len() <= plain.len() + plain.len() / 16 + 67);
    for stream in [stream, lzo::store(plain)] {
        assert_eq!(lzo::decompress(&stream, plain.len()).as_deref(), Ok(plain));
        assert!(LIBRARY.decompress_safe(&stream, plain.len()).is_ok_and(|theirs| theirs == plain));
        for broken in [&stream[..stream.len() - 1], &stream[..stream.len() / 2]] {
            assert_eq!(lzo::decompress(broken, plain.len()), Err(LzoError::Truncated));
        }
    }
}
