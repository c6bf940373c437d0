//! The statement that goes on with runs that the node holds: appends to them, suspends them, ends them.

use std::collections::BTreeMap;

use onward_core::{RunId, StoreError, store::Then};
use uuid::Uuid;

use super::{Rows, answer_of, nodes};
use crate::{
    connect::Conn,
    error::{Abort, Done},
    held::Held,
    queue::Job,
    row,
    store::Inner,
    tx::Param,
};

const APPEND: &str = "\
WITH alive AS (
    SELECT id FROM onward_nodes WHERE id = ANY($1::INT8[]) AND part = $30::INT8 FOR KEY SHARE
), kept AS (
    SELECT l.run_id FROM unnest($2::UUID[], $3::INT8[], $4::INT8[]) AS k (run_id, node, fence)
    JOIN alive ON alive.id = k.node
    JOIN onward_leases l ON l.run_id = k.run_id AND l.node = k.node AND l.fence = k.fence
    FOR KEY SHARE OF l
), released AS (
    DELETE FROM onward_leases l
    USING unnest($5::UUID[], $6::INT8[], $7::INT8[]) AS g (run_id, node, fence) JOIN alive ON alive.id = g.node
    WHERE l.run_id = g.run_id AND l.node = g.node AND l.fence = g.fence
    RETURNING l.run_id, l.fence, l.pending
), suspended AS (
    INSERT INTO onward_suspended (run_id, lane, due_at, fence, pending)
    SELECT r.run_id, s.lane, CASE WHEN r.pending > 0 THEN s.now_at ELSE s.due_at END, r.fence, r.pending
    FROM unnest($8::UUID[], $9::INT8[], $10::INT8[], $11::INT8[]) AS s (run_id, lane, due_at, now_at)
    JOIN released r ON r.run_id = s.run_id
    RETURNING run_id, due_at
), ended AS (
    INSERT INTO onward_ended (run_id, status, finished_at, sweep_at, fence, outcome)
    SELECT r.run_id, e.status, e.finished_at, e.sweep_at, r.fence, e.outcome
    FROM unnest($12::UUID[], $13::INT8[], $14::INT8[], $15::INT8[], $16::BYTEA[]) \
        AS e (run_id, status, finished_at, sweep_at, outcome)
    JOIN released r ON r.run_id = e.run_id
), written AS (
    SELECT run_id FROM kept UNION SELECT run_id FROM released
), entries AS (
    INSERT INTO onward_entries (run_id, seq, data)
    SELECT e.run_id, e.seq, e.data FROM unnest($17::UUID[], $18::INT8[], $19::BYTEA[]) AS e (run_id, seq, data)
    JOIN written ON written.run_id = e.run_id
), frames AS (
    INSERT INTO onward_frames (run_id, place, count, data)
    SELECT f.run_id, f.place, f.count, f.data
    FROM unnest($20::UUID[], $21::INT8[], $22::INT8[], $23::BYTEA[]) AS f (run_id, place, count, data)
    JOIN written ON written.run_id = f.run_id
), waiters AS (
    INSERT INTO onward_event_waiters (run_id, step, name, path, digest, matcher)
    SELECT w.run_id, w.step, w.name, w.path, w.digest, w.matcher
    FROM unnest($24::UUID[], $25::BYTEA[], $26::TEXT[], $27::TEXT[], $28::INT8[], $29::BYTEA[]) \
        AS w (run_id, step, name, path, digest, matcher)
    JOIN written ON written.run_id = w.run_id
    ON CONFLICT (run_id, step) DO UPDATE SET
        name = excluded.name, path = excluded.path, digest = excluded.digest, matcher = excluded.matcher
)
SELECT written.run_id, suspended.due_at FROM written LEFT JOIN suspended ON suspended.run_id = written.run_id";

