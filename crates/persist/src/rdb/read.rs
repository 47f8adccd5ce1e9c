//! Reading a file, one item at a time.
//!
//! What always holds: an item is handed out whole; of what was read nothing is kept but what
//! stands before the next item. Only the [`Event::End`] says that the checksum was right: who
//! must not show half a file keeps what came aside until then.

use super::input::{Error, Input, Problem};
use super::marks::SEED;
use super::value::{Form, is_kept, value};
use super::{CHECKED, Templates, VERSION_VALKEY, VERSIONS, kind, op, skip};
use crate::extra::{AUX_NAME, Extra, tag};
use crate::limits::EXTRA_PIECE_MAX;
use engine::hash::{FieldDeadline, FieldEdit, SipKey};
use engine::limits::KEY_MAX;
use engine::{HashKey, OwnedItem, OwnedValue};
use std::io::{self, Cursor, Read};

/// What to do with values that can't be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Others {
    /// Pass over them; each is an [`Event::Skipped`].
    Skip,
    /// The first one is an error.
    Refuse,
}

/// What stands in a file.
#[derive(Debug)]
pub enum Event {
    /// A fact about the file.
    Aux {
        /// Its name.
        name: Vec<u8>,
        /// What it is.
        value: Vec<u8>,
    },
    /// A hint: how much a database holds.
    Resize {
        /// The database.
        db: usize,
        /// Its keys.
        keys: u64,
        /// Those of them with a deadline.
        deadlines: u64,
    },
    /// An item.
    Item(Item),
    /// Something that can't be kept was passed over.
    Skipped(Skipped),
    /// The end of the file.
    End {
        /// Whether there was a checksum (and it was right); Redis can be told to write none, and
        /// old versions had none. A file with a seed for its marks always has one.
        checked: bool,
    },
}

/// A key and what it holds.
#[derive(Debug)]
pub struct Item {
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Vec<u8>,
    /// What it holds.
    pub item: OwnedItem,
    /// All that stood beside it, what is in `item.meta` included.
    pub extra: Extra,
}

/// Something that can't be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// The database.
    pub db: usize,
    /// The key, or its beginning; empty if it's no key.
    pub key: Vec<u8>,
    /// What it is: a type, `function library`, `long key`.
    pub what: &'static str,
}

