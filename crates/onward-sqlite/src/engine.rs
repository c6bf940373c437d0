//! The writer's half of the store: what each call does inside the group's transaction.
//!
//! The process owns the database, so what the writer knows of running runs is kept in memory: checking a lease or a
//! journal's next place reads nothing. After a rollback all of it is read anew.

mod append;
mod checkpoint;
mod control;
mod crash;
mod deliver;
mod endpoint;
mod event;
mod node;
mod run;
mod setting;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};

use onward_core::{Fence, NodeId, RunId, Seq, StoreError, run::Parent, store::Lease, stream::Place};
use rusqlite::{Connection, OptionalExtension, Statement, params};

pub(crate) use self::checkpoint::prepare;
use self::{
    append::Appender,
    endpoint::{KnownEndpoints, Numbers},
};
use crate::{
    error::{Done, store_error},
    guard::Guard,
    read,
    row::{self, LANE_RUNNING},
};

/// What the writer knows of a running run.
#[derive(Clone, Debug)]
struct Live {
    key: i64,
    of: Numbers,
    fence: Fence,
    node: NodeId,
    next: Seq,
    /// The place of its stream's last frame.
    streamed: Place,
    /// How many deliveries it has not taken.
    deliveries: usize,
    /// Whether it may have waiters.
    waits: bool,
    timeout_at: Option<i64>,
    retention: i64,
    parent: Option<Parent>,
}

/// What the writer knows.
#[derive(Debug, Default)]
struct Known {
    live: BTreeMap<RunId, Live>,
    /// Running runs with deliveries.
    nudged: BTreeSet<RunId>,
    endpoints: KnownEndpoints,
    /// Whether the index over all endpoints is known to be there.
    claims_all: bool,
    next_key: i64,
    last_received_at: Option<i64>,
}

/// The statements that every run needs.
#[derive(Debug)]
struct Hot<'c> {
    insert_run: Statement<'c>,
    update_run: Statement<'c>,
}

/// The writer's state around its connection.
#[derive(Debug)]
pub(crate) struct Engine<'c> {
    conn: &'c Connection,
    guard: Guard,
    hot: Hot<'c>,
    rows: Appender<'c>,
    known: Known,
    /// The newest node, while it is here.
    node: Option<NodeId>,
    /// The same, before the open group.
    node_before: Option<NodeId>,
}

impl<'c> Engine<'c> {
    /// Prepares statements and reads what is live.
    pub(crate) fn new(conn: &'c Connection, guard: Guard) -> Result<Self, StoreError> {
        let prepare = |sql| conn.prepare(sql).map_err(store_error);
        let hot = Hot {
            insert_run: prepare(
                "INSERT INTO onward_runs (key, run_id, status, lane, due_at, endpoint, created_at, finished_at, \
                 timeout_at, retention, fence, node, parent_run, parent_step, key_digest) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?,
            update_run: prepare(
                "UPDATE onward_runs SET status = ?2, lane = ?3, due_at = ?4, finished_at = ?5, fence = ?6, \
                 node = ?7 WHERE key = ?1",
            )?,
        };
        let known = Known::read(conn).map_err(store_error)?;
        let rows = Appender::new(conn).map_err(store_error)?;
        Ok(Self { conn, guard, hot, rows, known, node: None, node_before: None })
    }

    /// The writer's connection.
    pub(crate) const fn conn(&self) -> &'c Connection {
        self.conn
    }

