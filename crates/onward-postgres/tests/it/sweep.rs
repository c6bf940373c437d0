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
async fn names_of_events_go_with_their_last_event_and_no_event_is_lost_by_that() {
    let one = TestStore::open().await;
    let other = one.another().await;
    let names = || one.database.query("SELECT count(*) FROM onward_event_names").trim().to_owned();
    for round in 0..40 {
        let name = format!("order/{round}");
        one.send_events(vec![event(format!("old {round}"), &name)], at(2)).await.unwrap();
        let new = vec![event(format!("new {round}"), &name)];
        let (swept, sent) = tokio::join!(one.sweep(at(1_000), at(1_000), 500), other.send_events(new, at(2_000)));
        assert_eq!(swept.unwrap().events, 1);
        sent.unwrap();
        let kept = format!("SELECT count(*) FROM onward_events WHERE name = '{name}'");
        assert_eq!(one.database.query(&kept).trim(), "1", "round {round}");
    }
    assert_eq!(names(), "40", "those of events that are kept");
    one.sweep(at(1_000), at(3_000), 500).await.unwrap();
    assert_eq!(names(), "0");
}
