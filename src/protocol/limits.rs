//! How much a peer may send. Owns the numbers and their reasons; the decoders check a number when it is
//! announced, before anything is stored.

/// Most arguments of one request: as many words of some 100 bytes as Linux passes to a program at all, while
/// empty words, which cost memory without bytes, stay below 2 MiB.
pub const ARGUMENTS_MAX: u32 = 1 << 16;

/// Most bytes of one argument: Linux runs no program with a longer one (128 KiB with its final NUL).
pub const ARGUMENT_BYTES_MAX: u32 = (128 << 10) - 1;

/// Most bytes of all arguments together: Linux runs no program with more, whatever its stack limit.
pub const ARGUMENTS_BYTES_MAX: u64 = 6 << 20;

/// Most files and links of one request. A translation unit that includes ten thousand headers
/// is a monster; this is six of them.
pub const FILES_MAX: u32 = 1 << 16;

/// Most bytes of the working directory, a file's name or a link's target: Linux opens no longer path (4096
/// bytes with the final NUL).
pub const PATH_BYTES_MAX: u32 = 4095;

/// Most bytes of all bodies of one request together, as they travel. An uncompressed source of this
/// size takes a compiler hours; and receivers of 3.4 break at a compressed body of 512 MiB already.
pub const BODIES_BYTES_MAX: u64 = 1 << 30;

/// Limits on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Number of arguments.
    pub arguments: u32,
    /// Bytes of one argument.
    pub argument_bytes: u32,
    /// Bytes of all arguments together.
    pub arguments_bytes: u64,
    /// Number of files and links.
    pub files: u32,
    /// Bytes of a directory, name or target.
    pub path_bytes: u32,
    /// Bytes of all bodies together, as they travel.
    pub bodies_bytes: u64,
}

impl Default for RequestLimits {
    fn default() -> RequestLimits {
        RequestLimits {
            arguments: ARGUMENTS_MAX,
            argument_bytes: ARGUMENT_BYTES_MAX,
            arguments_bytes: ARGUMENTS_BYTES_MAX,
            files: FILES_MAX,
            path_bytes: PATH_BYTES_MAX,
            bodies_bytes: BODIES_BYTES_MAX,
        }
    }
}

/// Most bytes of what the compiler wrote to one of its outputs, as they travel. The client keeps them in
/// memory, and nobody reads so many.
pub const MESSAGES_BYTES_MAX: u32 = 64 << 20;

/// Most bytes of the object, as they travel: 2 GiB less one, the reach of x86-64's usual code model, and
/// still positive for whoever counts with a sign.
pub const OBJECT_BYTES_MAX: u32 = i32::MAX as u32;

/// Most bytes of the dependency file, as they travel: [`FILES_MAX`] paths of 256 bytes.
pub const DEPENDENCIES_BYTES_MAX: u32 = 16 << 20;

/// Limits on a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseLimits {
    /// Bytes of standard error, and of standard output.
    pub messages_bytes: u32,
    /// Bytes of the object.
    pub object_bytes: u32,
    /// Bytes of the dependency file.
    pub dependencies_bytes: u32,
}

impl Default for ResponseLimits {
    fn default() -> ResponseLimits {
        ResponseLimits {
            messages_bytes: MESSAGES_BYTES_MAX,
            object_bytes: OBJECT_BYTES_MAX,
            dependencies_bytes: DEPENDENCIES_BYTES_MAX,
        }
    }
}
