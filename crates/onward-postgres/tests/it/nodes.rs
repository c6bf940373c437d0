//! Several nodes: leases, fences, take-over, and what they tell one another.

use std::time::Duration;

use onward_core::{
    NodeId, Payload, Store, Timestamp,
    event::{Event, Matcher},
    run::{Outcome, Status},
    step::StepId,
    store::{Checkpoint, ClaimRequest, Control, Endpoints, News, Then, Watched},
    stream::{Frame, FrameKind, Place},
    waiter::{Signal, Subject, Waiter},
};
use onward_postgres::{Options, PostgresStore};
use tokio::task::JoinSet;

use crate::support::*;

/// Two handles, each with a node.
async fn two() -> (TestStore, NodeId, PostgresStore, NodeId) {
    let one = TestStore::open().await;
    let other = one.another().await;
    let (node, other_node) = (join(&one).await, join(&other).await);
    // The first hears of the second with its next heartbeat.
    one.heartbeat(node, at(0), LEASE).await.expect("it is there");
    (one, node, other, other_node)
}

fn event(id: u32, name: &str) -> Event {
    Event {
        id: format!("event {id}"),
        name: name.to_owned(),
        data: Payload::from(format!("{{\"n\":{id}}}")),
        ts: at(1),
        more: Payload::default(),
    }
}

fn waiter(step: &str, name: &str, since: Option<Timestamp>) -> Waiter {
    let matcher = Matcher { name: name.to_owned(), value: None, when: None };
    let step = StepId::try_new(step.to_owned(), 0).expect("it is valid").key();
    Waiter { step, subject: Subject::Event { matcher, since } }
}

#[tokio::test]
async fn a_node_whose_lease_ended_is_taken_over_and_writes_no_more() {
    let (one, node, other, other_node) = two().await;
    let held = start(&one, node, 1).await;
    one.checkpoint(appending(held, 0, "before")).await.unwrap();
    let late = at(0).after(LEASE).after(Duration::from_secs(1));
    // Not a moment before its time.
    other.heartbeat(other_node, at(29), LEASE).await.unwrap();
    assert!(claim(&other, other_node, at(29), 10).await.leases.is_empty());
    other.heartbeat(other_node, late, LEASE).await.unwrap();
    let claims = claim(&other, other_node, late, 10).await;
    let (taken, _) = claims.leases[0].clone();
    assert_eq!((taken.run_id, taken.node, taken.fence.0), (run_id(1), other_node, 2));

    // The first wakes up: whatever it tries is refused, by the way that knows the run and by the one that asks.
    let answers = [
        one.checkpoint(appending(held, 1, "after")).await,
        one.checkpoint(starting(node, 2)).await,
        one.checkpoint(finishing(held, "mine")).await,
        one.checkpoint(Checkpoint { events: vec![event(1, "x")], ..Checkpoint::new(held, at(2)) }).await,
    ];
    assert!(answers.iter().all(is_lease_lost), "{answers:?}");
    assert!(is_lease_lost(&one.heartbeat(node, late, LEASE).await));
    assert_eq!(entries(&one, 1).await, 1);
    assert!(one.run(run_id(2)).await.unwrap().is_none());
    other.checkpoint(appending(taken, 1, "other")).await.unwrap();
}

