//! Directives about the form of values: until which size a collection is one packed run of bytes.

use crate::config::kind::Kind;
use crate::config::row::Row;

const COUNT: Kind = Kind::Number { min: 0, max: 1 << 30 };
const BYTES: Kind = Kind::Memory { min: 0, max: 1 << 30 };
const LATER: &str = "Accepted; this type is not in this version.";

pub(super) const ROWS: &[Row] = &[
    Row::live("hash-max-listpack-entries", COUNT, "128", "Fields of a packed hash.")
        .alias("hash-max-ziplist-entries"),
    Row::live(
        "hash-max-listpack-value",
        BYTES,
        "64",
        "Bytes of a field or value of a packed hash.",
    )
    .alias("hash-max-ziplist-value"),
    Row::live("list-max-listpack-size", Kind::Number { min: -5, max: 1 << 30 }, "-2", LATER)
        .alias("list-max-ziplist-size"),
    Row::live("list-compress-depth", COUNT, "0", LATER),
    Row::live("set-max-intset-entries", COUNT, "512", LATER),
    Row::live("set-max-listpack-entries", COUNT, "128", LATER),
    Row::live("set-max-listpack-value", BYTES, "64", LATER),
    Row::live("zset-max-listpack-entries", COUNT, "128", LATER).alias("zset-max-ziplist-entries"),
    Row::live("zset-max-listpack-value", BYTES, "64", LATER).alias("zset-max-ziplist-value"),
];
