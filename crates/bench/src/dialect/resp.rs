//! Sessions over RESP: as strings, as hashes, and with Sessile's SESSION commands.

use super::{Said, Step, number};

/// Whole values: SET and GET, GETEX where a load slides.
pub(super) fn string(step: Step, said: &Said<'_>, out: &mut Vec<u8>) -> u8 {
    match step {
        Step::Load if said.slide => {
            head(out, 4);
            words(out, &[b"GETEX", said.key, b"EX"]);
            seconds(out, said.idle);
            1
        }
        Step::Load => {
            head(out, 2);
            words(out, &[b"GET", said.key]);
            1
        }
        Step::Change | Step::Create => {
            set(said.key, said, out);
            1
        }
        Step::Rotate => {
            set(said.new_key, said, out);
            delete(said.key, out);
            2
        }
        Step::End => {
            delete(said.key, out);
            1
        }
    }
}

/// A field per value: HSET and HGETALL, with EXPIRE beside them where the timeout is set.
pub(super) fn hash(step: Step, said: &Said<'_>, out: &mut Vec<u8>) -> u8 {
    match step {
        Step::Load => {
            head(out, 2);
            words(out, &[b"HGETALL", said.key]);
            if said.slide { 1 + expire(said.key, said, out) } else { 1 }
        }
        Step::Change | Step::Create => {
            hset(said.key, said, out);
            1 + expire(said.key, said, out)
        }
        Step::Rotate => {
            hset(said.new_key, said, out);
            let more = expire(said.new_key, said, out);
            delete(said.key, out);
            2 + more
        }
        Step::End => {
            delete(said.key, out);
            1
        }
    }
}

/// SESSION commands: each step is one command, and a sign-in names the user.
pub(super) fn session(step: Step, said: &Said<'_>, out: &mut Vec<u8>) -> u8 {
    match step {
        Step::Load if said.slide => {
            head(out, 2);
            words(out, &[b"SESSION.LOAD", said.key]);
        }
        Step::Load => {
            head(out, 3);
            words(out, &[b"SESSION.LOAD", said.key, b"PEEK"]);
        }
        Step::Change => {
            head(out, 4 + 2 * said.document.fields().len());
            words(out, &[b"SESSION.SAVE", said.key]);
            fields(said, out);
        }
        Step::Create => {
            head(out, 6 + 2 * said.document.fields().len());
            words(out, &[b"SESSION.CREATE", said.key, b"IDLE"]);
            seconds(out, said.idle);
            fields(said, out);
        }
        Step::Rotate => {
            let user = said.document.fields().next().map_or(&b"0"[..], |(_, value)| value);
            head(out, 7 + 2 * said.document.fields().len());
            words(out, &[b"SESSION.ROTATE", said.key, said.new_key, b"USER", user]);
            fields(said, out);
        }
        Step::End => {
            head(out, 2);
            words(out, &[b"SESSION.END", said.key]);
        }
    }
    1
}

fn set(key: &[u8], said: &Said<'_>, out: &mut Vec<u8>) {
    head(out, 5);
    words(out, &[b"SET", key]);
    out.push(b'$');
    number(out, said.document.json_len() as u64);
    out.extend_from_slice(b"\r\n");
    said.document.json(out);
    out.extend_from_slice(b"\r\n");
    words(out, &[b"EX"]);
    seconds(out, said.idle);
}

fn hset(key: &[u8], said: &Said<'_>, out: &mut Vec<u8>) {
    head(out, 2 + 2 * said.document.fields().len());
    words(out, &[b"HSET", key]);
    for (name, value) in said.document.fields() {
        words(out, &[name, value]);
    }
}

fn fields(said: &Said<'_>, out: &mut Vec<u8>) {
    words(out, &[b"SET"]);
    let fields = said.document.fields();
    word(out, itoa::Buffer::new().format(fields.len()).as_bytes());
    for (name, value) in fields {
        words(out, &[name, value]);
    }
}

fn expire(key: &[u8], said: &Said<'_>, out: &mut Vec<u8>) -> u8 {
    head(out, 3);
    words(out, &[b"EXPIRE", key]);
    seconds(out, said.idle);
    1
}

fn delete(key: &[u8], out: &mut Vec<u8>) {
    head(out, 2);
    words(out, &[b"DEL", key]);
}

fn seconds(out: &mut Vec<u8>, seconds: u32) {
    word(out, itoa::Buffer::new().format(seconds).as_bytes());
}

fn head(out: &mut Vec<u8>, words: usize) {
    out.push(b'*');
    number(out, words as u64);
    out.extend_from_slice(b"\r\n");
}

fn words(out: &mut Vec<u8>, words: &[&[u8]]) {
    for each in words {
        word(out, each);
    }
}

fn word(out: &mut Vec<u8>, word: &[u8]) {
    out.push(b'$');
    number(out, word.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}
