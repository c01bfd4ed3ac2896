//! The compilers of a machine: which names are compilers', what the files of such names are, where they are installed,
//! and the directory of links that stand for them.
//!
//! Knows nothing of jobs: not who asks for a compiler, nor whether it may run.

pub mod installed;
pub mod links;
pub mod names;
pub mod natures;
