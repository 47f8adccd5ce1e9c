//! Any bytes are a base that is mended where a byte explains what is wrong with it, and of which right
//! stretches are found: those of a damaged base are those of the whole one.

use persist::extra::Extra;
use persist::limits::MARK_EVERY;
use persist::rdb::{
    Body, Encoder, Event, Facts, Mend, Others, Reader, Stretches, Writer, mend, right_stretches,
};
use std::io;

const SIP: [u64; 2] = [3, 5];
const FACTS: Facts<'_> =
    Facts { version: "7.0.15", ctime: 1, used_memory: 1, aof_base: true, more: &[] };

/// Looks through `data` as a file, and damages a base with it.
pub(crate) fn check(data: &[u8]) {
    look(data);
    let file = base(data);
    let (mended, stretches) = look(&file);
    assert_eq!(mended, Mend::Right);
    assert!(!stretches.is_empty());
    let Some((at, with)) = data.split_first_chunk::<3>() else { return };
    let at = u32::from_le_bytes([at[0], at[1], at[2], 0]) as usize % file.len();
    let mut damaged = file.clone();
    damaged.iter_mut().skip(at).zip(with).for_each(|(byte, with)| *byte ^= with);
    let (mended, right) = look(&damaged);
    assert!(right.iter().all(|stretch| stretches.contains(stretch)), "{right:?}");
    if with.iter().filter(|byte| **byte != 0).count() == 1
        && let Mend::Byte(patch) = mended
    {
        damaged[patch.at as usize] ^= patch.mask;
        assert!(damaged == file, "another byte than the one that changed");
    }
}

/// A base of two stretches, whose second one holds `data`.
fn base(data: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &FACTS, false).unwrap();
    writer.begin_marks(7).unwrap();
    let mut encoder = Encoder::new(false);
    for (key, value) in [(b"much", vec![b'm'; MARK_EVERY as usize]), (b"data", data.to_vec())] {
        let mut piece = Vec::new();
        Encoder::select(0, &mut piece);
        let meta = engine::Meta::default();
        encoder.item(key, Body::String(&value), &meta, &Extra::default(), &mut piece);
        writer.append(&piece).unwrap();
        writer.mark().unwrap();
    }
    writer.finish().unwrap()
}

/// What is found in a file; what is right of it is read to its end, or to an error.
fn look(file: &[u8]) -> (Mend, Vec<std::ops::Range<u64>>) {
    let open = |at: u64| -> io::Result<&[u8]> { Ok(file.get(at as usize..).unwrap_or_default()) };
    let mended = mend(file, file.len() as u64).unwrap();
    let stretches = right_stretches(open, file.len() as u64).unwrap();
    let mut last = 0;
    for stretch in &stretches {
        assert!(stretch.start >= last && stretch.end <= file.len() as u64, "{stretches:?}");
        last = stretch.end;
    }
    let mut reader =
        Reader::new(Stretches::new(open, stretches.clone()), Others::Skip, SIP).unwrap();
    while let Ok(Some(event)) = reader.next() {
        if let Event::End { checked } = event {
            assert!(!checked);
        }
    }
    (mended, stretches)
}
