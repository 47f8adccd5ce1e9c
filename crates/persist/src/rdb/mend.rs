//! One changed byte of a damaged file, found by the checksum at its end.
//!
//! Not for: whether the file is right with that byte. Whoever reads it with the byte in its place
//! sees that.

use super::CHECKED;
use crate::checksum::{self, Checksum};
use crate::limits::AHEAD_MAX;
use crate::patch::Patch;
use std::io::{self, ErrorKind, Read};

/// Bytes of a header: `REDIS` and four digits.
const HEAD_BYTES: u64 = 9;

/// What a checksum says of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mend {
    /// It's right: the file is as it was written.
    Right,
    /// It's wrong, but with this byte it's right.
    Byte(Patch),
    /// It's wrong, and no one byte explains that.
    No,
    /// There is none (it's zero, or the version has none), or the file is too short for one.
    NoChecksum,
}

/// What the checksum of a file of `length` bytes says.
///
/// # Errors
/// Those of `file`.
pub fn mend(mut file: impl Read, length: u64) -> io::Result<Mend> {
    let Some(covered) = length.checked_sub(8) else { return Ok(Mend::NoChecksum) };
    let mut head = Vec::new();
    (&mut file).take(covered.min(HEAD_BYTES)).read_to_end(&mut head)?;
    if is_unchecked(&head) {
        return Ok(Mend::NoChecksum);
    }
    let mut sum = Checksum::default();
    sum.add(&head);
    let (mut left, mut buffer) = (covered - head.len() as u64, vec![0; AHEAD_MAX]);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match file.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => return Ok(Mend::NoChecksum),
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
        return Ok(Mend::NoChecksum);
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

/// Whether a file begins as one of a version without checksum.
fn is_unchecked(head: &[u8]) -> bool {
    let version = head.strip_prefix(b"REDIS").and_then(|digits| str::from_utf8(digits).ok());
    version.and_then(|digits| digits.parse().ok()).is_some_and(|version: u16| version < CHECKED)
}

#[cfg(test)]
mod tests {
    use super::{Mend, mend};
    use crate::checksum::Checksum;
    use crate::patch::Patch;

    #[test]
    fn each_of_the_four_answers() {
        let data = b"REDIS0011 and some more bytes of a file";
        let mut sum = Checksum::default();
        sum.add(data);
        let right = [&data[..], &sum.value().to_le_bytes()].concat();
        assert_eq!(said_of(&right), Mend::Right);
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 0x41;
            assert_eq!(said_of(&wrong), Mend::Byte(Patch { at: at as u64, mask: 0x41 }));
            wrong[(at + 9) % right.len()] ^= 0x14;
            assert_eq!(said_of(&wrong), Mend::No);
        }
        assert_eq!(said_of(&[&data[..], &[0; 8]].concat()), Mend::NoChecksum);
        let old = [b"REDIS0004", &right[9..]].concat();
        assert_eq!(said_of(&old), Mend::NoChecksum);
        assert_eq!(said_of(b"short"), Mend::NoChecksum);
        let longer = right.len() as u64 + 9;
        assert_eq!(mend(&right[..], longer).unwrap(), Mend::NoChecksum);
    }

    fn said_of(file: &[u8]) -> Mend {
        mend(file, file.len() as u64).unwrap()
    }
}
