//! Reads the repository's own files for the other modules, and holds every source file to its shape.

use std::fs;
use std::path::{Path, PathBuf};

use formledger_tests::installation::repository;

/// The product's crates, leftmost first: each may depend on those before it.
pub const CRATES: [&str; 5] = ["rules", "domain", "store", "projections", "api"];
/// Lines above which a file is two things.
const FILE_LINES_MAX: usize = 500;

/// A source file of the product.
pub struct Source {
    /// Its path from the top of the repository.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl Source {
    /// Its lines outside `#[cfg(test)]` modules at its end and outside comments, numbered from 1.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let product = self.text.split("#[cfg(test)]").next().unwrap_or_default();
        product.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, line)| {
            let line = line.trim_start();
            !line.starts_with("//")
        })
    }
}

/// All files below `folder` with this extension.
fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|given| given == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The sources of one package, `src/` only.
pub fn sources(package: &str) -> Vec<Source> {
    let top = repository();
    let read = |path: PathBuf| Source {
        path: path.strip_prefix(top).expect("found below it").display().to_string(),
        text: fs::read_to_string(&path).expect("sources are UTF-8"),
    };
    files_below(&top.join(package).join("src"), "rs").into_iter().map(read).collect()
}

/// All sources of the product's crates.
pub fn product() -> impl Iterator<Item = Source> {
    CRATES.into_iter().flat_map(sources)
}

/// Those, and what tests and measures them.
fn everything() -> impl Iterator<Item = Source> {
    product().chain(["bench", "tests", "tests/cluster"].into_iter().flat_map(sources))
}

#[test]
fn every_file_opens_by_saying_what_lives_in_it() {
    for source in everything() {
        assert!(
            source.text.starts_with("//! "),
            "{}: open with `//!`: what lives here, who calls it, what must not happen here",
            source.path
        );
    }
}

#[test]
fn no_file_grows_into_two_things() {
    for source in everything() {
        let lines = source.text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{}: {lines} lines; split it by idea, not by size", source.path);
    }
}
