//! Start-up with a large file.

use std::{sync::Arc, time::Instant};

use onward::Onward;
use onward_core::{Store, Timestamp, store::Then};
use onward_sqlite::{Durability, Options, SqliteStore};

use crate::{
    Setup,
    aims::Aims,
    say,
    store::{checkpoint, finish},
};

pub(crate) async fn run(setup: &Setup, aims: &mut Aims) {
    let (ended, sleeping) = if setup.quick { (100_000_u128, 10_000_u128) } else { (1_000_000, 100_000) };
    let path = setup.directory.join("large.db");
    let options = Options::new().durability(Durability::Off).queue_len(100_000);
    let store = Arc::new(SqliteStore::open(&path, options).expect("the store opens"));
    let node = store.join(Timestamp::EPOCH, std::time::Duration::from_secs(10)).await.expect("the store is joined");
    let far = Timestamp::from_micros(4_000_000_000_000_000);
    for first in (0..ended + sleeping).step_by(10_000) {
        let mut last = None;
        for run in first..first + 10_000 {
            let start = checkpoint(node, run, 0, true);
            let mut end = finish(start.clone());
            if run >= ended {
                end.then = Then::Suspend { due_at: far };
            }
            drop(store.checkpoint(start));
            last = Some(store.checkpoint(end));
        }
        if let Some(last) = last {
            last.await.expect("it is written");
        }
    }
    store.close().await;
    drop(store);
    let start = Instant::now();
    let onward = Onward::open(&format!("sqlite:{}", path.display())).await.expect("the store opens");
    onward.start().await.expect("the app starts");
    let took = start.elapsed().as_secs_f64();
    let size = std::fs::metadata(&path).map_or(0, |meta| meta.len()) / (1 << 20);
    say(&format!("start-up with {ended} ended and {sleeping} sleeping runs ({size} MiB): {took:.3} s\n"));
    aims.at_most("s to start with the large file", 1.0, took);
    let _ = onward.shutdown().await;
}
