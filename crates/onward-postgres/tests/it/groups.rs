//! Group commit: many checkpoints are one statement, each is refused for itself, and runs keep their order.

use onward_core::{
    Fence, Store, StoreError,
    run::Status,
    step::StepId,
    store::{Checkpoint, Lease},
    stream::{Frame, FrameKind, Place},
};
use onward_postgres::{Options, PostgresStore};
use onward_testing::postgres::{PostgresOptions, PostgresServer};

use crate::support::*;

#[tokio::test]
async fn checkpoints_that_wait_go_in_one_statement() {
    let extension = PostgresOptions::new().setting("shared_preload_libraries", "pg_stat_statements");
    let server = PostgresServer::start(&extension);
    server.query("CREATE EXTENSION pg_stat_statements");
    let store = PostgresStore::open(&server.url(), Options::new()).await.unwrap();
    let node = join(&store).await;
    let runs = 64;
    start(&store, node, 1_000).await;
    server.query("SELECT pg_stat_statements_reset()");
    let started: Vec<_> = (0..runs).map(|number| store.checkpoint(starting(node, number))).collect();
    for started in started {
        started.await.expect("each run starts");
    }
    for seq in 0..3 {
        let going: Vec<_> =
            (0..runs).map(|number| store.checkpoint(appending(lease(node, number), seq, "output"))).collect();
        for each in going {
            each.await.expect("each entry is appended");
        }
    }
    let ended: Vec<_> = (0..runs).map(|number| store.checkpoint(finishing(lease(node, number), "response"))).collect();
    for ended in ended {
        ended.await.expect("each run ends");
    }
    let all = "SELECT calls, left(query, 60) FROM pg_stat_statements ORDER BY calls DESC";
    let calls: i64 =
        server.query("SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE '%onward_%'").trim().parse().unwrap();
    let checkpoints = i64::try_from(runs * 5).unwrap();
    assert!(calls * 10 < checkpoints, "{calls} statements for {checkpoints} checkpoints\n{}", server.query(all));
}

