//! One increment of the log: a file, how records stand in it, and the room that is made for them.
//!
//! To sync a file that has grown, the system writes down where it ends now as well, which takes
//! about as long again. So where each append is synced, room is made for many of them at a time,
//! which they overwrite.
//! What always holds: room is on the disk before anything is written into it, and goes when it's no
//! longer used; `size` counts none of it.
//! Not for: when to sync, and what to do about an error.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of room that are made at a time.
const ROOM: u64 = 1 << 20;
/// Bytes that the buffer of what is appended keeps for the next time.
const FRAMED_KEPT: usize = 1 << 20;

/// A file that is appended to, or what stands for one.
pub trait Medium: Send + Sync + fmt::Debug {
    /// Appends all of `bytes`.
    ///
    /// # Errors
    /// Whatever the system says; how much was written is unknown then.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was written is on the disk.
    ///
    /// # Errors
    /// Whatever the system says; what is on the disk is unknown then.
    fn sync(&self) -> io::Result<()>;

    /// Writes `bytes` at a place at or behind the end of what was appended; appends overwrite them.
    ///
    /// # Errors
    /// As [`Medium::append`].
    fn write_ahead(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Takes away what is behind the first `size` bytes.
    ///
    /// # Errors
    /// Whatever the system says; what is there is unknown then.
    fn cut(&self, size: u64) -> io::Result<()>;
}

impl Medium for std::fs::File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut &*self, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn write_ahead(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }
}

/// What the bytes are put in before they are appended: a line of facts about them, say.
pub trait Frame: Send {
    /// Appends to `out` what stands for `bytes` in the file. All up to `synced` (a number of
    /// bytes of this file) is on the disk.
    fn frame(&mut self, bytes: &[u8], synced: u64, out: &mut Vec<u8>);

    /// Appends to `out` what says that nothing follows and that all up to `synced` is on the disk.
    fn close(&mut self, synced: u64, out: &mut Vec<u8>);

    /// What has to stand between the first `size` bytes of the file and room.
    fn before_room(&self, size: u64) -> &'static [u8];

    /// Appends to `out` the room from byte `from` of the file to `to` at least; where it ends.
    fn room(&self, from: u64, to: u64, out: &mut Vec<u8>) -> u64;

    /// Bytes before the end of room that are other ones if more room follows.
    fn room_end(&self) -> u64;

    /// The most bytes that can be framed at once.
    fn most(&self) -> u64;
}

/// One increment: a file and how it's written.
pub struct Increment {
    /// Where the bytes go.
    medium: Arc<dyn Medium>,
    /// How they stand there.
    frame: Box<dyn Frame>,
    /// Bytes that are in it.
    size: u64,
    /// Where its room ends.
    room: u64,
    /// No room is made before it has this size: there was no place for it.
    room_again: u64,
    framed: Vec<u8>,
}

impl Increment {
    /// One of `size` bytes so far.
    pub fn new(medium: Arc<dyn Medium>, frame: Box<dyn Frame>, size: u64) -> Self {
        Self { medium, frame, size, room: 0, room_again: 0, framed: Vec::new() }
    }

    /// One that keeps nothing.
    pub fn nowhere() -> Self {
        Self::new(Arc::new(Nowhere), Box::new(Nowhere), 0)
    }

    /// Bytes that are in it.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Where they are.
    pub fn medium(&self) -> Arc<dyn Medium> {
        Arc::clone(&self.medium)
    }

    /// Whether this is where they are.
    pub fn is_in(&self, medium: &Arc<dyn Medium>) -> bool {
        Arc::ptr_eq(&self.medium, medium)
    }

    /// Appends records. Bytes up to `synced` are on the disk; `each_synced` says that these will be
    /// at once, and those after them.
    ///
    /// # Errors
    /// As [`Medium::append`]; there are more than can be read again at once.
    pub fn append(&mut self, records: &[u8], synced: u64, each_synced: bool) -> io::Result<()> {
        if records.len() as u64 > self.frame.most() {
            // Nobody could read it again. A new base can hold it.
            return Err(io::Error::other("a change is larger than what the log takes at once"));
        }
        self.framed.clear();
        self.frame.frame(records, synced, &mut self.framed);
        if each_synced {
            self.make_room()?;
        } else {
            self.give_room_back()?;
        }
        self.medium.append(&self.framed)?;
        self.size += self.framed.len() as u64;
        self.framed.clear();
        self.framed.shrink_to(FRAMED_KEPT);
        Ok(())
    }

    /// Nothing follows: says so in the file, of which bytes up to `synced` are on the disk.
    ///
    /// # Errors
    /// As [`Medium::append`] and [`Medium::sync`].
    pub fn close(&mut self, synced: u64) -> io::Result<()> {
        self.framed.clear();
        self.frame.close(synced, &mut self.framed);
        self.medium.append(&self.framed)?;
        self.size += self.framed.len() as u64;
        self.end()
    }

