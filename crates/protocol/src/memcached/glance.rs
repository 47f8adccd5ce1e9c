//! A glance at the requests ahead: which keys they are probably about.
//!
//! What always holds: it reads, allocates nothing, and decides nothing; the decoder does. What it
//! tells may be wrong (a key in base64, a malformed request) and is good for fetching memory only.

/// The first keys of the requests at the start of `input`, one of each that has one.
pub fn keys_ahead(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        loop {
            let newline = memchr::memchr(b'\n', rest)?;
            let line = rest.get(..newline)?;
            rest = rest.get(newline + 1..)?;
            let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
            // Where the key stands behind the name, and where behind the key the length of a value.
            let (key, length) = match words.next()? {
                b"get" | b"gets" | b"delete" | b"incr" | b"decr" | b"touch" => (0, None),
                b"mg" | b"md" | b"ma" | b"me" => (0, None),
                b"gat" | b"gats" => (1, None),
                b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => (0, Some(2)),
                b"ms" => (0, Some(0)),
                _ => continue,
            };
            let key = words.nth(key);
            if let Some(at) = length {
                let value = words.nth(at).and_then(length_of);
                let after = value.and_then(|value| rest.get(value..)?.strip_prefix(b"\r\n"));
                // Without its value the request isn't complete, and nothing follows it.
                rest = after.unwrap_or_default();
            }
            if let Some(key) = key {
                return Some(key);
            }
        }
    })
}

fn length_of(word: &[u8]) -> Option<usize> {
    str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::keys_ahead;

    fn keys(input: &[u8]) -> Vec<&str> {
        keys_ahead(input).map(|key| str::from_utf8(key).unwrap()).collect()
    }

    #[test]
    fn one_key_of_each_request() {
        let input = b"get a b\r\nset c 0 0 7\r\nget x\r\n\r\nmn\r\nms d 2 T0\r\nhi\r\nmg e v\n\
                      gat 10 f\r\nnosuch x\r\ndelete g noreply\r\nversion\r\nget h";
        assert_eq!(keys(input), ["a", "c", "d", "e", "f", "g"]);
    }

    #[test]
    fn what_is_no_request_does_no_harm() {
        let long = b"set k 0 0 99999999999999999999\r\nget a\r\n";
        assert_eq!(keys(long), ["k"]);
        assert_eq!(keys(b"set k 0 0 18446744073709551615\r\nget a\r\n"), ["k"]);
        assert_eq!(keys(b"set k 0 0 1\r\nxyz\r\nget a\r\n"), ["k"]);
        assert_eq!(keys(b"\r\n\n  \r\nget\r\nmg \r\nset\r\n"), Vec::<&str>::new());
        assert!(keys(b"").is_empty() && keys(b"get").is_empty());
    }
}
