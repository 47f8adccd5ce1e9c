//! Inline RESP requests: no line begins with an asterisk.

/// Checks the lines of `data` as inline requests.
pub(crate) fn check(data: &[u8]) {
    let mut input = Vec::with_capacity(data.len());
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        if line.first() == Some(&b'*') {
            input.push(b'\'');
        }
        input.extend_from_slice(line);
    }
    super::resp::check(&input);
}
