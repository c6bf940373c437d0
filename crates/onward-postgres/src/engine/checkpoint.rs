//! One transaction on one run.

use onward_core::{
    Fence, Payload, RunId, Seq, StoreError, Timestamp,
    run::{NewRun, Outcome},
    store::{Checkpointed, Lease, News, Then, Woken},
    stream::Place,
    waiter::{Delivery, Fact, Subject, Waiter},
};

use tokio::time::Instant;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{deliver::deliver, event, signal};
use crate::{
    error::{Abort, Done, corrupt},
    held::Held,
    prepared::Prepared,
    row,
    store::Inner,
    tx::Tx,
};

impl Inner {
    /// Writes a checkpoint in a transaction of its own.
    pub(crate) async fn checkpoint_alone(&self, prepared: &Prepared) -> Result<Checkpointed, StoreError> {
        let new: Vec<&NewRun> = prepared.start.iter().chain(&prepared.children).collect();
        self.ensure_endpoints(&new).await?;
        let written = self
            .transact(|tx| async move {
                let tx = &*tx;
                event::lock_names(tx, &names(prepared)).await?;
                self.write(tx, prepared).await
            })
            .await;
        match written {
            Ok((done, held)) => {
                match held {
                    Some(held) => self.known.insert(prepared.run_id(), held),
                    None => self.known.forget(prepared.run_id()),
                }
                self.tell_written(prepared, &done);
                Ok(done)
            }
            Err(error) => {
                self.known.forget(prepared.run_id());
                Err(error)
            }
        }
    }

    /// What others should be told of a checkpoint that was written.
    pub(crate) fn tell_written(&self, prepared: &Prepared, done: &Checkpointed) {
        let now = Instant::now();
        if matches!(prepared.then, Then::Finish(_)) {
            self.news.tell_of(News::Ended(prepared.run_id()), now);
        }
        if !prepared.frames.is_empty() {
            self.news.tell_of(News::Streamed(prepared.run_id()), now);
        }
        self.tell_woken(&done.woken, prepared.lease.node);
    }

    /// Writes it, and gives what is known of the run then, if it stays held.
    pub(crate) async fn write(&self, tx: &Tx, prepared: &Prepared) -> Done<(Checkpointed, Option<Held>)> {
        let mut held = match &prepared.start {
            Some(new) => start(tx, prepared, new).await?,
            None => lease(tx, prepared).await?,
        };
        check_children(prepared)?;
        let seqs = prepared.entries.iter().map(|(seq, _)| *seq);
        held.append(seqs, prepared.frames.iter().map(|(place, count, _)| (*place, *count)))?;
        append(tx, prepared.run_id(), &prepared.entries).await?;
        append_frames(tx, prepared).await?;
        let mut done = Checkpointed::default();
        settle(tx, prepared).await?;
        for waiter in &prepared.waiters {
            register(tx, prepared.run_id(), waiter, prepared.now, &mut done.woken).await?;
        }
        event::accept(self, tx, &prepared.events, prepared.now, &mut done.woken).await?;
        for sent in &prepared.signals {
            done.signalled.push(signal::send(tx, sent, prepared.now, &mut done.woken).await?);
        }
        for child in &prepared.children {
            invoke(tx, child, prepared.now).await?;
            done.woken.push(Woken { run_id: child.run_id, node: None });
        }
        let held = then(tx, prepared, held, &mut done.woken).await?;
        Ok((done, held))
    }
}

/// Names of events that the checkpoint must be alone with.
fn names(prepared: &Prepared) -> Vec<&str> {
    let waited = prepared.waiters.iter().filter_map(|waiter| match &waiter.subject {
        Subject::Event { matcher, since: Some(_) } => Some(matcher.name.as_str()),
        _ => None,
    });
    prepared.events.iter().map(|event| event.name.as_str()).chain(waited).collect()
}

/// Whether a node is there; it stays so until the end of the transaction.
pub(super) async fn is_alive(tx: &Tx, node: i64) -> Done<bool> {
    Ok(tx.one("SELECT id FROM onward_nodes WHERE id = $1 AND part = 0 FOR KEY SHARE", &[&node]).await?.is_some())
}

async fn start(tx: &Tx, prepared: &Prepared, new: &NewRun) -> Done<Held> {
    let lease = &prepared.lease;
    if new.run_id != lease.run_id {
        return Err(corrupt("a checkpoint starts another run than its lease is for").into());
    }
    if !is_alive(tx, row::node(lease.node)).await? {
        return Err(StoreError::LeaseLost.into());
    }
    insert_run(tx, new).await?;
    tx.execute(
        "INSERT INTO onward_leases (run_id, node, fence, pending) VALUES ($1, $2, $3, 0)",
        &[&row::uuid(new.run_id), &row::node(lease.node), &row::fence(lease.fence)],
    )
    .await?;
    Ok(Held::started(new, lease, row::lane(new)))
}

