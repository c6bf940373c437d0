//! What the child writes, and what must be true of what it leaves.

use std::{collections::BTreeMap, fs::File, io::Write, path::Path, pin::Pin, sync::Mutex};

use onward_core::{
    EndpointId, NodeId, Payload, Store,
    event::{Event, Matcher},
    store::{Checkpoint, Lease},
    waiter::{Subject, Waiter},
};
use onward_sqlite::{
    Durability, Options, SqliteStore,
    rusqlite::{self, Connection},
};

use super::trace::ACKNOWLEDGED;
use crate::support::*;

/// How the child exits when all went well: at once, without closing the store.
pub(super) const DONE: i32 = 42;
const DATABASE: &str = "onward.db";
const TASKS: u128 = 6;
const ROUNDS: u32 = 12;
/// Short, so that many checkpoints of the log fall into the record.
const WAL_PAGES: u32 = 24;

fn options(durability: Durability) -> Options {
    Options::new().durability(durability).wal_pages(WAL_PAGES)
}

/// The child: writes and reads, closes, opens again, writes, and is gone.
pub(super) fn run(dir: &Path, durability: Durability) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime starts");
    let told = Mutex::new(File::create(dir.join(ACKNOWLEDGED)).expect("a file can be made"));
    runtime.block_on(async {
        for lap in 0..2 {
            let store = SqliteStore::open(dir.join(DATABASE), options(durability)).expect("the store opens");
            let table = "CREATE TABLE IF NOT EXISTS paid (run INTEGER, round INTEGER, PRIMARY KEY (run, round))";
            store.with_connection(move |conn| conn.execute_batch(table)).await.expect("a table can be made");
            let node = join(&store).await;
            let tasks = (0..TASKS).map(|task| one_run(&store, node, lap * TASKS + task, &told));
            let tasks = tasks.map(|task| Box::pin(task) as Pin<Box<dyn Future<Output = ()>>>);
            let readers = (0..TASKS).map(|task| Box::pin(watch(&store, lap * TASKS + task, &told)) as _);
            futures(tasks.chain(readers)).await;
            if lap == 0 {
                store.close().await;
            } else {
                exit(DONE);
            }
        }
    });
}