    /// Nothing is appended any more: all of it goes to the disk.
    ///
    /// # Errors
    /// As [`Medium::sync`].
    pub fn end(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.room) > self.size {
            self.medium.cut(self.size)?;
        }
        self.medium.sync()
    }

    /// Sees to it that what is to be appended fits into room that is on the disk.
    fn make_room(&mut self) -> io::Result<()> {
        let after = self.size + self.framed.len() as u64;
        let before = self.frame.before_room(after);
        self.framed.extend_from_slice(before);
        let after = after + before.len() as u64;
        if after <= self.room || self.size < self.room_again {
            return Ok(());
        }
        let from = self.room.saturating_sub(self.frame.room_end()).max(self.size);
        let mut room = Vec::new();
        let end = self.frame.room(from, after + ROOM, &mut room);
        if self.medium.write_ahead(&room, from).is_ok() {
            self.room = end;
            return self.medium.sync();
        }
        // It does without, for a while; what came of the room has to go.
        self.room_again = after + ROOM;
        self.room = u64::MAX;
        self.end()
    }

    fn give_room_back(&mut self) -> io::Result<()> {
        // The cut has to be on the disk before the file grows again: what came in place of room
        // would be taken for what is behind it.
        if self.room > self.size { self.end() } else { Ok(()) }
    }
}

/// Where bytes go that nobody needs.
#[derive(Debug)]
struct Nowhere;

