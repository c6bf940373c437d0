//! Values under names that may change.

use onward_core::{Payload, Store};

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
