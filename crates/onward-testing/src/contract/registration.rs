//! Values under names that may change.

use onward_core::{NodeId, Payload, Store, StoreError};

use super::fixture::{at, node};

async fn register<S: Store + ?Sized>(store: &S, name: &str, value: impl Into<Payload>) -> bool {
    store.register(name.to_owned(), value.into()).await.expect("values can be registered")
}

async fn all<S: Store + ?Sized>(store: &S) -> Vec<(String, Payload)> {
    store.registrations().await.expect("registrations can be read")
}

fn pair(name: &str, value: impl Into<Payload>) -> (String, Payload) {
    (name.to_owned(), value.into())
}

/// Sorted by name, and byte by byte as it was given.
pub async fn what_is_registered_is_listed_by_name<S: Store + ?Sized>(store: &S) {
    assert_eq!(all(store).await, []);
    for (name, value) in [("b", vec![0, 255]), ("a/é", vec![]), ("", vec![1]), ("B", vec![2])] {
        assert!(register(store, name, value).await, "{name:?} is new");
    }
    let expected = [pair("", vec![1]), pair("B", vec![2]), pair("a/é", vec![]), pair("b", vec![0, 255])];
    assert_eq!(all(store).await, expected);
}

/// The newest value is that of its name; one that is the same changes nothing.
pub async fn a_registration_is_replaced<S: Store + ?Sized>(store: &S) {
    assert!(register(store, "app", "one").await);
    assert!(register(store, "other", "one").await);
    assert!(!register(store, "app", "one").await);
    assert!(register(store, "app", "two").await);
    assert!(!register(store, "app", "two").await);
    assert!(register(store, "app", "").await);
    assert_eq!(all(store).await, [pair("app", ""), pair("other", "one")]);
}

/// And whoever asks for that twice is told so.
pub async fn a_registration_that_is_taken_back_is_gone<S: Store + ?Sized>(store: &S) {
    register(store, "app", "one").await;
    register(store, "other", "one").await;
    let unregister = |name: &str| store.unregister(name.to_owned());
    assert!(!unregister("ap").await.expect("names can be unregistered"));
    assert!(unregister("app").await.expect("names can be unregistered"));
    assert!(!unregister("app").await.expect("names can be unregistered"));
    assert_eq!(all(store).await, [pair("other", "one")]);
    assert!(register(store, "app", "one").await, "it is new again");
}

/// A setting of the name is another thing.
pub async fn registrations_and_settings_do_not_meet<S: Store + ?Sized>(store: &S) {
    store.setting("name", Some("setting".into())).await.expect("settings work");
    assert_eq!(all(store).await, []);
    register(store, "name", "registration").await;
    let kept = store.setting("name", None).await.expect("settings work");
    assert_eq!(kept, Some("setting".into()));
}

async fn announce<S: Store + ?Sized>(store: &S, node: NodeId, name: &str) -> Result<bool, StoreError> {
    store.announce(node, name.to_owned(), "here".into()).await
}

async fn leave<S: Store + ?Sized>(store: &S, node: NodeId) {
    store.leave(node, at(1)).await.expect("a node can leave");
}

/// Sweeps once. How many announcements went, and whether there are more.
async fn sweep<S: Store + ?Sized>(store: &S, limit: usize) -> (usize, bool) {
    let swept = store.sweep(at(2), at(0), limit).await.expect("a sweep works");
    (swept.announced, swept.more)
}

/// A few at a time, however many nodes have come and gone, and nothing else.
pub async fn what_a_node_announced_goes_in_sweeps_after_the_node<S: Store + ?Sized>(store: &S) {
    register(store, "app", "stays").await;
    for round in 0..3 {
        let gone = node(store).await;
        for number in 0..2 {
            let name = format!("engine {round} {number}");
            assert!(announce(store, gone, &name).await.expect("a node announces"));
            assert!(!announce(store, gone, &name).await.expect("a node announces"), "it is known");
        }
        assert_eq!(sweep(store, 10).await, (if round == 0 { 0 } else { 2 }, false), "those of the one before");
        leave(store, gone).await;
    }
    let here = node(store).await;
    announce(store, here, "engine here").await.expect("a node announces");
    assert_eq!(sweep(store, 1).await, (1, true));
    assert_eq!(sweep(store, 2).await, (1, false));
    assert_eq!(all(store).await, [pair("app", "stays"), pair("engine here", "here")]);
}

/// So a process that joins anew keeps its name, and what is registered for good stays.
pub async fn a_name_belongs_to_whoever_registered_it_last<S: Store + ?Sized>(store: &S) {
    let gone = node(store).await;
    for name in ["anew", "for good", "gone"] {
        announce(store, gone, name).await.expect("a node announces");
    }
    assert!(register(store, "for good", "here").await, "it is no node's now");
    leave(store, gone).await;
    let here = node(store).await;
    assert!(announce(store, here, "anew").await.expect("a node announces"), "it is another node's now");
    assert_eq!(sweep(store, 10).await, (1, false));
    assert_eq!(all(store).await, [pair("anew", "here"), pair("for good", "here")]);
    leave(store, here).await;
    node(store).await;
    assert_eq!(sweep(store, 10).await, (1, false));
    assert_eq!(all(store).await, [pair("for good", "here")]);
}

/// Else it would stay for ever.
pub async fn a_node_that_is_gone_announces_nothing<S: Store + ?Sized>(store: &S) {
    let gone = node(store).await;
    leave(store, gone).await;
    let answer = announce(store, gone, "engine").await;
    assert!(matches!(answer, Err(StoreError::LeaseLost)), "{answer:?}");
    assert_eq!(all(store).await, []);
}
