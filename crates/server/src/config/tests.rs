//! The configuration as a whole: command lines, files, CONFIG GET, SET and REWRITE.

use std::sync::Arc;

use super::load::{Instead, Loaded, load};
use super::row::Change;
use super::{Store, grammar, invocation, render, rewrite, tables};
use crate::config::Settings;
use crate::limits;
use crate::live::Live;

fn words(line: &str) -> Vec<String> {
    grammar::parse_line(line.as_bytes()).unwrap()
}

fn loaded(line: &str) -> Result<Loaded, String> {
    let asked = invocation(&words(line)).map_err(|error| error.to_string())?;
    load(&asked).map_err(|error| error.to_string())
}

fn store(line: &str) -> Store {
    Store::new(loaded(line).unwrap(), Arc::new(Live::default()))
}

#[test]
fn every_row_is_sound() {
    let mut names: Vec<&str> = tables::rows().flat_map(|row| [row.name, row.alias]).collect();
    names.retain(|name| !name.is_empty());
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands twice");
    for row in tables::rows() {
        assert_eq!(row.name, row.name.to_ascii_lowercase());
        assert!(row.doc.ends_with('.'), "{}", row.name);
        let mut settings = Settings::default();
        let printed = render::lines(row, settings.value(row.name));
        for directive in grammar::parse_file(printed.as_bytes()).unwrap() {
            let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
            settings.put(row, &words).unwrap();
        }
        assert_eq!(settings.value(row.name), row.normal_default(), "{}", row.name);
    }
}

#[test]
fn command_lines() {
    let cases = [
        ("", "port", "6379"),
        ("--port 7000", "port", "7000"),
        ("--PORT 7000 --port 7001", "port", "7001"),
        ("--bind 127.0.0.1 -::1", "bind", "127.0.0.1 -::1"),
        ("--bind \"10.0.0.1 10.0.0.2\"", "bind", "10.0.0.1 10.0.0.2"),
        ("--maxmemory 100mb --maxmemory-policy AllKeys-LRU", "maxmemory", "104857600"),
        ("--save \"\" --appendonly no", "save", ""),
        ("--hash-max-ziplist-entries 3", "hash-max-listpack-entries", "3"),
        ("--slowlog-log-slower-than -1", "slowlog-log-slower-than", "-1"),
        ("--rename-command CONFIG \"\" --rename-command A b", "rename-command", {
            "CONFIG \"\" A b"
        }),
    ];
    for (line, name, value) in cases {
        assert_eq!(loaded(line).unwrap().settings.value(name), value, "{line}");
    }
    assert_eq!(invocation(&words("--help")).unwrap().instead, Some(Instead::Help));
    assert_eq!(invocation(&words("a.conf --port 1 -")).unwrap().file, "-");
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("--bogus 1", "command line: 'bogus': unknown directive"),
        ("--port", "command line: 'port': wrong number of arguments"),
        ("--port 1 2", "command line: 'port': wrong number of arguments"),
        ("--port x", "command line: 'port': argument couldn't be parsed into an integer"),
        ("--tls-port 7000", "command line: 'tls-port': TLS is not in this version"),
        ("--maxmemory 4gb --arena-max 1gb", {
            "configuration: 'maxmemory': argument must not exceed arena-max"
        }),
        ("a.conf b.conf", {
            "command line: 'b.conf': a directive begins with '--'; only the first argument can be \
             a file"
        }),
    ];
    for (line, text) in cases {
        assert_eq!(loaded(line).map(drop).unwrap_err(), text, "{line}");
    }
}

#[test]
fn files_include_files_and_the_command_line_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, two) = (path("one.conf"), path("two.conf"));
    std::fs::write(&one, format!("# first\ntimeout 5\ninclude {two}\nport 7001\n")).unwrap();
    std::fs::write(&two, "timeout 6\nport 7000\n").unwrap();
    let both = loaded(&format!("{one} --port 7002")).unwrap();
    assert_eq!((both.config.timeout_s, both.config.port), (6, 7002));
    assert_eq!(both.file, one);

    std::fs::write(&two, "\nprot 7000\n").unwrap();
    let error = loaded(&one).map(drop).unwrap_err();
    assert_eq!(error, format!("{two}:2: 'prot': unknown directive"));
    std::fs::write(&two, format!("include {one}\n")).unwrap();
    assert!(loaded(&one).map(drop).unwrap_err().ends_with("too many files include each other"));
    std::fs::write(&two, "port \"1\n").unwrap();
    assert_eq!(loaded(&one).map(drop).unwrap_err(), format!("{two}:1: unbalanced quotes"));
    assert!(loaded(&path("none")).is_err());
}

