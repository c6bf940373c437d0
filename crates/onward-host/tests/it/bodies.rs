//! Bodies are read up to one bound on the memory of all.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http_body::Frame;
use http_body_util::{Full, StreamBody, combinators::BoxBody};
use onward_host::bodies::{Bodies, Refused};
use proptest::prelude::*;

const KIB: usize = 1024;

type Boxed = BoxBody<Bytes, Infallible>;

/// A body of pieces, with a pause before each; `ends`: or silence at the end.
fn body(pieces: Vec<(Duration, usize)>, ends: bool) -> Boxed {
    let pieces = stream::iter(pieces).then(|(pause, len)| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(Bytes::from(vec![b'x'; len])))
    });
    let rest = if ends { stream::empty().left_stream() } else { stream::pending().right_stream() };
    BoxBody::new(StreamBody::new(pieces.chain(rest)))
}

fn stalled(len: usize) -> Boxed {
    body(vec![(Duration::ZERO, len / 2), (Duration::ZERO, len / 2)], false)
}

#[tokio::test(start_paused = true)]
async fn bodies_that_have_stalled_give_way_to_those_that_come() {
    let bodies = Bodies::new(1024 * KIB);
    let mut held: Vec<_> = (0..4).map(|_| Box::pin(bodies.read(stalled(256 * KIB), 256 * KIB, None))).collect();
    for read in &mut held {
        assert!(read.now_or_never().is_none());
    }
    assert_eq!(bodies.taken(), 1024 * KIB);
    let next = || bodies.read(Full::new(Bytes::from(vec![0; 300 * KIB])), 1024 * KIB, None);
    assert_eq!(next().await.unwrap_err(), Refused::Full, "all others have just made progress");

    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut others = stream::FuturesUnordered::from_iter(held);
    let (read, ()) = tokio::join!(next(), async {
        for _ in 0..2 {
            assert_eq!(others.next().await.unwrap().unwrap_err(), Refused::Full);
        }
    });
    let read = read.expect("two give way");
    assert_eq!((read.bytes().len(), others.len()), (300 * KIB, 2));
    assert_eq!(bodies.taken(), 812 * KIB);

    let (bytes, share) = read.into_parts();
    drop(others);
    assert_eq!(bodies.taken(), 300 * KIB, "a share is held as long as its body");
    drop((bytes, share));
    assert_eq!(bodies.taken(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_a_byte_a_second_makes_no_progress() {
    let bodies = Bodies::new(256 * KIB);
    let drip = vec![(Duration::from_millis(900), 1); 1000];
    let slow = [(Duration::ZERO, 100 * KIB), (Duration::ZERO, 100 * KIB)].into_iter().chain(drip).collect();
    let (slow, fast) = tokio::join!(bodies.read(body(slow, true), 256 * KIB, Some(Duration::from_secs(1))), async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        bodies.read(Full::new(Bytes::from(vec![0; 200 * KIB])), 256 * KIB, None).await
    });
    assert_eq!((slow.unwrap_err(), fast.unwrap().bytes().len()), (Refused::Full, 200 * KIB));
}

#[tokio::test(start_paused = true)]
async fn small_bodies_are_read_when_nothing_is_left() {
    let bodies = Bodies::new(64 * KIB);
    let _held = bodies.read(Full::new(Bytes::from(vec![0; 64 * KIB])), 64 * KIB, None).await.unwrap();
    let large = bodies.read(Full::new(Bytes::from(vec![0; 17 * KIB])), 64 * KIB, None).await;
    assert_eq!(large.unwrap_err(), Refused::Full);
    let small = body(vec![(Duration::ZERO, 4 * KIB); 2], true);
    assert_eq!(bodies.read(small, 64 * KIB, None).await.unwrap().bytes().len(), 8 * KIB);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_refused_for_what_is_wrong_with_it() {
    let bodies = Bodies::new(1024 * KIB);
    let silent = bodies.read(stalled(4 * KIB), 64 * KIB, Some(Duration::from_secs(60))).await;
    assert_eq!(silent.unwrap_err(), Refused::Silent);
    let large = bodies.read(body(vec![(Duration::ZERO, 40 * KIB); 2], true), 64 * KIB, None).await;
    assert_eq!(large.unwrap_err(), Refused::TooLarge);
    let broken =
        StreamBody::new(stream::iter([Ok(Frame::data(Bytes::from("{"))), Err(std::io::Error::other("reset"))]));
    assert_eq!(bodies.read(broken, 64 * KIB, None).await.unwrap_err(), Refused::Unreadable);
    let limited = http_body_util::Limited::new(body(vec![(Duration::ZERO, 4 * KIB)], true), KIB);
    assert_eq!(bodies.read(limited, 64 * KIB, None).await.unwrap_err(), Refused::Limited);
    assert_eq!(bodies.taken(), 0);
}

proptest! {
    /// The bound holds, each body that is read is whole, and all memory is given back, in whatever order bodies come.
    #[test]
    fn the_bound_holds_and_all_is_given_back(
        bytes_max in 20_000_usize..200_000,
        all in prop::collection::vec(
            (prop::collection::vec((0_u64..3_000, 1_usize..40_000), 1..6), any::<bool>(), 0_u64..5_000),
            1..20,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let bodies = Bodies::new(bytes_max);
            let reads = all.into_iter().map(|(pieces, ends, begin)| {
                let bodies = &bodies;
                async move {
                    tokio::time::sleep(Duration::from_millis(begin)).await;
                    let len: usize = pieces.iter().map(|(_, len)| len).sum();
                    let pieces = pieces.into_iter().map(|(pause, len)| (Duration::from_millis(pause), len)).collect();
                    let read = bodies.read(body(pieces, ends), 100_000, Some(Duration::from_secs(4))).await;
                    assert!(bodies.taken() <= bytes_max, "{} of {bytes_max}", bodies.taken());
                    if let Ok(read) = &read {
                        assert_eq!((read.bytes().len(), ends), (len, true));
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
            futures_util::future::join_all(reads).await;
            assert_eq!(bodies.taken(), 0);
            assert!(bodies.read(Full::new(Bytes::from(vec![0; 20_000])), 20_000, None).await.is_ok());
        });
    }
}
