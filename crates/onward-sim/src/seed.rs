//! The life of one seed: nodes under load and faults, then the checkers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use onward_testing::postgres::{PostgresOptions, PostgresServer, TestDatabase};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
    time::Instant,
};

use crate::{
    busy,
    check::{Life, Money, Verdict, takeovers},
    client::{Caller, Http, Times, Told, order_at_once, order_until},
    cluster::{Cluster, Done},
    order::Kind,
    pace::Pace,
    plan::{Act, NODES, Plan, Trial},
    proxy::Way,
    record, tables,
};

/// How many clients order at once.
const CLIENTS: u64 = 32;
/// How long everything may take to end once nothing is broken any more, at the machine's [pace](Pace).
const CALM_MAX: Duration = Duration::from_secs(45);
/// How many steps block a thread each, at once: more than all nodes have.
const BLOCKING: usize = 9;
/// How often it is looked whether a step took its node down.
const REVIVE_EVERY: Duration = Duration::from_millis(50);
/// The longest time until a killed node's runs go on, at the machine's pace, where others may be down, too.
const TAKEOVER_MAX: Duration = Duration::from_secs(20);

/// What a seed came to.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) orders: usize,
    pub(crate) lines: usize,
    pub(crate) kills: usize,
    pub(crate) strays: u32,
    pub(crate) early_us: i64,
    /// Microseconds from a kill to a call that goes on with one of its runs.
    pub(crate) takeovers: Vec<u64>,
    /// Whether nothing but kills happened: then takeovers say something.
    pub(crate) only_kills: bool,
    pub(crate) restarts: bool,
}

/// A database, on a server of its own where that is restarted.
struct Database {
    /// Dropped before its server.
    database: TestDatabase,
    server: Option<Arc<PostgresServer>>,
}

impl Database {
    async fn create(own: bool) -> Self {
        let made = spawn_blocking(move || {
            let server = own.then(|| Arc::new(PostgresServer::start(&PostgresOptions::new())));
            let database = match &server {
                Some(server) => TestDatabase::create_on(&server.url()),
                None => TestDatabase::create(),
            };
            database.query("CREATE TABLE sim_money (run TEXT NOT NULL, nonce TEXT NOT NULL)");
            Self { database, server }
        });
        made.await.expect("the database was made")
    }
}

/// Lives a seed. The error lists what is wrong.
pub(crate) async fn live(plan: Plan, folder: PathBuf, load: usize, pace: Pace) -> Result<Figures, Vec<String>> {
    let _busy = busy::start(load).map_err(|error| vec![format!("no busy process can be started: {error}")])?;
    let database = Database::create(plan.restarts()).await;
    let lived = on(&plan, &database, &folder, &pace).await;
    // Both block.
    let _ = spawn_blocking(move || drop(database)).await;
    lived
}

async fn on(plan: &Plan, database: &Database, folder: &Path, pace: &Pace) -> Result<Figures, Vec<String>> {
    let url: Arc<str> = database.database.url().into();
    let failed = |error: std::io::Error| vec![format!("the test itself failed: {error}")];
    let mut cluster = Cluster::start(&url, folder, plan.skews).await.map_err(failed)?;
    until_up(&cluster, 1, pace).await?;
    let (times, seen) = watch::channel(Times::default());
    let (http, addresses) = (Http::new(), Arc::clone(&cluster.addresses));
    let caller = |number: u64| Caller {
        http: http.clone(),
        addresses: Arc::clone(&addresses),
        times: seen.clone(),
        pace: pace.clone(),
        draws: StdRng::seed_from_u64(plan.seed * 1_000 + number),
        database: Arc::clone(&url),
    };
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(order_until(caller(number), format!("c{number}")));
    }
    match plan.trial {
        Trial::Fatal => drop(clients.spawn(order_at_once(caller(CLIENTS), Kind::Fatal, 1))),
        Trial::Blocking => drop(clients.spawn(order_at_once(caller(CLIENTS), Kind::Blocking, BLOCKING))),
        Trial::Faults | Trial::OneKill => {}
    }
    faults(plan, &mut cluster, database, &times).await.map_err(failed)?;
    times.send_replace(Times { is_over: true, deadline: Some(pace.now() + CALM_MAX) });

    let (mut told, mut wrong) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            client = clients.join_next() => match client {
                None => break,
                Some(Ok(Ok(its))) => told.extend(its),
                Some(Ok(Err(error))) => wrong.push(error),
                Some(Err(error)) => wrong.push(format!("a client failed: {error}")),
            },
            () = tokio::time::sleep(REVIVE_EVERY) => cluster.revive().map_err(failed)?,
        }
    }
    until_up(&cluster, NODES, pace).await?;
    times.send_replace(Times { is_over: true, deadline: Some(pace.now() + CALM_MAX) });
    let mut late = caller(CLIENTS + 1);
    for each in &mut told {
        if let Err(error) = late.again(each).await {
            wrong.push(format!("{} ({:?}), asked again: {error}", each.order.op, each.kind));
        }
    }
    wrong.extend(settled(&url, pace).await);
    wrong.extend(cluster.ended_by_themselves().map(|node| format!("P1: {node} ended by itself")));
    let done = cluster.done.clone();
    let only_kills = plan.acts.iter().all(|(_, act)| matches!(act, Act::Kill(_) | Act::Start(..)));
    drop(cluster);
    let mut figures = judge(plan, folder, &url, (&told, &done, pace), &mut wrong).await;
    (figures.only_kills, figures.restarts) = (only_kills, plan.restarts());
    if wrong.is_empty() { Ok(figures) } else { Err(wrong) }
}

