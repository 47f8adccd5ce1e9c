//! The command line: a table of options per command, and the help made from it.
//!
//! What always holds: an unknown option, a missing value and a stray word are errors that name it.

use std::collections::BTreeMap;
use std::fmt::Write;

/// One option: its name without dashes, what its value is called ("" for none), what it does.
#[derive(Clone, Copy, Debug)]
pub struct Flag(pub &'static str, pub &'static str, pub &'static str);

/// One command of the program.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name, the first word of the command line.
    pub name: &'static str,
    /// What it takes besides options, for the help.
    pub takes: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Words besides options: at most so many.
    pub words: usize,
    /// Its options.
    pub flags: &'static [Flag],
}

/// What was given.
#[derive(Debug, Default)]
pub struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    /// The words that belong to no option.
    pub words: Vec<String>,
}

impl Given {
    /// Reads the words after the command's name: `--name value`, `--name=value`, or `--name`.
    pub fn read(command: &Command, args: &[String]) -> Result<Self, String> {
        let mut given = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(option) = arg.strip_prefix("--") else {
                if given.words.len() == command.words {
                    return Err(format!("{arg}: unexpected"));
                }
                given.words.push(arg.clone());
                continue;
            };
            let (name, attached) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let flag = command.flags.iter().find(|flag| flag.0 == name);
            let Flag(name, kind, _) =
                *flag.ok_or_else(|| format!("--{name}: no such option of {}", command.name))?;
            let value = match (kind, attached) {
                ("", None) => String::new(),
                ("", Some(_)) => return Err(format!("--{name} takes no value")),
                (_, Some(value)) => value,
                (_, None) => {
                    args.next().cloned().ok_or_else(|| format!("--{name} needs {kind}"))?
                }
            };
            given.values.entry(name).or_default().push(value);
        }
        Ok(given)
    }

    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last value of an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    /// All values of an option, in order.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The last value of an option, read; an error names it and what it has to be.
    pub fn value<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| format!("--{name} {text}: not {expected}"))
    }
}

/// What `--help` prints.
pub fn help(program: &str, about: &str, commands: &[Command]) -> String {
    let mut text = format!("{program}: {about}\n");
    for command in commands {
        let _ = writeln!(text, "\n{program} {} {}", command.name, command.takes);
        let _ = writeln!(text, "  {}", command.about);
        for Flag(name, kind, what) in command.flags {
            let _ = writeln!(text, "    {:24} {what}", format!("--{name} {kind}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: Command = Command {
        name: "go",
        takes: "[WHERE]",
        about: "Goes.",
        words: 1,
        flags: &[Flag("far", "", "far"), Flag("speed", "N", "how fast")],
    };

    fn read(line: &str) -> Result<Given, String> {
        let args: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Given::read(&COMMAND, &args)
    }

    #[test]
    fn options_and_words() {
        let given = read("home --speed 3 --far --speed=4").unwrap();
        assert!(given.has("far"));
        assert_eq!(given.words, ["home"]);
        assert_eq!(given.all("speed"), ["3", "4"]);
        assert_eq!(given.value("speed", "a number", |text| text.parse().ok()), Ok(Some(4u32)));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, error) in [
            ("--fast", "--fast: no such option of go"),
            ("--speed", "--speed needs N"),
            ("--far=1", "--far takes no value"),
            ("home away", "away: unexpected"),
        ] {
            assert_eq!(read(line).unwrap_err(), error);
        }
        let given = read("--speed x").unwrap();
        let error = given.value("speed", "a number", |text| text.parse::<u32>().ok());
        assert_eq!(error.unwrap_err(), "--speed x: not a number");
    }

    #[test]
    fn help_names_every_option() {
        let text = help("prog", "goes", &[COMMAND]);
        assert!(text.contains("prog go [WHERE]") && text.contains("--speed N"));
    }
}
