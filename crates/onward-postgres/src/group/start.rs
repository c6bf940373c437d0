//! The statement that makes runs. It takes keys in their order, so that no two such statements wait for each other.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::{StoreError, run::NewRun, store::Then};
use uuid::Uuid;

use super::{Rows, answer_of, nodes};
use crate::{
    connect::Conn,
    error::{Abort, Done, corrupt, unavailable},
    held::Held,
    queue::Job,
    row,
    store::Inner,
    tx::Param,
};

// Why `IS TRUE`: it has the runs that were made looked up in a hash table. As a join, PostgreSQL expects a row or two and
// compares each with each.
const START: &str = "\
WITH alive AS (
    SELECT id FROM onward_nodes WHERE id = ANY($1::INT8[]) AND part = $34::INT8 FOR KEY SHARE
), new AS (
    SELECT * FROM unnest($2::UUID[], $3::INT8[], $4::INT8[], $5::INT8[], $6::INT8[], $7::INT8[], $8::INT8[], \
        $9::INT8[], $10::BYTEA[], $11::BYTEA[], $12::BYTEA[], $33::BOOL[]) AS new (run_id, node, fence, endpoint, lane, \
        created_at, timeout_at, retention, digest, fingerprint, request, pinned)
), claimed AS (
    INSERT INTO onward_keys (digest, run_id, fingerprint)
    SELECT new.digest, new.run_id, new.fingerprint FROM new JOIN alive ON alive.id = new.node
    WHERE new.digest IS NOT NULL AND NOT EXISTS (SELECT 1 FROM onward_runs r WHERE r.run_id = new.run_id)
    ORDER BY new.digest
    ON CONFLICT (digest) DO NOTHING
    RETURNING run_id
), started AS (
    INSERT INTO onward_runs (run_id, endpoint, lane, pinned, created_at, timeout_at, retention, key_digest, request)
    SELECT new.run_id, new.endpoint, new.lane, new.pinned, new.created_at, new.timeout_at, new.retention, new.digest, \
        new.request
    FROM new JOIN alive ON alive.id = new.node
    WHERE new.digest IS NULL OR new.run_id IN (SELECT run_id FROM claimed)
    ON CONFLICT (run_id) DO NOTHING
    RETURNING run_id
), leased AS (
    INSERT INTO onward_leases (run_id, node, fence, pending)
    SELECT new.run_id, new.node, new.fence, 0 FROM new
    WHERE (new.run_id IN (SELECT run_id FROM started)) IS TRUE
        AND new.run_id <> ALL($13::UUID[]) AND new.run_id <> ALL($16::UUID[])
), suspended AS (
    INSERT INTO onward_suspended (run_id, lane, due_at, fence, pending)
    SELECT new.run_id, new.lane, s.due_at, new.fence, 0
    FROM unnest($13::UUID[], $14::INT8[]) AS s (run_id, due_at)
    JOIN started ON started.run_id = s.run_id JOIN new ON new.run_id = s.run_id
), ended AS (
    INSERT INTO onward_ended (run_id, status, finished_at, sweep_at, fence, outcome)
    SELECT new.run_id, e.status, e.finished_at, e.sweep_at, new.fence, e.outcome
    FROM unnest($16::UUID[], $17::INT8[], $18::INT8[], $19::INT8[], $15::BYTEA[]) \
        AS e (run_id, status, finished_at, sweep_at, outcome)
    JOIN started ON started.run_id = e.run_id JOIN new ON new.run_id = e.run_id
), entries AS (
    INSERT INTO onward_entries (run_id, seq, data)
    SELECT e.run_id, e.seq, e.data FROM unnest($20::UUID[], $21::INT8[], $22::BYTEA[]) AS e (run_id, seq, data)
    JOIN started ON started.run_id = e.run_id
), frames AS (
    INSERT INTO onward_frames (run_id, place, count, data)
    SELECT f.run_id, f.place, f.count, f.data
    FROM unnest($23::UUID[], $24::INT8[], $25::INT8[], $26::BYTEA[]) AS f (run_id, place, count, data)
    JOIN started ON started.run_id = f.run_id
), waiters AS (
    INSERT INTO onward_event_waiters (run_id, step, name, path, digest, matcher)
    SELECT w.run_id, w.step, w.name, w.path, w.digest, w.matcher
    FROM unnest($27::UUID[], $28::BYTEA[], $29::TEXT[], $30::TEXT[], $31::INT8[], $32::BYTEA[]) \
        AS w (run_id, step, name, path, digest, matcher)
    JOIN started ON started.run_id = w.run_id
)
SELECT run_id FROM started";

