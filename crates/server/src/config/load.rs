//! From the command line to settings: `sessile [FILE.conf] [--directive value ...]`.
//!
//! A file named `-` is standard input. Files are read first, then the command line's directives,
//! which therefore win. `include` reads another file in its place.

use std::io::Read;
use std::path::Path;

use super::grammar::{Directive, parse_file};
use super::resolved::Config;
use super::settings::Settings;
use super::{ConfigError, tables};
use crate::limits;

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The configuration file; `-` for standard input; empty for none.
    pub file: String,
    /// Directives, in order.
    pub directives: Vec<Directive>,
    /// `--salvage`: what can be had from a damaged log is loaded.
    pub salvage: bool,
    /// What to do instead of serving.
    pub instead: Option<Instead>,
    /// The files to look at instead.
    pub checked: Vec<String>,
}

/// Something to do instead of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// `--print-config`
    Config,
    /// `--check [--fix] FILE...`
    Check {
        /// Whether torn ends are cut.
        fix: bool,
    },
}

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was asked for.
    pub settings: Settings,
    /// What the server runs by.
    pub config: Config,
    /// The file that CONFIG REWRITE rewrites; empty for none.
    pub file: String,
    /// `--salvage`: this start loads what can be had from a damaged log.
    pub salvage: bool,
    /// What came from standard input, for a process that takes over in the background.
    pub input: Option<Vec<u8>>,
}

impl Loaded {
    /// Lowers `maxclients` to what the system grants.
    pub fn limit_clients(&mut self, most: u64) -> Result<(), String> {
        if let Some(row) = tables::find("maxclients") {
            self.settings.put(row, &[&most.to_string()])?;
        }
        self.config = Config::resolve(&mut self.settings).map_err(|(_, reason)| reason)?;
        Ok(())
    }
}

const COMMAND_LINE: &str = "command line";

/// Reads the arguments (without the program's name).
pub fn invocation(arguments: &[String]) -> Result<Invocation, ConfigError> {
    let mut found = Invocation::default();
    for (index, argument) in arguments.iter().enumerate() {
        match (argument.strip_prefix("--"), argument.as_str()) {
            (_, "-h" | "--help") => found.instead = Some(Instead::Help),
            (_, "-v" | "--version") => found.instead = Some(Instead::Version),
            (_, "--print-config") => found.instead = Some(Instead::Config),
            (_, "--salvage") => found.salvage = true,
            (_, "--check") if index == 0 => {
                let fix = arguments.get(1).is_some_and(|next| next == "--fix");
                found.instead = Some(Instead::Check { fix });
                found.checked = arguments.iter().skip(1 + usize::from(fix)).cloned().collect();
                return Ok(found);
            }
            (Some(name), _) if !name.is_empty() => {
                let name = name.to_ascii_lowercase();
                found.directives.push(Directive { line: 0, name, words: Vec::new() });
            }
            (_, "-") if index + 1 == arguments.len() => found.file = "-".to_owned(),
            _ => match found.directives.last_mut() {
                Some(directive) => directive.words.push(argument.clone()),
                None if index == 0 => found.file.clone_from(argument),
                None => return Err(misplaced(argument)),
            },
        }
    }
    Ok(found)
}

/// Reads the files and resolves everything.
pub fn load(invocation: &Invocation) -> Result<Loaded, ConfigError> {
    let mut settings = Settings::default();
    let (mut file, mut input) = (String::new(), None);
    match invocation.file.as_str() {
        "" => {}
        "-" => {
            let bytes = read_limited(std::io::stdin().lock(), "standard input")?;
            apply_bytes(&mut settings, &bytes, "standard input", 0)?;
            input = Some(bytes);
        }
        path => {
            apply_path(&mut settings, path, 0)?;
            // CONFIG REWRITE must find it whatever the working directory is by then.
            file = std::path::absolute(path)
                .map_or_else(|_| path.to_owned(), |full| full.to_string_lossy().into_owned());
        }
    }
    for directive in &invocation.directives {
        apply(&mut settings, directive, COMMAND_LINE, 0)?;
    }
    let config = Config::resolve(&mut settings).map_err(|(name, reason)| ConfigError {
        place: "configuration".to_owned(),
        directive: name.to_owned(),
        reason,
    })?;
    Ok(Loaded { settings, config, file, salvage: invocation.salvage, input })
}

/// The settings that a start from the file at `path` would find if `text` were in it.
pub(super) fn read_back(path: &str, text: &[u8]) -> Result<Settings, ConfigError> {
    let mut settings = Settings::default();
    let text = read_limited(text, path)?;
    apply_bytes(&mut settings, &text, path, 0)?;
    Ok(settings)
}

fn apply_path(settings: &mut Settings, path: &str, depth: usize) -> Result<(), ConfigError> {
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let bytes = read_limited(file, path)?;
    apply_bytes(settings, &bytes, path, depth)
}

fn apply_bytes(
    settings: &mut Settings,
    bytes: &[u8],
    place: &str,
    depth: usize,
) -> Result<(), ConfigError> {
    let directives = parse_file(bytes).map_err(|error| ConfigError {
        place: format!("{place}:{}", error.line),
        directive: String::new(),
        reason: error.reason.to_owned(),
    })?;
    for directive in &directives {
        let at = format!("{place}:{}", directive.line);
        apply(settings, directive, &at, depth)?;
    }
    Ok(())
}

fn apply(
    settings: &mut Settings,
    directive: &Directive,
    place: &str,
    depth: usize,
) -> Result<(), ConfigError> {
    let wrong = |reason: &str| ConfigError {
        place: place.to_owned(),
        directive: directive.name.clone(),
        reason: reason.to_owned(),
    };
    if directive.name == "include" {
        let [path] = directive.words.as_slice() else {
            return Err(wrong("wrong number of arguments"));
        };
        if depth >= limits::INCLUDE_DEPTH || path == "-" {
            return Err(wrong("too many files include each other"));
        }
        return apply_path(settings, path, depth + 1);
    }
    if directive.name == "salvage" {
        return Err(wrong("it's an argument of one start, `--salvage`, and no setting"));
    }
    let Some(row) = tables::find(&directive.name) else {
        return Err(wrong("unknown directive"));
    };
    if directive.words.is_empty() {
        return Err(wrong("wrong number of arguments"));
    }
    let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
    settings.put(row, &words).map_err(|reason| wrong(&reason))
}

fn read_limited(source: impl Read, place: &str) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    let read = source.take(limits::CONFIG_FILE + 1).read_to_end(&mut bytes);
    let read = read.map_err(|error| unreadable(place, &error))?;
    if read as u64 > limits::CONFIG_FILE {
        return Err(unreadable(place, &std::io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

fn unreadable(path: &str, error: &std::io::Error) -> ConfigError {
    let place = Path::new(path).display().to_string();
    ConfigError {
        place,
        directive: String::new(),
        reason: format!("can't read the configuration: {error}"),
    }
}

fn misplaced(argument: &str) -> ConfigError {
    ConfigError {
        place: COMMAND_LINE.to_owned(),
        directive: argument.to_owned(),
        reason: "a directive begins with '--'; only the first argument can be a file".to_owned(),
    }
}
