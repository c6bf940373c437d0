//! The seeds that every change lives through. By hand: `cargo run -p onward-sim -- --seeds 50..500 --load 4`.

use std::process::Command;

fn live(arguments: &[&str]) {
    let program = env!("CARGO_BIN_EXE_onward-sim");
    let status = Command::new(program).args(arguments).status().expect("it starts");
    assert!(status.success(), "a promise was broken: see above");
}

#[test]
fn fifty_seeds_keep_what_was_promised() {
    live(&["--seeds", "0..50", "--jobs", "3"]);
}

/// 7020 and 7021 are lives that a busy machine ended badly: steps that began after their node's lease, and a run that
/// hung for ever.
#[test]
fn seeds_on_a_busy_machine_keep_what_was_promised() {
    live(&["--seeds", "7016..7024", "--jobs", "2", "--load", "4"]);
}
