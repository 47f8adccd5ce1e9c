//! Sessions in memcached: whole values, in the classic text protocol and in meta commands.
//!
//! An expiry over thirty days would be read as a date (1970), so it is cut to thirty days.

use super::{Said, Step, number};

const MONTH: u32 = 30 * 24 * 3600;

/// `get`/`gat`, `set`, `delete`.
pub(super) fn text(step: Step, said: &Said<'_>, out: &mut Vec<u8>) -> u8 {
    match step {
        Step::Load if said.slide => {
            out.extend_from_slice(b"gat ");
            number(out, expiry(said));
            parts(out, &[b" ", said.key, b"\r\n"]);
            1
        }
        Step::Load => {
            parts(out, &[b"get ", said.key, b"\r\n"]);
            1
        }
        Step::Change | Step::Create => {
            set(said.key, said, out);
            1
        }
        Step::Rotate => {
            set(said.new_key, said, out);
            parts(out, &[b"delete ", said.key, b"\r\n"]);
            2
        }
        Step::End => {
            parts(out, &[b"delete ", said.key, b"\r\n"]);
            1
        }
    }
}

/// `mg`, `ms`, `md`.
pub(super) fn meta(step: Step, said: &Said<'_>, out: &mut Vec<u8>) -> u8 {
    match step {
        Step::Load => {
            parts(out, &[b"mg ", said.key, b" v"]);
            if said.slide {
                out.extend_from_slice(b" T");
                number(out, expiry(said));
            }
            out.extend_from_slice(b"\r\n");
            1
        }
        Step::Change | Step::Create => {
            meta_set(said.key, said, out);
            1
        }
        Step::Rotate => {
            meta_set(said.new_key, said, out);
            parts(out, &[b"md ", said.key, b"\r\n"]);
            2
        }
        Step::End => {
            parts(out, &[b"md ", said.key, b"\r\n"]);
            1
        }
    }
}

fn set(key: &[u8], said: &Said<'_>, out: &mut Vec<u8>) {
    parts(out, &[b"set ", key, b" 0 "]);
    number(out, expiry(said));
    out.push(b' ');
    number(out, said.document.json_len() as u64);
    out.extend_from_slice(b"\r\n");
    said.document.json(out);
    out.extend_from_slice(b"\r\n");
}

fn meta_set(key: &[u8], said: &Said<'_>, out: &mut Vec<u8>) {
    parts(out, &[b"ms ", key, b" "]);
    number(out, said.document.json_len() as u64);
    out.extend_from_slice(b" T");
    number(out, expiry(said));
    out.extend_from_slice(b"\r\n");
    said.document.json(out);
    out.extend_from_slice(b"\r\n");
}

fn expiry(said: &Said<'_>) -> u64 {
    u64::from(said.idle.min(MONTH))
}

fn parts(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
