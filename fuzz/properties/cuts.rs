//! How input arrives: whole, byte by byte, or in a few pieces that the data itself determines.

/// Lengths of input that a connection has seen, ascending; the last one is `len`.
pub(crate) fn cuts(data: &[u8], way: usize) -> Vec<usize> {
    let len = data.len();
    let mut cuts: Vec<usize> = match way {
        0 => Vec::new(),
        1 => (0..len.min(4096)).collect(),
        _ => (0..3).map(|i| cut(data, way, i)).collect(),
    };
    cuts.push(len);
    cuts.sort_unstable();
    cuts
}

/// One place in the data, taken from its bytes.
fn cut(data: &[u8], way: usize, i: usize) -> usize {
    let mut state = (way * 31 + i) as u64;
    for byte in data.iter().rev().take(16) {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }
    (state % (data.len() as u64 + 1)) as usize
}

/// Ways that [`cuts`] knows and checks go through.
pub(crate) const WAYS: usize = 5;