/// The columns of new runs.
#[derive(Default)]
struct New<'a> {
    runs: Vec<Uuid>,
    nodes: Vec<i64>,
    fences: Vec<i64>,
    endpoints: Vec<i64>,
    lanes: Vec<i64>,
    pinned: Vec<bool>,
    created: Vec<i64>,
    timeouts: Vec<Option<i64>>,
    retentions: Vec<i64>,
    digests: Vec<Option<&'a [u8]>>,
    fingerprints: Vec<Option<&'a [u8]>>,
    requests: Vec<&'a [u8]>,
    suspended: Vec<Uuid>,
    due: Vec<i64>,
    ended: Vec<Uuid>,
    statuses: Vec<i64>,
    finished: Vec<i64>,
    sweep: Vec<i64>,
    outcomes: Vec<&'a [u8]>,
    rows: Rows<'a>,
}

impl<'a> New<'a> {
    fn push(&mut self, job: &'a Job, new: &'a NewRun) {
        let (run, prepared) = (row::uuid(new.run_id), &job.prepared);
        let timeout_at = new.timeout_at.map(onward_core::Timestamp::as_micros);
        self.runs.push(run);
        self.nodes.push(row::node(prepared.lease.node));
        self.fences.push(row::fence(prepared.lease.fence));
        self.endpoints.push(row::endpoint(new));
        self.lanes.push(row::lane(new));
        self.pinned.push(new.pinned);
        self.created.push(new.created_at.as_micros());
        self.timeouts.push(timeout_at);
        self.retentions.push(row::micros(new.retention));
        self.digests.push(new.key.as_ref().map(|key| key.digest.as_slice()));
        self.fingerprints.push(new.key.as_ref().map(|key| key.fingerprint.as_slice()));
        self.requests.push(new.request.as_ref());
        match &prepared.then {
            Then::Keep => {}
            Then::Suspend { due_at } => {
                self.suspended.push(run);
                self.due.push(row::due_at(*due_at, timeout_at));
            }
            Then::Finish(outcome) => {
                self.ended.push(run);
                self.statuses.push(i64::from(outcome.status.number()));
                self.finished.push(prepared.now.as_micros());
                self.sweep.push(row::sweep_at(prepared.now, row::micros(new.retention)));
                self.outcomes.push(prepared.outcome.as_ref());
            }
        }
        self.rows.push(run, prepared);
    }

