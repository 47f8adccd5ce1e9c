//! What a directive's value may be, and its normal form.
//!
//! A value is kept as text in its normal form: bytes as a plain number, `yes` or `no`, words apart
//! by one blank. So equal settings are equal texts, and what is printed can be read again. The
//! wording of complaints is what Redis' clients look for.

use crate::limits;

/// The kinds of values.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A whole number within bounds.
    Number {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// Bytes, with the units `b k kb m mb g gb` in any case; `kb` is 1024, `k` is 1000.
    Memory {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// As `Memory`, or a percentage of `maxmemory` (`5%`).
    Share,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// File permissions in octal; 0 for none given.
    Octal,
    /// One word of any text.
    Text,
    /// One word that the system takes as a path; may be empty.
    Path,
    /// Any number of words.
    Words,
    /// Two words, added to what was given before; the second may be empty.
    Pairs,
    /// Save points: pairs of seconds and changes, or one empty word for none.
    Save,
    /// Output limits: class, hard bytes, soft bytes, seconds; changes the named classes only.
    Outputs,
}

const COUNT: &str = "wrong number of arguments";

impl Kind {
    /// The normal form of `words`, given the value `before`.
    pub fn normal(self, words: &[&str], before: &str) -> Result<String, String> {
        match self {
            Self::Words => Ok(split(words).join(" ")),
            Self::Pairs => pairs(words, before),
            Self::Save => save(&split(words)),
            Self::Outputs => outputs(&split(words), before),
            single => match words {
                [word] => single.word(word),
                _ => Err(COUNT.to_owned()),
            },
        }
    }

    fn word(self, word: &str) -> Result<String, String> {
        match self {
            Self::Bool => match word.to_ascii_lowercase().as_str() {
                sure @ ("yes" | "no") => Ok(sure.to_owned()),
                _ => Err("argument must be 'yes' or 'no'".to_owned()),
            },
            Self::Number { min, max } => number(word, min, max),
            Self::Memory { min, max } => {
                let bytes = memory(word).ok_or("argument must be a memory value")?;
                if (min..=max).contains(&bytes) {
                    return Ok(bytes.to_string());
                }
                Err(format!("argument must be between {min} and {max} inclusive"))
            }
            Self::Share => match word.strip_suffix('%') {
                Some(percent) => number(percent, 0, 100).map(|percent| format!("{percent}%")),
                None => memory(word)
                    .map(|bytes| bytes.to_string())
                    .ok_or_else(|| "argument must be a memory or percent value".to_owned()),
            },
            Self::Choice(choices) => {
                let known = choices.iter().find(|choice| choice.eq_ignore_ascii_case(word));
                known.map(|choice| (*choice).to_owned()).ok_or_else(|| {
                    let choices = choices.join(", ");
                    format!("argument(s) must be one of the following: {choices}")
                })
            }
            Self::Octal => match u32::from_str_radix(word, 8) {
                Ok(bits) if bits <= 0o777 => Ok(format!("{bits:o}")),
                _ => Err("argument must be permissions in octal, at most 777".to_owned()),
            },
            Self::Path if word.contains('\0') => {
                Err("argument must be a path, which holds no zero byte".to_owned())
            }
            _ if word.len() > limits::CONFIG_TEXT => {
                Err(format!("argument must be at most {} bytes long", limits::CONFIG_TEXT))
            }
            _ => Ok(word.to_owned()),
        }
    }
}

/// Bytes from text with a unit.
pub fn memory(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn number(word: &str, min: i64, max: i64) -> Result<String, String> {
    let value: i64 =
        word.parse().map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
    if (min..=max).contains(&value) {
        return Ok(value.to_string());
    }
    Err(format!("argument must be between {min} and {max} inclusive"))
}

/// One word may hold several, as it does on a command line and in CONFIG SET.
fn split<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().flat_map(|word| word.split_ascii_whitespace()).collect()
}

fn pairs(words: &[&str], before: &str) -> Result<String, String> {
    let [from, to] = words else { return Err(COUNT.to_owned()) };
    let name = |word: &str| !word.contains(|letter: char| letter.is_whitespace() || letter == '"');
    if from.is_empty() || !name(from) || !name(to) {
        return Err("command names hold no blanks or quotes".to_owned());
    }
    let to = if to.is_empty() { "\"\"" } else { to };
    let apart = if before.is_empty() { "" } else { " " };
    Ok(format!("{before}{apart}{from} {to}"))
}

fn save(words: &[&str]) -> Result<String, String> {
    let positive = |word: &&str| word.parse::<u32>().is_ok_and(|number| number > 0);
    if !words.len().is_multiple_of(2) || !words.iter().all(positive) {
        return Err("Invalid save parameters".to_owned());
    }
    Ok(words.join(" "))
}

fn outputs(words: &[&str], before: &str) -> Result<String, String> {
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err(COUNT.to_owned());
    }
    let mut classes: Vec<(&str, String)> = Vec::new();
    for part in split(&[before]).chunks_exact(4) {
        if let [class, limits @ ..] = part {
            classes.push((class, limits.join(" ")));
        }
    }
    for part in words.chunks_exact(4) {
        let [class, hard, soft, seconds] = part else { continue };
        let class = match class.to_ascii_lowercase().as_str() {
            "normal" => "normal",
            "slave" | "replica" => "slave",
            "pubsub" => "pubsub",
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        let bad = || "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
        let (hard, soft) = (memory(hard).ok_or_else(bad)?, memory(soft).ok_or_else(bad)?);
        let seconds = seconds.parse::<u32>().map_err(|_| bad())?;
        let limits = format!("{hard} {soft} {seconds}");
        match classes.iter_mut().find(|(name, _)| *name == class) {
            Some(known) => known.1 = limits,
            None => classes.push((class, limits)),
        }
    }
    let classes: Vec<_> =
        classes.iter().map(|(class, limits)| format!("{class} {limits}")).collect();
    Ok(classes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units() {
        let cases = [
            ("0", Some(0)),
            ("100", Some(100)),
            ("100b", Some(100)),
            ("1k", Some(1000)),
            ("1KB", Some(1024)),
            ("2m", Some(2_000_000)),
            ("2Mb", Some(2 << 20)),
            ("3g", Some(3_000_000_000)),
            ("3gB", Some(3 << 30)),
            ("", None),
            ("-1", None),
            ("1t", None),
            ("1.5gb", None),
            ("99999999999gb", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(memory(text), bytes, "{text}");
        }
    }

    /// Kind, words, the value before, and what becomes of it.
    type Case<'a> = (Kind, &'a [&'a str], &'a str, Result<&'a str, &'a str>);

    #[test]
    fn normal_forms_and_complaints() {
        let port = Kind::Number { min: 0, max: 65_535 };
        let outputs = "normal 1 2 3 pubsub 4 5 6";
        let cases: &[Case<'_>] = &[
            (Kind::Bool, &["YES"], "", Ok("yes")),
            (Kind::Bool, &["1"], "", Err("argument must be 'yes' or 'no'")),
            (port, &["6379"], "", Ok("6379")),
            (port, &["x"], "", Err("argument couldn't be parsed into an integer")),
            (port, &["70000"], "", Err("argument must be between 0 and 65535 inclusive")),
            (port, &["1", "2"], "", Err(COUNT)),
            (Kind::Share, &["5%"], "", Ok("5%")),
            (Kind::Share, &["1kb"], "", Ok("1024")),
            (Kind::Choice(&["a", "b"]), &["B"], "", Ok("b")),
            (
                Kind::Choice(&["a", "b"]),
                &["c"],
                "",
                Err("argument(s) must be one of the following: a, b"),
            ),
            (Kind::Octal, &["0700"], "", Ok("700")),
            (Kind::Words, &["a  b", "c"], "", Ok("a b c")),
            (Kind::Words, &[""], "", Ok("")),
            (Kind::Save, &["3600 1", "300", "100"], "", Ok("3600 1 300 100")),
            (Kind::Save, &[""], "", Ok("")),
            (Kind::Save, &["1"], "", Err("Invalid save parameters")),
            (Kind::Pairs, &["CONFIG", ""], "A b", Ok("A b CONFIG \"\"")),
            (Kind::Outputs, &["pubsub", "1kb", "0", "0"], outputs, {
                Ok("normal 1 2 3 pubsub 1024 0 0")
            }),
        ];
        for (kind, words, before, expected) in cases {
            let got = kind.normal(words, before);
            let got = got.as_deref().map_err(String::as_str);
            assert_eq!(got, *expected, "{kind:?} {words:?}");
        }
    }
}
