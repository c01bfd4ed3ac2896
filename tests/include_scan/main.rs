//! Soundness of the include analysis: every file that gcc or clang says it read must be in the answer.

mod changes;
mod generated;
mod headers;
mod naming;
mod numbers;
mod programs;
mod trees;
