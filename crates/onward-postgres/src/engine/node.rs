//! Nodes come and go, and claim what is due.

use std::time::Duration;

use onward_core::{
    EndpointId, Fence, NodeId, StoreError, Timestamp,
    run::NewRun,
    store::{ClaimRequest, Claims, Endpoints, Lease, News, Woken},
};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    error::{Done, corrupt},
    held::Held,
    row,
    sender::PARTS,
    store::Inner,
    tx::Tx,
};

/// A run that a claim has leased.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    held: Held,
    lease: Lease,
    endpoint: EndpointId,
}

impl Inner {
    pub(crate) async fn join(&self, now: Timestamp, lease: Duration) -> Result<NodeId, StoreError> {
        // Positive, so that it reads well; drawn, so that no two nodes ever wait for a number.
        let node = getrandom::u64().map_err(|error| crate::error::unavailable(error.to_string()))? >> 1;
        let until = now.after(lease).as_micros();
        let freed = self
            .transact(|tx| async move {
                let tx = &*tx;
                let freed = take_over(tx, now).await?;
                tx.execute(
                    "INSERT INTO onward_nodes (id, part, joined_at, lease_until) \
                     SELECT $1::INT8, p.part, $2::INT8, $3::INT8 FROM unnest($4::INT8[]) AS p (part)",
                    &[&node.cast_signed(), &now.as_micros(), &until, &(0..PARTS).collect::<Vec<_>>()],
                )
                .await?;
                Ok(freed)
            })
            .await?;
        self.count_nodes().await?;
        if freed > 0 {
            self.news.tell(News::Due);
        }
        Ok(NodeId(node))
    }

    pub(crate) async fn heartbeat(&self, node: NodeId, now: Timestamp, lease: Duration) -> Result<(), StoreError> {
        let until = now.after(lease).as_micros();
        let renewed = self
            .transact(|tx| async move {
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
        // In a transaction of its own: a node that has hung, and what it locks, must not cost those that are well.
        match self.transact(|tx| async move { take_over(&tx, now).await }).await {
            Ok(0) => {}
            Ok(_) => self.news.tell(News::Due),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "nodes that are gone were not taken over");
            }
        }
        self.count_nodes().await
    }

    pub(crate) async fn leave(&self, node: NodeId, now: Timestamp) -> Result<(), StoreError> {
        let freed = self
            .transact(|tx| async move {
                let tx = &*tx;
                let gone = tx.execute("DELETE FROM onward_nodes WHERE id = $1", &[&row::node(node)]).await?;
                if gone == 0 { Ok(0) } else { free(tx, &[row::node(node)], now).await }
            })
            .await?;
        self.known.forget_node(node);
        if freed > 0 {
            self.news.tell(News::Due);
        }
        self.news.flush().await;
        Ok(())
    }

    /// Whether there are others is known from here on: who is alone tells nobody.
    async fn count_nodes(&self) -> Result<(), StoreError> {
        let rows = self.read("SELECT count(*) FROM onward_nodes WHERE part = 0", &[]).await?;
        let nodes: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(row::damaged)?;
        self.news.set_others(nodes > 1);
        Ok(())
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

    async fn all_lanes(&self) -> Result<Vec<i64>, StoreError> {
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

/// Frees the runs of nodes whose lease has ended. How many.
async fn take_over(tx: &Tx, now: Timestamp) -> Done<u64> {
    // One whose row somebody has is being renewed, or taken over already.
    let gone = tx
        .query(
            "SELECT id FROM onward_nodes WHERE part = 0 AND lease_until < $1 ORDER BY id FOR UPDATE SKIP LOCKED",
            &[&now.as_micros()],
        )
        .await?;
    if gone.is_empty() {
        return Ok(0);
    }
    let gone: Vec<i64> = gone.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    tx.execute("DELETE FROM onward_nodes WHERE id = ANY($1::INT8[])", &[&gone]).await?;
    free(tx, &gone, now).await
}

/// Makes the runs of nodes due that can write no more. A statement of its own, after their rows are locked: it sees
/// all that they have written.
async fn free(tx: &Tx, nodes: &[i64], now: Timestamp) -> Done<u64> {
    tx.execute(
        "WITH freed AS ( \
             DELETE FROM onward_leases WHERE node = ANY($1::INT8[]) RETURNING run_id, fence, pending \
         ) \
         INSERT INTO onward_suspended (run_id, lane, due_at, fence, pending) \
         SELECT f.run_id, r.lane, least($2, coalesce(r.timeout_at, $2)), f.fence, f.pending \
         FROM freed f JOIN onward_runs r ON r.run_id = f.run_id",
        &[&nodes, &now.as_micros()],
    )
    .await
}
