//! Which answer a path has.
//!
//! What always holds: numbers are at most [`HTTP_FACTS_MS`] old and asked for at most that often,
//! however often the page is; health costs nothing and is asked for every time.

use std::sync::Arc;

use super::answer::{Answer, Status};
use super::facts::{Facts, Health};
use super::request::Request;
use super::{Source, metrics, origin, stats};
use crate::limits::HTTP_FACTS_MS;
use crate::os::machine;

/// The page and what is put into it, at the places named in braces.
const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const PLOTS: &str = include_str!("page/plot.js");

/// Answers requests.
#[derive(Debug)]
pub(super) struct Router {
    names: Vec<String>,
    /// The last numbers and when they were asked for (ms).
    known: Option<(u64, Facts)>,
}

impl Router {
    /// Answers to addresses, `localhost` and these names, in lower case.
    pub(super) const fn new(names: Vec<String>) -> Self {
        Self { names, known: None }
    }

    /// The answer to a request; `source` is none while the store is loading.
    pub(super) fn answer(
        &mut self,
        request: &Request<'_>,
        source: Option<&Arc<dyn Source>>,
        now_ms: u64,
    ) -> Answer {
        if !origin::is_ours(request.host, &self.names) {
            return Answer::text(Status::Misdirected, "This server has another name.\n");
        }
        match request.path {
            "/" => page(),
            "/healthz" => health(source.map_or(Health::Loading, |source| source.health())),
            "/metrics" | "/api/stats" if source.is_none() => health(Health::Loading),
            "/metrics" => Answer::metrics(self.tell(source, now_ms, metrics::text)),
            "/api/stats" => Answer::json(Status::Ok, self.tell(source, now_ms, stats::json)),
            _ => Answer::plain(Status::Missing),
        }
    }

    fn tell(
        &mut self,
        source: Option<&Arc<dyn Source>>,
        now_ms: u64,
        how: fn(&Facts) -> String,
    ) -> String {
        let is_fresh = |at: u64| now_ms >= at && now_ms - at < HTTP_FACTS_MS;
        match (&self.known, source) {
            (Some((at, facts)), _) if is_fresh(*at) => how(facts),
            (_, Some(source)) => {
                let facts = source.facts();
                let text = how(&facts);
                self.known = Some((now_ms, facts));
                text
            }
            (_, None) => String::new(),
        }
    }
}

fn health(health: Health) -> Answer {
    let status = if health == Health::Serving { Status::Ok } else { Status::Unavailable };
    Answer::json(status, format!("{{\"status\":\"{}\"}}\n", health.word()))
}

fn page() -> Answer {
    let Ok(drawn) = machine::random::<16>() else { return Answer::plain(Status::Unavailable) };
    let nonce: String = drawn.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = PAGE
        .replace("{style}", STYLE)
        .replace("{script}", &[PLOTS, SCRIPT].concat())
        .replace("{nonce}", &nonce);
    Answer::page(&nonce, body)
}
