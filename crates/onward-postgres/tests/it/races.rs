//! Transactions of several that meet on the same run: what each is told stays true.

use std::time::Duration;

use onward_core::{
    NodeId, Payload, RunId, Store, Timestamp,
    run::{NewRun, Outcome, Parent, Status},
    step::StepId,
    store::{Checkpoint, Control, Lease, Then},
    waiter::{Signal, Subject, Waiter},
};
use onward_postgres::PostgresStore;
use tokio::task::JoinSet;

use crate::support::*;

async fn two() -> (TestStore, NodeId, PostgresStore, NodeId) {
    let one = TestStore::open().await;
    let other = one.another().await;
    let (node, other_node) = (join(&one).await, join(&other).await);
    (one, node, other, other_node)
}

fn outcome(status: Status) -> Outcome {
    Outcome { status, response: Payload::default(), error: "it failed".into() }
}

fn failing(lease: Lease) -> Checkpoint {
    Checkpoint { then: Then::Finish(outcome(Status::Failed)), ..Checkpoint::new(lease, at(3)) }
}

fn waits_for_signal(lease: Lease, step: &str, name: &str) -> Checkpoint {
    let step = StepId::try_new(step.to_owned(), 0).expect("it is valid").key();
    let subject = Subject::Signal { name: name.to_owned(), replace: false };
    Checkpoint { waiters: vec![Waiter { step, subject }], ..Checkpoint::new(lease, at(2)) }
}

/// A run that a step of another invoked.
fn child(number: u128, parent: RunId, step: &str) -> NewRun {
    let step = StepId::try_new(step.to_owned(), 0).expect("it is valid").key();
    NewRun { parent: Some(Parent { run_id: parent, step }), ..new_run(number) }
}

/// The entry by which a run remembers whom it invoked.
fn invoking(lease: Lease, seq: u32, child: NewRun, step: &str) -> Checkpoint {
    let step = StepId::try_new(step.to_owned(), 0).expect("it is valid");
    let change = onward_core::journal::Change::Waiting { until: None, subject: child.run_id.to_string() };
    let kind = onward_core::step::StepKind::Invoke;
    let entry = onward_core::journal::Entry { seq: onward_core::Seq(seq), at: at(2), step, kind, change };
    Checkpoint { entries: vec![entry], children: vec![child], ..Checkpoint::new(lease, at(2)) }
}

fn text(run_id: RunId) -> String {
    format!("{:032x}", u128::from_be_bytes(run_id.to_bytes()))
}

#[tokio::test]
async fn a_run_that_is_suspended_while_its_node_leaves_is_due() {
    let (one, node, other, other_node) = two().await;
    let held = start(&one, node, 1).await;
    one.checkpoint(appending(held, 0, "a")).await.unwrap(); // the statement is prepared
    let leaves = one.leave(node, at(2));
    let suspends = one.checkpoint(Checkpoint { then: Then::Suspend { due_at: at(2) }, ..Checkpoint::new(held, at(2)) });
    let (left, suspended) = tokio::join!(leaves, suspends);
    left.unwrap();
    assert!(suspended.is_ok() || is_lease_lost(&suspended), "{suspended:?}");
    assert_eq!(claim(&other, other_node, at(3), 10).await.leases.len(), 1);
}

/// What came for a run that failed all the same is not counted when it is retried: a wake-up would be missed.
#[tokio::test]
async fn a_retried_run_hears_of_what_comes_while_it_runs() {
    let (one, node, _, _) = two().await;
    let held = start(&one, node, 1).await;
    one.checkpoint(invoking(held, 0, child(2, run_id(1), "call"), "call")).await.unwrap();
    suspend(&one, held, at(3)).await;
    let claims = claim(&one, node, at(3), 10).await.leases;
    let of = |number| claims.iter().find(|(lease, _)| lease.run_id == run_id(number)).unwrap().0;
    // The child's outcome comes, and the parent fails without having looked.
    one.checkpoint(finishing(of(2), "child")).await.unwrap();
    one.checkpoint(failing(of(1))).await.unwrap();
    one.control(run_id(1), Control::Retry { step: None, timeout_at: None }, at(4)).await.unwrap();
    let held = claim(&one, node, at(5), 1).await.leases[0].0;
    assert_eq!(one.deliveries(run_id(1)).await.unwrap().len(), 1, "the child's outcome, once");
    let settled = vec![StepId::try_new("call".to_owned(), 0).unwrap().key()];
    one.checkpoint(Checkpoint { settled, ..waits_for_signal(held, "wait", "go") }).await.unwrap();
    one.send_signal(Signal { name: "go".to_owned(), data: "1".into() }, at(6)).await.unwrap().unwrap();
    assert_eq!(claim(&one, node, at(6), 0).await.nudged, [run_id(1)]);
}

