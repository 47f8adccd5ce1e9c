//! CLIENT LIST and KILL: finding connections among all, and their lines.
//!
//! Source of the line's fields: the documentation of CLIENT LIST. What always holds: the asking
//! client's own facts are the present ones, also if the registry hasn't heard of them yet.

use super::support::{is, text};
use crate::client::{Client, Standing};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::host::ClientFacts;
use crate::row::Outcome;
use protocol::args::Args;
use protocol::resp::{RespVersion, parse_i64};
use std::fmt::Write;

/// CLIENT LIST.
pub(super) fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let mut ids = None;
    let mut normal = true;
    match args.get(2) {
        None => {}
        Some(option) if args.len() == 4 && is(option, "TYPE") => {
            normal = is_normal(args.at(3))?;
        }
        Some(option) if args.len() > 3 && is(option, "ID") => {
            let parsed = args.from(3).iter().map(|id| parse_i64(id).map(|id| id as u64));
            let all: Option<Vec<u64>> = parsed.collect();
            ids = Some(all.ok_or(Failure::text("ERR Invalid client ID"))?);
        }
        Some(_) => return Err(Failure::SYNTAX),
    }
    let mut lines = String::new();
    for facts in ctx.host.clients() {
        if normal && ids.as_ref().is_none_or(|ids| ids.contains(&facts.id)) {
            lines += &describe(&facts, ctx.client);
        }
    }
    ctx.reply.verbatim("txt", lines.as_bytes());
    Ok(())
}

/// CLIENT KILL.
pub(super) fn kill(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    if args.len() == 3 {
        let addr = text(args.at(2));
        let found = ctx.host.clients().into_iter().find(|facts| facts.addr == addr);
        let facts = found.ok_or(Failure::text("ERR No such client"))?;
        end(ctx, facts.id);
        ctx.reply.ok();
        return Ok(());
    }
    let filter = Filter::parse(args)?;
    let mut ended = 0;
    for facts in ctx.host.clients() {
        let own = facts.id == ctx.client.id;
        if filter.fits(&facts) && !(own && filter.skip_me) && end(ctx, facts.id) {
            ended += 1;
        }
    }
    ctx.reply.int(ended);
    Ok(())
}

/// Ends a connection; the asking one after its reply.
fn end(ctx: &mut Ctx<'_>, id: u64) -> bool {
    if id == ctx.client.id {
        ctx.client.close = true;
        return true;
    }
    ctx.host.kill(id)
}

/// Which connections KILL means; all conditions have to hold.
struct Filter {
    id: Option<u64>,
    normal: bool,
    addr: Option<String>,
    laddr: Option<String>,
    user: Option<String>,
    max_age_s: Option<u64>,
    skip_me: bool,
}

impl Filter {
    fn parse(args: Args<'_>) -> Result<Self, Failure> {
        let mut filter = Self {
            id: None,
            normal: true,
            addr: None,
            laddr: None,
            user: None,
            max_age_s: None,
            skip_me: true,
        };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1).ok_or(Failure::SYNTAX)?;
            filter.option(option, value)?;
            at += 2;
        }
        Ok(filter)
    }

    fn option(&mut self, option: &[u8], value: &[u8]) -> Result<(), Failure> {
        if is(option, "ID") {
            let id = parse_i64(value).filter(|id| *id > 0);
            let id = id.ok_or(Failure::text("ERR client-id should be greater than 0"))?;
            self.id = Some(id as u64);
        } else if is(option, "TYPE") {
            self.normal = is_normal(value)?;
        } else if is(option, "ADDR") {
            self.addr = Some(text(value).into_owned());
        } else if is(option, "LADDR") {
            self.laddr = Some(text(value).into_owned());
        } else if is(option, "USER") {
            if value != b"default" {
                return Err(Failure::made(format!("ERR No such user '{}'", text(value))));
            }
            self.user = Some(text(value).into_owned());
        } else if is(option, "MAXAGE") {
            let age = parse_i64(value)
                .ok_or(Failure::text("ERR maxage is not an integer or out of range"))?;
            let age = u64::try_from(age).ok().filter(|age| *age > 0);
            self.max_age_s = Some(age.ok_or(Failure::text("ERR maxage should be greater than 0"))?);
        } else if is(option, "SKIPME") {
            self.skip_me = match value {
                yes if is(yes, "YES") => true,
                no if is(no, "NO") => false,
                _ => return Err(Failure::SYNTAX),
            };
        } else {
            return Err(Failure::SYNTAX);
        }
        Ok(())
    }

    fn fits(&self, facts: &ClientFacts) -> bool {
        self.normal
            && self.id.is_none_or(|id| id == facts.id)
            && self.addr.as_ref().is_none_or(|addr| *addr == facts.addr)
            && self.laddr.as_ref().is_none_or(|laddr| *laddr == facts.laddr)
            && self.user.as_ref().is_none_or(|user| *user == user_of(facts))
            && self.max_age_s.is_none_or(|age| facts.age_s >= age)
    }
}

