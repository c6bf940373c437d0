//! The disk alone.

use std::{fs::File, io::Write, time::Instant};

use crate::Setup;

/// `fdatasync` after a 4 KiB append: p50 and p99 in microseconds.
pub(crate) fn fdatasync(setup: &Setup) -> (f64, f64) {
    let mut file = File::create(setup.directory.join("sync")).expect("the folder can be written to");
    let page = [7_u8; 4096];
    let mut took: Vec<f64> = (0..if setup.quick { 300 } else { 1_000 })
        .map(|_| {
            file.write_all(&page).expect("the disk has room");
            let start = Instant::now();
            file.sync_data().expect("the disk syncs");
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], took[took.len() * 99 / 100])
}
