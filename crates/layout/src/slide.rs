//! What an item has beside its value if it slides or is a session: two optional words.
//!
//! ```text
//! first    0                                            44                   64
//!          | absolute deadline (44)                     | created, low (20)  |
//! second   0                     22                               54        62    64
//!          | created, high (22)  | idle timeout (32)              | user (8) | state |
//! ```
//!
//! Absolute deadline and creation are Unix milliseconds, the idle timeout is seconds; 0 is none.
//! `user` is the length of the user's name, whose bytes stand after the value; `state` says what
//! the item is to the commands of sessions.
//! What always holds: both words are 0 exactly if the item has none of this and no such words.

/// The latest absolute deadline: 2527.
pub const ABSOLUTE_MAX_MS: u64 = (1 << ABSOLUTE_BITS) - 1;
/// The latest creation: 2109.
pub const CREATED_MAX_MS: u64 = (1 << CREATED_BITS) - 1;
/// The longest name of a user in bytes.
pub const USER_BYTES_MAX: usize = u8::MAX as usize;

const ABSOLUTE_BITS: u32 = 44;
const CREATED_BITS: u32 = 42;
const CREATED_LOW_BITS: u32 = 64 - ABSOLUTE_BITS;
const CREATED_HIGH_BITS: u32 = CREATED_BITS - CREATED_LOW_BITS;
const IDLE_SHIFT: u32 = CREATED_HIGH_BITS;
const USER_SHIFT: u32 = IDLE_SHIFT + 32;
const STATE_SHIFT: u32 = USER_SHIFT + 8;

const _: () = assert!(size_of::<Slide>() == 16);
const _: () = assert!(STATE_SHIFT + 2 == 64);

/// What an item is to the commands of sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum State {
    /// A key like any other, though it may slide.
    #[default]
    Plain = 0,
    /// A session.
    Session = 1,
    /// The old key of a session that got another one: known, and never to be read again.
    Tombstone = 2,
    /// The old key of a session, which stands for the new one for a while.
    Alias = 3,
}

/// The two words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slide(pub [u64; 2]);