/// Makes a run. One whose id is known already is refused.
async fn insert_run(tx: &Tx, new: &NewRun) -> Done<()> {
    let run = row::uuid(new.run_id);
    let made = tx
        .execute(
            "INSERT INTO onward_runs (run_id, endpoint, lane, pinned, created_at, timeout_at, retention, parent_run, \
             parent_step, key_digest, request) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (run_id) DO NOTHING",
            &[
                &run,
                &row::endpoint(new),
                &row::lane(new),
                &new.pinned,
                &new.created_at.as_micros(),
                &new.timeout_at.map(Timestamp::as_micros),
                &row::micros(new.retention),
                &new.parent.map(|parent| row::uuid(parent.run_id)),
                &new.parent.map(|parent| parent.step.to_bytes().to_vec()),
                &new.key.as_ref().map(|key| key.digest.as_slice()),
                &new.request.as_ref(),
            ],
        )
        .await?;
    if made == 0 {
        return Err(StoreError::LeaseLost.into());
    }
    let Some(key) = &new.key else { return Ok(()) };
    let (digest, fingerprint) = (key.digest.as_slice(), key.fingerprint.as_slice());
    let claimed = tx
        .execute(
            "INSERT INTO onward_keys (digest, run_id, fingerprint) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING",
            &[&digest, &run, &fingerprint],
        )
        .await?;
    if claimed > 0 {
        return Ok(());
    }
    let taken = tx.one("SELECT run_id, fingerprint FROM onward_keys WHERE digest = $1", &[&digest]).await?;
    let Some(taken) = taken else { return Err(crate::error::unavailable("a key was freed meanwhile").into()) };
    let theirs: &[u8] = taken.try_get(1)?;
    let run_id = row::run_id(taken.try_get(0)?);
    Err(StoreError::KeyTaken { run_id, same_request: theirs == fingerprint }.into())
}

/// The run that this lease is for, if it is held under it; the lease is locked.
async fn held(tx: &Tx, lease: &Lease) -> Done<Option<Row>> {
    if !is_alive(tx, row::node(lease.node)).await? {
        return Ok(None);
    }
    tx.one(
        "SELECT r.lane, r.timeout_at, r.retention, r.parent_run \
         FROM onward_leases l JOIN onward_runs r ON r.run_id = l.run_id \
         WHERE l.run_id = $1 AND l.node = $2 AND l.fence = $3 FOR UPDATE OF l",
        &[&row::uuid(lease.run_id), &row::node(lease.node), &row::fence(lease.fence)],
    )
    .await
}

/// Whether a run that is not there is made now: its start took too long for who asked, and its commit is under way.
/// That cannot be seen, but it can be waited for, by making the run. This one's is undone, as the write is refused.
async fn is_being_made(tx: &Tx, run: Uuid) -> Done<bool> {
    let made = tx
        .execute(
            "INSERT INTO onward_runs (run_id, endpoint, lane, pinned, created_at, retention, request) \
             VALUES ($1, 0, 0, FALSE, 0, 0, '') ON CONFLICT (run_id) DO NOTHING",
            &[&run],
        )
        .await?;
    Ok(made == 0)
}

/// What is stored of a run that this lease is for; it is locked.
async fn lease(tx: &Tx, prepared: &Prepared) -> Done<Held> {
    let (lease, run) = (&prepared.lease, row::uuid(prepared.run_id()));
    let held = match held(tx, lease).await? {
        Some(held) => held,
        None if tx.one("SELECT run_id FROM onward_runs WHERE run_id = $1", &[&run]).await?.is_some() => {
            return Err(StoreError::LeaseLost.into());
        }
        None if !is_being_made(tx, run).await? => return Err(StoreError::RunNotFound.into()),
        None => held(tx, lease).await?.ok_or(StoreError::LeaseLost)?,
    };
    let places = tx
        .one(
            "SELECT (SELECT max(seq) FROM onward_entries WHERE run_id = $1), \
             (SELECT max(place + count - 1) FROM onward_frames WHERE run_id = $1), \
             EXISTS (SELECT 1 FROM onward_event_waiters WHERE run_id = $1) \
               OR EXISTS (SELECT 1 FROM onward_signal_waiters WHERE run_id = $1) \
               OR EXISTS (SELECT 1 FROM onward_deliveries WHERE run_id = $1)",
            &[&run],
        )
        .await?
        .ok_or_else(|| corrupt("a question without an answer"))?;
    let parent: Option<Uuid> = held.try_get(3)?;
    Ok(Held {
        fence: lease.fence,
        node: lease.node,
        next: row::next(places.try_get(0)?)?,
        streamed: row::place(places.try_get(1)?)?,
        lane: held.try_get(0)?,
        timeout_at: held.try_get(1)?,
        retention: held.try_get(2)?,
        has_ties: parent.is_some() || places.try_get(2)?,
    })
}

