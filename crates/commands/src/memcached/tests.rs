//! Requests and the answers that memcached 1.6.18 gives them.

use super::{
    Count, Counters, Ctx, Done, Facts, Flush, Settings, World, execute, flush_if_due, keys, refuse,
};
use crate::host::Nobody;
use crate::testing::Store;
use protocol::memcached::{McDecoder, McLimits, McOutcome};

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
    starved: bool,
}

impl Cache {
    fn new() -> Self {
        Self {
            store: Store::new(),
            settings: Settings::default(),
            counters: Counters::default(),
            flush: Flush::default(),
            starved: false,
        }
    }

    /// The answer to a request whose lines, like the answer's, are apart by `|`.
    fn run(&mut self, request: &str) -> String {
        let input = request.replace('|', "\r\n") + "\r\n";
        let mut decoder = McDecoder::default();
        let limits = McLimits { item_max: self.settings.item_size_max };
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
        match decoder.decode(input.as_bytes(), &limits) {
            McOutcome::Request { request, .. } if self.starved => {
                refuse(&mut ctx, &request, &mut out);
            }
            McOutcome::Request { request, .. } => {
                let done = execute(&mut ctx, &request, &mut out).unwrap();
                assert_eq!(done == Done::Quit, input == "quit\r\n");
            }
            other => return format!("{other:?}"),
        }
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

#[test]
fn without_memory_a_set_leaves_nothing_out_of_date() {
    let mut cache = Cache::new();
    cache.expect(&[("set k 0 0 1|a", "STORED"), ("set m 0 0 1|a", "STORED")]);
    cache.starved = true;
    cache.expect(&[
        ("set k 0 0 1|b", "SERVER_ERROR out of memory storing object"),
        ("add m 0 0 1|b", "SERVER_ERROR out of memory storing object"),
        ("incr m 1", "SERVER_ERROR out of memory"),
        ("set k 0 0 1 noreply|b", ""),
    ]);
    cache.starved = false;
    cache.expect(&[("get k m", "VALUE m 0 1|a|END"), ("quit", "")]);
    assert_eq!(cache.counters.get(Count::NoMemory), 4);
}

#[test]
fn a_request_names_its_keys() {
    for (request, named) in [("get a bb c\r\n", "a bb c"), ("md k q\r\n", "k"), ("mn\r\n", "")] {
        let mut decoder = McDecoder::default();
        let limits = McLimits::default();
        let McOutcome::Request { request, .. } = decoder.decode(request.as_bytes(), &limits) else {
            panic!("{request}")
        };
        let all: Vec<&[u8]> = keys(&request).collect();
        assert_eq!(all.join(&b' '), named.as_bytes());
    }
}