/// While one node writes as fast as it can, the other takes over again and again: what is written is a journal without
/// gaps, and every write that was acknowledged is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_in_the_middle_of_writes_loses_nothing_that_was_acknowledged() {
    let (one, _, other, other_node) = two().await;
    for round in 0..15_i64 {
        let number = u128::try_from(round).unwrap() + 10;
        let now = at(round * 100);
        let node = one.join(now, Duration::from_secs(1)).await.unwrap();
        other.heartbeat(other_node, now, Duration::from_secs(1_000)).await.unwrap();
        let held = start(&one, node, number).await;
        let writes = {
            let one = one.store.clone();
            async move {
                let mut written = 0;
                while written < 200 && one.checkpoint(appending(held, written, "x")).await.is_ok() {
                    written += 1;
                }
                written
            }
        };
        let mut writer = JoinSet::new();
        writer.spawn(writes);
        tokio::time::sleep(Duration::from_millis(u64::try_from(round).unwrap() % 5)).await;
        let late = now.after(Duration::from_secs(10));
        other.heartbeat(other_node, late, Duration::from_secs(1_000)).await.unwrap();
        let claims = claim(&other, other_node, late, 10).await;
        let taken = claims.leases.iter().find(|(lease, _)| lease.run_id == run_id(number)).expect("it is due").0;
        let seen = entries(&other, number).await;
        let acknowledged: u32 = writer.join_next().await.unwrap().unwrap();
        assert_eq!(seen, usize::try_from(acknowledged).unwrap(), "round {round}");
        other.checkpoint(finishing(taken, "done")).await.unwrap();
        assert_eq!(entries(&other, number).await, seen);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_claim_at_once_share_what_is_due() {
    let (one, node, other, other_node) = two().await;
    for number in 0..100 {
        let lease = start(&one, node, number).await;
        suspend(&one, lease, at(2)).await;
    }
    let mut claimed = Vec::new();
    while claimed.len() < 100 {
        let (first, second) = tokio::join!(claim(&one, node, at(3), 7), claim(&other, other_node, at(3), 7));
        assert!(!(first.leases.is_empty() && second.leases.is_empty()), "{} were claimed", claimed.len());
        claimed.extend(first.leases.into_iter().chain(second.leases).map(|(lease, _)| lease.run_id));
    }
    claimed.sort_unstable();
    claimed.dedup();
    assert_eq!(claimed.len(), 100, "none twice");
}

#[tokio::test]
async fn a_node_hears_what_others_do() {
    let (one, node, other, other_node) = two().await;
    // The listeners connect by themselves; the first thing that each hears is that it may have missed something.
    for store in [&one.store, &other] {
        tokio::time::timeout(Duration::from_secs(10), store.news()).await.expect("it listens");
    }
    let hear = async |wanted: News| {
        let heard = async {
            loop {
                if other.news().await.contains(&wanted) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), heard)
            .await
            .unwrap_or_else(|_| panic!("{wanted:?} was not heard"));
    };
    let lease = start(&one, node, 1).await;
    other.watch(vec![run_id(1)]);
    let kind = FrameKind::Chunk("1".into());
    let frames = vec![Frame { place: Place(1), step: None, kind }];
    one.checkpoint(Checkpoint { frames, ..Checkpoint::new(lease, at(1)) }).await.unwrap();
    hear(News::Streamed(run_id(1))).await;
    one.checkpoint(finishing(lease, "done")).await.unwrap();
    hear(News::Ended(run_id(1))).await;

    // An event at one node for a run that the other holds.
    let held = start(&other, other_node, 2).await;
    let waits = Checkpoint { waiters: vec![waiter("w", "come", None)], ..Checkpoint::new(held, at(1)) };
    other.checkpoint(waits).await.unwrap();
    one.send_events(vec![event(1, "come")], at(2)).await.unwrap();
    hear(News::Due).await;
    assert_eq!(claim(&other, other_node, at(2), 1).await.nudged, [run_id(2)]);
    one.leave(node, at(3)).await.unwrap();
}

#[tokio::test]
async fn who_asks_learns_what_became_of_runs() {
    let (one, node, other, _) = two().await;
    let lease = start(&one, node, 1).await;
    start(&one, node, 2).await;
    let kind = FrameKind::Chunk("1".into());
    let frames = (1..=3).map(|place| Frame { place: Place(place), step: None, kind: kind.clone() }).collect();
    one.checkpoint(Checkpoint { frames, ..finishing(lease, "done") }).await.unwrap();
    let look = async |run: u128, streamed: Option<u32>| {
        let watched = Watched { run_id: run_id(run), streamed: streamed.map(Place) };
        other.look(vec![watched]).await.unwrap()
    };
    assert_eq!(look(1, Some(0)).await, [News::Streamed(run_id(1)), News::Ended(run_id(1))]);
    assert_eq!(look(1, Some(3)).await, [News::Ended(run_id(1))]);
    assert_eq!(look(1, None).await, [News::Ended(run_id(1))]);
    assert_eq!(look(2, Some(0)).await, []);
}

/// An event and a wait that looks back, from two nodes at the same moment: whichever is first, the run gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_and_a_wait_at_the_same_moment_meet() {
    let (one, node, other, _) = two().await;
    for number in 0..60_u32 {
        let run = u128::from(number) + 100;
        let lease = start(&one, node, run).await;
        let then = Then::Suspend { due_at: Timestamp::NEVER };
        let name = format!("come/{}", number % 3);
        let before = at(i64::from(number) * 10);
        let waits =
            Checkpoint { waiters: vec![waiter("w", &name, Some(before))], then, ..Checkpoint::new(lease, before) };
        let now = before.after(Duration::from_secs(1));
        let (waits, sent) = tokio::join!(one.checkpoint(waits), other.send_events(vec![event(number, &name)], now));
        let woken = (waits.unwrap().woken.len(), sent.unwrap().len());
        assert!(woken == (1, 0) || woken == (0, 1), "{woken:?}");
        assert_eq!(one.deliveries(run_id(run)).await.unwrap().len(), 1);
    }
}

