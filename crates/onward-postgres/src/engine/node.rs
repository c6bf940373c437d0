//! Nodes come and go, and claim what is due.

use std::{sync::Arc, time::Duration};

use deadpool::managed::Pool;
use onward_core::{
    Clock as _, EndpointId, Fence, NodeId, StoreError, Timestamp,
    run::NewRun,
    store::{ClaimRequest, Claims, Endpoints, Lease, News, Woken},
};

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    connect::{self, Connector},
    error::{Done, corrupt, unavailable},
    held::Held,
    row,
    sender::{PARTS, Sender},
    store::Inner,
    tx::Tx,
};

/// How many runs of a node that is gone are freed in one transaction, and for how long at a time at most.
const FREED_AT_ONCE: i64 = 1_000;
const FREES_FOR: Duration = Duration::from_secs(1);
/// The part of a lease for which a heartbeat waits for its housekeeping.
const HOUSEKEEPING_SHARE: u32 = 10;

/// What the row of a node that is gone says of its end, where the lease was.
const DIED: i64 = 0;
const LEFT: i64 = 1;

/// A run that a claim has leased.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    held: Held,
    lease: Lease,
    endpoint: EndpointId,
}

impl Inner {
    /// Does some work of the node's lease in a transaction, by the connection that is for it.
    async fn keep<T, Fut>(&self, work: impl Fn(Arc<Tx>) -> Fut) -> Result<T, StoreError>
    where
        Fut: Future<Output = Done<T>>,
    {
        self.transact_by(&self.keeper.pool, work).await
    }

    pub(crate) async fn join(&self, now: Timestamp, lease: Duration) -> Result<NodeId, StoreError> {
        // Positive, so that it reads well; drawn, so that no two nodes ever wait for a number.
        let node = getrandom::u64().map_err(|error| unavailable(error.to_string()))? >> 1;
        let until = now.after(lease).as_micros();
        self.keep(|tx| async move {
            tx.execute(
                "INSERT INTO onward_nodes (id, part, joined_at, lease_until) \
                 SELECT $1::INT8, p.part, $2::INT8, $3::INT8 FROM unnest($4::INT8[]) AS p (part)",
                &[&node.cast_signed(), &now.as_micros(), &until, &(0..PARTS).collect::<Vec<_>>()],
            )
            .await
        })
        .await?;
        self.take_over(&self.keeper.pool, now, lease).await?;
        Ok(NodeId(node))
    }

    /// Renews a node's lease. The answer does not depend on the housekeeping, which goes on by itself where it is slow.
    pub(crate) async fn heartbeat(
        self: &Arc<Self>,
        node: NodeId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let until = now.after(lease).as_micros();
        let renewed = self
            .keep(|tx| async move {
                tx.execute(
                    "UPDATE onward_nodes SET lease_until = greatest(lease_until, $2) WHERE id = $1 AND part = 0",
                    &[&row::node(node), &until],
                )
                .await
            })
            .await?;
        if renewed == 0 {
            self.known.forget_node(node);
            return Err(StoreError::LeaseLost);
        }
        // The next heartbeat skips the housekeeping while this one's is under way.
        if let Ok(turn) = Arc::clone(&self.housekeeping).try_lock_owned() {
            let inner = Arc::clone(self);
            let done = self.spawn(async move {
                inner.keep_house(now, lease).await;
                drop(turn);
            });
            let _ = tokio::time::timeout(lease / HOUSEKEEPING_SHARE, done).await;
        }
        Ok(())
    }

