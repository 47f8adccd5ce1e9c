//! One changed byte of a damaged file, found by the checksum at its end.
//!
//! Not for: whether the file is right with that byte. Whoever reads it with the byte in its place
//! sees that.

use crate::checksum::{self, Checksum};
use crate::limits::AHEAD_MAX;
use crate::patch::Patch;
use std::io::{self, ErrorKind, Read};

/// The byte that makes the checksum right of a file of `length` bytes; `None` if it's right, if
/// there is none, or if one byte doesn't explain it.
///
/// # Errors
/// Those of `file`.
pub fn mend(mut file: impl Read, length: u64) -> io::Result<Option<Patch>> {
    let Some(covered) = length.checked_sub(8) else { return Ok(None) };
    let mut sum = Checksum::default();
    let (mut left, mut buffer) = (covered, vec![0; AHEAD_MAX]);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match file.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => return Ok(None),
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
    if should == 0 || is == should {
        return Ok(None);
    }
    let masks = (is ^ should).to_le_bytes();
    let mut other = masks.iter().enumerate().filter(|(_, mask)| **mask != 0);
    if let (Some((at, mask)), None) = (other.next(), other.next()) {
        return Ok(Some(Patch { at: covered + at as u64, mask: *mask }));
    }
    let flip = checksum::flip(is, should, covered);
    Ok(flip.map(|flip| Patch { at: covered - 1 - flip.after, mask: flip.mask }))
}