#[test]
fn the_printed_configuration_loads_as_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("printed.conf");
    let first = loaded("--port 1 --rename-command DEBUG '' --requirepass 'a b\"' --timeout 3");
    let first = first.unwrap();
    std::fs::write(&path, render::print(&first.settings)).unwrap();
    let second = loaded(path.to_str().unwrap()).unwrap();
    assert_eq!(first.config, second.config);
    assert_eq!(second.config.requirepass, "a b\"");
    assert_eq!(second.config.renamed_commands, [("DEBUG".to_owned(), String::new())]);
}

#[test]
fn config_get() {
    let store = store("--maxmemory 1kb");
    let got = store.get(["maxmemory", "PORT", "hash-max-ziplist-*"]);
    let got: Vec<_> = got.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(
        got,
        [
            ("port", "6379"),
            ("maxmemory", "1024"),
            ("hash-max-ziplist-entries", "128"),
            ("hash-max-ziplist-value", "64"),
        ]
    );
    assert!(store.get(["nothing"]).is_empty());
}

#[test]
fn config_set_is_all_or_nothing() {
    let live = Arc::new(Live::default());
    let store = Store::new(loaded("").unwrap(), Arc::clone(&live));
    let before = store.generation();
    let failed = "CONFIG SET failed (possibly related to argument";
    let cases: &[(&[(&str, &str)], String)] = &[
        (&[("timeout", "7"), ("bogus", "1")], {
            "Unknown option or number of arguments for CONFIG SET - 'bogus'".to_owned()
        }),
        (
            &[("timeout", "7"), ("port", "1")],
            format!("{failed} 'port') - can't set immutable config"),
        ),
        (
            &[("timeout", "7"), ("timeout", "8")],
            format!("{failed} 'timeout') - duplicate parameter"),
        ),
        (&[("timeout", "7"), ("maxmemory", "x")], {
            format!("{failed} 'maxmemory') - argument must be a memory value")
        }),
        (&[("dir", "/tmp")], format!("{failed} 'dir') - can't set protected config")),
    ];
    for (pairs, text) in cases {
        assert_eq!(store.set(pairs, true).unwrap_err().to_string(), *text);
    }
    assert_eq!((store.generation(), store.config().timeout_s), (before, 0));
    store.set(&[("timeout", "7"), ("maxclients", "9")], true).unwrap();
    assert_ne!(store.generation(), before);
    let order = std::sync::atomic::Ordering::Relaxed;
    assert_eq!((live.idle_s.load(order), live.clients_most.load(order)), (7, 9));
    store.set(&[("client-output-buffer-limit", "pubsub 1 2 3")], true).unwrap();
    assert_eq!(store.config().output_pubsub.soft_s, 3);
    assert_eq!(store.config().output_normal.hard, 1 << 30, "the other classes stay");
}

#[test]
fn config_rewrite_keeps_the_file_as_it_is() {
    assert_eq!(store("").rewrite().unwrap_err(), "The server is running without a config file");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.conf");
    let text = "# mine\n\nport 7000\ntimeout 1\n# end\ntimeout 2\n";
    std::fs::write(&path, text).unwrap();
    let store = store(path.to_str().unwrap());
    store.set(&[("timeout", "9"), ("maxmemory", "1mb")], true).unwrap();
    store.rewrite().unwrap();
    let after = std::fs::read_to_string(&path).unwrap();
    let expected = "# mine\n\nport 7000\ntimeout 9\n# end\n\
        # Generated by CONFIG REWRITE\nmaxmemory 1048576\n";
    assert_eq!(after, expected);
    let again = loaded(path.to_str().unwrap()).unwrap().settings;
    assert_eq!(rewrite::merged(after.as_bytes(), &again), after.as_bytes());
}

/// Texts of whatever means something to the grammar, to a shell or to an encoding.
fn odd_text(random: &mut impl FnMut(usize) -> usize) -> String {
    const LETTERS: &[char] = &[
        'a',
        'x',
        '0',
        ' ',
        '\t',
        '\n',
        '\r',
        '\x0b',
        '\x0c',
        '\'',
        '"',
        '\\',
        '#',
        '$',
        '-',
        '\x07',
        '\x08',
        '\x1b',
        '\x7f',
        '\u{85}',
        '\u{a0}',
        '\u{fc}',
        '\u{2028}',
        '\u{1f511}',
    ];
    (0..random(12)).map(|_| LETTERS[random(LETTERS.len())]).collect()
}