    /// Looks after what other nodes have left, by connections of the ordinary pool. The next heartbeat tries again what
    /// fails.
    async fn keep_house(&self, now: Timestamp, lease: Duration) {
        self.take_over(&self.pool, now, lease).await.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "nodes that are gone were not looked for");
        });
        self.forget_lost().await.unwrap_or_else(|error| {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "leases that others have ended were not looked for"
            );
        });
    }

    pub(crate) async fn leave(&self, node: NodeId, now: Timestamp) -> Result<(), StoreError> {
        self.keep(|tx| async move { bury(&tx, &[row::node(node)], LEFT).await }).await?;
        self.known.forget_node(node);
        self.free_all(&self.keeper.pool, now, FREES_FOR).await?;
        self.news.flush().await;
        Ok(())
    }

    /// Whether each sender could write, or can: where it has not of late, it locks and changes its part of the node, as it
    /// would for a group, to what that is.
    pub(crate) async fn can_checkpoint(&self, node: NodeId, within: Duration) -> Result<(), StoreError> {
        let tries = self.senders.iter().map(|sender| self.try_write(sender, node, within));
        futures_util::future::join_all(tries).await.into_iter().collect()
    }

    async fn try_write(&self, sender: &Sender, node: NodeId, within: Duration) -> Result<(), StoreError> {
        let refused = || unavailable("the last group of checkpoints could not be written");
        if let Some(works) = sender.writes(within) {
            return works.then_some(()).ok_or_else(refused);
        }
        sender.doubt();
        let conn = sender.connection().await?;
        // It may have had the connection for a group meanwhile.
        if let Some(works) = sender.writes(within) {
            return works.then_some(()).ok_or_else(refused);
        }
        if sender.is_other(&conn) {
            self.known.clear();
        }
        let written = self.in_time(async {
            let sql = "UPDATE onward_nodes SET lease_until = lease_until WHERE id = $1 AND part = $2";
            let statement = conn.prepare_cached(sql).await?;
            Ok(conn.execute(&statement, &[&row::node(node), &sender.part]).await?)
        });
        match written.await {
            Ok(_) => sender.worked(),
            Err(abort) => {
                // What the connection is in the middle of is not known.
                drop(connect::Conn::take(conn));
                return Err(abort.into());
            }
        }
        Ok(())
    }

    pub(crate) async fn uncount_crashes(&self, node: NodeId) -> Result<(), StoreError> {
        let (node, now) = (row::node(node), self.clock.now().as_micros());
        self.keep(|tx| async move {
            // First, because whoever frees runs of the node has this row: those that are left count no crash either.
            tx.execute("UPDATE onward_nodes SET lease_until = $2 WHERE id = $1 AND part = -1", &[&node, &LEFT]).await?;
            let sql = "INSERT INTO onward_lives (node, at) VALUES ($1, $2) ON CONFLICT (node) DO NOTHING";
            tx.execute(sql, &[&node, &now]).await
        })
        .await?;
        Ok(())
    }

    /// Gives up the nodes whose lease has ended, and makes the runs of all that are gone due. What of that cannot be done
    /// now is for the next heartbeat, here or elsewhere.
    async fn take_over(&self, pool: &Pool<Connector>, now: Timestamp, lease: Duration) -> Result<(), StoreError> {
        let left = |error: StoreError| {
            tracing::warn!(error = &error as &dyn std::error::Error, "nodes that are gone were not taken over");
        };
        // In a transaction of its own: a node that has hung, and what it locks, must not cost those that are well.
        let buried = self.transact_by(pool, |tx| async move {
            let tx = &*tx;
            // One whose row somebody has is being renewed, or taken over already.
            let ended = tx
                .query(
                    "SELECT id FROM onward_nodes WHERE part = 0 AND lease_until < $1 ORDER BY id FOR UPDATE SKIP LOCKED",
                    &[&now.as_micros()],
                )
                .await?;
            let ended: Vec<i64> = ended.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            bury(tx, &ended, DIED).await
        });
        buried.await.unwrap_or_else(left);
        if self.count_nodes(pool).await? > 0 {
            self.free_all(pool, now, FREES_FOR.min(lease / HOUSEKEEPING_SHARE)).await.unwrap_or_else(left);
        }
        Ok(())
    }

    /// Makes the runs of nodes due that are gone, for a time. The rest is for the next heartbeat.
    async fn free_all(&self, pool: &Pool<Connector>, now: Timestamp, time: Duration) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut after = Uuid::nil();
        while began.elapsed() < time {
            match self.transact_by(pool, |tx| async move { free_some(&tx, after, now).await }).await? {
                Freed::Some(last) => {
                    after = last;
                    self.news.tell(News::Due);
                }
                Freed::Last => after = Uuid::nil(),
                Freed::Nothing => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether there are others is known from here on: who is alone tells nobody. How many are gone whose runs are not
    /// freed.
    async fn count_nodes(&self, pool: &Pool<Connector>) -> Result<i64, StoreError> {
        let sql = "SELECT (SELECT count(*) FROM onward_nodes WHERE part = 0), \
             (SELECT count(*) FROM onward_nodes WHERE part = -1)";
        let rows = self.read_by(pool, sql, &[]).await?;
        let count = |at: usize| rows.first().map_or(Ok(0), |row| row.try_get(at)).map_err(row::damaged);
        let (nodes, gone): (i64, i64) = (count(0)?, count(1)?);
        self.news.set_others(nodes > 1);
        Ok(gone)
    }

    pub(crate) async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        let (node, now) = (row::node(request.node), request.now.as_micros());
        let mut lanes: Vec<i64> = match &request.endpoints {
            Endpoints::Only(served) => served.iter().flat_map(row::lanes).collect(),
            Endpoints::All => self.all_lanes().await?,
        };
        // Several versions of an endpoint have a lane together.
        lanes.sort_unstable();
        lanes.dedup();
        let lanes = &lanes;
        let limit = i64::try_from(request.limit).unwrap_or(i64::MAX);
        let doubtful: Vec<Claimed> =
            std::mem::take(&mut *self.doubtful.lock()).into_iter().filter(|of| of.lease.node == request.node).collect();
        let (doubtful, taken) = (&doubtful, &Mutex::new(Vec::new()));
        let done = self
            .transact(|tx| async move { let tx = &*tx;
                taken.lock().clear();
                let alive = tx.one("SELECT id FROM onward_nodes WHERE id = $1 AND part = 0 FOR KEY SHARE", &[&node]).await?;
                if alive.is_none() {
                    return Err(StoreError::LeaseLost.into());
                }
                let mut claimed = found(tx, node, doubtful).await?;
                if limit > 0 {
                    claimed.append(&mut take(tx, request.node, lanes, now, limit).await?);
                }
                taken.lock().clone_from(&claimed);
                let nudged =
                    tx.query("SELECT run_id FROM onward_leases WHERE node = $1 AND pending > 0", &[&node]).await?;
                let own: Vec<_> = claimed.iter().map(|of| of.lease.run_id).collect();
                let nudged: Vec<_> = nudged.iter().map(|row| row.try_get(0).map(row::run_id)).collect::<Result<_, _>>()?;
                let nudged: Vec<_> = nudged.into_iter().filter(|run_id| !own.contains(run_id)).collect();
                let next = tx
                    .one(
                        "SELECT min(next.due_at) FROM unnest($1::INT8[]) AS l (lane) CROSS JOIN LATERAL \
                         (SELECT s.due_at FROM onward_suspended s WHERE s.lane = l.lane ORDER BY s.due_at LIMIT 1) AS next",
                        &[lanes],
                    )
                    .await?
                    .and_then(|row| row.try_get::<_, Option<i64>>(0).transpose())
                    .transpose()?;
                Ok((claimed, nudged, next))
            })
            .await;
        let (claimed, nudged, next_due_at) = done.inspect_err(|_| {
            // Its commit may be under way. What it leased is nobody's then, and is looked for by the next claim.
            let mut kept = self.doubtful.lock();
            kept.extend(doubtful.iter().chain(&*taken.lock()).cloned());
            kept.sort_unstable_by_key(|of| (of.lease.run_id, of.lease.fence));
            kept.dedup_by_key(|of| (of.lease.run_id, of.lease.fence));
        })?;
        let mut leases = Vec::with_capacity(claimed.len());
        for Claimed { held, lease, endpoint } in claimed {
            self.known.insert(lease.run_id, held);
            leases.push((lease, endpoint));
        }
        let next_due_at = next_due_at.map(Timestamp::from_micros).filter(|at| *at != Timestamp::NEVER);
        Ok(Claims { leases, nudged, next_due_at })
    }

    pub(crate) async fn all_lanes(&self) -> Result<Vec<i64>, StoreError> {
        let rows = self.read("SELECT id FROM onward_endpoints", &[]).await?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(row::damaged)
    }

    /// Makes the endpoints of new runs known, before the runs are. Not in their transaction: what is undone with it
    /// would be taken for known here.
    pub(crate) async fn ensure_endpoints(&self, new: &[&NewRun]) -> Result<(), StoreError> {
        for new in new {
            for (number, version) in row::endpoint_rows(new) {
                if self.endpoints.lock().contains(&number) {
                    continue;
                }
                let name = new.endpoint.as_str();
                let kept = self
                    .transact(|tx| async move {
                        let tx = &*tx;
                        tx.execute(
                            "INSERT INTO onward_endpoints (id, name, version) VALUES ($1, $2, $3) \
                             ON CONFLICT (id) DO NOTHING",
                            &[&number, &name, &version],
                        )
                        .await?;
                        let kept = tx.one("SELECT name FROM onward_endpoints WHERE id = $1", &[&number]).await?;
                        Ok(kept.map(|kept| kept.try_get::<_, String>(0)).transpose()?)
                    })
                    .await?;
                if kept.as_deref() != Some(name) {
                    return Err(corrupt("two endpoints have the same number"));
                }
                self.endpoints.lock().insert(number);
            }
        }
        Ok(())
    }

    /// Tells other nodes of what they may claim, or look for.
    pub(crate) fn tell_woken(&self, woken: &[Woken], own: NodeId) {
        if woken.iter().any(|woken| woken.node != Some(own)) {
            self.news.tell(News::Due);
        }
    }
}