/// No run is made twice by one checkpoint.
fn check_children(prepared: &Prepared) -> Result<(), StoreError> {
    for (place, child) in prepared.children.iter().enumerate() {
        let twice = prepared.children[..place].iter().chain(&prepared.start).any(|other| {
            other.run_id == child.run_id
                || child.key.is_some()
                    && other.key.as_ref().map(|key| key.digest) == child.key.as_ref().map(|key| key.digest)
        });
        if twice {
            return Err(StoreError::LeaseLost);
        }
    }
    Ok(())
}

/// Makes a run that is due at once.
async fn invoke(tx: &Tx, child: &NewRun, now: Timestamp) -> Done<()> {
    insert_run(tx, child).await?;
    let due_at = row::due_at(now, child.timeout_at.map(Timestamp::as_micros));
    tx.execute(
        "INSERT INTO onward_suspended (run_id, lane, due_at, fence, pending) VALUES ($1, $2, $3, 0, 0)",
        &[&row::uuid(child.run_id), &row::lane(child), &due_at],
    )
    .await?;
    Ok(())
}

/// Appends to a journal.
pub(super) async fn append(tx: &Tx, run_id: RunId, entries: &[(Seq, Payload)]) -> Done<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let seqs: Vec<i64> = entries.iter().map(|(seq, _)| i64::from(seq.0)).collect();
    let data: Vec<&[u8]> = entries.iter().map(|(_, data)| data.as_ref()).collect();
    tx.execute(
        "INSERT INTO onward_entries (run_id, seq, data) \
         SELECT $1, e.seq, e.data FROM unnest($2::INT8[], $3::BYTEA[]) AS e (seq, data)",
        &[&row::uuid(run_id), &seqs, &data],
    )
    .await?;
    Ok(())
}

async fn append_frames(tx: &Tx, prepared: &Prepared) -> Done<()> {
    for (Place(place), count, data) in &prepared.frames {
        tx.execute(
            "INSERT INTO onward_frames (run_id, place, count, data) VALUES ($1, $2, $3, $4)",
            &[&row::uuid(prepared.run_id()), &i64::from(*place), &i64::from(*count), &data.as_ref()],
        )
        .await?;
    }
    Ok(())
}

/// Takes away what steps waited for and what came for them.
async fn settle(tx: &Tx, prepared: &Prepared) -> Done<()> {
    if prepared.settled.is_empty() {
        return Ok(());
    }
    let run = row::uuid(prepared.run_id());
    let steps: Vec<Vec<u8>> = prepared.settled.iter().map(|step| step.to_bytes().to_vec()).collect();
    for sql in [
        "DELETE FROM onward_event_waiters WHERE run_id = $1 AND step = ANY($2::BYTEA[])",
        "DELETE FROM onward_signal_waiters WHERE run_id = $1 AND step = ANY($2::BYTEA[])",
    ] {
        tx.execute(sql, &[&run, &steps]).await?;
    }
    let taken = tx
        .execute("DELETE FROM onward_deliveries WHERE run_id = $1 AND step = ANY($2::BYTEA[])", &[&run, &steps])
        .await?;
    if taken > 0 {
        let taken = i64::try_from(taken).unwrap_or(i64::MAX);
        tx.execute("UPDATE onward_leases SET pending = pending - $2 WHERE run_id = $1", &[&run, &taken]).await?;
    }
    Ok(())
}

/// Registers a waiter of a running run, or delivers to it at once.
async fn register(tx: &Tx, run_id: RunId, waiter: &Waiter, now: Timestamp, woken: &mut Vec<Woken>) -> Done<()> {
    let (run, step) = (row::uuid(run_id), waiter.step.to_bytes().to_vec());
    match &waiter.subject {
        Subject::Event { matcher, since } => {
            if let Some(since) = since
                && let Some((at, found)) = event::since(tx, matcher, *since).await?
            {
                let found = Delivery { step: waiter.step, at, fact: Fact::Event(found) };
                return deliver(tx, vec![(run_id, found)], now, woken).await;
            }
            let (path, text) = row::compared(matcher);
            let digest = onward_core::store::record::text_digest(text);
            let stored = onward_core::store::record::encode_matcher(matcher);
            tx.execute(
                "INSERT INTO onward_event_waiters (run_id, step, name, path, digest, matcher) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run_id, step) DO UPDATE SET name = excluded.name, \
                 path = excluded.path, digest = excluded.digest, matcher = excluded.matcher",
                &[&run, &step, &row::text(&matcher.name), &path, &digest, &stored],
            )
            .await?;
            Ok(())
        }
        Subject::Signal { name, replace } => {
            signal::wait(tx, run_id, waiter.step, &row::text(name), *replace, now, woken).await
        }
    }
}

