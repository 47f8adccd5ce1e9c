//! A hash as its fields come in, in the form that the engine keeps.
//!
//! What always holds: no name is there twice; a hash that is large is large; no field ends later than
//! one that a client may set ([`FIELD_DEADLINE_MAX_MS`]).

use engine::OwnedValue;
use engine::hash::{
    BigHash, Field, FieldEdit, PackedHash, SipKey, packed, stays_packed, write_field,
};
use engine::limits::FIELD_DEADLINE_MAX_MS;

/// Fields on their way.
#[derive(Debug)]
pub(crate) struct Collect {
    key: SipKey,
    run: Vec<u8>,
    count: usize,
    big: Option<BigHash>,
}

impl Collect {
    /// No fields yet. `key` is the arena's, which large hashes are ordered by.
    pub(crate) const fn new(key: SipKey) -> Self {
        Self { key, run: Vec::new(), count: 0, big: None }
    }

    /// Adds a field; `None` if a large hash has it already.
    pub(crate) fn add(&mut self, field: Field<'_>) -> Option<()> {
        let field = Field { deadline: field.deadline.map(bounded), ..field };
        self.count += 1;
        if let Some(big) = &mut self.big {
            big.insert(field);
            return (big.len() == self.count).then_some(());
        }
        write_field(&mut self.run, field);
        if !stays_packed(self.count, self.run.len()) {
            let big = BigHash::from_packed(self.key, PackedHash::new(&self.run));
            self.run = Vec::new();
            let distinct = big.len() == self.count;
            self.big = Some(big);
            return distinct.then_some(());
        }
        Some(())
    }

    /// The hash, after fields got these deadlines; `None` if a name is there twice.
    pub(crate) fn finish<'a>(
        mut self,
        deadlines: impl Iterator<Item = (&'a [u8], u64)>,
    ) -> Option<OwnedValue> {
        let edit = |(field, at)| FieldEdit::Deadline { field, at: Some(bounded(at)) };
        let edits: Vec<FieldEdit<'_>> = deadlines.map(edit).collect();
        if let Some(mut big) = self.big.take() {
            big.apply(&edits);
            return Some(OwnedValue::Big(Box::new(big)));
        }
        let packed = PackedHash::new(&self.run);
        let mut names: Vec<&[u8]> = packed.iter().map(|field| field.name).collect();
        names.sort_unstable();
        if names.array_windows::<2>().any(|[a, b]| a == b) {
            return None;
        }
        if edits.is_empty() {
            return Some(OwnedValue::Packed(self.run));
        }
        let mut run = Vec::new();
        Some(match packed::apply_or_grow(self.key, packed, &edits, &mut run) {
            (_, Some(big)) => OwnedValue::Big(Box::new(big)),
            (_, None) => OwnedValue::Packed(run),
        })
    }
}

fn bounded(at: u64) -> u64 {
    at.min(FIELD_DEADLINE_MAX_MS)
}
