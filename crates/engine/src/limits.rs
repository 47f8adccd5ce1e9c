//! Every bound of the engine, in one place.

use crate::hash::PACKED_MAX_BYTES;
use layout::SEGMENT_BYTES;
use layout::header::ITEM_WORDS_MAX;
pub use layout::key::KEY_MAX;
pub use layout::slide::{ABSOLUTE_MAX_MS, USER_BYTES_MAX};

/// The longest string value in bytes.
pub const VALUE_MAX: usize = 512 * 1024 * 1024;
/// The latest deadline of a hash field, in Unix milliseconds (the year 4199): what Redis can keep,
/// in memory as in its files.
pub const FIELD_DEADLINE_MAX_MS: u64 = 1 << 46;
/// The longest key and value together that an item holds itself; a longer value gets whole
/// segments.
pub const INLINE_MAX: usize = 60 * 1024;
/// Of a long value, the longest rest that stands in the item.
pub const LONG_REST_MAX: usize = 8 * 1024;

// The largest item: header and optional words, the longest key, and either an inline value or
// the segments of the longest value with its rest. A session is a small hash with a user.
const _: () = assert!(72 + 8 + INLINE_MAX <= ITEM_BYTES_MAX);
const _: () = assert!(72 + 8 + KEY_MAX + PACKED_MAX_BYTES + USER_BYTES_MAX <= ITEM_BYTES_MAX);
const _: () =
    assert!(72 + 8 + KEY_MAX + VALUE_MAX / SEGMENT_BYTES * 4 + 8 + LONG_REST_MAX <= ITEM_BYTES_MAX);
/// The largest item in bytes.
const ITEM_BYTES_MAX: usize = ITEM_WORDS_MAX * 8;

/// Databases of a store.
pub const DATABASES_MAX: usize = 64;
/// Shards of a store.
pub const SHARDS_MAX: usize = 64;
/// Bands of due times.
pub const BANDS_MAX: usize = 6;
/// Prefixes of packed keys in a shard; number 0 is the empty one.
pub const PREFIXES_MAX: usize = 256;
/// The longest prefix in bytes.
pub const PREFIX_BYTES_MAX: usize = 200;
/// Prefixes that wait to be learned.
pub const PREFIX_CANDIDATES_MAX: usize = 32;
/// How often a prefix must be met before it's learned.
pub const PREFIX_LEARNED_AFTER: u32 = 8;
/// Keys in a leaf of the index before it's split.
pub const LEAF_KEYS_MAX: u64 = 206;
/// Segments that a shard keeps free, so that relocation can always begin.
pub const RESERVE_SEGMENTS: usize = 2;
/// Free segments that the arena keeps populated for the next one who wants one.
pub const READY_SEGMENTS: usize = 32;
/// Per mille of a shard's item space that may be dead before segments are relocated.
pub const DEAD_PER_MILLE: usize = 130;
/// Bytes that relocation may copy per byte written.
pub const COPIED_PER_WRITTEN: usize = 3;
/// The largest credit of bytes to copy that a quiet time may build up.
pub const COPY_CREDIT_MAX: usize = 1024 * 1024;
/// Segments relocated at most when a new one is opened.
pub const RELOCATIONS_PER_OPENING: usize = 4;
/// Segments relocated at most when one is needed at once and none is left.
pub const RELOCATIONS_PER_SQUEEZE: usize = 12;
/// Segments of a long value that are freed as it goes; the others wait for maintenance.
pub const LONG_FREED_AT_ONCE: usize = 16;
/// What freeing a segment counts in a slice of maintenance, in items.
pub const FREED_SEGMENT_COST: usize = 4;
/// Segments and pages of what is gone that are freed at most when a segment is needed at once.
pub const DETACHED_PER_SQUEEZE: usize = 64;
/// How many of them before somebody looks whether that gained a segment.
pub const DETACHED_AT_ONCE: usize = 16;
/// Times that a write asks for room before it's refused, other shards taking what it gained.
pub const SQUEEZES_PER_WRITE: usize = 8;
/// Milliseconds of one tick of the wheel.
pub const WHEEL_TICK_MS: u64 = 64;
/// Ticks of the wheel's one turn.
pub const WHEEL_TICKS: usize = 1024;
/// Due times up to this many milliseconds ahead are filed in the wheel.
pub const WHEEL_AHEAD_MS: u64 = 60_000;
/// A segment's due times are filed when its first one is this near, in milliseconds.
pub const FILE_AHEAD_MS: u64 = 8_000;
/// Entries of the wheel per key, above which it's built anew.
pub const WHEEL_ENTRIES_PER_KEY: usize = 4;
/// Entries of the wheel after which somebody looks whether they have become too many.
pub const WHEEL_ENTRIES_PER_LOOK: usize = 1024;
/// Segments whose items are filed anew in one step, when notes have piled up.
pub const SEGMENTS_PER_FILING: usize = 2;
/// Fields of one hash that one step of expiry removes.
pub const FIELDS_PER_EXPIRY: usize = 256;
/// Milliseconds after which fields are ended again if there was no room to write their hash.
pub const EXPIRY_RETRY_MS: u64 = 1_000;
/// Watches of all clients together on the keys of a shard; one more is broken at once.
pub const WATCHES_PER_SHARD: usize = 1 << 17;
/// Parts of an idle timeout, and milliseconds at most, by which a slide may have moved a deadline
/// unrecorded.
pub const SLIDE_PARTS: u64 = 16;
/// See [`SLIDE_PARTS`].
pub const SLIDE_UNRECORDED_MAX_MS: u64 = 60_000;
/// Milliseconds by which the clocks of two requests may be apart: a slide by less doesn't move a
/// deadline back.
pub const SLIDE_BACK_MS: u64 = 64;
/// Answers that a shard remembers for requests that come twice.
pub const ANSWERS_PER_SHARD: usize = 1 << 14;
/// Milliseconds for which it does.
pub const ANSWERED_MS: u64 = 60_000;
/// Answers about a session that it takes along when it gets another key; the latest.
pub const ANSWERS_KEPT_MAX: usize = 16;