/// A fact for a run that lets go at the same moment: it is due at once, or it was told to its holder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_for_a_run_that_lets_go_is_not_lost() {
    let (one, node, other, _) = two().await;
    for number in 0..60_u32 {
        let run = u128::from(number) + 100;
        let lease = start(&one, node, run).await;
        let name = format!("signal {number}");
        let step = StepId::try_new("w".to_owned(), 0).unwrap().key();
        let waiter = Waiter { step, subject: Subject::Signal { name: name.clone(), replace: false } };
        one.checkpoint(Checkpoint { waiters: vec![waiter], ..Checkpoint::new(lease, at(1)) }).await.unwrap();
        let then = Then::Suspend { due_at: Timestamp::NEVER };
        let lets_go = one.checkpoint(Checkpoint { then, ..Checkpoint::new(lease, at(2)) });
        let signal = Signal { name, data: "1".into() };
        let (lets_go, sent) = tokio::join!(lets_go, other.send_signal(signal, at(2)));
        assert!(sent.unwrap().is_some());
        lets_go.unwrap();
        let record = one.run(run_id(run)).await.unwrap().unwrap();
        assert_eq!((record.status, record.due_at), (Status::Suspended, at(2)));
    }
}

/// Runs that send events to one another hold their own lease and want the other's: the database breaks one off, and it
/// is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_wake_one_another_at_once_both_succeed() {
    let (one, node, other, other_node) = two().await;
    for round in 0..10_u32 {
        let (a, b) = (u128::from(round) * 2 + 100, u128::from(round) * 2 + 101);
        let (lease_a, lease_b) = (start(&one, node, a).await, start(&other, other_node, b).await);
        let (to_a, to_b) = (format!("to a {round}"), format!("to b {round}"));
        let waits =
            |name: &str, lease| Checkpoint { waiters: vec![waiter("w", name, None)], ..Checkpoint::new(lease, at(1)) };
        one.checkpoint(waits(&to_a, lease_a)).await.unwrap();
        other.checkpoint(waits(&to_b, lease_b)).await.unwrap();
        let sends =
            |id: u32, name: &str, lease| Checkpoint { events: vec![event(id, name)], ..Checkpoint::new(lease, at(2)) };
        let (sent_a, sent_b) = tokio::join!(
            one.checkpoint(sends(round * 2 + 1_000, &to_b, lease_a)),
            other.checkpoint(sends(round * 2 + 1_001, &to_a, lease_b))
        );
        assert_eq!((sent_a.unwrap().woken.len(), sent_b.unwrap().woken.len()), (1, 1));
    }
}

/// An operator opens a store for one call, and closes it at once.
#[tokio::test]
async fn a_node_hears_of_a_run_that_an_operator_cancels() {
    let one = TestStore::open().await;
    let node = join(&one).await;
    tokio::time::timeout(Duration::from_secs(10), one.news()).await.expect("it listens");
    for number in 1..6 {
        start(&one, node, number).await;
        one.heartbeat(node, at(1), LEASE).await.unwrap();
        let options = Options::new().connections(1).schema_unchanged();
        let operator = PostgresStore::open(one.database.url(), options).await.unwrap();
        let outcome = Outcome { status: Status::Cancelled, response: Payload::default(), error: Payload::default() };
        operator.control(run_id(number), Control::Cancel(outcome), at(2)).await.unwrap();
        operator.close().await;
        let heard = async { while !one.news().await.contains(&News::Ended(run_id(number))) {} };
        tokio::time::timeout(Duration::from_secs(5), heard).await.expect("the node hears of the end");
    }
}

/// Any end of a connection that the server orders was taken for "there are no notifications", and a minute passed.
#[tokio::test]
async fn a_node_hears_again_soon_after_its_connection_was_terminated() {
    let (one, _, other, _) = two().await;
    for store in [&one.store, &other] {
        tokio::time::timeout(Duration::from_secs(10), store.news()).await.expect("it listens");
    }
    let own = one.database.query("SELECT current_schema()");
    let listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let ended = one.database.query(listeners);
    assert!(ended.lines().count() >= 2, "{ended}");
    // When it listens again, it says that something may have been missed.
    for store in [&one.store, &other] {
        tokio::time::timeout(Duration::from_secs(20), store.news()).await.expect("it listens again");
    }
    let channels = one.database.query("SELECT DISTINCT query FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    assert!(channels.trim().is_empty() || channels.contains(own.trim()), "{channels}");
}

/// What a node that hangs has locked cannot be taken over yet. Those that are well renew their leases all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_be_taken_over_costs_no_other_its_lease() {
    let (one, node, _, _) = two().await;
    let options = Options::new().timeout(Duration::from_secs(1)).notifications(false);
    let third = PostgresStore::open(one.database.url(), options).await.unwrap();
    let late = at(0).after(LEASE).after(Duration::from_secs(1));
    let third_node = third.join(at(20), LEASE).await.unwrap();
    let lock = format!(
        "BEGIN; SELECT 1 FROM onward_nodes WHERE id = {} AND part = 2 FOR KEY SHARE; SELECT pg_sleep(3); COMMIT",
        node.0
    );
    let hangs = beside(&one.database, lock).await;
    third.heartbeat(third_node, late, LEASE).await.expect("its lease is renewed");
    hangs.await.unwrap().unwrap();
    third.heartbeat(third_node, late, LEASE).await.unwrap();
    let nodes = one.database.query("SELECT count(*) FROM onward_nodes WHERE part = 0");
    assert_eq!(nodes.trim(), "1", "those whose leases ended are gone");
}

