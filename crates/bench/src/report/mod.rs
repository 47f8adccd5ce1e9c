//! Reports of a comparison: a table for the terminal, a page with plots, its Markdown twin, and the
//! raw results.
//!
//! What always holds: all are made from the same [`Results`] and nothing else; the page needs nothing
//! from anywhere (no script, no font, no request) and is legible on light and dark grounds.

// mod charts;
// mod figures;
// mod html;
// mod markdown;
// mod svg;
mod table;

use std::io;
use std::path::{Path, PathBuf};

use crate::results::Results;

pub use table::table;

/// Writes `raw.json`, `report.html` and `report.md` into `folder` and returns their paths.
pub fn write(results: &Results, folder: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let raw = serde_json::to_string_pretty(results)?;
    let files =
        [("raw.json", raw + "\n"), ("report.html", String::new()), ("report.md", String::new())];
    let mut written = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