#[test]
fn odd_values_survive_a_rewrite_and_a_restart() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = clock.as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.conf");
    let name = path.to_str().unwrap();
    for _ in 0..60 {
        // What the start is given, in a file that already has some of it.
        let (log, socket) = (odd_text(&mut random), odd_text(&mut random));
        let line = |name: &str, word: &str| grammar::print_line(name, std::iter::once(word));
        let text = format!("# \u{fc}\n{}{}", line("logfile", &log), line("unixsocket", &socket));
        std::fs::write(&path, text).unwrap();
        let first = store(name);
        for _ in 0..2 {
            let password = odd_text(&mut random);
            let dir = odd_text(&mut random);
            let pairs = [("requirepass", password.as_str()), ("timeout", "5")];
            first.set(&pairs, true).unwrap();
            first.rewrite().unwrap();
            let second = store(name);
            assert_eq!(*first.config(), *second.config(), "{password:?} {log:?} {socket:?}");
            let config = second.config();
            assert_eq!(config.requirepass, password);
            assert_eq!((&config.logfile, &config.unixsocket), (&log, &socket));
            // Every text alone, as the command line would give it.
            let asked = ["--dir", dir.as_str()].map(str::to_owned);
            if !dir.starts_with('-') {
                let given = load(&invocation(&asked).unwrap()).unwrap();
                assert_eq!(given.config.dir, dir);
            }
        }
    }
}

#[test]
fn what_no_file_can_hold_is_refused_at_once() {
    let store = store("--enable-protected-configs yes");
    let failed = "CONFIG SET failed (possibly related to argument";
    let error = store.set(&[("dir", "a\0b")], true).unwrap_err().to_string();
    let zero = "argument must be a path, which holds no zero byte";
    assert_eq!(error, format!("{failed} 'dir') - {zero}"));
    let long = "p".repeat(limits::CONFIG_TEXT + 1);
    let error = store.set(&[("requirepass", &long)], true).unwrap_err().to_string();
    let most = "argument must be at most 65536 bytes long";
    assert_eq!(error, format!("{failed} 'requirepass') - {most}"));
    store.set(&[("requirepass", &long[1..])], true).unwrap();
    assert!(loaded("--rename-command GET 'a\"'").is_err());
}

#[test]
fn a_rewrite_has_the_last_word_over_included_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, two) = (path("one.conf"), path("two.conf"));
    // A comment in another encoding is nobody's business, and an automatic value stays automatic.
    let mut text = format!("timeout 5\nio-threads 0\ninclude {two}\n# ").into_bytes();
    text.extend_from_slice(b"\xfc\n");
    std::fs::write(&one, &text).unwrap();
    std::fs::write(&two, "timeout 6\nmaxmemory 1mb\n").unwrap();
    let first = store(&one);
    first.set(&[("timeout", "9"), ("maxmemory", "0")], true).unwrap();
    first.rewrite().unwrap();
    let after = std::fs::read(&one).unwrap();
    assert_eq!(store(&one).config(), first.config());
    let kept = String::from_utf8_lossy(&text).replace("timeout 5", "timeout 9");
    assert!(String::from_utf8_lossy(&after).starts_with(&kept));
    first.rewrite().unwrap();
    assert_eq!(store(&one).config(), first.config());
    assert!(std::fs::read(&one).unwrap().len() <= after.len());
}

#[test]
fn the_sample_file_has_every_directive() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sessile.conf");
    let sample = render::sample();
    if std::env::var_os("SESSILE_WRITE_SAMPLE").is_some() {
        std::fs::write(path, &sample).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), sample, "run with SESSILE_WRITE_SAMPLE=1");
    for row in tables::rows() {
        assert!(sample.contains(&format!("\n# {} ", row.name)), "{}", row.name);
    }
    // Its defaults, uncommented, are a configuration.
    let uncommented: String = sample
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| {
            let name = line.split(' ').next().unwrap_or_default();
            tables::find(name).is_some_and(|row| row.name == name) && name != "rename-command"
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let mut settings = Settings::default();
    for directive in grammar::parse_file(uncommented.as_bytes()).unwrap() {
        let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
        settings.put(tables::find(&directive.name).unwrap(), &words).unwrap();
    }
    assert_eq!(settings, Settings::default());
    assert!(tables::rows().any(|row| row.change == Change::Protected));
}
