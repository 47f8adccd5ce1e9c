//! The configuration while the server runs: CONFIG GET, SET and REWRITE.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::glob::fits;
use super::load::Loaded;
use super::resolved::{Allowed, Config};
use super::rewrite;
use super::row::Change;
use super::settings::Settings;
use super::tables::{find, rows};
use crate::limits;
use crate::live::Live;
use crate::log;
use crate::os::machine;

/// Settings, what they resolve to, and the file they came from.
#[derive(Debug)]
pub struct Store {
    state: Mutex<State>,
    live: Arc<Live>,
    file: String,
    salvage: bool,
    generation: AtomicU64,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    config: Arc<Config>,
}

/// Settings that fit together, and aren't in force.
#[derive(Debug)]
pub struct Prepared(State);

impl Prepared {
    /// What they resolve to.
    pub fn config(&self) -> &Config {
        &self.0.config
    }
}

/// Why CONFIG SET refused; its text is what Redis' clients get after `ERR `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// No such directive.
    Unknown(String),
    /// The value or the moment is wrong.
    Failed {
        /// The directive as the client wrote it.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
            Self::Failed { name, reason } => {
                write!(f, "CONFIG SET failed (possibly related to argument '{name}') - {reason}")
            }
        }
    }
}

impl std::error::Error for SetError {}

impl Store {
    /// Takes over what was loaded and publishes it.
    pub fn new(loaded: Loaded, live: Arc<Live>) -> Self {
        loaded.config.publish(&live);
        let state = State { settings: loaded.settings, config: Arc::new(loaded.config) };
        let (file, salvage) = (loaded.file, loaded.salvage);
        Self { state: Mutex::new(state), live, file, salvage, generation: AtomicU64::new(1) }
    }

    /// What the server runs by now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.state().config)
    }

    /// Changes whenever a setting did: cheap to compare once per turn.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The settings whose name or alias fits any pattern, each once per fitting name.
    pub fn get<'a>(
        &self,
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'static str, String)> {
        let patterns: Vec<&str> = patterns.into_iter().collect();
        let state = self.state();
        let names = rows().flat_map(|row| [(row.name, row), (row.alias, row)]);
        names
            .filter(|(name, _)| !name.is_empty() && patterns.iter().any(|one| fits(one, name)))
            .map(|(name, row)| (name, state.settings.value(row.name).to_owned()))
            .collect()
    }

    /// Changes all of these settings, or none of them. `local`: the client is on this machine.
    pub fn set(&self, pairs: &[(&str, &str)], local: bool) -> Result<(), SetError> {
        self.prepare(pairs, local).map(|prepared| drop(self.put(prepared)))
    }

    /// What these settings would make of those in force, if all of them may be changed so. Between
    /// this and [`Store::put`] nobody else may change any.
    pub fn prepare(&self, pairs: &[(&str, &str)], local: bool) -> Result<Prepared, SetError> {
        let state = self.state();
        let mut settings = state.settings.clone();
        let mut seen = Vec::new();
        for (name, value) in pairs {
            let failed = |reason: &str| SetError::Failed {
                name: (*name).to_owned(),
                reason: reason.to_owned(),
            };
            let row = find(name).ok_or_else(|| SetError::Unknown((*name).to_owned()))?;
            let allowed = state.config.protected_configs;
            match row.change {
                Change::Live => {}
                Change::Start => return Err(failed("can't set immutable config")),
                Change::Protected
                    if allowed == Allowed::Yes || (allowed == Allowed::Local && local) => {}
                Change::Protected => return Err(failed("can't set protected config")),
            }
            if seen.contains(&row.name) {
                return Err(failed("duplicate parameter"));
            }
            seen.push(row.name);
            settings.put(row, &[*value]).map_err(|reason| failed(&reason))?;
        }
        let config = Config::resolve(&mut settings)
            .map_err(|(name, reason)| SetError::Failed { name: name.to_owned(), reason })?;
        if config.maxclients > state.config.maxclients {
            let wanted = config.maxclients as u64 + limits::OTHER_DESCRIPTORS;
            if machine::raise_descriptors(wanted) < wanted {
                let reason = "the system does not grant that many descriptors".to_owned();
                return Err(SetError::Failed { name: "maxclients".to_owned(), reason });
            }
        }
        Ok(Prepared(State { settings, config: Arc::new(config) }))
    }

    /// Puts settings in force, and answers those that were.
    pub fn put(&self, Prepared(wanted): Prepared) -> Prepared {
        let mut state = self.state();
        wanted.config.publish(&self.live);
        log::set_level(wanted.config.loglevel);
        let before = std::mem::replace(&mut *state, wanted);
        self.generation.fetch_add(1, Ordering::Release);
        Prepared(before)
    }

    /// Writes the settings into the file they came from. The error's text is what clients get
    /// after `ERR `.
    pub fn rewrite(&self) -> Result<(), String> {
        if self.file.is_empty() {
            return Err("The server is running without a config file".to_owned());
        }
        let settings = self.state().settings.clone();
        rewrite::rewrite(&self.file, &settings)
            .map_err(|error| format!("Rewriting config file: {error}"))
    }

    /// Whether this start was told to load what can be had from a damaged log.
    pub const fn salvage(&self) -> bool {
        self.salvage
    }

    /// The file that the settings came from; empty for none.
    pub fn file(&self) -> &str {
        &self.file
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
