//! The due times of the near future, as notes of eight bytes.
//!
//! ```text
//! note   63                41 40              0
//!        | segment's life (23) | address (41) |
//! ```
//!
//! A note says "look at this item then"; whoever takes it out looks at the item's header, which
//! alone is the truth. So notes may be old or double, and moving a deadline needs no search.
//! What always holds: a note that was filed comes out in the first turn after its tick.

use crate::limits::{WHEEL_TICK_MS, WHEEL_TICKS};
use layout::Address;

const ADDRESS_BITS: u32 = 41;
const LIFE_MASK: u64 = (1 << (64 - ADDRESS_BITS)) - 1;

/// A place to look at, and the life of its segment when the note was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Note(u64);

impl Note {
    pub(crate) fn new(at: Address, life: u32) -> Self {
        Self((u64::from(life) & LIFE_MASK) << ADDRESS_BITS | at.0)
    }

    pub(crate) const fn address(self) -> Address {
        Address(self.0 & ((1 << ADDRESS_BITS) - 1))
    }

    /// Whether it was written in this life of the segment.
    pub(crate) fn is_of(self, life: u32) -> bool {
        self.0 >> ADDRESS_BITS == u64::from(life) & LIFE_MASK
    }
}

/// A ring of ticks.
#[derive(Debug)]
pub(crate) struct Wheel {
    ticks: Vec<Vec<Note>>,
    /// The tick that comes out next.
    next: u64,
    len: usize,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { ticks: (0..WHEEL_TICKS).map(|_| Vec::new()).collect(), next: 0, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Files a note for `due` (Unix milliseconds), at most one turn of the wheel ahead.
    pub(crate) fn file(&mut self, note: Note, due: u64, now: u64) {
        let tick = due / WHEEL_TICK_MS;
        self.begin_by(tick, now);
        // A tick comes out when it's over, so that nothing in it is early.
        let tick = tick.clamp(self.next, self.next + WHEEL_TICKS as u64 - 1);
        // A key that is written again and again would leave a note each time.
        if let Some(notes) = self.ticks.get_mut(tick as usize % WHEEL_TICKS)
            && notes.last() != Some(&note)
        {
            notes.push(note);
            self.len += 1;
        }
    }

    /// Takes out up to `most` notes of the next tick that is over at `now`, those that came last;
    /// `None` if there is no such. Costs what it takes, however many are left.
    pub(crate) fn take(&mut self, now: u64, most: usize) -> Option<Vec<Note>> {
        let current = now / WHEEL_TICK_MS;
        if self.len == 0 {
            self.next = self.next.max(current);
            return None;
        }
        // After a long pause no tick further back than one turn can hold anything.
        while self.next < current {
            let notes = self.ticks.get_mut(self.next as usize % WHEEL_TICKS)?;
            if !notes.is_empty() {
                let rest = notes.len().saturating_sub(most);
                let taken = if rest == 0 { std::mem::take(notes) } else { notes.split_off(rest) };
                self.len -= taken.len();
                return Some(taken);
            }
            self.next += 1;
            if current - self.next > WHEEL_TICKS as u64 {
                self.next = current - WHEEL_TICKS as u64;
            }
        }
        None
    }

    /// Puts back what there was no time for; it comes out first, the last of it before the rest.
    pub(crate) fn put_back(&mut self, notes: &[Note], now: u64) {
        self.begin_by(0, now);
        if let Some(tick) = self.ticks.get_mut(self.next as usize % WHEEL_TICKS) {
            tick.extend_from_slice(notes);
            self.len += notes.len();
        }
    }

    /// Moves the hand of an empty wheel to `now`, and back by one tick for what is overdue: it finds
    /// a tick that is over, and comes out at once.
    const fn begin_by(&mut self, tick: u64, now: u64) {
        let over = (now / WHEEL_TICK_MS).saturating_sub(1);
        if self.len == 0 && self.next < over || tick <= over && self.next > over {
            self.next = over;
        }
    }

    /// When the next note comes out at the latest.
    pub(crate) fn next_due(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let filled = |tick: &u64| {
            self.ticks.get(*tick as usize % WHEEL_TICKS).is_some_and(|notes| !notes.is_empty())
        };
        let tick = (self.next..self.next + WHEEL_TICKS as u64).find(filled)?;
        Some((tick + 1) * WHEEL_TICK_MS)
    }

    /// Whether a note about this place is filed; slow, for the checker.
    pub(crate) fn holds(&self, at: Address, life: u32) -> bool {
        self.ticks.iter().flatten().any(|note| *note == Note::new(at, life))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_out_when_due_and_never_early() {
        let mut wheel = Wheel::new();
        let start = 1_800_000_000_000;
        assert_eq!(wheel.take(start, 9), None);
        for n in 0..600u64 {
            wheel.file(Note::new(Address(n), 1), start + n * 100, start);
        }
        let mut seen = 0;
        for now in (start..start + 61_000).step_by(50) {
            while let Some(notes) = wheel.take(now, 2) {
                for note in notes {
                    let due = start + note.address().0 * 100;
                    assert!(due <= now && now < due + 64 + 64 + 50, "{due} {now}");
                    seen += 1;
                }
            }
            assert!(wheel.next_due().is_none_or(|due| due > now));
        }
        assert_eq!((seen, wheel.len()), (600, 0));
    }

    #[test]
    fn a_long_pause_loses_nothing() {
        let mut wheel = Wheel::new();
        let start = 1_800_000_000_000;
        assert_eq!(wheel.take(start, 9), None);
        wheel.file(Note::new(Address(1), 1), start + 60_000, start);
        wheel.file(Note::new(Address(2), 1), start + 10, start);
        let late = start + 100_000_000;
        let mut seen = Vec::new();
        while let Some(notes) = wheel.take(late, 9) {
            seen.extend(notes.iter().map(|note| note.address().0));
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
    }

    #[test]
    fn what_is_overdue_comes_out_at_once_and_what_is_put_back_before_it() {
        let mut wheel = Wheel::new();
        let now = 1_800_000_000_000;
        let note = |n| Note::new(Address(n), 1);
        for round in 0..3 {
            wheel.file(note(1), now - round * 40, now);
            wheel.file(note(2), now + 5_000, now);
            if round > 0 {
                wheel.put_back(&[note(3), note(4)], now);
                assert_eq!(wheel.take(now, 1), Some(vec![note(4)]));
                assert_eq!(wheel.take(now, 1), Some(vec![note(3)]));
            }
            let first = wheel.take(now, 1);
            assert_eq!(first, (round > 0).then(|| vec![note(1)]), "{round}");
            assert_eq!(wheel.take(now, 1), None);
        }
    }
}