    /// The writer's connection, with all that was written in it.
    pub(crate) fn conn_to_read(&mut self) -> Done<&'c Connection> {
        self.rows.flush()?;
        Ok(self.conn)
    }

    /// What watches over users' SQL.
    pub(crate) const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Begins a group.
    pub(crate) fn begin(&mut self) -> rusqlite::Result<()> {
        self.node_before = self.node;
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    /// Commits the group.
    pub(crate) fn commit(&mut self) -> rusqlite::Result<()> {
        self.rows.flush()?;
        self.conn.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// Undoes the group.
    pub(crate) fn rollback(&mut self) -> rusqlite::Result<()> {
        self.rows.clear();
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK")?;
        }
        self.node = self.node_before;
        self.reread()
    }

    /// Sets the savepoint of one call.
    pub(crate) fn savepoint(&mut self) -> rusqlite::Result<()> {
        self.rows.flush()?;
        self.conn.prepare_cached("SAVEPOINT onward_call")?.execute([]).map(drop)
    }

    /// Keeps what a call did.
    pub(crate) fn release(&self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("RELEASE onward_call")?.execute([]).map(drop)
    }

    /// Undoes what a call did.
    pub(crate) fn undo(&mut self) -> rusqlite::Result<()> {
        self.rows.clear();
        self.conn.prepare_cached("ROLLBACK TO onward_call")?.execute([])?;
        self.release()?;
        self.reread()
    }

    fn reread(&mut self) -> rusqlite::Result<()> {
        let last_received_at = self.known.last_received_at;
        self.known = Known::read(self.conn)?;
        self.known.last_received_at = self.known.last_received_at.max(last_received_at);
        Ok(())
    }

    /// What is known of a run, if this is its newest lease.
    fn leased(&mut self, lease: &Lease) -> Done<&mut Live> {
        if !self.known.live.contains_key(&lease.run_id) {
            let found = self.key_of(lease.run_id)?;
            return Err(found.map_or(StoreError::RunNotFound, |_| StoreError::LeaseLost).into());
        }
        let live = self.known.live.get_mut(&lease.run_id).expect("it was found above");
        if live.fence == lease.fence && live.node == lease.node { Ok(live) } else { Err(StoreError::LeaseLost.into()) }
    }

    /// Fails unless this is a run's newest lease.
    pub(crate) fn check_lease(&mut self, lease: &Lease) -> Done<()> {
        self.leased(lease).map(drop)
    }

    /// The key of a run's row.
    fn key_of(&self, run_id: RunId) -> Done<Option<i64>> {
        let mut select = self.conn.prepare_cached("SELECT key FROM onward_runs WHERE run_id = ?1")?;
        Ok(select.query_row([run_id.to_bytes()], |row| row.get(0)).optional()?)
    }
}

impl Known {
    fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let mut known = Self {
            // A key is not given again while rows of the run that had it remain.
            next_key: conn.query_row(
                "SELECT max(coalesce((SELECT max(key) FROM onward_runs), 0), \
                 coalesce((SELECT max(key) FROM onward_remains), 0)) + 1",
                [],
                |row| row.get(0),
            )?,
            last_received_at: conn
                .query_row("SELECT coalesce(max(received_at), 0) FROM onward_events", [], |row| row.get(0))?,
            endpoints: KnownEndpoints::read(conn)?,
            ..Self::default()
        };
        let mut running = conn.prepare_cached("SELECT key FROM onward_runs WHERE lane = ?1")?;
        let keys = running.query_map([LANE_RUNNING], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
        for key in keys {
            let (run_id, live) = Live::read(conn, key)?;
            known.insert(run_id, live);
        }
        Ok(known)
    }

    fn insert(&mut self, run_id: RunId, live: Live) {
        if live.deliveries > 0 {
            self.nudged.insert(run_id);
        }
        self.live.insert(run_id, live);
    }

    fn remove(&mut self, run_id: RunId) {
        self.nudged.remove(&run_id);
        self.live.remove(&run_id);
    }
}

impl Live {
    /// What is stored of a run, as the writer must know it while the run is running.
    fn read(conn: &Connection, key: i64) -> rusqlite::Result<(RunId, Self)> {
        let mut select = conn.prepare_cached(
            "SELECT run_id, endpoint, fence, node, timeout_at, retention, parent_run, parent_step, \
             (SELECT max(place) FROM onward_entries WHERE place >= ?2 AND place < ?3), \
             (SELECT count(*) FROM onward_deliveries WHERE run = ?1), \
             EXISTS (SELECT 1 FROM onward_event_waiters WHERE run = ?1) \
               OR EXISTS (SELECT 1 FROM onward_signal_waiters WHERE run = ?1), \
             (SELECT e.lane FROM onward_endpoints e WHERE e.id = onward_runs.endpoint) \
             FROM onward_runs WHERE key = ?1",
        )?;
        select.query_row(params![key, row::request_place(key), row::outcome_place(key)], |columns| {
            let next = match columns.get::<_, Option<i64>>(8)?.map(row::slot) {
                Some(row::Slot::Entry(seq)) => seq.next(),
                _ => Seq(0),
            };
            let live = Self {
                key,
                of: Numbers { endpoint: columns.get(1)?, lane: columns.get(11)? },
                fence: Fence(columns.get::<_, i64>(2)?.cast_unsigned()),
                node: NodeId(columns.get::<_, Option<i64>>(3)?.unwrap_or(0).cast_unsigned()),
                next,
                streamed: read::streamed(conn, key)?,
                deliveries: usize::try_from(columns.get::<_, i64>(9)?).unwrap_or(0),
                waits: columns.get(10)?,
                timeout_at: columns.get(4)?,
                retention: columns.get(5)?,
                parent: row::parent(columns, 6, 7)?,
            };
            Ok((row::run_id(columns, 0)?, live))
        })
    }
}
