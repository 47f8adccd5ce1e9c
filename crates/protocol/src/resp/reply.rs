//! Replies, written straight into a connection's output.
//!
//! What always holds: an error line contains no line break, whatever text it was made from.

use super::number::fmt_double;

/// The protocol version that a client chose by HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RespVersion {
    /// RESP2.
    #[default]
    Two,
    /// RESP3.
    Three,
}

/// Where an array began whose length is known only at its end.
#[derive(Clone, Copy, Debug)]
pub struct DeferredArray(usize);

/// Appends replies to a buffer.
#[derive(Debug)]
pub struct Reply<'o> {
    out: &'o mut Vec<u8>,
    version: RespVersion,
}

impl<'o> Reply<'o> {
    /// A writer at the end of `out`.
    #[inline]
    pub const fn new(out: &'o mut Vec<u8>, version: RespVersion) -> Self {
        Self { out, version }
    }

    /// The version that it writes.
    #[inline]
    pub const fn version(&self) -> RespVersion {
        self.version
    }

    /// Writes in another version from here on (HELLO).
    pub const fn set_version(&mut self, version: RespVersion) {
        self.version = version;
    }

    /// The bytes in the buffer.
    #[inline]
    pub const fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether the buffer is empty.
    pub const fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back what was written after the buffer had `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// `+QUEUED`.
    pub fn queued(&mut self) {
        self.out.extend_from_slice(b"+QUEUED\r\n");
    }

    /// A status without line breaks.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error: a code in capitals, a space, a sentence.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        self.out.push(b':');
        self.decimal(value);
    }

    /// A string of bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.end();
    }

    /// A string of `len` bytes, which `write` appends.
    #[inline]
    pub fn bulk_with(&mut self, len: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.header(b'$', len);
        write(self.out);
        self.end();
    }

    /// Nothing, where a value could be.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            RespVersion::Two => b"$-1\r\n",
            RespVersion::Three => b"_\r\n",
        });
    }

    /// Nothing, where an array could be.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.version {
            RespVersion::Two => b"*-1\r\n",
            RespVersion::Three => b"_\r\n",
        });
    }

    /// The head of an array of `n` replies, which follow.
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n);
    }

    /// The head of a map of `n` pairs; an array of twice as many under RESP2.
    pub fn map(&mut self, n: usize) {
        match self.version {
            RespVersion::Two => self.header(b'*', n * 2),
            RespVersion::Three => self.header(b'%', n),
        }
    }

    /// The head of a set; an array under RESP2.
    pub fn set(&mut self, n: usize) {
        self.header(if self.version == RespVersion::Two { b'*' } else { b'~' }, n);
    }

    /// The head of a push; an array under RESP2.
    pub fn push(&mut self, n: usize) {
        self.header(if self.version == RespVersion::Two { b'*' } else { b'>' }, n);
    }

    /// A double; a string under RESP2.
    pub fn double(&mut self, value: f64) {
        let text = fmt_double(value);
        match self.version {
            RespVersion::Two => self.bulk(text.as_bytes()),
            RespVersion::Three => self.line(b',', &text),
        }
    }

    /// A truth value; 0 or 1 under RESP2.
    pub fn bool(&mut self, value: bool) {
        match self.version {
            RespVersion::Two => self.int(i64::from(value)),
            RespVersion::Three => self.line(b'#', if value { "t" } else { "f" }),
        }
    }

    /// A number of any size in decimal digits; a string under RESP2.
    pub fn big_number(&mut self, digits: &str) {
        match self.version {
            RespVersion::Two => self.bulk(digits.as_bytes()),
            RespVersion::Three => self.line(b'(', digits),
        }
    }

    /// Text with a format of three letters (`txt`, `mkd`); a string under RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if self.version == RespVersion::Two {
            self.bulk(text);
            return;
        }
        self.header(b'=', text.len() + 4);
        self.out.extend_from_slice(format.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.end();
    }

    /// Begins an array whose length isn't known yet.
    pub const fn deferred_array(&mut self) -> DeferredArray {
        DeferredArray(self.out.len())
    }

    /// Ends it: `n` replies were written.
    pub fn close_array(&mut self, array: DeferredArray, n: usize) {
        self.close(array, b'*', n);
    }

    /// Ends what was begun as an array as a set of `n` replies.
    pub fn close_set(&mut self, array: DeferredArray, n: usize) {
        self.close(array, if self.version == RespVersion::Two { b'*' } else { b'~' }, n);
    }

    /// Ends what was begun as an array as a map of `n` pairs.
    pub fn close_map(&mut self, array: DeferredArray, n: usize) {
        match self.version {
            RespVersion::Two => self.close(array, b'*', n * 2),
            RespVersion::Three => self.close(array, b'%', n),
        }
    }

    /// Bytes that are a reply already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn close(&mut self, array: DeferredArray, kind: u8, n: usize) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(n).as_bytes();
        let head = [&[kind][..], digits, b"\r\n"].concat();
        self.out.splice(array.0..array.0, head);
    }

    #[inline]
    fn header(&mut self, kind: u8, n: usize) {
        self.out.push(kind);
        self.decimal(n);
    }

    #[inline]
    fn decimal(&mut self, value: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.out.extend_from_slice(digits.format(value).as_bytes());
        self.end();
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.out.push(kind);
        let clean = text.bytes().map(|c| if c == b'\r' || c == b'\n' { b' ' } else { c });
        self.out.extend(clean);
        self.end();
    }

    #[inline]
    fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_it_says() {
        let mut out = Vec::new();
        Reply::new(&mut out, RespVersion::Two).error("ERR a\r\n+OK\r\nb");
        assert_eq!(out, b"-ERR a  +OK  b\r\n");
    }

    #[test]
    fn truth_values_are_lines_of_resp3_and_numbers_of_resp2() {
        let mut out = Vec::new();
        Reply::new(&mut out, RespVersion::Three).bool(true);
        Reply::new(&mut out, RespVersion::Three).bool(false);
        Reply::new(&mut out, RespVersion::Two).bool(true);
        assert_eq!(out, b"#t\r\n#f\r\n:1\r\n");
    }

    #[test]
    fn deferred_heads_stand_in_front() {
        let mut out = b"x".to_vec();
        let mut reply = Reply::new(&mut out, RespVersion::Three);
        let outer = reply.deferred_array();
        reply.int(1);
        let inner = reply.deferred_array();
        reply.bulk(b"a");
        reply.close_map(inner, 0);
        reply.close_array(outer, 2);
        assert_eq!(out, b"x*2\r\n:1\r\n%0\r\n$1\r\na\r\n");
    }
}