impl Slide {
    /// Whether there is nothing, so that no words are needed.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0[0] | self.0[1] == 0
    }

    /// What the item is.
    #[inline]
    pub const fn state(self) -> State {
        match self.0[1] >> STATE_SHIFT {
            0 => State::Plain,
            1 => State::Session,
            2 => State::Tombstone,
            _ => State::Alias,
        }
    }

    /// Whether only the commands of sessions see the item.
    #[inline]
    pub const fn is_hidden(self) -> bool {
        self.0[1] >> (STATE_SHIFT + 1) != 0
    }

    /// The moment at which the item ends in any case, in Unix milliseconds.
    #[inline]
    pub const fn absolute(self) -> Option<u64> {
        match self.0[0] & ABSOLUTE_MAX_MS {
            0 => None,
            at => Some(at),
        }
    }

    /// Seconds without use after which the item ends; 0 for none.
    #[inline]
    pub const fn idle_s(self) -> u32 {
        (self.0[1] >> IDLE_SHIFT) as u32
    }

    /// When the session was created, in Unix milliseconds.
    #[inline]
    pub const fn created(self) -> u64 {
        let high = self.0[1] & ((1 << CREATED_HIGH_BITS) - 1);
        self.0[0] >> ABSOLUTE_BITS | high << CREATED_LOW_BITS
    }

    /// The length of the user's name.
    #[inline]
    pub const fn user_bytes(self) -> usize {
        (self.0[1] >> USER_SHIFT & 0xff) as usize
    }

    /// The same in another state.
    #[must_use]
    pub const fn with_state(self, state: State) -> Self {
        Self([self.0[0], self.0[1] << 2 >> 2 | (state as u64) << STATE_SHIFT])
    }

    /// The same with another absolute deadline, of [`ABSOLUTE_MAX_MS`] at most.
    #[must_use]
    pub const fn with_absolute(self, at: Option<u64>) -> Self {
        let at = match at {
            None => 0,
            Some(0) => 1,
            Some(at) if at > ABSOLUTE_MAX_MS => ABSOLUTE_MAX_MS,
            Some(at) => at,
        };
        Self([self.0[0] & !ABSOLUTE_MAX_MS | at, self.0[1]])
    }

    /// The same with another idle timeout.
    #[must_use]
    pub const fn with_idle_s(self, seconds: u32) -> Self {
        let cleared = self.0[1] & !(0xffff_ffff << IDLE_SHIFT);
        Self([self.0[0], cleared | (seconds as u64) << IDLE_SHIFT])
    }

    /// The same, created then.
    #[must_use]
    pub const fn with_created(self, at: u64) -> Self {
        let at = if at > CREATED_MAX_MS { CREATED_MAX_MS } else { at };
        let high = at >> CREATED_LOW_BITS;
        Self([
            self.0[0] & ABSOLUTE_MAX_MS | at << ABSOLUTE_BITS,
            self.0[1] >> CREATED_HIGH_BITS << CREATED_HIGH_BITS | high,
        ])
    }

    /// The same of a user whose name has so many bytes.
    #[must_use]
    pub const fn with_user_bytes(self, bytes: u8) -> Self {
        let cleared = self.0[1] & !(0xff << USER_SHIFT);
        Self([self.0[0], cleared | (bytes as u64) << USER_SHIFT])
    }

    /// What is left if the item is no session any more: idle timeout and absolute deadline.
    #[must_use]
    pub const fn plain(self) -> Self {
        self.with_state(State::Plain).with_created(0).with_user_bytes(0)
    }

    /// The earlier of a deadline and the absolute one.
    #[inline]
    pub const fn bound(self, deadline: Option<u64>) -> Option<u64> {
        match (deadline, self.absolute()) {
            (Some(deadline), Some(absolute)) if absolute < deadline => Some(absolute),
            (None, absolute) => absolute,
            (deadline, _) => deadline,
        }
    }

    /// When the item ends if it's used now; `None` if use doesn't matter.
    #[inline]
    pub const fn slid(self, now: u64) -> Option<u64> {
        if self.idle_s() == 0 {
            return None;
        }
        self.bound(Some(now + self.idle_s() as u64 * 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_keeps_to_itself() {
        let full = Slide::default()
            .with_absolute(Some(u64::MAX))
            .with_created(u64::MAX)
            .with_idle_s(u32::MAX)
            .with_user_bytes(u8::MAX)
            .with_state(State::Alias);
        assert_eq!(full.0, [u64::MAX; 2]);
        assert_eq!(full.absolute(), Some(ABSOLUTE_MAX_MS));
        assert_eq!((full.created(), full.idle_s()), (CREATED_MAX_MS, u32::MAX));
        assert_eq!((full.user_bytes(), full.state()), (255, State::Alias));
        let set = |slide: Slide| {
            slide
                .with_created(1_800_000_000_123)
                .with_absolute(Some(1_900_000_000_456))
                .with_user_bytes(7)
                .with_state(State::Session)
                .with_idle_s(1_209_600)
        };
        let made = set(Slide::default());
        assert_eq!(made, set(full));
        assert_eq!((made.created(), made.idle_s()), (1_800_000_000_123, 1_209_600));
        assert_eq!((made.absolute(), made.user_bytes()), (Some(1_900_000_000_456), 7));
        let plain = made.plain();
        assert_eq!((plain.created(), plain.user_bytes(), plain.state()), (0, 0, State::Plain));
        assert_eq!((plain.absolute(), plain.idle_s()), (made.absolute(), made.idle_s()));
        assert!(plain.with_absolute(None).with_idle_s(0).is_empty());
    }

    #[test]
    fn only_the_old_keys_of_sessions_are_hidden() {
        let hidden = |state| Slide::default().with_state(state).is_hidden();
        assert!(hidden(State::Tombstone) && hidden(State::Alias));
        assert!(!hidden(State::Plain) && !hidden(State::Session));
    }

    #[test]
    fn use_moves_the_end_up_to_the_absolute_deadline() {
        let idle = Slide::default().with_idle_s(10);
        assert_eq!(Slide::default().slid(5), None);
        assert_eq!(idle.slid(5), Some(10_005));
        assert_eq!(idle.with_absolute(Some(7_000)).slid(5), Some(7_000));
        assert_eq!(idle.with_absolute(Some(7_000)).bound(None), Some(7_000));
        assert_eq!(idle.bound(Some(3)), Some(3));
    }
}