/// However many runs it held: they are freed in transactions that are short, and whoever begins may leave it to others.
#[tokio::test]
async fn the_many_runs_of_a_node_that_is_gone_are_freed_little_by_little() {
    const RUNS: u128 = 2_300;
    let (one, node, other, other_node) = two().await;
    let mut starts = JoinSet::new();
    for number in 0..RUNS {
        starts.spawn(one.checkpoint(starting(node, number)));
    }
    while let Some(started) = starts.join_next().await {
        started.unwrap().unwrap();
    }
    // One began with it, and is gone, too.
    one.database.query(&format!(
        "DELETE FROM onward_nodes WHERE id = {0}; INSERT INTO onward_nodes VALUES ({0}, -1, 0, 0)",
        node.0
    ));
    assert!(is_lease_lost(&one.checkpoint(appending(lease(node, 1), 0, "late")).await));
    assert!(is_lease_lost(&one.heartbeat(node, at(1), LEASE).await));

    other.heartbeat(other_node, at(2), LEASE).await.unwrap();
    let left = format!(
        "SELECT (SELECT count(*) FROM onward_nodes WHERE id = {0}) + (SELECT count(*) FROM onward_leases WHERE node = {0})",
        node.0
    );
    assert_eq!(one.database.query(&left).trim(), "0");
    let claimed = claim(&other, other_node, at(2), 5_000).await.leases;
    assert_eq!(claimed.len(), RUNS as usize);
    assert!(claimed.iter().all(|(lease, _)| lease.fence.0 == 2));
}

#[tokio::test]
async fn a_node_forgets_the_runs_that_others_end_however_many_they_are() {
    let one = TestStore::open().await;
    let node = join(&one).await;
    let operator = one.another().await;
    let stays = start(&one, node, 0).await;
    let mut next = 1;
    for count in [10, 100, 600_u128] {
        let numbers = next..next + count;
        next += count;
        let starts: Vec<_> = numbers.clone().map(|number| one.checkpoint(starting(node, number))).collect();
        for started in starts {
            started.await.unwrap();
        }
        for number in numbers {
            let outcome =
                Outcome { status: Status::Cancelled, response: Payload::default(), error: Payload::default() };
            operator.control(run_id(number), Control::Cancel(outcome), at(3)).await.unwrap();
            if number % 2 == 0 {
                operator.control(run_id(number), Control::Delete, at(3)).await.unwrap();
            }
        }
        // A heartbeat looks for 256 at most.
        for _ in 0..4 {
            one.heartbeat(node, at(4), LEASE).await.unwrap();
        }
        let known = format!("{:?}", one.store);
        assert!(known.contains("held: 1,"), "of {count} runs: {known}");
    }
    one.checkpoint(appending(stays, 0, "goes on")).await.unwrap();
}

/// On a busy machine all may lose their leases, one after the other, and say only later that they live.
#[tokio::test]
async fn every_node_that_lives_takes_its_crash_back_whoever_has_died_since() {
    let store = TestStore::open().await;
    let mut lost = vec![join(&store).await];
    let held = start(&store, lost[0], 1).await;
    store.checkpoint(appending(held, 0, "done")).await.unwrap();
    let crashes = async || store.load(run_id(1)).await.unwrap().unwrap().crashes.count;
    for life in 1..5 {
        let now = at(1000 * life);
        let node = store.join(now, LEASE).await.unwrap();
        let request = ClaimRequest { node, now, limit: 10, endpoints: Endpoints::All };
        assert_eq!(store.claim(request).await.unwrap().leases.len(), 1);
        lost.push(node);
    }
    // The first one may have got somewhere.
    assert_eq!(crashes().await, 3);
    for (node, left) in [(lost[1], 2), (lost[3], 1), (lost[3], 1), (lost[2], 0), (lost[0], 0)] {
        store.uncount_crashes(node).await.unwrap();
        assert_eq!(crashes().await, left);
    }
}
