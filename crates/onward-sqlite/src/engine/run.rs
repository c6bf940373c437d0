//! Rows of runs: made, moved between lanes, ended, removed.

use onward_core::{
    Fence, NodeId, Payload, RunId, Seq, StoreError, Timestamp,
    run::{IdempotencyKey, NewRun, Outcome, Parent, Status},
    store::Woken,
    stream::Place,
    waiter::{Delivery, Fact},
};
use rusqlite::{OptionalExtension, params};

use crate::{
    engine::{Engine, Live, endpoint::Numbers},
    error::Done,
    row::{self, LANE_ENDED, LANE_RUNNING},
};

/// The columns that change as a run goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) status: Status,
    pub(super) lane: Option<i64>,
    pub(super) due_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) fence: Fence,
    pub(super) node: Option<NodeId>,
}

impl Position {
    pub(super) const fn running(fence: Fence, node: NodeId) -> Self {
        Self {
            status: Status::Running,
            lane: Some(LANE_RUNNING),
            due_at: None,
            finished_at: None,
            fence,
            node: Some(node),
        }
    }

    /// Suspended until `due_at`, or until the run's timeout where that is earlier.
    pub(super) fn suspended(fence: Fence, lane: i64, due_at: Timestamp, timeout_at: Option<i64>) -> Self {
        let due_at = due_at.as_micros().min(timeout_at.unwrap_or(i64::MAX));
        let due_at = row::never_is_null(Timestamp::from_micros(due_at));
        Self { status: Status::Suspended, lane: due_at.map(|_| lane), due_at, finished_at: None, fence, node: None }
    }

    pub(super) fn ended(fence: Fence, status: Status, now: Timestamp, retention: i64) -> Self {
        let due_at = row::never_is_null(now.after(row::retention(retention)));
        Self { status, lane: due_at.map(|_| LANE_ENDED), due_at, finished_at: Some(now.as_micros()), fence, node: None }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.status == Status::Suspended && self.due_at.is_some_and(|due_at| due_at <= now.as_micros())
    }
}

/// What is stored of a run that is perhaps not running.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) key: i64,
    pub(super) run_id: RunId,
    pub(super) status: Status,
    pub(super) lane: i64,
    pub(super) due_at: Option<i64>,
    pub(super) timeout_at: Option<i64>,
    pub(super) retention: i64,
    pub(super) fence: Fence,
    pub(super) node: Option<NodeId>,
    pub(super) parent: Option<Parent>,
    pub(super) key_digest: Option<[u8; 32]>,
}