/// A child ends at the moment at which its failed parent is retried: the parent gets the outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_is_retried_as_its_child_ends_gets_the_outcome() {
    let (one, node, other, other_node) = two().await;
    for round in 0..150_u128 {
        let (parent, number) = (round * 2 + 100, round * 2 + 101);
        let held = start(&one, node, parent).await;
        one.checkpoint(invoking(held, 0, child(number, run_id(parent), "call"), "call")).await.unwrap();
        one.checkpoint(failing(held)).await.unwrap();
        let theirs = claim(&other, other_node, at(3), 1).await.leases[0].0;
        assert_eq!(theirs.run_id, run_id(number));
        let retry = Control::Retry { step: None, timeout_at: None };
        let both = async |micros| {
            let ends = async {
                tokio::time::sleep(Duration::from_micros(micros)).await;
                other.checkpoint(finishing(theirs, "child")).await
            };
            tokio::join!(one.control(run_id(parent), retry, at(4)), ends)
        };
        let (retried, ended) = both(u64::try_from(round % 10).unwrap() * 200).await;
        retried.unwrap();
        ended.unwrap();
        assert_eq!(one.deliveries(run_id(parent)).await.unwrap().len(), 1, "round {round}");
        let again = claim(&one, node, at(5), 1).await.leases[0].0;
        one.checkpoint(finishing(again, "done")).await.unwrap();
    }
}

/// A write that is under way when its run is ended by an operator comes before the end, or is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_to_a_run_after_its_end() {
    let (one, node, other, _) = two().await;
    let held = start(&one, node, 1).await;
    // Somebody has put the run's next entry there, and does not commit: the write waits.
    let url = one.database.url().to_owned();
    let sql = format!(
        "BEGIN; INSERT INTO onward_entries (run_id, seq, data) VALUES ('{}', 0, ''); SELECT pg_sleep(1); ROLLBACK",
        text(run_id(1))
    );
    let blocks = tokio::task::spawn_blocking(move || {
        std::process::Command::new("psql").args([url.as_str(), "-qc", sql.as_str()]).output()
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    let writes = one.checkpoint(appending(held, 0, "late"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ends = async {
        other.control(run_id(1), Control::Cancel(outcome(Status::Cancelled)), at(3)).await.unwrap();
        other.control(run_id(1), Control::Delete, at(3)).await.unwrap();
    };
    let (_, ()) = tokio::join!(writes, ends);
    blocks.await.unwrap().unwrap();
    assert_eq!(one.database.query("SELECT count(*) FROM onward_entries").trim(), "0", "the run was deleted");
}

/// An event for many runs, at the moment at which another node lets go of them in another order: nobody is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_meets_an_event_for_its_runs_is_written() {
    let (one, node, other, _) = two().await;
    for round in 0..5_u128 {
        let numbers: Vec<u128> = (0..60).map(|number| round * 100 + number).collect();
        let name = format!("all/{round}");
        let mut leases = Vec::new();
        for number in &numbers {
            leases.push(start(&one, node, *number).await);
        }
        let step = StepId::try_new("w".to_owned(), 0).unwrap().key();
        let matcher = onward_core::event::Matcher { name: name.clone(), value: None, when: None };
        for lease in &leases {
            let subject = Subject::Event { matcher: matcher.clone(), since: None };
            let waiters = vec![Waiter { step, subject }];
            one.checkpoint(Checkpoint { waiters, ..Checkpoint::new(*lease, at(1)) }).await.unwrap();
        }
        let event = onward_core::event::Event {
            id: format!("event {round}"),
            name,
            data: "{}".into(),
            ts: at(1),
            more: Payload::default(),
        };
        let sends = other.send_events(vec![event], at(2));
        let mut let_go = JoinSet::new();
        for lease in leases.into_iter().rev() {
            let then = Then::Suspend { due_at: Timestamp::NEVER };
            let_go.spawn(one.checkpoint(Checkpoint { then, ..Checkpoint::new(lease, at(2)) }));
        }
        assert_eq!(sends.await.unwrap().len(), numbers.len());
        while let Some(answer) = let_go.join_next().await {
            answer.unwrap().expect("each is suspended");
        }
        let due = one.database.query("SELECT count(*) FROM onward_suspended WHERE due_at < 9000000000000000");
        assert_eq!(due.trim(), ((round + 1) * 60).to_string());
    }
}

/// Requests with the same keys at two nodes, in opposite orders: each key makes one run, and nobody is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_two_nodes_claim_in_opposite_orders_make_one_run_each() {
    let (one, node, other, other_node) = two().await;
    start(&one, node, 1).await;
    start(&other, other_node, 2).await;
    for round in 0..10_u8 {
        let keyed = |node, number: u8, from: u128| {
            let digest = [[round; 16], [number; 16]].concat().try_into().unwrap();
            let key = onward_core::run::IdempotencyKey { digest, fingerprint: [2; 32] };
            let run = from + u128::from(round) * 1_000 + u128::from(number);
            Checkpoint { start: Some(NewRun { key: Some(key), ..new_run(run) }), ..starting(node, run) }
        };
        let mut asked = JoinSet::new();
        for number in 0..100_u8 {
            asked.spawn(one.checkpoint(keyed(node, number, 100_000)));
            asked.spawn(other.checkpoint(keyed(other_node, 99 - number, 200_000)));
        }
        let mut made = 0;
        while let Some(answer) = asked.join_next().await {
            match answer.unwrap() {
                Ok(_) => made += 1,
                Err(onward_core::StoreError::KeyTaken { .. }) => {}
                Err(other) => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(made, 100);
    }
}
