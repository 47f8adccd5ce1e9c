//! The `sessile` binary: reads the configuration, opens everything, runs until told to stop.
//!
//! Order: configuration, background, log, descriptors, sockets (under a umask, so before threads),
//! service, workers, files, ready. A failure before "Ready" is one clear line and exit 1. While files
//! are loaded, which may take long, clients are answered already: that they have to wait.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use server::config::load::{self, Instead, Loaded};
use server::config::{Config, Store, invocation, render};
use server::durable::check::Report;
use server::glue::{self, Glue};
use server::http::{Admin, Source};
use server::live::Live;
use server::os::clock::Clock;
use server::os::heap::{self, Counting};
use server::os::{daemon, machine};
use server::workers::acceptor::{Acceptor, Stopper};
use server::workers::{Common, Pool};
use server::{limits, listen, log, signals};

#[global_allocator]
static HEAP: Counting = Counting;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Standard error, and the log as well if that is a file by now.
            let _ = writeln!(std::io::stderr(), "sessile: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), String> {
    heap::prepare();
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|one| one.to_string_lossy().into_owned()).collect();
    let asked = invocation(&arguments).map_err(|error| error.to_string())?;
    match asked.instead {
        Some(Instead::Help) => return say(&render::help()),
        Some(Instead::Version) => return say(&format!("sessile {VERSION}\n")),
        Some(Instead::Check { fix }) => return check(&asked.checked, fix),
        Some(Instead::Config) | None => {}
    }
    let loaded = load::load(&asked).map_err(|error| error.to_string())?;
    if asked.instead == Some(Instead::Config) {
        return say(&render::print(&loaded.settings));
    }
    if loaded.config.daemonize && !daemon::in_background() {
        let input = loaded.input.as_deref();
        return daemon::detach(input).map(drop).map_err(|error| format!("daemonize: {error}"));
    }
    serve(loaded)
}

/// Says what files hold; fails if one isn't whole.
fn check(paths: &[String], fix: bool) -> Result<(), String> {
    if paths.is_empty() {
        return Err("--check [--fix] needs files or folders to look at".to_owned());
    }
    let report = Report::of(paths, fix);
    say(&report.text)?;
    if report.bad == 0 { Ok(()) } else { Err(format!("{} files aren't whole", report.bad)) }
}

fn serve(loaded: Loaded) -> Result<(), String> {
    let config = loaded.config.clone();
    log::set_level(config.loglevel);
    log::set_file(&config.logfile);
    log::notice(format_args!("Sessile {VERSION}, {} workers", config.workers));
    log::notice(format_args!("Running in standalone mode, PID: {}", machine::pid()));
    let served = serve_by(loaded);
    if let Err(reason) = &served
        && !config.logfile.is_empty()
    {
        log::warning(format_args!("{reason}"));
    }
    served
}

fn serve_by(mut loaded: Loaded) -> Result<(), String> {
    let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let wanted = loaded.config.maxclients as u64 + limits::OTHER_DESCRIPTORS;
    let granted = machine::raise_descriptors(wanted);
    if granted < wanted {
        let most = granted.saturating_sub(limits::OTHER_DESCRIPTORS).max(1);
        loaded.limit_clients(most)?;
        log::warning(format_args!("only {granted} descriptors are granted: maxclients is {most}"));
    }
    let config = loaded.config.clone();
    let listeners = listen::listen(&config)?;
    let admin_at = if config.http_port == 0 { Vec::new() } else { listen::listen_http(&config)? };
    if !config.pidfile.is_empty() {
        let text = format!("{}\n", machine::pid());
        std::fs::write(&config.pidfile, text).map_err(said("can't write the pidfile"))?;
    }
    let live = Arc::new(Live::default());
    let store = Arc::new(Store::new(loaded, Arc::clone(&live)));
    let common = Arc::new(Common::new(live, Clock::system()));
    let admin = start_admin(admin_at, &config, &common)?;
    let stopper = Stopper::new().map_err(said("can't make an eventfd"))?;
    signals::watch(stopper.clone()).map_err(said("can't watch signals"))?;
    let service = Arc::new(glue::service(&store, &common, &stopper)?);
    let places: Vec<String> =
        listeners.iter().map(|one| format!("{} ({:?})", one.at, one.dialect)).collect();
    let pool = Pool::start(&service, &common, config.workers).map_err(said("can't start"))?;
    if let Some(admin) = &admin {
        admin.tell_of(Arc::clone(&service) as Arc<dyn Source>);
    }
    let mut acceptor =
        Acceptor::new(listeners, stopper.clone(), config.exit_when_idle.saturating_mul(1000))
            .map_err(said("can't make an epoll set"))?;
    log::notice(format_args!("Server initialized"));
    log::notice(format_args!("Listening on {}", places.join(", ")));
    let loader = Loader::start(&service, stopper).map_err(said("can't start"))?;
    let accepted = acceptor.run(&pool).map_err(said("the acceptor failed"));
    service.stop();
    drop(acceptor);
    let loaded = loader.end();
    if let Some(admin) = admin {
        admin.stop();
    }
    let stopped = pool.stop().map_err(said("a worker failed"));
    let ended = service.end();
    listen::clean_up(&config);
    if !config.pidfile.is_empty() {
        let _ = std::fs::remove_file(&config.pidfile);
    }
    loaded.and(accepted).and(stopped).and(ended)?;
    log::warning(format_args!("Sessile is now ready to exit, bye bye..."));
    Ok(())
}

/// The admin page, if it's to be anywhere; it's there while files are loaded.
fn start_admin(
    listeners: Vec<(OwnedFd, SocketAddr)>,
    config: &Config,
    common: &Common,
) -> Result<Option<Admin>, String> {
    let [(_, first), ..] = &*listeners else { return Ok(None) };
    log::notice(format_args!("Admin page at http://{first}/"));
    let admin = Admin::start(listeners, config.http_hosts.clone(), common.clock.clone());
    admin.map(Some).map_err(|error| format!("can't start the admin page: {error}"))
}

/// The thread that loads the store's files.
struct Loader(JoinHandle<Result<(), String>>);

impl Loader {
    /// Starts it, and waits a moment: clients needn't know of a load that is over at once.
    fn start(service: &Arc<Glue>, stopper: Stopper) -> std::io::Result<Self> {
        let (done, is_done) = channel::<()>();
        let service = Arc::clone(service);
        let work = move || {
            let loaded = service.load();
            match &loaded {
                Ok(true) => log::notice(format_args!("Ready to accept connections")),
                Ok(false) => {}
                Err(_) => stopper.stop(),
            }
            drop(done);
            loaded.map(drop)
        };
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(work)?;
        // Either way: nothing is ever sent, and the other end goes when it's over.
        let _ = is_done.recv_timeout(limits::LOAD_UNTOLD);
        Ok(Self(thread))
    }

    /// How it went; one that goes on was told to end.
    fn end(self) -> Result<(), String> {
        self.0.join().unwrap_or_else(|_| Err("loading panicked".to_owned()))
    }
}

/// Prints to standard output, which may be a closed pipe.
fn say(text: &str) -> Result<(), String> {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}
