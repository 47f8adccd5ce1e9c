//! memcached's requests on database 0, in both dialects, and what they should answer.

use super::generate;
use super::state::{State, Value};
use crate::support::show;
use engine::Rng;

/// A request's bytes and its answer. CAS values are opaque: the answer has `@` in place of one
/// that isn't known yet, and `learn` takes it from what the store said.
pub(crate) struct Exchange {
    pub(crate) bytes: Vec<u8>,
    pub(crate) answer: Vec<u8>,
    /// Whose CAS value stands in place of `@`.
    pub(crate) learns: Option<Vec<u8>>,
}

impl Exchange {
    /// Compares an answer and takes the CAS value from it.
    pub(crate) fn check(&self, said: &[u8], state: &mut State) {
        let Some(key) = &self.learns else {
            let bytes = show(&self.bytes);
            assert!(said == self.answer, "{bytes}: {} not {}", show(said), show(&self.answer));
            return;
        };
        let place = self.answer.iter().position(|byte| *byte == b'@').unwrap();
        let digits = said[place..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = str::from_utf8(&said[place..place + digits]).unwrap().parse().unwrap();
        let expected =
            [&self.answer[..place], &said[place..place + digits], &self.answer[place + 1..]];
        assert!(expected.concat() == said, "{}: {}", show(&self.bytes), show(said));
        let item = state.databases[0].get_mut(key).unwrap();
        assert!(item.cas.is_none_or(|known| known == number), "{}: another CAS", show(&self.bytes));
        item.cas = Some(number);
    }
}

/// A request that the state executes, or none if memcached can't ask for that.
pub(crate) fn exchange(rng: &mut Rng, state: &mut State) -> Option<Exchange> {
    let key = generate::key(rng);
    let name = String::from_utf8(key.clone()).ok().filter(|name| name.len() <= 250)?;
    let item = state.databases[0].get(&key).cloned();
    let old = match item.as_ref().map(|item| &item.value) {
        Some(Value::Hash(_)) => return None,
        Some(Value::String(value)) => Some(value.clone()),
        None => None,
    };
    let mut value = generate::value(rng);
    value.truncate(20_000);
    let flags = [0, 7, u32::MAX][rng.below(3) as usize];
    let seconds = [0, 0, 1 + rng.below(4), 100 + rng.below(100_000), state.now / 1000 + 40_000]
        [rng.below(5) as usize];
    let deadline = match seconds {
        0 => None,
        1..=2_592_000 => Some(state.now + seconds * 1000),
        _ => Some(seconds * 1000),
    };
    let mut learns = None;
    let asked: Vec<u8>;
    let answer = match rng.below(14) {
        n @ 0..6 => {
            let word = ["set", "set", "add", "replace", "append", "prepend"][n as usize];
            asked = store(&format!("{word} {name} {flags} {seconds} {}", value.len()), &value);
            let holds = match word {
                "set" => true,
                "add" => old.is_none(),
                _ => old.is_some(),
            };
            match (holds, old) {
                (false, _) => b"NOT_STORED\r\n".to_vec(),
                (true, Some(old)) if word == "append" => {
                    state.edit(0, &key, [old, value].concat());
                    b"STORED\r\n".to_vec()
                }
                (true, Some(old)) if word == "prepend" => {
                    state.edit(0, &key, [value, old].concat());
                    b"STORED\r\n".to_vec()
                }
                _ => {
                    state.put(0, &key, Value::String(value), deadline, flags);
                    b"STORED\r\n".to_vec()
                }
            }
        }
        6 => {
            let unique = item.as_ref().and_then(|item| item.cas);
            let sent = unique.unwrap_or(u64::MAX >> 1);
            asked = store(&format!("cas {name} {flags} {seconds} {} {sent}", value.len()), &value);
            match (&old, unique) {
                (None, _) => b"NOT_FOUND\r\n".to_vec(),
                (Some(_), None) => b"EXISTS\r\n".to_vec(),
                (Some(_), Some(_)) => {
                    state.put(0, &key, Value::String(value), deadline, flags);
                    b"STORED\r\n".to_vec()
                }
            }
        }
        7 | 8 => {
            asked = format!("gets {name}\r\n").into_bytes();
            match (item, old) {
                (Some(item), Some(old)) => {
                    learns = Some(key.clone());
                    let head = format!("VALUE {name} {} {} @\r\n", item.flags, old.len());
                    [head.as_bytes(), &old, b"\r\nEND\r\n"].concat()
                }
                _ => b"END\r\n".to_vec(),
            }
        }
        9 => {
            asked = format!("delete {name}\r\n").into_bytes();
            let gone = state.remove(0, &key).is_some();
            if gone { b"DELETED\r\n".to_vec() } else { b"NOT_FOUND\r\n".to_vec() }
        }
        10 => {
            asked = format!("touch {name} {seconds}\r\n").into_bytes();
            if old.is_some() {
                state.touch(0, &key);
                state.databases[0].get_mut(&key).unwrap().deadline = deadline;
                b"TOUCHED\r\n".to_vec()
            } else {
                b"NOT_FOUND\r\n".to_vec()
            }
        }
        11 => {
            // What isn't plainly a number is left alone: memcached reads odd ones in its own way.
            let plain = old.as_ref().map(|old| str::from_utf8(old).ok()?.parse::<u64>().ok());
            asked = format!("incr {name} 5\r\n").into_bytes();
            match plain {
                None => b"NOT_FOUND\r\n".to_vec(),
                Some(Some(number))
                    if old.is_some_and(|old| old == number.to_string().as_bytes()) =>
                {
                    let sum = (number + 5).to_string();
                    state.edit(0, &key, sum.clone().into_bytes());
                    format!("{sum}\r\n").into_bytes()
                }
                _ => return None,
            }
        }
        12 => {
            asked = format!("mg {name} v f s k\r\n").into_bytes();
            match (item, old) {
                (Some(item), Some(old)) => {
                    let head =
                        format!("VA {} f{} s{} k{name}\r\n", old.len(), item.flags, old.len());
                    [head.as_bytes(), &old, b"\r\n"].concat()
                }
                _ => format!("EN k{name}\r\n").into_bytes(),
            }
        }
        _ => {
            asked = store(&format!("ms {name} {} F{flags} T{seconds}", value.len()), &value);
            state.put(0, &key, Value::String(value), deadline, flags);
            b"HD\r\n".to_vec()
        }
    };
    Some(Exchange { bytes: asked, answer, learns })
}

fn store(head: &str, value: &[u8]) -> Vec<u8> {
    [head.as_bytes(), b"\r\n", value, b"\r\n"].concat()
}