/// Whether that type is the one that all connections here are of.
fn is_normal(kind: &[u8]) -> Result<bool, Failure> {
    let others = ["MASTER", "REPLICA", "SLAVE", "PUBSUB"];
    if is(kind, "NORMAL") {
        Ok(true)
    } else if others.iter().any(|other| is(kind, other)) {
        Ok(false)
    } else {
        Err(Failure::made(format!("ERR Unknown client type '{}'", text(kind))))
    }
}

fn user_of(facts: &ClientFacts) -> &str {
    if facts.user.is_empty() { "default" } else { &facts.user }
}

/// The line of a connection.
pub(super) fn describe(facts: &ClientFacts, asking: &Client) -> String {
    let mut facts = facts.clone();
    let own = facts.id == asking.id || facts.id == 0;
    if own {
        take_own(&mut facts, asking);
    }
    let standing = facts.standing;
    let (queued, watching) = (standing.queued(), standing.watching());
    let mut flags = String::new();
    let letters = [
        ('x', queued.is_some()),
        ('U', facts.unix),
        ('e', standing.no_evict()),
        ('T', standing.no_touch()),
    ];
    flags.extend(letters.iter().filter(|(_, on)| *on).map(|(letter, _)| letter));
    if flags.is_empty() {
        flags.push('N');
    }
    let queued = queued.map_or(-1, |queued| queued as i64);
    let command = match standing.command() {
        "" => "NULL".to_owned(),
        command => command.to_ascii_lowercase(),
    };
    let mut line = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(
        line,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub=0 psub=0 \
         ssub=0 multi={queued} watch={watching} qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 \
         rbp=0 obl={} oll=0 omem=0 tot-mem={} events=r cmd={} user={} redir=-1 resp={} \
         lib-name={} lib-ver={}",
        facts.id,
        facts.addr,
        facts.laddr,
        facts.fd,
        facts.name,
        facts.age_s,
        facts.idle_s,
        facts.db,
        facts.input,
        facts.output,
        facts.input + facts.output,
        command,
        user_of(&facts),
        facts.resp,
        facts.library.0,
        facts.library.1,
    );
    line
}

fn take_own(facts: &mut ClientFacts, asking: &Client) {
    facts.id = asking.id;
    facts.db = asking.db;
    facts.name = text(&asking.name).into_owned();
    facts.library = (text(&asking.library.0).into_owned(), text(&asking.library.1).into_owned());
    facts.standing = Standing::of(asking);
    facts.resp = if asking.version == RespVersion::Two { 2 } else { 3 };
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn filters_are_checked_before_anybody_is_closed() {
        let mut store = Store::new();
        store.expect(&[
            ("CLIENT KILL 1.1.1.1:4", "-ERR No such client\r\n"),
            ("CLIENT KILL ID x", "-ERR client-id should be greater than 0\r\n"),
            ("CLIENT KILL TYPE x", "-ERR Unknown client type 'x'\r\n"),
            ("CLIENT KILL TYPE normal", ":0\r\n"),
            ("CLIENT KILL USER x", "-ERR No such user 'x'\r\n"),
            ("CLIENT KILL SKIPME x", "-ERR syntax error\r\n"),
            ("CLIENT KILL ID 5 ADDR", "-ERR syntax error\r\n"),
            ("CLIENT KILL ID 5 MAXAGE 3 LADDR a:1 SKIPME no", ":0\r\n"),
            ("CLIENT LIST ID", "-ERR syntax error\r\n"),
            ("CLIENT LIST ID x", "-ERR Invalid client ID\r\n"),
            ("CLIENT LIST TYPE x", "-ERR Unknown client type 'x'\r\n"),
            ("CLIENT LIST TYPE normal", "$0\r\n\r\n"),
        ]);
        assert!(!store.client.close);
    }
}