    async fn write(&self, conn: &Conn, part: i64, nodes: &Vec<i64>) -> Done<BTreeSet<Uuid>> {
        let mut params: Vec<Param<'_>> = vec![
            nodes,
            &self.runs,
            &self.nodes,
            &self.fences,
            &self.endpoints,
            &self.lanes,
            &self.created,
            &self.timeouts,
            &self.retentions,
            &self.digests,
            &self.fingerprints,
            &self.requests,
            &self.suspended,
            &self.due,
            &self.outcomes,
            &self.ended,
            &self.statuses,
            &self.finished,
            &self.sweep,
        ];
        params.extend(self.rows.params());
        params.extend([&self.pinned as Param<'_>, &part]);
        let statement = conn.prepare_cached(START).await?;
        let started = conn.query(&statement, &params).await?;
        started.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

/// Makes runs, and answers.
pub(crate) async fn start(inner: &Inner, conn: &Conn, part: i64, jobs: Vec<Job>) -> Result<(), (Vec<Job>, Abort)> {
    let written = async {
        let made: Vec<&NewRun> = jobs.iter().filter_map(|job| job.prepared.start.as_ref()).collect();
        inner.ensure_endpoints(&made).await?;
        let mut columns = New::default();
        for job in &jobs {
            if let Some(new) = &job.prepared.start {
                columns.push(job, new);
            }
        }
        let started = columns.write(conn, part, &nodes(&jobs)).await?;
        let refused = jobs.iter().filter(|job| !started.contains(&row::uuid(job.prepared.run_id())));
        let digests: Vec<&[u8]> =
            refused.filter_map(|job| Some(job.prepared.start.as_ref()?.key.as_ref()?.digest.as_slice())).collect();
        let taken = if digests.is_empty() { BTreeMap::new() } else { inner.taken_keys(conn, &digests).await? };
        Done::Ok((started, taken))
    };
    let (started, taken) = match Box::pin(inner.in_time(written)).await {
        Ok(written) => written,
        Err(abort) => return Err((jobs, abort)),
    };
    for job in jobs {
        let (prepared, Some(new)) = (&job.prepared, &job.prepared.start) else {
            job.answer(Err(corrupt("a run is made by a checkpoint that starts none")));
            continue;
        };
        if !started.contains(&row::uuid(new.run_id)) {
            let answer = match new.key.as_ref().map(|key| (key, taken.get(&key.digest))) {
                Some((_, Some((run_id, _)))) if *run_id == new.run_id => Err(StoreError::LeaseLost),
                Some((key, Some((run_id, fingerprint)))) => {
                    Err(StoreError::KeyTaken { run_id: *run_id, same_request: *fingerprint == key.fingerprint })
                }
                // Nobody has the key, or no longer: it was freed since.
                Some((_, None)) => Box::pin(inner.checkpoint_alone(prepared)).await,
                None => Err(StoreError::LeaseLost),
            };
            job.answer(answer);
            continue;
        }
        let timeout_at = new.timeout_at.map(onward_core::Timestamp::as_micros);
        let due_at = match prepared.then {
            Then::Keep => {
                let mut held = Held::started(new, &prepared.lease, row::lane(new));
                let seqs = prepared.entries.iter().map(|(seq, _)| *seq);
                let appended = held.append(seqs, prepared.frames.iter().map(|(place, count, _)| (*place, *count)));
                held.has_ties |= !prepared.waiters.is_empty();
                if appended.is_ok() {
                    inner.known.insert(new.run_id, held);
                }
                None
            }
            Then::Suspend { due_at } => Some(row::due_at(due_at, timeout_at)),
            Then::Finish(_) => None,
        };
        let done = answer_of(prepared, due_at);
        inner.tell_written(prepared, &done);
        job.answer(Ok(done));
    }
    Ok(())
}

impl Inner {
    /// Who has some keys.
    async fn taken_keys(
        &self,
        conn: &Conn,
        digests: &[&[u8]],
    ) -> Done<BTreeMap<[u8; 32], (onward_core::RunId, [u8; 32])>> {
        let statement = conn
            .prepare_cached("SELECT digest, run_id, fingerprint FROM onward_keys WHERE digest = ANY($1::BYTEA[])")
            .await?;
        let rows = conn.query(&statement, &[&digests]).await?;
        let bytes = |row: &tokio_postgres::Row, column: usize| -> Done<[u8; 32]> {
            let bytes: &[u8] = row.try_get(column)?;
            Ok(bytes.try_into().map_err(|_| unavailable("a digest has not 32 bytes"))?)
        };
        rows.iter().map(|row| Ok((bytes(row, 0)?, (row::run_id(row.try_get(1)?), bytes(row, 2)?)))).collect()
    }
}
