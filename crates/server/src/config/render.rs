//! Texts made from the rows: help, the resolved configuration, the sample file.

use std::fmt::Write;

use super::grammar::print_line;
use super::kind::Kind;
use super::row::{Change, Row};
use super::settings::Settings;
use super::tables::{TOPICS, rows};

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "sessile: the session store for Python web apps; speaks RESP and memcached.\n\n\
         Usage: sessile [FILE.conf] [--directive value ...]\n\
         \x20      sessile - [--directive value ...]     (configuration from standard input)\n\n\
         \x20 --help, -h        this text\n\
         \x20 --version, -v     the version\n\
         \x20 --print-config    the resolved configuration, as a file that can be loaded\n\
         \x20 --salvage         for one start: if the log is damaged, copy its folder aside, load what is\n\
         \x20                   right, and make a new log of that\n\
         \x20 --check [--fix] FILE...\n\
         \x20                   what files and folders of data hold, and whether they are whole;\n\
         \x20                   --fix cuts the torn end of a log off and keeps it beside it\n\n\
         Data lives in memory only, unless 'appendonly yes' or 'save' says otherwise.\n",
    );
    for (topic, rows) in TOPICS {
        let _ = write!(text, "\n{topic}\n");
        for row in *rows {
            let alias =
                if row.alias.is_empty() { String::new() } else { format!(", {}", row.alias) };
            let _ = writeln!(text, "  --{}{alias} ({})", row.name, value_or_none(row.default));
            let _ = writeln!(text, "      {}", row.doc);
        }
    }
    text
}

/// The settings as a file that can be loaded.
pub fn print(settings: &Settings) -> String {
    rows().map(|row| lines(row, settings.value(row.name))).collect()
}

/// The sample file: every directive with its default, commented out, and what it does.
pub fn sample() -> String {
    let mut text = String::from(
        "# Sessile's configuration: every directive with its default.\n\
         # The grammar and the names are those of redis.conf. Bytes take the units k, kb, m, mb, g\n\
         # and gb (kb is 1024 bytes, k is 1000). Run: sessile /path/to/sessile.conf\n",
    );
    for (topic, rows) in TOPICS {
        let _ = write!(text, "\n########## {topic}\n");
        for row in *rows {
            let _ = write!(text, "\n# {}", row.doc);
            if row.change == Change::Live {
                text.push_str(" May change at run time.");
            }
            text.push('\n');
            for line in default_lines(row).lines() {
                let _ = writeln!(text, "# {line}");
            }
        }
    }
    text
}

/// The directive's lines in a file, given its value in normal form. Nothing for an absent pair.
pub fn lines(row: &Row, value: &str) -> String {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    match row.kind {
        Kind::Pairs => words
            .chunks_exact(2)
            .map(|pair| print_line(row.name, pair.iter().map(|word| word.trim_matches('"'))))
            .collect(),
        Kind::Outputs => {
            words.chunks_exact(4).map(|part| print_line(row.name, part.iter().copied())).collect()
        }
        Kind::Save if !words.is_empty() => {
            words.chunks_exact(2).map(|pair| print_line(row.name, pair.iter().copied())).collect()
        }
        Kind::Words if !words.is_empty() => print_line(row.name, words.into_iter()),
        _ => print_line(row.name, std::iter::once(value)),
    }
}

fn default_lines(row: &Row) -> String {
    match row.kind {
        Kind::Pairs => format!("{} NAME OTHER\n", row.name),
        Kind::Outputs => lines(row, row.default),
        Kind::Words => lines(row, row.default),
        _ => print_line(row.name, std::iter::once(row.default)),
    }
}

fn value_or_none(text: &str) -> &str {
    if text.is_empty() { "\"\"" } else { text }
}
