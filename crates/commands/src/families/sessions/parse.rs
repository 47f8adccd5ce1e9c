//! The options of the SESSION commands.
//!
//! What always holds: options come in any order, each at most once (PUSH as often as wanted); each
//! error names the option; every number has its bounds.

use super::super::support::text;
use crate::failure::Failure;
use crate::limits::{COUNT_MAX, GRACE_MAX_S, TOKEN_BYTES_MAX};
use crate::ops::sessions::merge::{List, Patch, Push};
use crate::ops::sessions::{Life, Request, Rotation};
use engine::limits::{ABSOLUTE_MAX_MS, USER_BYTES_MAX};
use protocol::args::Args;
use protocol::resp::parse_u64;

/// Bytes of an unknown option that its error repeats.
const NAMED_MAX: usize = 128;

/// An option, by its place in [`NAMES`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Name {
    Idle,
    Max,
    ExAt,
    User,
    Limit,
    Set,
    Req,
    If,
    DelTree,
    Del,
    Init,
    Incr,
    Push,
    Grace,
    Hard,
    Else,
}

const NAMES: [(&str, Name); 16] = [
    ("IDLE", Name::Idle),
    ("MAX", Name::Max),
    ("EXAT", Name::ExAt),
    ("USER", Name::User),
    ("LIMIT", Name::Limit),
    ("SET", Name::Set),
    ("REQ", Name::Req),
    ("IF", Name::If),
    ("DELTREE", Name::DelTree),
    ("DEL", Name::Del),
    ("INIT", Name::Init),
    ("INCR", Name::Incr),
    ("PUSH", Name::Push),
    ("GRACE", Name::Grace),
    ("HARD", Name::Hard),
    ("ELSE", Name::Else),
];

/// Which options a command has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Options(u16);

impl Options {
    const fn of(names: &[Name]) -> Self {
        let mut bits = 0;
        let mut rest = names;
        while let [name, more @ ..] = rest {
            bits |= 1 << *name as u8;
            rest = more;
        }
        Self(bits)
    }

    /// Those of SESSION.CREATE.
    pub(super) const CREATE: Self = Self::of(&[
        Name::Idle,
        Name::Max,
        Name::ExAt,
        Name::User,
        Name::Limit,
        Name::Set,
        Name::Req,
    ]);
    /// Those of SESSION.SAVE.
    pub(super) const SAVE: Self = Self::of(&[
        Name::Idle,
        Name::Max,
        Name::ExAt,
        Name::User,
        Name::Set,
        Name::Req,
        Name::If,
        Name::DelTree,
        Name::Del,
        Name::Init,
        Name::Incr,
        Name::Push,
    ]);
    /// Those of SESSION.ROTATE.
    pub(super) const ROTATE: Self =
        Self(Self::SAVE.0 | Self::of(&[Name::Grace, Name::Hard, Name::Limit, Name::Else]).0);
    /// Those of SLIDE.
    pub(super) const SLIDE: Self = Self::of(&[Name::Max]);

    const fn has(self, name: Name) -> bool {
        self.0 & 1 << name as u8 != 0
    }
}

/// What the options of a command say.
pub(super) struct Parsed<'a> {
    pub(super) request: Request<'a>,
    pub(super) rotation: Rotation<'a>,
}

impl<'a> Parsed<'a> {
    /// Reads the options that begin at `from`.
    pub(super) fn read(args: Args<'a>, from: usize, allowed: Options) -> Result<Self, Failure> {
        let request = Request {
            life: Life::default(),
            user: None,
            limit: None,
            expected: None,
            patch: Patch::new(args),
            token: None,
        };
        let mut parsed = Self { request, rotation: Rotation::default() };
        let mut reader = Reader { args, at: from, option: "" };
        let (mut seen, mut otherwise) = (Options(0), None);
        while let Some(word) = args.get(reader.at) {
            let named = |(name, _): &&(&str, Name)| word.eq_ignore_ascii_case(name.as_bytes());
            let found = NAMES.iter().find(named).filter(|(_, name)| allowed.has(*name));
            let Some((option, name)) = found else {
                let word = text(word.get(..NAMED_MAX).unwrap_or(word));
                return Err(Failure::made(format!("ERR unknown option '{word}'")));
            };
            if seen.has(*name) && *name != Name::Push {
                return Err(Failure::made(format!("ERR {option} is given twice")));
            }
            seen.0 |= 1 << *name as u8;
            (reader.at, reader.option) = (reader.at + 1, option);
            if *name == Name::Else {
                otherwise = Some(reader.otherwise()?);
            } else {
                parsed.take(&mut reader, *name)?;
            }
        }
        let set = parsed.request.patch.set;
        parsed.rotation.otherwise = otherwise.map(|fields| fields.unwrap_or(set));
        Ok(parsed)
    }

