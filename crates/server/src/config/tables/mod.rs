//! The directives, by topic.

mod general;
mod memory;
mod network;
mod persistence;
mod values;

use super::row::Row;

/// The topics in the order in which help and the sample file present them.
pub const TOPICS: &[(&str, &[Row])] = &[
    ("Network", network::ROWS),
    ("General", general::ROWS),
    ("Memory", memory::ROWS),
    ("Durable storage", persistence::ROWS),
    ("Values", values::ROWS),
];

/// All rows, topic by topic.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    TOPICS.iter().flat_map(|(_, rows)| rows.iter())
}

/// The row of that name or alias, in any case.
pub fn find(name: &str) -> Option<&'static Row> {
    rows().find(|row| {
        row.name.eq_ignore_ascii_case(name)
            || (!row.alias.is_empty() && row.alias.eq_ignore_ascii_case(name))
    })
}
