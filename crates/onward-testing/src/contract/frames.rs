//! What runs stream.

use onward_core::{
    Store, StoreError,
    run::Status,
    store::{Checkpoint, Control, Lease, Then},
    stream::{Frame, FrameKind, Place},
};

use super::fixture::{at, claim, finish, key, load, node, run_id, start, suspend, write};

fn chunk(place: u32, text: &str) -> Frame {
    Frame { place: Place(place), step: Some(key("a")), kind: FrameKind::Chunk(format!("\"{text}\"").into()) }
}

fn streaming(lease: Lease, frames: Vec<Frame>) -> Checkpoint {
    Checkpoint { frames, ..Checkpoint::new(lease, at(1)) }
}

async fn read<S: Store + ?Sized>(store: &S, after: u32, limit: usize) -> Vec<Frame> {
    store.frames(run_id(1), Place(after), limit).await.expect("the store can be read")
}

/// From any place on.
pub async fn frames_are_read_in_order_from_any_place<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    let other = start(store, node, 2).await;
    let all: Vec<_> = (1..=6).map(|place| chunk(place, &place.to_string())).collect();
    write(store, streaming(lease, all[..2].to_vec())).await;
    write(store, streaming(other, vec![chunk(1, "another run's")])).await;
    write(store, streaming(lease, all[2..3].to_vec())).await;
    write(store, streaming(lease, all[3..].to_vec())).await;
    for after in 0..=7 {
        let expected: Vec<_> = all.iter().filter(|frame| frame.place.0 > after).cloned().collect();
        assert_eq!(read(store, after, 100).await, expected, "after {after}");
    }
    let some = read(store, 0, 2).await;
    assert!((2..=4).contains(&some.len()) && all.starts_with(&some), "{some:?}");
    assert_eq!(store.frames(run_id(9), Place(0), 9).await.expect("the store can be read"), []);
    assert_eq!((load(store, 1).await.streamed, load(store, 2).await.streamed), (Place(6), Place(1)));
}

/// Nothing of the checkpoint is written then.
pub async fn a_stream_has_no_gaps<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = start(store, node, 1).await;
    write(store, streaming(lease, vec![chunk(1, "one")])).await;
    for wrong in [vec![chunk(1, "again")], vec![chunk(3, "gap")], vec![chunk(2, "two"), chunk(4, "gap")]] {
        let refused = store.checkpoint(streaming(lease, wrong)).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    }
    assert_eq!(read(store, 0, 9).await, [chunk(1, "one")]);
}

/// The one who holds the lease is the one who streams.
pub async fn who_lost_the_lease_cannot_stream<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let stale = start(store, node, 1).await;
    suspend(store, stale, at(1), at(1)).await;
    let fresh = claim(store, node, at(2)).await.leases[0].0;
    let refused = store.checkpoint(streaming(stale, vec![chunk(1, "late")])).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    write(store, streaming(fresh, vec![chunk(1, "in time")])).await;
    assert_eq!(read(store, 0, 9).await, [chunk(1, "in time")]);
}

/// They are there as long as the run is, and no longer; a run that starts and ends at once has them, too.
pub async fn frames_stay_with_their_run<S: Store + ?Sized>(store: &S) {
    let node = node(store).await;
    let lease = Lease { run_id: run_id(1), fence: onward_core::Fence::FIRST, node };
    let then = Then::Finish(super::fixture::outcome(Status::Completed));
    let begun = super::fixture::new_run(1);
    write(store, Checkpoint { start: Some(begun), then, ..streaming(lease, vec![chunk(1, "all")]) }).await;
    assert_eq!(read(store, 0, 9).await, [chunk(1, "all")]);
    store.control(run_id(1), Control::Delete, at(2)).await.expect("an ended run is deleted");
    assert_eq!(read(store, 0, 9).await, []);
    let again = start(store, node, 1).await;
    write(store, streaming(again, vec![chunk(1, "new")])).await;
    finish(store, again, at(3), Status::Completed).await;
    assert_eq!(read(store, 0, 9).await, [chunk(1, "new")]);
}
