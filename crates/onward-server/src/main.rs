//! The binary `onward`.

fn main() {}