#[tokio::test]
async fn in_a_group_each_is_refused_for_itself() {
    let store = TestStore::open().await;
    let node = join(&store).await;
    for number in 1..=3 {
        start(&store, node, number).await;
    }
    // Another handle cancels the second behind this one's back.
    let operator = store.another().await;
    let outcome = onward_core::run::Outcome { status: Status::Cancelled, response: "".into(), error: "no".into() };
    operator.control(run_id(2), onward_core::store::Control::Cancel(outcome), at(1)).await.unwrap();
    let stranger = Lease { fence: Fence(7), ..lease(node, 3) };
    let answers = [
        store.checkpoint(appending(lease(node, 1), 0, "a")),
        store.checkpoint(appending(lease(node, 2), 0, "b")),
        store.checkpoint(appending(stranger, 0, "c")),
        store.checkpoint(appending(lease(node, 3), 0, "d")),
    ];
    let mut answered = Vec::new();
    for answer in answers {
        answered.push(answer.await);
    }
    assert!(answered[0].is_ok() && answered[3].is_ok(), "{answered:?}");
    assert!(is_lease_lost(&answered[1]) && is_lease_lost(&answered[2]), "{answered:?}");
    assert_eq!((entries(&store, 1).await, entries(&store, 2).await, entries(&store, 3).await), (1, 0, 1));
    assert_eq!(status(&store, 2).await, Status::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_makes_one_run_whoever_comes_first() {
    let store = TestStore::open().await;
    let other = store.another().await;
    let (node, other_node) = (join(&store).await, join(&other).await);
    let mut asked = Vec::new();
    for number in 0..20 {
        let (store, node) = if number % 2 == 0 { (&store.store, node) } else { (&other, other_node) };
        asked.push((number, store.checkpoint(starting_with_key(node, number))));
    }
    let (mut made, mut told) = (Vec::new(), Vec::new());
    for (number, answer) in asked {
        match answer.await {
            Ok(_) => made.push(run_id(number)),
            Err(StoreError::KeyTaken { run_id, same_request: true }) => told.push(run_id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(told.len() == 19 && told.iter().all(|run_id| *run_id == made[0]), "{told:?}");
}

#[tokio::test]
async fn a_streams_many_small_writes_keep_their_order() {
    let store = TestStore::open().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let writes: Vec<_> = (1..=500)
        .map(|place| {
            let kind = FrameKind::Chunk(place.to_string().into());
            let frames = vec![Frame { place: Place(place), step: None, kind }];
            store.checkpoint(Checkpoint { frames, ..Checkpoint::new(lease, at(2)) })
        })
        .collect();
    for write in writes {
        write.await.expect("each chunk is written");
    }
    let mut read = Vec::new();
    while let Some(last) =
        read.last().map_or(Some(Place(0)), |frame: &Frame| (frame.place.0 < 500).then_some(frame.place))
    {
        read.extend(store.frames(run_id(1), last, 64).await.unwrap());
    }
    assert!(read.iter().zip(1..).all(|(frame, place)| frame.place == Place(place)));
    assert_eq!(read.len(), 500);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let store = TestStore::open().await;
    let small = PostgresStore::open(store.database.url(), Options::new().queue_len(10)).await.unwrap();
    let node = join(&small).await;
    let asked: Vec<_> = (0..30).map(|number| small.checkpoint(starting(node, number))).collect();
    let mut refused = 0;
    for answer in asked {
        match answer.await {
            Ok(_) => {}
            answer if is_unavailable(&answer) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 20);
    start(&small, node, 100).await;
}

/// What the database refuses of one run's write is refused to that run alone, whatever else was in the statement.
#[tokio::test]
async fn a_checkpoint_that_the_database_refuses_takes_no_other_with_it() {
    let store = TestStore::open().await;
    let node = join(&store).await;
    for number in 0..20 {
        start(&store, node, number).await;
    }
    // An entry that this node does not know of, where the next one of run 7 belongs.
    let id = format!("{:032x}", u128::from_be_bytes(run_id(7).to_bytes()));
    store.database.query(&format!("INSERT INTO onward_entries (run_id, seq, data) VALUES ('{id}', 0, '')"));
    let answers: Vec<_> = (0..20).map(|number| store.checkpoint(appending(lease(node, number), 0, "a"))).collect();
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.await;
        assert!(if number == 7 { is_unavailable(&answer) } else { answer.is_ok() }, "{number}: {answer:?}");
    }
}

/// Many writes of one run that do not follow what is stored: each is refused, whatever their number.
#[tokio::test]
async fn many_writes_that_do_not_follow_are_each_refused() {
    let store = TestStore::open().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    // It is written alone, so that the others wait for it one after the other.
    let settled = vec![StepId::try_new("x".to_owned(), 0).unwrap().key()];
    let first = store.checkpoint(Checkpoint { settled, ..appending(lease, 0, "a") });
    let frames = |place| {
        let kind = FrameKind::Chunk("1".into());
        vec![Frame { place: Place(place), step: None, kind }]
    };
    let answers: Vec<_> = (0..10_000)
        .map(|number| {
            let gap = Checkpoint { frames: frames(7 + number), ..Checkpoint::new(lease, at(2)) };
            store.checkpoint(gap)
        })
        .collect();
    first.await.unwrap();
    for answer in answers {
        assert!(matches!(answer.await, Err(StoreError::Corrupt(_))));
    }
    store.checkpoint(appending(lease, 1, "b")).await.unwrap();
}

/// A key that nobody has any more when it is asked who has it: its run was swept in that moment.
#[tokio::test]
async fn a_key_that_is_freed_meanwhile_can_be_claimed() {
    let store = TestStore::open().await;
    let node = join(&store).await;
    // The first insert comes to nothing, as if another row had been there.
    store.database.query(
        "CREATE SEQUENCE tries; CREATE FUNCTION refuse_first() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF nextval(''tries'') = 1 THEN RETURN NULL; END IF; RETURN NEW; END'; \
         CREATE TRIGGER refuse BEFORE INSERT ON onward_keys FOR EACH ROW EXECUTE FUNCTION refuse_first()",
    );
    store.checkpoint(starting_with_key(node, 1)).await.unwrap();
    assert_eq!(status(&store, 1).await, Status::Running);
    let twice = store.checkpoint(starting_with_key(node, 2)).await;
    assert!(matches!(twice, Err(StoreError::KeyTaken { run_id: taken, .. }) if taken == run_id(1)), "{twice:?}");
}

/// A checkpoint that is much larger than others goes by itself.
#[tokio::test]
async fn a_large_checkpoint_is_written() {
    let store = TestStore::open().await;
    let node = join(&store).await;
    let lease = start(&store, node, 1).await;
    let large = "x".repeat(9 << 20);
    let answers: Vec<_> = (0..4)
        .map(|seq| store.checkpoint(appending(lease, seq, if seq % 2 == 0 { "small" } else { &large })))
        .collect();
    for answer in answers {
        answer.await.unwrap();
    }
    assert_eq!(entries(&store, 1).await, 4);
}
