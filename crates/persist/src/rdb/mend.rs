//! One changed byte of a damaged file, found by the checksum at its end.
//!
//! Not for: whether the file is right with that byte. Whoever reads it with the byte in its place
//! sees that.

use crate::checksum::{self, Checksum};
use crate::limits::AHEAD_MAX;
use crate::patch::Patch;
use std::io::{self, ErrorKind, Read};

/// What a checksum says of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mend {
    /// It's right: the file is as it was written.
    Right,
    /// It's wrong, but with this byte it's right.
    Byte(Patch),
    /// It's wrong, and so is more than a byte: the file isn't as it was written.
    No,
    /// There is none, or no room for one.
    Unknown,
}

/// What the checksum of a file of `length` bytes says.
///
/// # Errors
/// Those of `file`.
pub fn mend(mut file: impl Read, length: u64) -> io::Result<Mend> {
    let Some(covered) = length.checked_sub(8) else { return Ok(Mend::Unknown) };
    let mut sum = Checksum::default();
    let (mut left, mut buffer) = (covered, vec![0; AHEAD_MAX]);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match file.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => return Ok(Mend::Unknown),
            Ok(count) => {
                sum.add(buffer.get(..count).unwrap_or_default());
                left -= count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut stored = [0; 8];
    file.read_exact(&mut stored)?;
    let (is, should) = (sum.value(), u64::from_le_bytes(stored));
    if is == should {
        return Ok(Mend::Right);
    }
    if should == 0 {
        return Ok(Mend::Unknown);
    }
    let masks = (is ^ should).to_le_bytes();
    let mut other = masks.iter().enumerate().filter(|(_, mask)| **mask != 0);
    if let (Some((at, mask)), None) = (other.next(), other.next()) {
        return Ok(Mend::Byte(Patch { at: covered + at as u64, mask: *mask }));
    }
    let flip = checksum::flip(is, should, covered);
    let byte = flip.map(|flip| Patch { at: covered - 1 - flip.after, mask: flip.mask });
    Ok(byte.map_or(Mend::No, Mend::Byte))
}