/// What becomes of the run. What is known of it, if it stays held.
async fn then(tx: &Tx, prepared: &Prepared, mut held: Held, woken: &mut Vec<Woken>) -> Done<Option<Held>> {
    let (run_id, run) = (prepared.run_id(), row::uuid(prepared.run_id()));
    match &prepared.then {
        Then::Keep => {
            held.has_ties |= !(prepared.waiters.is_empty() && prepared.children.is_empty());
            Ok(Some(held))
        }
        Then::Suspend { due_at } => {
            let pending = release(tx, run_id).await?.ok_or(Abort::Refused(StoreError::LeaseLost))?.1;
            let due_at = if pending > 0 { prepared.now } else { *due_at };
            let due_at = row::due_at(due_at, held.timeout_at);
            tx.execute(
                "INSERT INTO onward_suspended (run_id, lane, due_at, fence, pending) VALUES ($1, $2, $3, $4, $5)",
                &[&run, &held.lane, &due_at, &row::fence(held.fence), &pending],
            )
            .await?;
            woken.retain(|woken| woken.run_id != run_id);
            if due_at <= prepared.now.as_micros() {
                woken.push(Woken { run_id, node: None });
            }
            Ok(None)
        }
        Then::Finish(outcome) => {
            release(tx, run_id).await?;
            let ended = End { outcome, encoded: &prepared.outcome, fence: held.fence, retention: held.retention };
            end(tx, run_id, &ended, prepared.now, woken).await?;
            woken.retain(|woken| woken.run_id != run_id);
            Ok(None)
        }
    }
}

/// Takes a run's lease away; its fence and how many deliveries were not taken, if it had one.
pub(super) async fn release(tx: &Tx, run_id: RunId) -> Done<Option<(Fence, i64)>> {
    let released =
        tx.one("DELETE FROM onward_leases WHERE run_id = $1 RETURNING fence, pending", &[&row::uuid(run_id)]).await?;
    released.map(|row| Ok((Fence(row.try_get::<_, i64>(0)?.cast_unsigned()), row.try_get(1)?))).transpose()
}

/// How a run ends.
pub(super) struct End<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) encoded: &'a Payload,
    pub(super) fence: Fence,
    pub(super) retention: i64,
}

/// Ends a run that nobody holds any more: it waits for nothing, and its parent gets the outcome.
pub(super) async fn end(tx: &Tx, run_id: RunId, end: &End<'_>, now: Timestamp, woken: &mut Vec<Woken>) -> Done<()> {
    let run = row::uuid(run_id);
    tx.execute(
        "INSERT INTO onward_ended (run_id, status, finished_at, sweep_at, fence, outcome) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            &run,
            &i64::from(end.outcome.status.number()),
            &now.as_micros(),
            &row::sweep_at(now, end.retention),
            &row::fence(end.fence),
            &end.encoded.as_ref(),
        ],
    )
    .await?;
    for sql in FORGET_WAITS {
        tx.execute(sql, &[&run]).await?;
    }
    let parent = tx.one("SELECT parent_run, parent_step FROM onward_runs WHERE run_id = $1", &[&run]).await?;
    let Some(parent) = parent else { return Ok(()) };
    let Some(parent) = row::parent(parent.try_get(0)?, parent.try_get(1)?)? else { return Ok(()) };
    let told = Delivery { step: parent.step, at: now, fact: Fact::Outcome(end.outcome.clone()) };
    deliver(tx, vec![(parent.run_id, told)], now, woken).await
}

/// Removes all that a run waited for.
pub(super) const FORGET_WAITS: [&str; 3] = [
    "DELETE FROM onward_event_waiters WHERE run_id = $1",
    "DELETE FROM onward_signal_waiters WHERE run_id = $1",
    "DELETE FROM onward_deliveries WHERE run_id = $1",
];

/// Writes a checkpoint in the transaction in which a user's code has written.
pub(crate) async fn finish_user_work(
    inner: &Inner,
    tx: &Tx,
    prepared: &Prepared,
) -> Done<(Checkpointed, Option<Held>)> {
    event::lock_names(tx, &names(prepared)).await?;
    inner.write(tx, prepared).await
}