impl Engine<'_> {
    /// Refuses a run whose key another has.
    pub(super) fn check_key(&self, key: &IdempotencyKey) -> Done<()> {
        let mut select = self.conn.prepare_cached(
            "SELECT r.run_id, k.fingerprint FROM onward_keys k JOIN onward_runs r ON r.key = k.run \
             WHERE k.digest = ?1",
        )?;
        let taken =
            select.query_row([key.digest], |row| Ok((row::run_id(row, 0)?, row.get::<_, [u8; 32]>(1)?))).optional()?;
        match taken {
            None => Ok(()),
            Some((run_id, fingerprint)) => {
                Err(StoreError::KeyTaken { run_id, same_request: fingerprint == key.fingerprint }.into())
            }
        }
    }

    /// Makes a run. One whose id is known already is refused, before anything is written.
    pub(super) fn insert_run(&mut self, new: &NewRun, endpoint: i64, position: &Position) -> Done<i64> {
        let key = self.known.next_key;
        let inserted = self.hot.insert_run.execute(params![
            key,
            new.run_id.to_bytes(),
            row::status_number(position.status),
            position.lane,
            position.due_at,
            endpoint,
            new.created_at.as_micros(),
            position.finished_at,
            new.timeout_at.map(Timestamp::as_micros),
            row::micros(new.retention),
            position.fence.0.cast_signed(),
            position.node.map(|node| node.0.cast_signed()),
            new.parent.map(|parent| parent.run_id.to_bytes()),
            new.parent.map(|parent| parent.step.to_bytes()),
            new.key.as_ref().map(|key| key.digest),
        ]);
        match inserted {
            Ok(_) => {}
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                return Err(StoreError::LeaseLost.into());
            }
            Err(error) => return Err(error.into()),
        }
        self.known.next_key += 1;
        if !new.request.is_empty() {
            self.rows.push(row::request_place(key), new.request.clone());
        }
        if let Some(claim) = &new.key {
            self.conn
                .prepare_cached("INSERT INTO onward_keys (digest, run, fingerprint) VALUES (?1, ?2, ?3)")?
                .execute(params![claim.digest, key, claim.fingerprint])?;
        }
        Ok(key)
    }

    /// Moves a run.
    pub(super) fn place(&mut self, key: i64, position: &Position) -> Done<()> {
        self.hot.update_run.execute(params![
            key,
            row::status_number(position.status),
            position.lane,
            position.due_at,
            position.finished_at,
            position.fence.0.cast_signed(),
            position.node.map(|node| node.0.cast_signed()),
        ])?;
        Ok(())
    }

    /// A run's row.
    pub(super) fn stored(&self, key: i64) -> Done<Option<Stored>> {
        let mut select = self.conn.prepare_cached(
            "SELECT run_id, status, \
             (SELECT e.lane FROM onward_endpoints e WHERE e.id = onward_runs.endpoint), due_at, timeout_at, retention, fence, node, parent_run, parent_step, \
             key_digest FROM onward_runs WHERE key = ?1",
        )?;
        let stored = select.query_row([key], |columns| {
            Ok(Stored {
                key,
                run_id: row::run_id(columns, 0)?,
                status: row::status(columns.get(1)?)?,
                lane: columns.get(2)?,
                due_at: columns.get(3)?,
                timeout_at: columns.get(4)?,
                retention: columns.get(5)?,
                fence: Fence(columns.get::<_, i64>(6)?.cast_unsigned()),
                node: columns.get::<_, Option<i64>>(7)?.map(|node| NodeId(node.cast_unsigned())),
                parent: row::parent(columns, 8, 9)?,
                key_digest: columns.get(10)?,
            })
        });
        Ok(stored.optional()?)
    }

    /// Appends to a journal.
    pub(super) fn append(&mut self, key: i64, entries: &[(Seq, Payload)]) {
        for (seq, data) in entries {
            self.rows.push(row::entry_place(key, *seq), data.clone());
        }
    }

    /// Appends to a stream: what comes together is kept together.
    pub(super) fn append_frames(&self, key: i64, pieces: &[(Place, u32, Payload)]) -> Done<()> {
        for (first, count, data) in pieces {
            self.conn
                .prepare_cached("INSERT INTO onward_frames (place, count, data) VALUES (?1, ?2, ?3)")?
                .execute(params![row::frame_place(key, *first), count, data.as_ref()])?;
        }
        Ok(())
    }

    /// Keeps a run's outcome, encoded. The row itself is the caller's to move.
    pub(super) fn keep_outcome(&mut self, key: i64, outcome: Payload) {
        self.rows.push(row::outcome_place(key), outcome);
    }

    /// Gives an outcome to the step that waits for it, if one does.
    pub(super) fn tell_parent(
        &mut self,
        parent: Option<Parent>,
        outcome: &Outcome,
        now: Timestamp,
        woken: &mut Vec<Woken>,
    ) -> Done<()> {
        let Some(parent) = parent else { return Ok(()) };
        let Some(parent_key) = self.key_of(parent.run_id)? else { return Ok(()) };
        let told = Delivery { step: parent.step, at: now, fact: Fact::Outcome(outcome.clone()) };
        self.deliver(parent_key, &told, now, woken)
    }

    /// Removes all that a run waited for.
    pub(super) fn forget_waits(&self, key: i64) -> Done<()> {
        for sql in [
            "DELETE FROM onward_event_waiters WHERE run = ?1",
            "DELETE FROM onward_signal_waiters WHERE run = ?1",
            "DELETE FROM onward_deliveries WHERE run = ?1",
        ] {
            self.conn.prepare_cached(sql)?.execute([key])?;
        }
        Ok(())
    }
}

impl Live {
    pub(super) fn started(new: &NewRun, key: i64, of: Numbers, fence: Fence, node: NodeId) -> Self {
        Self {
            key,
            of,
            fence,
            node,
            next: Seq(0),
            streamed: Place(0),
            deliveries: 0,
            waits: false,
            timeout_at: new.timeout_at.map(Timestamp::as_micros),
            retention: row::micros(new.retention),
            parent: new.parent,
        }
    }
}