    fn take(&mut self, reader: &mut Reader<'a>, name: Name) -> Result<(), Failure> {
        let Self { request, rotation } = self;
        let (life, patch) = (&mut request.life, &mut request.patch);
        match name {
            Name::Idle => life.idle_s = Some(reader.number(0, u32::MAX.into())? as u32),
            Name::Max => life.max_s = Some(reader.number(0, ABSOLUTE_MAX_MS)?),
            Name::ExAt => life.at = Some(reader.number(0, ABSOLUTE_MAX_MS)?),
            Name::User => request.user = Some(reader.word(USER_BYTES_MAX)?),
            Name::Limit => request.limit = Some(reader.number(1, COUNT_MAX)? as usize),
            Name::Set => patch.set = reader.list(2)?,
            Name::Req => request.token = Some(reader.word(TOKEN_BYTES_MAX)?),
            Name::If => request.expected = Some(reader.number(0, u64::MAX)?),
            Name::DelTree => patch.delete_trees = reader.list(1)?,
            Name::Del => patch.delete = reader.list(1)?,
            Name::Init => patch.init = reader.list(2)?,
            Name::Incr => patch.increment = reader.list(2)?,
            Name::Push => patch.push.push(reader.push()?),
            Name::Grace => rotation.grace_ms = reader.number(0, GRACE_MAX_S)? * 1000,
            Name::Hard => rotation.hard = true,
            Name::Else => {}
        }
        Ok(())
    }
}

/// The arguments of one option after the other.
pub(super) struct Reader<'a> {
    pub(super) args: Args<'a>,
    pub(super) at: usize,
    pub(super) option: &'static str,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<&'a [u8], Failure> {
        let word = self.args.get(self.at);
        self.at += 1;
        word.ok_or_else(|| Failure::made(format!("ERR {} lacks an argument", self.option)))
    }

    /// A number within bounds.
    pub(super) fn number(&mut self, least: u64, most: u64) -> Result<u64, Failure> {
        let option = self.option;
        let number = parse_u64(self.next()?).filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| {
            Failure::made(format!("ERR {option} needs a whole number from {least} to {most}"))
        })
    }

    fn word(&mut self, most: usize) -> Result<&'a [u8], Failure> {
        let (option, word) = (self.option, self.next()?);
        if word.len() > most {
            return Err(Failure::made(format!("ERR {option} may have {most} bytes at most")));
        }
        Ok(word)
    }

    /// `n` and so many arguments, or groups of them.
    pub(super) fn list(&mut self, each: usize) -> Result<List<'a>, Failure> {
        let count = self.number(0, COUNT_MAX)? as usize;
        let rest = self.args.from(self.at);
        let len = count.checked_mul(each).filter(|len| *len <= rest.len());
        let Some(len) = len else {
            let option = self.option;
            return Err(Failure::made(format!("ERR {option} has fewer arguments than it says")));
        };
        self.at += len;
        Ok(List::new(rest, len))
    }

    /// `f v [TRIM n]`
    fn push(&mut self) -> Result<Push<'a>, Failure> {
        let (field, value) = (self.next()?, self.next()?);
        let mut trim = None;
        if self.args.at(self.at).eq_ignore_ascii_case(b"TRIM") {
            (self.at, self.option) = (self.at + 1, "TRIM");
            trim = Some(self.number(0, COUNT_MAX)? as usize);
        }
        Ok(Push { field, value, trim })
    }

    /// `CREATE [n f v ...]`: the fields to create a session of, if they aren't those of SET.
    fn otherwise(&mut self) -> Result<Option<List<'a>>, Failure> {
        if !self.next()?.eq_ignore_ascii_case(b"CREATE") {
            return Err(Failure::text("ERR ELSE needs CREATE"));
        }
        let has_fields = parse_u64(self.args.at(self.at)).is_some();
        if has_fields { self.list(2).map(Some) } else { Ok(None) }
    }
}