/// Leases due runs, the longest due first.
async fn take(tx: &Tx, node: NodeId, lanes: &[i64], now: i64, limit: i64) -> Done<Vec<Claimed>> {
    let rows = tx
        .query(
            "WITH due AS ( \
                 SELECT d.run_id FROM unnest($1::INT8[]) AS l (lane) CROSS JOIN LATERAL \
                 (SELECT s.run_id, s.due_at FROM onward_suspended s WHERE s.lane = l.lane AND s.due_at <= $2 \
                  ORDER BY s.due_at, s.run_id LIMIT $3 FOR UPDATE SKIP LOCKED) AS d \
                 ORDER BY d.due_at, d.run_id LIMIT $3 \
             ), taken AS ( \
                 DELETE FROM onward_suspended s USING due WHERE s.run_id = due.run_id \
                 RETURNING s.run_id, s.due_at, s.fence, s.pending \
             ), leased AS ( \
                 INSERT INTO onward_leases (run_id, node, fence, pending) \
                 SELECT t.run_id, $4, t.fence + 1, t.pending FROM taken t \
             ) \
             SELECT t.run_id, t.fence + 1, p.name, r.lane, r.timeout_at, r.retention, \
                 (SELECT max(seq) FROM onward_entries e WHERE e.run_id = t.run_id), \
                 (SELECT max(place + count - 1) FROM onward_frames f WHERE f.run_id = t.run_id), \
                 r.parent_run IS NOT NULL \
                   OR EXISTS (SELECT 1 FROM onward_event_waiters w WHERE w.run_id = t.run_id) \
                   OR EXISTS (SELECT 1 FROM onward_signal_waiters w WHERE w.run_id = t.run_id) \
                   OR EXISTS (SELECT 1 FROM onward_deliveries w WHERE w.run_id = t.run_id) \
             FROM taken t JOIN onward_runs r ON r.run_id = t.run_id JOIN onward_endpoints p ON p.id = r.endpoint \
             ORDER BY t.due_at, t.run_id",
            &[&lanes, &now, &limit, &row::node(node)],
        )
        .await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        let fence = Fence(row.try_get::<_, i64>(1)?.cast_unsigned());
        let lease = Lease { run_id: row::run_id(row.try_get(0)?), fence, node };
        let name: String = row.try_get(2)?;
        let endpoint = EndpointId::try_new(name).map_err(|_| corrupt("invalid endpoint id"))?;
        let held = Held {
            fence,
            node,
            next: row::next(row.try_get(6)?)?,
            streamed: row::place(row.try_get(7)?)?,
            lane: row.try_get(3)?,
            timeout_at: row.try_get(4)?,
            retention: row.try_get(5)?,
            has_ties: row.try_get(8)?,
        };
        claimed.push(Claimed { held, lease, endpoint });
    }
    Ok(claimed)
}

