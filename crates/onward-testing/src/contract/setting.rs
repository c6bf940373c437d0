//! Values that all nodes agree on.

use onward_core::{Payload, Store};

/// Of several that propose at once, all get the same.
pub async fn the_first_proposal_is_kept<S: Store + ?Sized>(store: &S) {
    let first = store.setting("secret", Some("one".into()));
    let second = store.setting("secret", Some("two".into()));
    let other = store.setting("another", Some(Payload::from(vec![0, 255])));
    assert_eq!(second.await.expect("settings work"), Some("one".into()));
    assert_eq!(first.await.expect("settings work"), Some("one".into()));
    assert_eq!(other.await.expect("settings work"), Some(Payload::from(vec![0, 255])));
    assert_eq!(store.setting("secret", None).await.expect("settings work"), Some("one".into()));
}

/// Asking makes none.
pub async fn a_setting_that_nobody_proposed_is_not_there<S: Store + ?Sized>(store: &S) {
    assert_eq!(store.setting("secret", None).await.expect("settings work"), None);
    assert_eq!(store.setting("secret", None).await.expect("settings work"), None);
}