/// Reads a file.
#[derive(Debug)]
pub struct Reader<R> {
    input: Input<R>,
    others: Others,
    sip: SipKey,
    version: u16,
    valkey: bool,
    db: usize,
    /// What stood before the next key.
    deadline: Option<u64>,
    extra: Vec<u8>,
    templates: Templates,
    /// Whether Sessile wrote it as one file, and so with a checksum.
    summed: bool,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read: the header. `sip` is the key of the arena that the items are for.
    ///
    /// # Errors
    /// It's no RDB file, or of a version that isn't read.
    pub fn new(inner: R, others: Others, sip: SipKey) -> Result<Self, Error> {
        let mut input = Input::new(inner);
        let head: [u8; 9] = input.array()?;
        let at_head = |problem| Err(Error { offset: 0, problem });
        let (valkey, digits) = match (head.strip_prefix(b"REDIS"), head.strip_prefix(b"VALKEY")) {
            (Some(digits), _) => (false, digits),
            (_, Some(digits)) => (true, digits),
            _ => return at_head(Problem::NotRdb),
        };
        let number = digits.iter().try_fold(0_u16, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
        });
        let right = |n: &u16| if valkey { *n == VERSION_VALKEY } else { VERSIONS.contains(n) };
        let Some(version) = number.filter(right) else {
            return at_head(Problem::Version(head.escape_ascii().to_string()));
        };
        Ok(Self {
            input,
            others,
            sip,
            version,
            valkey,
            db: 0,
            deadline: None,
            extra: Vec::new(),
            templates: Templates::default(),
            summed: false,
            ended: false,
        })
    }

    /// The file's version.
    pub const fn version(&self) -> u16 {
        self.version
    }

    /// Bytes that were read.
    pub const fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// The next thing in the file; `None` after its end.
    ///
    /// # Errors
    /// The file is damaged, ends too soon, or holds what can't be kept. Nothing can be read after.
    #[expect(clippy::should_implement_trait, reason = "an iterator would hide where errors end it")]
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        while !self.ended {
            let start = self.input.offset();
            if let Some(event) = self.step(start)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// After the end: that nothing follows it.
    ///
    /// # Errors
    /// There is more, or that can't be read.
    pub fn nothing_follows(&mut self) -> Result<(), Error> {
        let ends = self.input.is_at_end()?;
        if ends { Ok(()) } else { self.input.fail(Problem::Trailing) }
    }

    /// What follows the file in the same source: the commands of an old log, say.
    pub fn into_rest(self) -> io::Chain<Cursor<Vec<u8>>, R> {
        self.input.into_rest()
    }

    fn step(&mut self, start: u64) -> Result<Option<Event>, Error> {
        match self.input.byte()? {
            op::EXPIRE_MS => {
                let at = i64::from_le_bytes(self.input.array()?);
                self.deadline = Some(at.max(1).cast_unsigned());
            }
            op::EXPIRE => {
                let at = i32::from_le_bytes(self.input.array()?);
                self.deadline = Some(u64::from(at.max(1).cast_unsigned()) * 1000);
            }
            op::IDLE => _ = self.input.length()?,
            op::FREQUENCY => _ = self.input.byte()?,
            op::SLOT_INFO => {
                for _ in 0..3 {
                    self.input.length()?;
                }
            }
            op::SELECT => {
                let db = self.input.length()?;
                let small = u32::try_from(db).map_err(|_| self.input.error(Problem::Length))?;
                self.db = small as usize;
            }
            op::RESIZE => {
                let (keys, deadlines) = (self.input.length()?, self.input.length()?);
                return Ok(Some(Event::Resize { db: self.db, keys, deadlines }));
            }
            op::AUX => return self.aux(start),
            op::MODULE_AUX => {
                self.input.length()?;
                skip::module(&mut self.input)?;
                return self.other(start, Vec::new(), "module data").map(Some);
            }
            // In Valkey's files this number is another thing.
            op::KEY_METADATA if !self.valkey => {
                skip::metadata(&mut self.input)?;
                return self.other(start, Vec::new(), "module metadata").map(Some);
            }
            op::TEMPLATE if !self.valkey => self.templates.read(&mut self.input)?,
            op::FUNCTION => {
                self.input.pass_string()?;
                return self.other(start, Vec::new(), "function library").map(Some);
            }
            op::END => return self.end().map(Some),
            kind => return self.item(start, kind).map(Some),
        }
        Ok(None)
    }

    fn aux(&mut self, start: u64) -> Result<Option<Event>, Error> {
        let (name, value) = (self.input.string()?, self.input.string()?);
        if name != AUX_NAME {
            self.summed |= name == SEED;
            return Ok(Some(Event::Aux { name, value }));
        }
        // All together have no bound but the file's: a hash may have any number of fields with
        // deadlines.
        if value.len() > EXTRA_PIECE_MAX {
            return Err(Error { offset: start, problem: Problem::Extra });
        }
        self.extra.extend_from_slice(&value);
        if value.len() == EXTRA_PIECE_MAX {
            return Ok(None);
        }
        // The last piece: all of it must be right now, so that the error says where.
        let extra = self.take_extra(start)?;
        let Some(key) = extra.get(tag::EMPTY_HASH).map(<[u8]>::to_vec) else {
            self.extra = extra.as_bytes().to_vec();
            return Ok(None);
        };
        if key.len() > KEY_MAX || !extra.fits(false, true) {
            return Err(Error { offset: start, problem: Problem::Extra });
        }
        let meta = extra.meta(extra.deadline());
        let user = extra.user().to_vec();
        let mut item = OwnedItem { value: OwnedValue::Packed(Vec::new()), meta, user };
        let fields: Vec<FieldEdit<'_>> = extra.hidden_fields().map(as_set).collect();
        item.edit(&HashKey(self.sip), &fields);
        Ok(Some(Event::Item(Item { db: self.db, key, item, extra })))
    }

    fn take_extra(&mut self, start: u64) -> Result<Extra, Error> {
        let at = |problem| Error { offset: start, problem };
        let extra =
            Extra::from_bytes(std::mem::take(&mut self.extra)).map_err(|_| at(Problem::Extra))?;
        match extra.unknown() {
            Some(tag) => Err(at(Problem::ExtraTag(tag))),
            None => Ok(extra),
        }
    }

    fn item(&mut self, start: u64, kind: u8) -> Result<Event, Error> {
        let extra = self.take_extra(start)?;
        let deadline = self.deadline.take();
        let known = is_kept(kind, self.valkey);
        let other = skip::name(kind);
        if !known && other.is_none() && !may_be_type(kind) {
            return Err(Error { offset: start, problem: Problem::Unknown(kind) });
        }
        let key = self.input.string()?;
        if let Some(what) = other {
            if self.others == Others::Skip {
                skip::value(&mut self.input, kind)?;
            }
            return self.other(start, key, what);
        }
        if !known {
            let what = if kind == 6 { "old module value" } else { "value of a type unknown here" };
            return Err(Error { offset: start, problem: Problem::Kind { what, key } });
        }
        let form = Form { kind, valkey: self.valkey, templates: &self.templates };
        let value = value(&mut self.input, form, self.sip, &extra)?;
        if !extra.fits(kind == kind::STRING, false) {
            return Err(Error { offset: start, problem: Problem::Extra });
        }
        if key.len() > KEY_MAX {
            let head = key.get(..64).unwrap_or_default().to_vec();
            return self.other(start, head, "long key");
        }
        let user = extra.user().to_vec();
        let item = OwnedItem { value, meta: extra.meta(deadline), user };
        Ok(Event::Item(Item { db: self.db, key, item, extra }))
    }

    fn other(&self, start: u64, key: Vec<u8>, what: &'static str) -> Result<Event, Error> {
        match self.others {
            Others::Skip => Ok(Event::Skipped(Skipped { db: self.db, key, what })),
            Others::Refuse => Err(Error { offset: start, problem: Problem::Kind { what, key } }),
        }
    }

    fn end(&mut self) -> Result<Event, Error> {
        self.ended = true;
        if self.version < CHECKED {
            return Ok(Event::End { checked: false });
        }
        let (offset, sum) = (self.input.offset(), self.input.sum());
        let stored = u64::from_le_bytes(self.input.array()?);
        if stored != sum && (stored != 0 || self.summed) {
            return Err(Error { offset, problem: Problem::Checksum });
        }
        Ok(Event::End { checked: stored != 0 })
    }
}

/// Whether a type that isn't known may begin with this byte, and so a key follow it.
const fn may_be_type(byte: u8) -> bool {
    matches!(byte, 6 | 22..64)
}

fn as_set<'a>((field, value): (&'a [u8], &'a [u8])) -> FieldEdit<'a> {
    FieldEdit::Set { field, value, deadline: FieldDeadline::Clear }
}