impl Medium for Nowhere {
    fn append(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_ahead(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

impl Frame for Nowhere {
    fn frame(&mut self, _: &[u8], _: u64, _: &mut Vec<u8>) {}

    fn close(&mut self, _: u64, _: &mut Vec<u8>) {}

    fn before_room(&self, _: u64) -> &'static [u8] {
        b""
    }

    fn room(&self, _: u64, to: u64, _: &mut Vec<u8>) -> u64 {
        to
    }

    fn room_end(&self) -> u64 {
        0
    }

    fn most(&self) -> u64 {
        u64::MAX
    }
}

impl fmt::Debug for Increment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { medium, size, room, .. } = self;
        let mut shown = f.debug_struct("Increment");
        shown
            .field("medium", medium)
            .field("size", size)
            .field("room", room)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{FRAMED_KEPT, Frame, Increment, Medium, ROOM};
    use crate::durable::aof::Chunks;
    use persist::aof::{Framer, Reader};
    use std::io;
    use std::sync::{Arc, Mutex};

    /// A file in memory, and how much of it a crash can't shorten.
    #[derive(Debug, Default)]
    struct Paper {
        state: Mutex<Sheet>,
    }

    #[derive(Debug, Default)]
    struct Sheet {
        bytes: Vec<u8>,
        appended: usize,
        synced: usize,
        syncs: usize,
        /// Appends that made the file longer.
        grown: usize,
        full: bool,
    }

    impl Paper {
        fn with<T>(&self, what: impl FnOnce(&mut Sheet) -> T) -> T {
            what(&mut self.state.lock().unwrap())
        }

        /// The records that a reader finds.
        fn records(&self) -> Vec<String> {
            let bytes = self.with(|sheet| sheet.bytes.clone());
            let mut reader = Reader::new(bytes.as_slice(), 0);
            let mut found = Vec::new();
            while let Some(record) = reader.next().unwrap() {
                found.push(String::from_utf8(record.args.at(1).to_vec()).unwrap());
            }
            found
        }
    }

    fn put(sheet: &mut Sheet, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        sheet.bytes.resize(sheet.bytes.len().max(end), 0);
        sheet.bytes[at..end].copy_from_slice(bytes);
    }

    impl Medium for Paper {
        fn append(&self, bytes: &[u8]) -> io::Result<()> {
            self.with(|sheet| {
                let end = sheet.appended + bytes.len();
                sheet.grown += usize::from(end > sheet.synced);
                put(sheet, bytes, sheet.appended);
                sheet.appended = end;
            });
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            self.with(|sheet| (sheet.synced, sheet.syncs) = (sheet.bytes.len(), sheet.syncs + 1));
            Ok(())
        }

        fn write_ahead(&self, bytes: &[u8], at: u64) -> io::Result<()> {
            self.with(|sheet| {
                let half = if sheet.full { bytes.len() / 2 } else { bytes.len() };
                put(sheet, &bytes[..half], at as usize);
                if sheet.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            })
        }

        fn cut(&self, size: u64) -> io::Result<()> {
            self.with(|sheet| sheet.bytes.truncate(size as usize));
            Ok(())
        }
    }

    struct Rig {
        paper: Arc<Paper>,
        increment: Increment,
        written: Vec<String>,
    }

    impl Rig {
        fn new() -> Self {
            let (paper, mut opening) = (Arc::new(Paper::default()), Vec::new());
            let framer = Framer::open(7, &mut opening);
            paper.append(&opening).unwrap();
            paper.sync().unwrap();
            paper.with(|sheet| sheet.grown = 0);
            let medium: Arc<dyn Medium> = Arc::<Paper>::clone(&paper);
            let size = opening.len() as u64;
            let increment = Increment::new(medium, Box::new(Chunks(framer)), size);
            Self { paper, increment, written: Vec::new() }
        }

        fn append(&mut self, length: usize, each_synced: bool) {
            let text = format!("{} {}", self.written.len(), "x".repeat(length));
            let record = format!("*2\r\n$4\r\nECHO\r\n${}\r\n{text}\r\n", text.len());
            self.increment.append(record.as_bytes(), 0, each_synced).unwrap();
            self.paper.with(|sheet| assert_eq!(sheet.appended as u64, self.increment.size()));
            self.written.push(text);
        }
    }

    #[test]
    fn what_is_appended_overwrites_room_that_is_on_the_disk() {
        let mut rig = Rig::new();
        for i in 0..700 {
            rig.append(1 + i * 7 % 5_000, true);
            if i % 25 == 0 {
                assert_eq!(rig.paper.records(), rig.written, "{i}");
            }
        }
        // An append that is longer than all the room.
        rig.append(3 * ROOM as usize, true);
        assert!(rig.increment.framed.capacity() <= FRAMED_KEPT, "a large write is held on to");
        assert_eq!(rig.paper.records(), rig.written);
        let size = rig.increment.size();
        rig.paper.with(|sheet| {
            assert_eq!(sheet.grown, 0);
            assert!(sheet.syncs as u64 <= 2 + size / ROOM, "{} syncs", sheet.syncs);
        });
        rig.increment.close(size).unwrap();
        rig.paper.with(|sheet| {
            assert_eq!(sheet.bytes.len() as u64, rig.increment.size());
            assert_eq!(sheet.synced, sheet.bytes.len());
        });
    }

    #[test]
    fn room_goes_when_it_is_no_longer_used() {
        let mut rig = Rig::new();
        rig.append(100, true);
        assert!(rig.paper.with(|sheet| sheet.bytes.len() as u64 > ROOM));
        rig.append(100, false);
        rig.paper.with(|sheet| assert_eq!(sheet.bytes.len() as u64, rig.increment.size()));
        assert_eq!(rig.paper.records(), rig.written);
        rig.append(100, true);
        rig.increment.end().unwrap();
        rig.paper.with(|sheet| assert_eq!(sheet.synced as u64, rig.increment.size()));
        assert_eq!(rig.paper.records(), rig.written);
    }

    #[test]
    fn where_there_is_no_place_for_room_it_does_without() {
        let mut rig = Rig::new();
        rig.paper.with(|sheet| sheet.full = true);
        for _ in 0..20 {
            rig.append(100, true);
            rig.paper.with(|sheet| assert_eq!(sheet.bytes.len() as u64, rig.increment.size()));
        }
        assert_eq!(rig.paper.with(|sheet| sheet.syncs), 2, "it was tried more than once");
        rig.paper.with(|sheet| sheet.full = false);
        rig.append(ROOM as usize, true);
        rig.append(100, true);
        assert!(rig.paper.with(|sheet| sheet.bytes.len() as u64 > rig.increment.size()));
        assert_eq!(rig.paper.records(), rig.written);
    }

    /// Chunks that can't be long.
    struct Short(Chunks);

    impl Frame for Short {
        fn frame(&mut self, bytes: &[u8], synced: u64, out: &mut Vec<u8>) {
            self.0.frame(bytes, synced, out);
        }

        fn close(&mut self, synced: u64, out: &mut Vec<u8>) {
            self.0.close(synced, out);
        }

        fn before_room(&self, size: u64) -> &'static [u8] {
            self.0.before_room(size)
        }

        fn room(&self, from: u64, to: u64, out: &mut Vec<u8>) -> u64 {
            self.0.room(from, to, out)
        }

        fn room_end(&self) -> u64 {
            self.0.room_end()
        }

        fn most(&self) -> u64 {
            100
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let mut rig = Rig::new();
        let (mut opening, size) = (Vec::new(), rig.increment.size());
        let frame = Box::new(Short(Chunks(Framer::open(7, &mut opening))));
        rig.increment = Increment::new(rig.increment.medium(), frame, size);
        rig.append(50, false);
        let before = rig.increment.size();
        rig.increment.append(&[b'#'; 101], 0, false).unwrap_err();
        assert_eq!(rig.increment.size(), before);
        rig.append(60, false);
        assert_eq!(rig.paper.records(), rig.written);
    }
}
