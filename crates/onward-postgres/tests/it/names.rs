//! Names of events, signals and registrations: any text, whatever the database takes.

use onward_core::{
    Payload, Store, StoreError,
    event::{Event, MatchValue, Matcher},
    step::StepId,
    store::Checkpoint,
    waiter::{Fact, Signal, Subject, Waiter},
};

use crate::support::*;

/// Callers bound names before; a store that is given longer ones says that it will never take them, and takes the others.
#[tokio::test]
async fn a_name_that_no_index_takes_is_rejected_by_itself() {
    let store = TestStore::open().await;
    let node = join(&store).await;
    let (one, other) = (start(&store, node, 1).await, start(&store, node, 2).await);
    // PostgreSQL compresses long values, so this one must not be compressible.
    let long: String = (0..8_000_u64)
        .map(|n| char::from(b'!' + u8::try_from(n.wrapping_mul(n * 2_654_435_761) >> 7 & 63).unwrap()))
        .collect();
    let subject = Subject::Signal { name: long.clone(), replace: false };
    let waiter = Waiter { step: StepId::try_new("s".to_owned(), 0).unwrap().key(), subject };
    let waits = store.checkpoint(Checkpoint { waiters: vec![waiter], ..Checkpoint::new(one, at(1)) });
    let (waits, appends) = tokio::join!(waits, store.checkpoint(appending(other, 0, "1")));
    assert!(matches!(waits, Err(StoreError::Rejected(_))), "{waits:?}");
    assert!(appends.is_ok(), "another run's checkpoint is not held up by it: {appends:?}");
    assert_eq!(store.checkpoint(appending(one, 0, "1")).await.map(drop).ok(), Some(()), "the run goes on");
    let event = Event { id: long, name: "e".to_owned(), data: "{}".into(), ts: at(1), more: Payload::default() };
    let sent = store.send_events(vec![event], at(1)).await;
    assert!(matches!(sent, Err(StoreError::Rejected(_))), "{sent:?}");
}

/// Text may have any character: the database's own takes no NUL. And a field's path may be longer than an index takes.
#[tokio::test]
async fn names_may_have_any_character() {
    let store = TestStore::open().await;
    let node = join(&store).await;
    let strange = ["a\0b", "a\u{1}b", "a\u{1}0b", "\0"];
    let long: String = (0..4_000_u32).map(|n| char::from(b'a' + u8::try_from(n * n % 23).unwrap())).collect();
    let mut leases = Vec::new();
    for (number, name) in (0..).zip(strange) {
        let lease = start(&store, node, number).await;
        let event = |step: &str, value| Waiter {
            step: StepId::try_new(step.to_owned(), 0).unwrap().key(),
            subject: Subject::Event { matcher: Matcher { name: name.to_owned(), value, when: None }, since: None },
        };
        let path = format!("data.{long}");
        let signal = Waiter {
            step: StepId::try_new("s".to_owned(), 0).unwrap().key(),
            subject: Subject::Signal { name: name.to_owned(), replace: false },
        };
        let value = Some(MatchValue { path, text: "x\0".to_owned() });
        store
            .checkpoint(Checkpoint {
                waiters: vec![event("e", value), event("f", None)],
                ..Checkpoint::new(lease, at(1))
            })
            .await
            .unwrap();
        store.checkpoint(Checkpoint { waiters: vec![signal], ..Checkpoint::new(lease, at(1)) }).await.unwrap();
        leases.push(lease);
    }
    for (number, name) in (0..).zip(strange) {
        let data = Payload::from(format!("{{\"{long}\":\"x\\u0000\"}}"));
        let event = Event { id: name.to_owned(), name: name.to_owned(), data, ts: at(1), more: Payload::default() };
        assert_eq!(store.send_events(vec![event.clone()], at(2)).await.unwrap().len(), 1);
        assert!(store.send_events(vec![event], at(2)).await.unwrap().is_empty(), "it is known");
        store.send_signal(Signal { name: name.to_owned(), data: "1".into() }, at(2)).await.unwrap().unwrap();
        assert_eq!(store.deliveries(run_id(number)).await.unwrap().len(), 3);
        assert!(store.register(name.to_owned(), "1".into()).await.unwrap());
    }
    let mut sorted: Vec<String> = strange.map(str::to_owned).to_vec();
    sorted.sort_unstable();
    let registered: Vec<String> = store.registrations().await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(registered, sorted);
    // An event that came before is found by its name, too, and is given under its own id.
    let back = Matcher { name: "a\0b".to_owned(), value: None, when: None };
    let step = StepId::try_new("back".to_owned(), 0).unwrap().key();
    let waiter = Waiter { step, subject: Subject::Event { matcher: back, since: Some(at(0)) } };
    let found = Checkpoint { waiters: vec![waiter], ..Checkpoint::new(leases[3], at(3)) };
    assert_eq!(store.checkpoint(found).await.unwrap().woken.len(), 1);
    let last = store.deliveries(run_id(3)).await.unwrap().pop().unwrap();
    let Fact::Event(json) = last.fact else { panic!("{last:?}") };
    assert!(String::from_utf8_lossy(json.as_ref()).contains("\"id\":\"a\\u0000b\""), "{json:?}");
}
