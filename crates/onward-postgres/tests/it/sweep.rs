//! Retention never holds up a database: what is large goes little by little, and what nobody uses does not stay.

use onward_core::{
    Payload, Store,
    event::Event,
    store::Checkpoint,
    stream::{Frame, FrameKind, Place},
};

use crate::support::*;

#[tokio::test]
async fn a_run_with_a_large_journal_is_gone_at_once_and_its_rows_go_little_by_little() {
    const ENTRIES: u32 = 15_000;
    let one = TestStore::open().await;
    let node = join(&one).await;
    let large = start(&one, node, 1).await;
    for from in (0..ENTRIES).step_by(5_000) {
        let entries = (from..from + 5_000).map(|seq| entry(seq, "x")).collect();
        one.checkpoint(Checkpoint { entries, ..Checkpoint::new(large, at(2)) }).await.unwrap();
    }
    let frames = vec![Frame { place: Place(1), step: None, kind: FrameKind::Chunk("1".into()) }];
    one.checkpoint(Checkpoint { frames, ..finishing(large, "done") }).await.unwrap();
    let small = start(&one, node, 2).await;
    one.checkpoint(appending(small, 0, "stays")).await.unwrap();
    let rows = || -> u32 { one.database.query("SELECT count(*) FROM onward_entries").trim().parse().unwrap() };

    let swept = one.sweep(at(10_000), at(0), 500).await.unwrap();
    assert_eq!((swept.runs, swept.more), (1, true));
    assert!(one.load(run_id(1)).await.unwrap().is_none(), "nobody sees half of it");
    assert!(one.frames(run_id(1), Place(0), 10).await.unwrap().is_empty());
    assert!((2..=ENTRIES).contains(&rows()), "{}", rows());

    // Whoever comes next goes on with it.
    let other = one.another().await;
    let swept = other.sweep(at(10_000), at(0), 500).await.unwrap();
    assert_eq!((swept.runs, swept.more), (0, false));
    assert_eq!(rows(), 1);
    let left = "SELECT (SELECT count(*) FROM onward_frames) + (SELECT count(*) FROM onward_remains)";
    assert_eq!(one.database.query(left).trim(), "0");
    assert_eq!(entries(&one, 2).await, 1);
}

#[tokio::test]
async fn an_operators_deletion_of_a_large_run_takes_no_longer() {
    let one = TestStore::open().await;
    let node = join(&one).await;
    let large = start(&one, node, 1).await;
    let output = "x".repeat(4 << 20);
    for seq in 0..20 {
        one.checkpoint(appending(large, seq, &output)).await.unwrap();
    }
    one.checkpoint(finishing(large, "done")).await.unwrap();
    one.control(run_id(1), onward_core::store::Control::Delete, at(4)).await.unwrap();
    assert!(one.run(run_id(1)).await.unwrap().is_none());
    let rows = || one.database.query("SELECT count(*) FROM onward_entries").trim().to_owned();
    assert_eq!(rows(), "4", "16 of 4 MiB are as much as goes at once");
    one.sweep(at(0), at(0), 500).await.unwrap();
    assert_eq!(rows(), "0");
}

fn event(id: String, name: &str) -> Event {
    Event { id, name: name.to_owned(), data: Payload::from("{}"), ts: at(1), more: Payload::default() }
}

#[tokio::test]
async fn names_of_events_go_with_their_last_event() {
    let one = TestStore::open().await;
    let names = || one.database.query("SELECT string_agg(name, ' ' ORDER BY name) FROM onward_event_names");
    for (at_second, name) in [(2, "old"), (2, "both"), (20_000, "both"), (20_000, "new")] {
        one.send_events(vec![event(format!("{name} {at_second}"), name)], at(at_second)).await.unwrap();
    }
    assert_eq!(one.sweep(at(0), at(3_602), 500).await.unwrap().events, 2);
    assert_eq!(names().trim(), "both new old", "an hour longer than its last event");
    one.sweep(at(0), at(3_603), 500).await.unwrap();
    assert_eq!(names().trim(), "both new");
    one.sweep(at(0), at(30_000), 500).await.unwrap();
    assert_eq!(names().trim(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_whose_name_is_swept_as_it_comes() {
    let one = TestStore::open().await;
    one.send_events(vec![event("old".to_owned(), "order/1")], at(2)).await.unwrap();
    // A sweep that takes its time before it commits.
    let sql = "BEGIN; DELETE FROM onward_events; DELETE FROM onward_event_names; SELECT pg_sleep(1); COMMIT";
    let sweeps = beside(&one.database, sql.to_owned()).await;
    one.send_events(vec![event("new".to_owned(), "order/1")], at(3)).await.unwrap();
    sweeps.await.unwrap().unwrap();
    assert_eq!(one.database.query("SELECT id FROM onward_events").trim(), "new");
}

#[tokio::test]
async fn addresses_that_an_earlier_release_registered_go_with_their_nodes_too() {
    let one = TestStore::open().await;
    let node = join(&one).await;
    // As the schema was before.
    one.database.query("ALTER TABLE onward_registrations DROP COLUMN node");
    one.database.query("UPDATE onward_schema SET version = 3");
    for (name, value) in [
        ("engine:http://here", node.0.to_string()),
        ("engine:http://gone", "7".into()),
        ("app:a", "8".into()),
        ("engine:x", "not a number".into()),
    ] {
        one.database.query(&format!("INSERT INTO onward_registrations VALUES ('{name}', '{value}')"));
    }
    let next = one.another().await;
    assert_eq!(next.sweep(at(0), at(0), 500).await.unwrap().announced, 1);
    let left: Vec<_> = next.registrations().await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["app:a", "engine:http://here", "engine:x"]);
}