/// Which of the runs of earlier claims are this node's after all.
async fn found(tx: &Tx, node: i64, doubtful: &[Claimed]) -> Done<Vec<Claimed>> {
    if doubtful.is_empty() {
        return Ok(Vec::new());
    }
    let runs: Vec<Uuid> = doubtful.iter().map(|of| row::uuid(of.lease.run_id)).collect();
    // A commit that is under way is waited for: it has these rows.
    tx.query("SELECT run_id FROM onward_suspended WHERE run_id = ANY($1::UUID[]) ORDER BY run_id FOR UPDATE", &[&runs])
        .await?;
    let fences: Vec<i64> = doubtful.iter().map(|of| row::fence(of.lease.fence)).collect();
    let rows = tx
        .query(
            "SELECT l.run_id, l.fence FROM unnest($1::UUID[], $2::INT8[]) AS d (run_id, fence) \
             JOIN onward_leases l ON l.run_id = d.run_id AND l.fence = d.fence WHERE l.node = $3",
            &[&runs, &fences, &node],
        )
        .await?;
    let mut ours = Vec::with_capacity(rows.len());
    for row in &rows {
        ours.push((row::run_id(row.try_get(0)?), row.try_get::<_, i64>(1)?));
    }
    let is_ours = |of: &&Claimed| ours.contains(&(of.lease.run_id, row::fence(of.lease.fence)));
    Ok(doubtful.iter().filter(is_ours).cloned().collect())
}

