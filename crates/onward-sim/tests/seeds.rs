//! The seeds that every change lives through. By hand: `cargo run -p onward-sim -- --seeds 50..500`.

use std::process::Command;

#[test]
fn fifty_seeds_keep_what_was_promised() {
    let program = env!("CARGO_BIN_EXE_onward-sim");
    let status = Command::new(program).args(["--seeds", "0..50", "--jobs", "3"]).status().expect("it starts");
    assert!(status.success(), "a promise was broken: see above");
}