/// The columns of runs that go on.
#[derive(Default)]
struct Going<'a> {
    kept: Vec<Uuid>,
    kept_nodes: Vec<i64>,
    kept_fences: Vec<i64>,
    released: Vec<Uuid>,
    released_nodes: Vec<i64>,
    released_fences: Vec<i64>,
    suspended: Vec<Uuid>,
    lanes: Vec<i64>,
    due: Vec<i64>,
    now: Vec<i64>,
    ended: Vec<Uuid>,
    statuses: Vec<i64>,
    finished: Vec<i64>,
    sweep: Vec<i64>,
    outcomes: Vec<&'a [u8]>,
    rows: Rows<'a>,
}

impl<'a> Going<'a> {
    fn push(&mut self, job: &'a Job, held: &Held) {
        let (run, prepared) = (row::uuid(job.prepared.run_id()), &job.prepared);
        let (node, fence) = (row::node(prepared.lease.node), row::fence(prepared.lease.fence));
        self.rows.push(run, prepared);
        if prepared.then == Then::Keep {
            if self.kept.last() != Some(&run) {
                self.kept.push(run);
                self.kept_nodes.push(node);
                self.kept_fences.push(fence);
            }
            return;
        }
        self.released.push(run);
        self.released_nodes.push(node);
        self.released_fences.push(fence);
        match &prepared.then {
            Then::Keep => {}
            Then::Suspend { due_at } => {
                self.suspended.push(run);
                self.lanes.push(held.lane);
                self.due.push(row::due_at(*due_at, held.timeout_at));
                self.now.push(row::due_at(prepared.now, held.timeout_at));
            }
            Then::Finish(outcome) => {
                self.ended.push(run);
                self.statuses.push(i64::from(outcome.status.number()));
                self.finished.push(prepared.now.as_micros());
                self.sweep.push(row::sweep_at(prepared.now, held.retention));
                self.outcomes.push(prepared.outcome.as_ref());
            }
        }
    }

    /// The runs that were written, and when those that were suspended are due.
    async fn write(&self, conn: &Conn, part: i64, nodes: &Vec<i64>) -> Done<BTreeMap<RunId, Option<i64>>> {
        let mut params: Vec<Param<'_>> = vec![
            nodes,
            &self.kept,
            &self.kept_nodes,
            &self.kept_fences,
            &self.released,
            &self.released_nodes,
            &self.released_fences,
            &self.suspended,
            &self.lanes,
            &self.due,
            &self.now,
            &self.ended,
            &self.statuses,
            &self.finished,
            &self.sweep,
            &self.outcomes,
        ];
        params.extend(self.rows.params());
        params.push(&part);
        let statement = conn.prepare_cached(APPEND).await?;
        let written = conn.query(&statement, &params).await?;
        written.iter().map(|row| Ok((row::run_id(row.try_get(0)?), row.try_get(1)?))).collect()
    }
}

/// Goes on with runs that are known, and answers.
pub(crate) async fn append(inner: &Inner, conn: &Conn, part: i64, mut jobs: Vec<Job>) -> Result<(), (Vec<Job>, Abort)> {
    // In the order in which others lock several runs.
    jobs.sort_by_key(|job| job.prepared.run_id());
    let mut columns = Going::default();
    for job in &jobs {
        if let Some(held) = &job.prepared.held {
            columns.push(job, held);
        }
    }
    let nodes = nodes(&jobs);
    let written = match inner.in_time(columns.write(conn, part, &nodes)).await {
        Ok(written) => written,
        Err(abort) => {
            drop(columns);
            return Err((jobs, abort));
        }
    };
    drop(columns);
    for job in jobs {
        let prepared = &job.prepared;
        let Some(due_at) = written.get(&prepared.run_id()) else {
            inner.known.forget(prepared.run_id());
            job.answer(Err(StoreError::LeaseLost));
            continue;
        };
        if prepared.then != Then::Keep {
            inner.known.forget(prepared.run_id());
        }
        let done = answer_of(prepared, *due_at);
        inner.tell_written(prepared, &done);
        job.answer(Ok(done));
    }
    Ok(())
}
