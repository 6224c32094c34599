//! Test: words that this project once used in a sense of its own don't come back.
//!
//! The field has words for these things; CONTRIBUTING.md tells the style. The test searches sources, documents and file names.

use std::fs;
use std::path::{Path, PathBuf};

/// Phrases and the words of the field for them.
const PHRASES: &[(&str, &str)] = &[
    ("gradient by the", "gradient with respect to"),
    ("gradients by the input", "gradients with respect to"),
    ("parameters learn", "trainable parameters"),
    ("what learns", "trainable layers"),
    ("to learn from", "training set"),
    ("to validate on", "validation set"),
    ("passes of that", "epochs"),
    ("taken to the points", "into the Winograd domain"),
    ("optimizer's memory", "optimizer state"),
    ("thrifty", "low-memory"),
    ("tenant", "live range"),
    ("running again", "rematerialize"),
    ("what is differentiated", "which steps have a backward pass"),
    ("multiplied at a time", "cache block"),
    ("second life", "rematerialize"),
    ("photos a step", "batch size"),
];

/// Names of types and files that say nothing to a stranger, and what they stood for.
const NAMES: &[(&str, &str)] = &[
    ("Facts", "Metadata"),
    ("Keeps", "the kind of cached values"),
    ("Lent", "a buffer that is borrowed"),
    ("Setup", "what it sets up"),
    ("Swept", "a streamed product"),
    ("Turned", "a transposed product"),
    ("complete.rs", "truncation"),
    ("facts.rs", "metadata.rs"),
    ("held.rs", "validation"),
    ("listed.rs", "what is listed"),
    ("listing.rs", "directory index"),
    ("pages.rs", "huge_pages.rs"),
    ("project.rs", "projective_transform.rs"),
    ("screen.rs", "validation"),
    ("stored.rs", "initializers"),
    ("swept.rs", "a streamed product"),
    ("turned.rs", "a transposed product"),
    ("whole.rs", "model_file.rs"),
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "records" | "files" | "assets" | ".git") {
                files(&path, found);
            }
        } else if ["rs", "md", "py"].iter().any(|extension| path.extension().is_some_and(|found| found == *extension)) {
            found.push(path);
        }
    }
}

fn is_word(text: &str, at: usize, len: usize) -> bool {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    !letter(text[..at].chars().next_back()) && !letter(text[at + len..].chars().next())
}

fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| is_word(text, at, word.len()))
}

#[test]
fn no_word_of_the_private_dialect_is_left() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut paths = Vec::new();
    ["crates", "xtask", "tests", "fuzz", "golden", "peers", "bench", "docs"]
        .iter()
        .for_each(|folder| files(&root.join(folder), &mut paths));
    paths.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)));
    assert!(paths.len() > 400, "the sources are found: {}", paths.len());
    let mut found = Vec::new();
    for path in paths.iter().filter(|path| !path.ends_with("glossary.rs")) {
        let text = fs::read_to_string(path).unwrap();
        // Names in snake case count as phrases.
        let lower = text.to_lowercase().replace('_', " ");
        let name = path.file_name().unwrap().to_string_lossy();
        let mut report = |word: &str, better: &str| found.push(format!("{}: {word:?}: say {better:?}", path.display()));
        PHRASES.iter().filter(|(word, _)| contains_word(&lower, word)).for_each(|(word, better)| report(word, better));
        for (word, better) in NAMES {
            let defines = |kind: &str| contains_word(&text, &format!("{kind} {word}"));
            if name == *word || ["struct", "enum", "trait", "type"].into_iter().any(defines) {
                report(word, better);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