/// Ends nodes. Whoever deletes their rows waits for what they are writing, and they write nothing after it. A row of
/// another kind tells that their runs are to be freed, and whether they have crashed.
async fn bury(tx: &Tx, nodes: &[i64], end: i64) -> Done<()> {
    if nodes.is_empty() {
        return Ok(());
    }
    tx.execute(
        "WITH gone AS (DELETE FROM onward_nodes WHERE id = ANY($1::INT8[]) AND part >= 0 RETURNING id) \
         INSERT INTO onward_nodes (id, part, joined_at, lease_until) SELECT DISTINCT id, -1, 0, $2::INT8 FROM gone",
        &[&nodes, &end],
    )
    .await?;
    Ok(())
}

/// What came of freeing some runs.
enum Freed {
    /// There may be more of the same node, after this one.
    Some(Uuid),
    /// They were the last of their node.
    Last,
    /// No node is gone, or others free its runs.
    Nothing,
}

/// Makes some runs of a node due that is gone and can write no more: those after a run, in order. In a transaction
/// that begins after the one that ended the node: it sees all that the node has written.
async fn free_some(tx: &Tx, after: Uuid, now: Timestamp) -> Done<Freed> {
    let gone = tx
        .one("SELECT id, lease_until FROM onward_nodes WHERE part = -1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED", &[])
        .await?;
    let Some(gone) = gone else { return Ok(Freed::Nothing) };
    let (node, has_crashed): (i64, bool) = (gone.try_get(0)?, gone.try_get::<_, i64>(1)? == DIED);
    let freed = tx
        .query(
            "WITH few AS ( \
                 SELECT run_id FROM onward_leases WHERE node = $1 AND run_id > $2 ORDER BY run_id LIMIT $3 \
             ), freed AS ( \
                 DELETE FROM onward_leases l USING few s WHERE l.run_id = s.run_id AND l.node = $1 \
                 RETURNING l.run_id, l.fence, l.pending \
             ), due AS ( \
                 INSERT INTO onward_suspended (run_id, lane, due_at, fence, pending) \
                 SELECT f.run_id, r.lane, least($4, coalesce(r.timeout_at, $4)), f.fence, f.pending \
                 FROM freed f JOIN onward_runs r ON r.run_id = f.run_id \
             ), counted AS ( \
                 INSERT INTO onward_crashes AS c (run_id, next, nodes, last_at) \
                 SELECT f.run_id, n.next, CASE WHEN n.next = 0 THEN ARRAY[$1::INT8] ELSE ARRAY[]::INT8[] END, $4 \
                 FROM freed f CROSS JOIN LATERAL \
                 (SELECT coalesce(max(seq) + 1, 0) AS next FROM onward_entries e WHERE e.run_id = f.run_id) AS n \
                 WHERE $5 \
                 ON CONFLICT (run_id) DO UPDATE SET next = excluded.next, last_at = excluded.last_at, \
                     nodes = CASE WHEN c.next = excluded.next THEN array_append(c.nodes, $1::INT8) ELSE excluded.nodes END \
             ) \
             SELECT run_id FROM few ORDER BY run_id DESC LIMIT 1",
            &[&node, &after, &FREED_AT_ONCE, &now.as_micros(), &has_crashed],
        )
        .await?;
    if let Some(last) = freed.first() {
        return Ok(Freed::Some(last.try_get(0)?));
    }
    // From the beginning: there may be one before those after which it was looked.
    let left = tx.one("SELECT run_id FROM onward_leases WHERE node = $1 LIMIT 1", &[&node]).await?;
    if left.is_none() {
        tx.execute("DELETE FROM onward_nodes WHERE id = $1", &[&node]).await?;
    }
    Ok(Freed::Last)
}
