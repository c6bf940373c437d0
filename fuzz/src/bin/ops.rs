//! Ops: what is read is sound, and read again from what is written of it, it is the same.
#![no_main]

use onward_fuzz::{MAX, as_text, assert_sound, same, written};
use onward_protocol::sdk::{InvalidOp, OpKind, parse_ops};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let read = parse_ops(data, MAX);
    let Some(text) = as_text(data) else { return assert_eq!(read.unwrap_err(), InvalidOp::NotJson) };
    let ops = match read {
        Ok(ops) => ops,
        Err(error) => {
            // What an error shows of the op's name is short.
            assert!(error.to_string().len() < 600);
            return;
        }
    };
    assert_sound(&ops, MAX);

    if text.trim_start().starts_with('{') {
        assert!(same(&ops, &parse_ops(format!("[{text}]").as_bytes(), MAX).unwrap()), "a list of one is that one");
    }
    assert!(same(&ops, &parse_ops(format!("\n {text}\t").as_bytes(), ops.len()).unwrap()), "as many as there may be");
    if let Some(fewer) = ops.len().checked_sub(1) {
        assert_eq!(parse_ops(data, fewer).unwrap_err(), InvalidOp::TooMany { max: fewer });
    }

    let kept: Vec<_> = ops.into_iter().filter(|op| !matches!(op.kind, OpKind::Wrong { .. })).collect();
    let texts: Vec<_> = kept.iter().filter_map(written).collect();
    let again = parse_ops(format!("[{}]", texts.join(",")).as_bytes(), MAX).unwrap();
    assert!(same(&kept, &again), "{kept:?}\nwas written as\n{texts:?}");
});
