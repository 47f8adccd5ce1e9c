//! RESP requests decode the same however they are cut, spans stay in range, and nothing panics.

use super::cuts::{WAYS, cuts};
use protocol::args::{Args, Span};
use protocol::resp::{Decoder, Outcome, RespLimits};

/// Decodes `data` in all ways and compares.
pub(crate) fn check(data: &[u8]) {
    for authenticated in [true, false] {
        let whole = outcomes(data, 0, authenticated);
        for way in 1..WAYS {
            let cut = outcomes(data, way, authenticated);
            assert_eq!(cut, whole, "way {way} of {:?}", data.escape_ascii());
        }
    }
}

/// What a connection that gets `data` in pieces decodes.
fn outcomes(data: &[u8], way: usize, authenticated: bool) -> Vec<String> {
    let limits = RespLimits { authenticated, ..RespLimits::default() };
    let mut decoder = Decoder::default();
    let mut outcomes = Vec::new();
    let mut spans: Vec<Span> = Vec::new();
    let mut from = 0;
    for seen in cuts(data, way) {
        loop {
            let input = &data[from..seen];
            spans.clear();
            let consumed = match decoder.decode(input, &mut spans, &limits) {
                Outcome::NeedMore { at_least } => {
                    assert!(at_least > input.len());
                    break;
                }
                Outcome::Done { consumed } => {
                    let in_range = |span: &Span| (span.start + span.len) as usize <= consumed;
                    assert!(spans.iter().all(in_range));
                    outcomes.push(shown(Args::new(input, &spans)));
                    consumed
                }
                Outcome::DoneInline { consumed } => {
                    outcomes.push(shown(decoder.inline_args()));
                    consumed
                }
                Outcome::Fail(fail) => {
                    outcomes.push(format!("{fail:?}"));
                    return outcomes;
                }
            };
            assert!(consumed > 0 && consumed <= input.len());
            from += consumed;
        }
    }
    outcomes
}

fn shown(args: Args<'_>) -> String {
    args.iter().map(|arg| format!("{} ", arg.escape_ascii())).collect()
}
