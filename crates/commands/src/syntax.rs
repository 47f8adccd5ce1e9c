//! The arguments of a command, as its row writes them and as COMMAND DOCS tells them.
//!
//! ```text
//! key value                   arguments, by name
//! [GET]  EX seconds           a token; a token with the argument that it announces
//! [a|b]  <a b>  <a|b>         may be missing; belong together; one of them
//! key...  <field value>...    once or more
//! increment:double            an argument whose type its name doesn't tell
//! ```
//!
//! What always holds: a row's syntax and its arity agree (a test looks at every row).
//! Not for: parsing requests; handlers do that.

/// One argument, or several that belong together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Argument {
    /// Its name; of a bare token, the token in lower case.
    pub name: String,
    /// Its type, by Redis's name: `key`, `integer`, `pure-token`, `oneof`, `block` ...
    pub kind: &'static str,
    /// The word before it, or that it is.
    pub token: Option<&'static str>,
    /// Whether it may be missing.
    pub optional: bool,
    /// Whether it may be repeated.
    pub multiple: bool,
    /// What it consists of, or the choices.
    pub parts: Vec<Self>,
}

impl Argument {
    /// How many arguments of a request it takes at least.
    pub fn least(&self) -> usize {
        let parts = self.parts.iter().map(Self::least);
        match self.kind {
            _ if self.optional => 0,
            "oneof" => usize::from(self.token.is_some()) + parts.min().unwrap_or(0),
            "block" => usize::from(self.token.is_some()) + parts.sum::<usize>(),
            "pure-token" => 1,
            _ => 1 + usize::from(self.token.is_some()),
        }
    }

    /// Whether it may take more than that.
    pub fn is_elastic(&self) -> bool {
        self.optional || self.multiple || self.parts.iter().any(Self::is_elastic)
    }
}

/// Takes a syntax apart.
pub fn parse(syntax: &'static str) -> Vec<Argument> {
    let mut rest = syntax;
    sequence(&mut rest)
}

/// Arguments one after the other, up to the end of what encloses them.
fn sequence(rest: &mut &'static str) -> Vec<Argument> {
    let mut arguments = Vec::new();
    loop {
        *rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with(['|', ']', '>']) {
            return arguments;
        }
        arguments.push(one(rest));
    }
}

fn one(rest: &mut &'static str) -> Argument {
    let mut argument = if eat(rest, "[") {
        Argument { optional: true, ..group(rest, "]") }
    } else if eat(rest, "<") {
        group(rest, ">")
    } else {
        word(rest)
    };
    argument.multiple |= eat(rest, "...");
    argument
}

/// What stands in brackets: one argument as it is, several as a block, choices as one of them.
fn group(rest: &mut &'static str, end: &str) -> Argument {
    let mut choices = vec![together(sequence(rest))];
    while eat(rest, "|") {
        choices.push(together(sequence(rest)));
    }
    eat(rest, end);
    match choices.len() {
        1 => choices.pop().unwrap_or_default(),
        _ => Argument {
            name: "choice".to_owned(),
            kind: "oneof",
            parts: choices,
            ..Argument::default()
        },
    }
}

fn together(mut parts: Vec<Argument>) -> Argument {
    match parts.len() {
        1 => parts.pop().unwrap_or_default(),
        _ => Argument { name: "block".to_owned(), kind: "block", parts, ..Argument::default() },
    }
}

fn word(rest: &mut &'static str) -> Argument {
    let end = rest.find([' ', '|', ']', '>', '.']).unwrap_or(rest.len()).max(1);
    let (word, after) = rest.split_at_checked(end).unwrap_or((*rest, ""));
    *rest = after;
    if word.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let (name, kind) = match word.split_once(':') {
            Some((name, _)) => (name, "double"),
            None => (word, kind_of(word)),
        };
        return Argument { name: name.to_owned(), kind, ..Argument::default() };
    }
    let next = rest.trim_start();
    if rest.starts_with(' ') && next.starts_with(|c: char| c.is_ascii_lowercase() || c == '<') {
        *rest = next;
        return Argument { token: Some(word), ..one(rest) };
    }
    let name = word.to_ascii_lowercase();
    Argument { name, kind: "pure-token", token: Some(word), ..Argument::default() }
}

fn eat(rest: &mut &'static str, what: &str) -> bool {
    let after = rest.strip_prefix(what);
    if let Some(after) = after {
        *rest = after;
    }
    after.is_some()
}

/// The type of an argument, which its name tells.
fn kind_of(name: &str) -> &'static str {
    match name {
        "key" | "key1" | "key2" | "newkey" | "source" | "destination" => "key",
        "pattern" => "pattern",
        "unix-time-seconds" | "unix-time-milliseconds" => "unix-time",
        "seconds" | "milliseconds" | "offset" | "start" | "end" | "increment" | "decrement"
        | "count" | "cursor" | "db" | "destination-db" | "index" | "index1" | "index2"
        | "numfields" | "client-id" | "timeout" | "min-match-len" | "protover" | "version"
        | "maxage" => "integer",
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Row;
    use crate::table::rows;

    fn has_key(argument: &Argument) -> bool {
        argument.kind == "key" || argument.parts.iter().any(has_key)
    }

    fn check(row: &Row, words: usize) {
        if !row.subcommands.is_empty() {
            row.subcommands.iter().for_each(|sub| check(sub, 2));
            return assert!(row.syntax.is_empty(), "{}", row.name);
        }
        let arguments = parse(row.syntax);
        let least = words + arguments.iter().map(Argument::least).sum::<usize>();
        assert_eq!(least, row.arity.unsigned_abs() as usize, "{} {}", row.name, row.syntax);
        let elastic = arguments.iter().any(Argument::is_elastic);
        // QUIT takes what it doesn't read.
        assert!(elastic == (row.arity < 0) || row.name == "QUIT", "{} {}", row.name, row.syntax);
        let keyed = arguments.iter().any(has_key);
        assert_eq!(keyed, row.keys != crate::row::Keys::None, "{}", row.name);
    }

    #[test]
    fn every_row_says_what_its_arity_says() {
        rows().for_each(|row| check(row, 1));
    }

    #[test]
    fn tokens_groups_and_repetitions() {
        let parsed = parse("key [NX|XX] [EX seconds|KEEPTTL] [T <A|B>] <f v>... [n [W]]");
        let told: Vec<_> = parsed.iter().map(|a| (a.name.as_str(), a.kind, a.token)).collect();
        assert_eq!(
            told,
            [
                ("key", "key", None),
                ("choice", "oneof", None),
                ("choice", "oneof", None),
                ("choice", "oneof", Some("T")),
                ("block", "block", None),
                ("block", "block", None),
            ]
        );
        let seconds = &parsed[2].parts[0];
        assert_eq!((seconds.kind, seconds.token), ("integer", Some("EX")));
        assert!(parsed[4].multiple && !parsed[4].optional && parsed[5].optional);
        assert_eq!(parsed.iter().map(Argument::least).sum::<usize>(), 3);
    }

    #[test]
    fn any_text_is_taken_apart() {
        for odd in ["", "[", "]", "a|b", "...", "<<", "A <", ".a", "a...b", "é É"] {
            // What is malformed ends the sequence or is a word; it never goes on for ever.
            parse(odd);
        }
    }
}
