//! The fuzz targets' checks over their corpora, and over every input that once failed: what `tests/fuzz` has found stays
//! found, on any toolchain. Knows no check.

#[path = "../fuzz/src/lib.rs"]
mod checks;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Most bytes of one target's corpus: everybody who clones the repository has it.
const CORPUS_BYTES_MAX: u64 = 100 << 10;
/// Most files in one target's corpus.
const CORPUS_FILES_MAX: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The files of one target, in order of their names.
fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root().join(kind).join(target)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_input_passes_its_check() {
    let mut failed = Vec::new();
    for (target, check) in checks::TARGETS {
        let (corpus, regressions) = (inputs("corpus", target), inputs("regressions", target));
        assert!(!corpus.is_empty(), "{target} has no corpus");
        for path in corpus.iter().chain(&regressions) {
            let input = fs::read(path).unwrap();
            if catch_unwind(|| check(&input)).is_err() {
                failed.push(path.clone());
            }
        }
        // A fuzzer begins with nothing; so does a peer.
        check(b"");
    }
    assert!(failed.is_empty(), "these fail: {failed:#?}");
}

#[test]
fn corpora_are_small() {
    for (target, _) in checks::TARGETS {
        let files = inputs("corpus", target);
        let bytes: u64 = files.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!(files.len() <= CORPUS_FILES_MAX, "{target}: {} files; see tests/fuzz --shrink", files.len());
        assert!(bytes <= CORPUS_BYTES_MAX, "{target}: {bytes} bytes");
    }
}

#[test]
fn every_check_is_a_target_and_every_directory_is_one_of_a_target() {
    let names = |directory: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join(directory)).unwrap();
        let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| name(entry.unwrap().path())).collect()
    };
    let targets: BTreeSet<String> = checks::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
    assert!(names("regressions").is_subset(&targets));
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(targets.iter().all(|target| manifest.contains(&format!("name = \"{target}\""))));
}
