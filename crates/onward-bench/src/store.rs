//! The store alone: the operations of a 3-step request, in process.

use std::{sync::Arc, time::Instant};

use onward_core::{
    Attempt, EndpointId, Fence, NodeId, Payload, RunId, Seq, Store, Timestamp,
    journal::{Change, Entry},
    run::{NewRun, Outcome, Status},
    step::{StepId, StepKind},
    store::{Checkpoint, Lease, Then},
};
use onward_sqlite::{Options, SqliteStore};

use crate::{Setup, say};

pub(crate) fn checkpoint(node: NodeId, run: u128, seq: u32, start: bool) -> Checkpoint {
    let run_id =
        RunId::new(Timestamp::from_micros(1_700_000_000_000_000 + i64::try_from(run / 1000).unwrap_or(0) * 1000), run);
    let lease = Lease { run_id, fence: Fence::FIRST, node };
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let mut checkpoint = Checkpoint::new(lease, now);
    checkpoint.start = start.then(|| NewRun {
        run_id,
        endpoint: EndpointId::try_new("GET /steps/3").expect("an id"),
        version: None,
        pinned: false,
        created_at: now,
        request: Payload::from(vec![b'r'; 200]),
        timeout_at: None,
        retention: std::time::Duration::from_secs(7 * 24 * 3600),
        key: None,
        parent: None,
    });
    checkpoint.entries.push(Entry {
        seq: Seq(seq),
        at: now,
        step: StepId::try_new("step", seq).expect("an id"),
        kind: StepKind::Run,
        change: Change::Succeeded { attempt: Attempt::FIRST, output: Payload::from(vec![b'o'; 150]) },
    });
    checkpoint
}

pub(crate) fn finish(mut checkpoint: Checkpoint) -> Checkpoint {
    checkpoint.entries.clear();
    checkpoint.start = None;
    let response = Payload::from(vec![b'x'; 200]);
    checkpoint.then = Then::Finish(Outcome { status: Status::Completed, response, error: Payload::default() });
    checkpoint
}

/// Steps a second with 1, 16, 64 and 256 tasks.
pub(crate) async fn alone(setup: &Setup) -> Vec<(usize, f64)> {
    let mut figures = Vec::new();
    for tasks in [1, 16, 64, 256] {
        let path = setup.directory.join(format!("alone-{tasks}.db"));
        let store = Arc::new(SqliteStore::open(path, Options::new()).expect("the store opens"));
        let node = store.join(Timestamp::EPOCH, std::time::Duration::from_secs(10)).await.expect("the store is joined");
        let until = Instant::now() + setup.seconds;
        let mut set = tokio::task::JoinSet::new();
        for task in 0..tasks {
            let store = Arc::clone(&store);
            set.spawn(async move {
                let (mut steps, mut run) = (0_u64, task as u128);
                while Instant::now() < until {
                    for seq in 0..3 {
                        store.checkpoint(checkpoint(node, run, seq, seq == 0)).await.expect("it is written");
                        steps += 1;
                    }
                    drop(store.checkpoint(finish(checkpoint(node, run, 3, false))));
                    run += tasks as u128;
                }
                steps
            });
        }
        let start = Instant::now();
        let mut steps = 0;
        while let Some(each) = set.join_next().await {
            steps += each.expect("a task ends");
        }
        let rate = steps as f64 / start.elapsed().as_secs_f64();
        say(&format!("store alone, {tasks:>3} tasks: {rate:>8.0} steps/s"));
        figures.push((tasks, rate));
        store.close().await;
    }
    say("");
    figures
}
