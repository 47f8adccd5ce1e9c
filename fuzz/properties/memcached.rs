//! memcached's requests decode the same however they are cut, and nothing panics.

use super::cuts::{WAYS, cuts};
use protocol::memcached::{McDecoder, McLimits, McOutcome};

/// Small, so that values that are too large are common.
const LIMITS: McLimits = McLimits { item_max: 64 };

/// Decodes `data` in all ways and compares.
pub(crate) fn check(data: &[u8]) {
    let whole = outcomes(data, 0);
    for way in 1..WAYS {
        assert_eq!(outcomes(data, way), whole, "way {way} of {:?}", data.escape_ascii());
    }
}

/// What a connection that gets `data` in pieces decodes.
fn outcomes(data: &[u8], way: usize) -> Vec<String> {
    let mut decoder = McDecoder::default();
    let mut outcomes = Vec::new();
    let mut from = 0;
    for seen in cuts(data, way) {
        while from <= seen {
            let input = &data[from..seen];
            let (text, consumed, swallow) = match decoder.decode(input, &LIMITS) {
                McOutcome::NeedMore { at_least } => {
                    assert!(at_least > input.len());
                    break;
                }
                McOutcome::Request { request, consumed, swallow } => {
                    if let Some(key) = request.key() {
                        assert!((1..=250).contains(&key.len()));
                    }
                    (format!("{request:?}"), consumed, swallow)
                }
                McOutcome::Reject { consumed, line, swallow } => {
                    (format!("{}", line.escape_ascii()), consumed, swallow)
                }
                McOutcome::Close { line } => {
                    outcomes.push(format!("closed {}", line.escape_ascii()));
                    return outcomes;
                }
            };
            assert!(consumed > 0 && consumed <= input.len());
            outcomes.push(format!("{text} {consumed} {swallow}"));
            from = usize::try_from(swallow).unwrap_or(usize::MAX).saturating_add(from + consumed);
        }
    }
    outcomes
}
