//! Requests and the answers that memcached 1.6.18 gives them.

use super::{
    Count, Counters, Ctx, Facts, Flush, Head, MetaArithmetic, MetaDelete, MetaGet, MetaSet,
    Request, Settings, Storing, Verb, World, execute, flush_if_due,
};
use crate::host::Nobody;
use crate::ops::cache::Mode;
use crate::testing::Store;
use protocol::args::{Args, OwnedArgs};

/// Nothing lies around the store.
#[derive(Debug)]
struct Alone;

impl World for Alone {
    fn counters(&self) -> Counters {
        Counters::default()
    }
    fn reset_counters(&self) {}
    fn facts(&self) -> Facts {
        Facts::default()
    }
}

struct Cache {
    store: Store,
    settings: Settings,
    counters: Counters,
    flush: Flush,
}

impl Cache {
    fn new() -> Self {
        Self {
            store: Store::new(),
            settings: Settings::default(),
            counters: Counters::default(),
            flush: Flush::default(),
        }
    }

    /// The answer to a request whose lines, like the answer's, are apart by `|`.
    fn run(&mut self, request: &str) -> String {
        let (line, value) = request.split_once('|').unwrap_or((request, ""));
        let mut words = OwnedArgs::default();
        line.split(' ').for_each(|word| words.push(word.as_bytes()));
        let noreply = line.ends_with(" noreply");
        let request = Request { verb: verb(words.as_args(), value.as_bytes()), noreply };
        let mut ctx = Ctx {
            now: self.store.now,
            shards: &mut self.store.shards,
            hashed: None,
            settings: &self.settings,
            counters: &self.counters,
            flush: &self.flush,
            client: 1,
            host: &Nobody,
            world: &Alone,
        };
        let mut out = Vec::new();
        execute(&mut ctx, &request, &mut out).unwrap();
        let answer = String::from_utf8(out).unwrap();
        answer.strip_suffix("\r\n").unwrap_or_default().replace("\r\n", "|")
    }

