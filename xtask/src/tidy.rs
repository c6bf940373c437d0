//! What a reader can count on: files of a readable size that say in their first line what they are for.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The most lines of code a source file has; documentation and tests do not count.
const CODE_LINES_MAX: usize = 500;
/// The most lines a file of tests has.
const TEST_LINES_MAX: usize = 1_000;

pub(crate) fn check(_: &[String]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for root in ["bench-peers", "conformance", "crates", "examples", "fuzz", "xtask"] {
        for file in sources(root)? {
            let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            if !text.starts_with("//!") {
                wrong.push(format!("{}: the first line says what the file is for, with `//!`", file.display()));
            }
            if file.file_name().is_some_and(|name| name == "mod.rs") {
                wrong.push(format!("{}: `foo.rs` beside `foo/`, never `mod.rs`", file.display()));
            }
            let is_test = file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs");
            let (lines, most) =
                if is_test { (text.lines().count(), TEST_LINES_MAX) } else { (code(&text), CODE_LINES_MAX) };
            if lines > most {
                wrong.push(format!("{}: {lines} lines, at most {most}", file.display()));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Lines that are neither blank, comment nor inside a test module at the end of the file.
fn code(text: &str) -> usize {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// Every Rust file below a folder.
pub(crate) fn sources(root: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(root)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target" && name != "node_modules") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