/// Lets the checkers see all there is.
async fn judge(
    plan: &Plan,
    folder: &Path,
    url: &str,
    (told, done, pace): (&[Told], &Done, &Pace),
    wrong: &mut Vec<String>,
) -> Figures {
    let lines = record::read(folder).unwrap_or_else(|error| {
        wrong.push(format!("what nodes wrote down cannot be read: {error}"));
        Vec::new()
    });
    wrong.extend(record::complaints(folder));
    let rows = tables::ask(url, "SELECT run || ' ' || nonce FROM sim_money").await;
    let rows = rows.unwrap_or_else(|error| {
        wrong.push(error);
        Vec::new()
    });
    let money = rows.iter().filter_map(|row| row.split_once(' '));
    let money: Vec<_> = money.map(|(run, nonce)| Money { run: run.to_owned(), nonce: nonce.to_owned() }).collect();
    let life = Life { lines: &lines, told, done, money: &money, pace };
    wrong.extend(record::lost_leases(folder).filter(|_| plan.trial == Trial::Blocking && life.was_quick()));
    let Verdict { wrong: found, strays, early_us } = life.check();
    wrong.extend(found);
    let takeovers = takeovers(&lines, done);
    if let Some((at, again)) = takeovers.iter().find(|(at, again)| pace.between(*at, *again) > TAKEOVER_MAX) {
        wrong.push(format!("P1: a killed node's run went on after {} ms only", (again - at) / 1000));
    }
    let takeovers = takeovers.into_iter().map(|(at, again)| again - at).collect();
    let (orders, lines, kills) = (told.len(), lines.len(), done.killed.len());
    Figures { orders, lines, kills, strays, early_us, takeovers, ..Figures::default() }
}

async fn until_up(cluster: &Cluster, nodes: usize, pace: &Pace) -> Result<(), Vec<String>> {
    let until = pace.now() + CALM_MAX;
    while cluster.addresses.lock().iter().flatten().count() < nodes {
        if pace.now() > until {
            return Err(vec!["the nodes did not come up".to_owned()]);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Does what the plan says, and then mends everything.
async fn faults(
    plan: &Plan,
    cluster: &mut Cluster,
    database: &Database,
    times: &watch::Sender<Times>,
) -> std::io::Result<()> {
    let began = Instant::now();
    for (at, act) in &plan.acts {
        revive_until(cluster, began + *at).await?;
        if *at > plan.load {
            times.send_modify(|times| times.is_over = true);
        }
        match *act {
            Act::Kill(node) => cluster.kill(node).await?,
            Act::End(node) => cluster.end(node).await?,
            Act::Start(node, skew) => cluster.begin(node, skew)?,
            Act::Stop(node) => cluster.stop(node)?,
            Act::Go(node) => cluster.go(node)?,
            Act::Network(node, way) => cluster.network(node, way),
            Act::Restart => {
                if let Some(server) = database.server.clone() {
                    spawn_blocking(move || server.restart_immediate()).await.map_err(std::io::Error::other)?;
                }
            }
        }
    }
    revive_until(cluster, began + plan.load).await?;
    for node in 0..NODES {
        cluster.network(node, Way::Open);
    }
    Ok(())
}

/// Waits, and starts nodes again meanwhile that a step took down.
async fn revive_until(cluster: &mut Cluster, at: Instant) -> std::io::Result<()> {
    while Instant::now() < at {
        cluster.revive()?;
        tokio::time::sleep_until(at.min(Instant::now() + REVIVE_EVERY)).await;
    }
    Ok(())
}

/// Waits until nothing is under way any more, and tells what is left.
async fn settled(url: &str, pace: &Pace) -> Vec<String> {
    let until = pace.now() + CALM_MAX / 4;
    loop {
        let left = match tables::left(url).await {
            Ok(left) => left,
            Err(error) => vec![error],
        };
        if left.is_empty() {
            break;
        }
        if pace.now() > until {
            let now = tables::ask(url, "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS INT8)").await;
            return left.into_iter().map(|row| format!("P1: at {now:?} it is still there: {row}")).collect();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match tables::torn(url).await {
        Ok(torn) => torn.into_iter().map(|run| format!("P1: run {run} is nowhere, or twice")).collect(),
        Err(error) => vec![error],
    }
}