    /// Checks that requests get answers: pairs of them, lines apart by `|`.
    #[track_caller]
    fn expect(&mut self, pairs: &[(&str, &str)]) {
        for (request, answer) in pairs {
            assert_eq!(self.run(request), *answer, "{request}");
        }
    }
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Takes a well-formed request apart; the codec's tests are about the others.
fn verb<'b>(words: Args<'b>, value: &'b [u8]) -> Verb<'b> {
    let key = words.at(1);
    let exptime = |i: usize| number(words.at(i)).unwrap_or(0);
    let mode = match words.at(0) {
        b"add" => Mode::Add,
        b"replace" => Mode::Replace,
        b"append" => Mode::Append,
        b"prepend" => Mode::Prepend,
        _ => Mode::Set,
    };
    match words.at(0) {
        b"get" => Verb::Get { keys: words.from(1), cas: false },
        b"gets" => Verb::Get { keys: words.from(1), cas: true },
        b"gats" => Verb::GetAndTouch { keys: words.from(2), exptime: exptime(1), cas: true },
        b"delete" => Verb::Delete(key),
        b"incr" => Verb::Count { key, down: false, delta: number(words.at(2)).unwrap() },
        b"decr" => Verb::Count { key, down: true, delta: number(words.at(2)).unwrap() },
        b"touch" => Verb::Touch { key, exptime: exptime(2) },
        b"flush_all" => Verb::FlushAll(number(words.at(1))),
        b"cache_memlimit" => Verb::MemoryLimit(number(words.at(1)).unwrap()),
        b"stats" => Verb::Stats(words.from(1)),
        b"version" => Verb::Version,
        b"verbosity" => Verb::Verbosity,
        b"mn" => Verb::NoOp,
        [b'm', _] => meta_verb(words, value),
        name => Verb::Store(Storing {
            key,
            mode,
            flags: number(words.at(2)).unwrap(),
            exptime: exptime(3),
            compare: if name == b"cas" { number(words.at(5)) } else { None },
            value,
        }),
    }
}

fn meta_verb<'b>(words: Args<'b>, value: &'b [u8]) -> Verb<'b> {
    let shown = words.at(1);
    let flags = words.from(if words.at(0) == b"ms" { 3 } else { 2 });
    let token = |letter: u8| {
        let flag = (0..flags.len()).map(|i| flags.at(i)).find(|flag| flag[0] == letter)?;
        Some(&flag[1..])
    };
    let has = |letter: u8| token(letter).is_some();
    let (time, id) = (|letter| number(token(letter)?), |letter| number(token(letter)?));
    let base64 = has(b'b');
    let key = if base64 && shown == b"YWJj" { b"abc" } else { shown };
    let head = Head { key, shown, base64, quiet: has(b'q'), flags };
    let compare: Option<u64> = id(b'C');
    let cas: Option<u64> = id(b'E');
    let (touch, vivify, recache): (Option<i64>, _, _) = (time(b'T'), time(b'N'), time(b'R'));
    let mode = match token(b'M') {
        Some(b"E") => Mode::Add,
        Some(b"A") => Mode::Append,
        Some(b"P") => Mode::Prepend,
        Some(b"R") => Mode::Replace,
        _ => Mode::Set,
    };
    let (invalidate, empty, no_bump) = (has(b'I'), has(b'x'), has(b'u'));
    match words.at(0) {
        b"mg" => {
            let asked = MetaGet { value: has(b'v'), no_bump, touch, vivify, recache, cas };
            Verb::MetaGet(head, asked)
        }
        b"ms" => {
            let flags = token(b'F').and_then(number).unwrap_or(0);
            let exptime = touch.unwrap_or(0);
            let asked = MetaSet { mode, value, flags, exptime, compare, cas, invalidate };
            Verb::MetaSet(head, asked)
        }
        b"md" => Verb::MetaDelete(head, MetaDelete { compare, cas, invalidate, empty, touch }),
        b"ma" => {
            let down = matches!(token(b'M'), Some(b"D" | b"-"));
            let number = |letter, otherwise| token(letter).and_then(number).unwrap_or(otherwise);
            let (delta, initial, value) = (number(b'D', 1), number(b'J', 0), has(b'v'));
            Verb::MetaArithmetic(
                head,
                MetaArithmetic { down, delta, initial, compare, cas, vivify, touch, value },
            )
        }
        _ => Verb::MetaDebug(head),
    }
}

#[test]
fn modes_of_storing() {
    Cache::new().expect(&[
        ("get k", "END"),
        ("set k 5 0 3|abc", "STORED"),
        ("get k missing k", "VALUE k 5 3|abc|VALUE k 5 3|abc|END"),
        ("add k 0 0 1|x", "NOT_STORED"),
        ("replace m 0 0 1|x", "NOT_STORED"),
        ("append m 0 0 1|x", "NOT_STORED"),
        ("append k 9 0 1|d", "STORED"),
        ("prepend k 9 0 1|_", "STORED"),
        ("get k", "VALUE k 5 5|_abcd|END"),
        ("replace k 7 0 1|R", "STORED"),
        ("get k", "VALUE k 7 1|R|END"),
        ("set k 0 -1 1|x", "STORED"),
        ("get k", "END"),
        ("add k 0 0 0|", "STORED"),
        ("get k", "VALUE k 0 0||END"),
        ("delete k", "DELETED"),
        ("delete k", "NOT_FOUND"),
        ("set k 0 0 1 noreply|x", ""),
        ("get k", "VALUE k 0 1|x|END"),
    ]);
}

#[test]
fn a_cas_value_is_of_the_value_not_of_its_deadline() {
    let mut cache = Cache::new();
    cache.expect(&[
        ("cas k 0 0 1 1|x", "NOT_FOUND"),
        ("ms k 1 E500 c|a", "HD c500"),
        ("gats 100 k", "VALUE k 0 1 500|a|END"),
        ("touch k 50", "TOUCHED"),
        ("mg k T70 c t", "HD c500 t70"),
        ("gets k", "VALUE k 0 1 500|a|END"),
        ("cas k 0 0 1 499|b", "EXISTS"),
        ("cas k 0 0 1 0|b", "EXISTS"),
        ("cas k 3 0 1 500|b", "STORED"),
        ("cas k 3 0 1 500|b", "EXISTS"),
        ("get k", "VALUE k 3 1|b|END"),
    ]);
    assert_eq!(cache.counters.get(Count::CasBadValue), 3);
    assert_eq!(cache.counters.get(Count::CasHits), 1);
    assert_eq!(cache.counters.get(Count::CasMisses), 1);
}

#[test]
fn counters_keep_their_width() {
    Cache::new().expect(&[
        ("incr n 1", "NOT_FOUND"),
        ("set n 5 0 3|100", "STORED"),
        ("decr n 99", "1"),
        ("get n", "VALUE n 5 3|1  |END"),
        ("incr n 5", "6"),
        ("decr n 200", "0"),
        ("incr n 18446744073709551615", "18446744073709551615"),
        ("incr n 2", "1"),
        ("set n 0 0 3|abc", "STORED"),
        ("incr n 2", "CLIENT_ERROR cannot increment or decrement non-numeric value"),
        ("ma n", "CLIENT_ERROR cannot increment or decrement non-numeric value"),
        ("ma c O1 k", "NF O1 kc"),
        ("ma c q", "NF"),
        ("ma c N30 J10 v t", "VA 2 t30|10"),
        ("ma c v D5 MD", "VA 1|5"),
        ("ma c v M-", "VA 1|4"),
        ("ma c q v", ""),
        ("ma c O3 k T5 t v", "VA 1 O3 kc t5|6"),
        ("ma c C1 k O3", "EX kc O3"),
        ("ma y N0 J5 T30 t v", "VA 1 t30|5"),
    ]);
}

#[test]
fn a_stale_item_is_renewed_by_one_reader() {
    let mut cache = Cache::new();
    cache.expect(&[
        ("set a 5 0 3|abc", "STORED"),
        ("mg a R30", "HD"),
        ("mg a T30 t R31 k", "HD t30 ka W"),
        ("mg a R31 t", "HD t30 Z"),
        ("mg a R30", "HD Z"),
        ("md a I T60", "HD"),
        ("mg a v t", "VA 3 t60 X W|abc"),
        ("mg a v t", "VA 3 t60 Z X|abc"),
        ("ms a 2 T100|xx", "HD"),
        ("mg a v t", "VA 2 t100|xx"),
        ("md a I q", ""),
        ("md a C1 q O3 k", "EX O3 ka"),
        ("ms a 1 I C1|Q", "HD"),
        ("mg a v t", "VA 1 t100 X W|Q"),
        ("ms a 1 MA|R", "HD"),
        ("mg a v f", "VA 2 f0|QR"),
        ("ms a 1 I C99999999|Q", "EX"),
        ("md a x", "HD"),
        ("mg a v", "VA 0|"),
        ("md a q O2 k", ""),
        ("md a q O2 k", "NF O2 ka"),
        ("mg nope k O12 v", "EN knope O12"),
        ("mg nope q", ""),
        ("mg nope N30 v k O1 t f h l s", "VA 0 knope O1 t30 f0 h0 l0 s0 W|"),
        ("mg nope N30 v t", "VA 0 t30 Z|"),
    ]);
    cache.store.now += 30_000;
    cache.expect(&[("mg nope v", "EN")]);
}

#[test]
fn a_look_without_a_trace_and_hits_before() {
    Cache::new().expect(&[
        ("ms k 2 F77 k O9|hi", "HD kk O9"),
        ("mg k h u", "HD h0"),
        ("mg k h", "HD h0"),
        ("mg k h", "HD h1"),
        ("mg k f v s", "VA 2 f77 s2|hi"),
        ("mg k T100 t", "HD t100"),
        ("mg k h t", "HD h1 t100"),
        ("mg YWJj b v k", "EN kYWJj b"),
        ("ms YWJj 2 b k O5 T30|hi", "HD kYWJj b O5"),
        ("get abc", "VALUE abc 0 2|hi|END"),
        ("ms k 1 MR c k|z", "HD c4 kk"),
        ("ms nn 1 MR c k O3|z", "NS c0 knn O3"),
        ("ms nn 1 C1 c|z", "NF c0"),
        ("mn", "MN"),
    ]);
}

#[test]
fn flushing_now_and_later() {
    let mut cache = Cache::new();
    cache.expect(&[("set a 0 0 1|x", "STORED"), ("flush_all", "OK"), ("get a", "END")]);
    cache.expect(&[("set a 0 0 1|x", "STORED"), ("flush_all 10", "OK")]);
    assert_eq!(cache.flush.next(), Some(cache.store.now + 10_000));
    cache.store.now += 9_999;
    cache.expect(&[("get a", "VALUE a 0 1|x|END")]);
    assert!(!cache.flush.take_due(cache.store.now));
    cache.store.now += 1;
    flush_if_due(&cache.flush, &mut cache.store.shards, cache.store.now).unwrap();
    cache.expect(&[("get a", "END"), ("set a 0 0 1|x", "STORED")]);
    cache.expect(&[("flush_all 10", "OK"), ("flush_all -1 noreply", ""), ("get a", "END")]);
    assert_eq!(cache.flush.next(), None);
}

#[test]
fn a_value_that_is_too_large_takes_the_old_one_with_it() {
    let mut cache = Cache::new();
    cache.settings.item_size_max = 100;
    // 48 + 8 + 1 + 1 + 2 beside the value.
    let fits = "x".repeat(40);
    let larger = "x".repeat(41);
    cache.expect(&[
        (&format!("set k 0 0 40|{fits}"), "STORED"),
        ("append k 0 0 1|y", "NOT_STORED"),
        ("ms k 1 MP|y", "NS"),
        (&format!("add k 0 0 41|{larger}"), "SERVER_ERROR object too large for cache"),
        ("get k", &format!("VALUE k 0 40|{fits}|END")),
        (&format!("set k 0 0 41|{larger}"), "SERVER_ERROR object too large for cache"),
        ("get k", "END"),
        (&format!("set k 1 0 40|{fits}"), "SERVER_ERROR object too large for cache"),
    ]);
}

#[test]
fn what_redis_wrote() {
    let mut cache = Cache::new();
    cache.store.expect(&[("SET s 10 EX 100", "+OK\r\n"), ("HSET h f v", ":1\r\n")]);
    cache.expect(&[
        ("mg s t f v", "VA 2 t100 f0|10"),
        ("incr s 5", "15"),
        ("mg s t", "HD t100"),
        ("get h", "END"),
        ("mg h N30 v", "EN"),
        ("touch h 5", "NOT_FOUND"),
        ("add h 0 0 1|x", "NOT_STORED"),
        ("cas h 0 0 1 1|x", "EXISTS"),
        ("append h 0 0 1|x", "CLIENT_ERROR the key holds another kind of value"),
        ("incr h 1", "CLIENT_ERROR cannot increment or decrement non-numeric value"),
        ("md h I", "NF"),
        ("md h C1", "EX"),
    ]);
    cache.store.expect(&[("HGET h f", "$1\r\nv\r\n"), ("GET s", "$2\r\n15\r\n")]);
    cache.expect(&[("delete h", "DELETED"), ("set s 9 0 2|hi", "STORED"), ("mg s t", "HD t-1")]);
    cache.store.expect(&[("HLEN h", ":0\r\n"), ("GET s", "$2\r\nhi\r\n")]);
}

#[test]
fn reports_have_their_shapes() {
    let mut cache = Cache::new();
    cache.expect(&[
        ("set a 0 0 1|x", "STORED"),
        ("stats reset", "RESET"),
        ("stats bogus", "ERROR"),
        ("stats sizes", "STAT sizes_status disabled|END"),
        ("stats detail", "CLIENT_ERROR usage: stats detail on|off|dump"),
        ("cache_memlimit 64", "OK"),
        ("cache_memlimit 1", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"),
        ("verbosity 1", "OK"),
        ("version", "VERSION 1.6.18"),
    ]);
    for report in ["stats", "stats settings", "stats items", "stats slabs"] {
        let answer = cache.run(report);
        let mut lines = answer.split('|').rev();
        assert_eq!(lines.next(), Some("END"), "{report}");
        assert!(lines.all(|line| line.starts_with("STAT ") && line.split(' ').count() >= 3));
    }
    assert!(cache.run("stats").contains("|STAT curr_items 1|"));
}