#[expect(clippy::exit, reason = "the child must not close its store")]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// Runs futures together.
async fn futures<'a>(all: impl Iterator<Item = Pin<Box<dyn Future<Output = ()> + 'a>>>) {
    let mut all: Vec<_> = all.collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|each| each.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

fn tell(told: &Mutex<File>, line: &str) {
    let mut file = told.lock().expect("nobody panics here");
    file.write_all(format!("{line}\n").as_bytes()).expect("a line can be written");
}

/// Each round appends two entries in one checkpoint, a third in a transaction with a row of its own, and in every
/// fourth round a pair with a child run and an event: so each has an odd half that must never be seen alone.
async fn one_run(store: &SqliteStore, node: NodeId, number: u128, told: &Mutex<File>) {
    let lease = lease(node, number);
    let mut first = starting(lease, number);
    first.waiters.push(Waiter {
        step: entry(0, "").key(),
        subject: Subject::Event {
            matcher: Matcher { name: format!("go {number}"), value: None, when: None },
            since: None,
        },
    });
    store.checkpoint(first).await.expect("a run starts");
    tell(told, &format!("{number} 0"));
    for round in 0..ROUNDS {
        let seq = round * 3;
        let mut pair = Checkpoint::new(lease, at(2));
        let large = "x".repeat(usize::try_from(round).expect("it is small") * 700);
        pair.entries = vec![entry(seq, &large), entry(seq + 1, "second")];
        if round % 4 == 3 {
            let mut child = new_run(child_number(number, round));
            child.endpoint = EndpointId::try_new("POST /child").expect("it is valid");
            pair.children.push(child);
            pair.events.push(Event {
                id: format!("{number}-{round}"),
                name: format!("go {number}"),
                data: "{}".into(),
                ts: at(2),
                more: Payload::default(),
            });
        }
        store.checkpoint(pair).await.expect("a pair is written");
        tell(told, &format!("{number} {}", seq + 2));
        pay(store, lease, number, round).await;
        tell(told, &format!("{number} {}", seq + 3));
    }
}

/// Reads a run until it is complete. What was read has been acknowledged, too: it must not be taken back.
async fn watch(store: &SqliteStore, number: u128, told: &Mutex<File>) {
    let mut seen = 0;
    while seen < usize::try_from(ROUNDS * 3).expect("it is small") {
        let entries = load(store, number).await.map_or(0, |run| run.journal.len());
        if entries > seen {
            tell(told, &format!("{number} {entries}"));
        }
        seen = entries;
    }
}

async fn pay(store: &SqliteStore, lease: Lease, number: u128, round: u32) {
    let run = i64::try_from(number).expect("it is small");
    let work = move |conn: &Connection| {
        conn.execute("INSERT INTO paid VALUES (?1, ?2)", rusqlite::params![run, round])?;
        Ok::<_, rusqlite::Error>((appending(lease, round * 3 + 2, "paid"), ()))
    };
    store.transact(lease, work).await.expect("a transaction is written");
}

fn child_number(number: u128, round: u32) -> u128 {
    1_000 + number * 100 + u128::from(round)
}

/// Opens what a cut left, and looks for what is missing or half done.
pub(super) fn check(dir: &Path, acknowledged: &[String], durability: Durability, context: &str) {
    let path = dir.join(DATABASE);
    let store = SqliteStore::open(&path, options(durability)).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(async {
        let mut least: BTreeMap<u128, usize> = BTreeMap::new();
        for line in acknowledged {
            let (number, entries) = line.split_once(' ').expect("a line has two numbers");
            let least = least.entry(number.parse().expect("a number")).or_default();
            *least = (*least).max(entries.parse().expect("a number"));
        }
        for number in 0..TASKS * 2 {
            let promised = least.get(&number).copied().filter(|_| durability == Durability::Full);
            let Some(run) = load(&store, number).await else {
                assert_eq!(promised, None, "{context}: run {number} is lost");
                continue;
            };
            let entries = run.journal.len();
            assert!(entries >= promised.unwrap_or(0), "{context}: run {number} has {entries} of {promised:?} entries");
            assert_ne!(entries % 3, 1, "{context}: run {number} has half a pair");
            let (mut children, mut delivered) = (0, false);
            for round in (3..ROUNDS).step_by(4) {
                let child = load(&store, child_number(number, round)).await.is_some();
                let sent = entries > usize::try_from(round * 3).expect("it is small");
                assert_eq!(child, sent, "{context}: the child of run {number}, round {round}");
                children += usize::from(child);
                delivered |= sent;
            }
            assert_eq!(run.deliveries.len(), usize::from(delivered), "{context}: run {number}, {children} children");
            let paid = paid(&store, number).await;
            assert_eq!(paid, entries / 3, "{context}: run {number} paid {paid} times with {entries} entries");
        }
        // What is there can be gone on with.
        let node = join(&store).await;
        start(&store, node, 999_999).await;
        store.close().await;
    });
    let conn = Connection::open(&path).expect("the file opens");
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be checked");
    assert_eq!(sound, "ok", "{context}");
}

async fn paid(store: &SqliteStore, number: u128) -> usize {
    let run = i64::try_from(number).expect("it is small");
    let count = store
        .with_connection(move |conn| {
            let known: i64 =
                conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'paid'", [], |row| row.get(0))?;
            if known == 0 {
                return Ok(0);
            }
            conn.query_row("SELECT count(*) FROM paid WHERE run = ?1", [run], |row| row.get::<_, i64>(0))
        })
        .await
        .map_err(|error: onward_sqlite::TransactError<rusqlite::Error>| error);
    usize::try_from(count.expect("rows can be counted")).expect("a count is positive")
}
