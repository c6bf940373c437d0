//! Values under names: settings, which stay as they were first proposed, and registrations, which may change.

use onward_core::{NodeId, Payload, StoreError};

use super::checkpoint::is_alive;
use crate::{row, store::Inner};

impl Inner {
    pub(crate) async fn setting(&self, name: &str, proposal: Option<&Payload>) -> Result<Option<Payload>, StoreError> {
        self.transact(|tx| async move {
            let tx = &*tx;
            if let Some(proposal) = proposal {
                tx.execute(
                    "INSERT INTO onward_settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                    &[&name, &proposal.as_ref()],
                )
                .await?;
            }
            let kept = tx.one("SELECT value FROM onward_settings WHERE name = $1", &[&name]).await?;
            Ok(kept.map(|kept| kept.try_get(0)).transpose()?.map(row::payload))
        })
        .await
    }

    /// Puts a value under a name, where it stays as long as the node, or for good.
    pub(crate) async fn register(&self, name: &str, value: &Payload, node: Option<NodeId>) -> Result<bool, StoreError> {
        let of = node.map(row::node);
        self.transact(|tx| async move {
            let tx = &*tx;
            if let Some(node) = of
                && !is_alive(tx, node).await?
            {
                return Err(StoreError::LeaseLost.into());
            }
            let changed = tx
                .execute(
                    "INSERT INTO onward_registrations AS r (name, value, node) VALUES ($1, $2, $3) \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value, node = excluded.node \
                     WHERE r.value <> excluded.value OR r.node IS DISTINCT FROM excluded.node",
                    &[&row::text(name), &value.as_ref(), &of],
                )
                .await?;
            Ok(changed > 0)
        })
        .await
    }

    /// Removes some of what nodes announced that are gone; gives how many.
    pub(super) async fn sweep_announced(&self, limit: i64) -> Result<usize, StoreError> {
        let swept = self.transact(|tx| async move {
            let tx = &*tx;
            let gone = tx
                .query(
                    "SELECT DISTINCT r.node FROM onward_registrations r WHERE r.node IS NOT NULL \
                     AND NOT EXISTS (SELECT 1 FROM onward_nodes n WHERE n.id = r.node AND n.part = 0) LIMIT $1",
                    &[&limit],
                )
                .await?;
            let gone: Vec<i64> = gone.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            if gone.is_empty() {
                return Ok(0);
            }
            // A name may become another node's at this moment, so the row itself must be of one that is gone.
            tx.execute(
                "DELETE FROM onward_registrations WHERE node = ANY($1::INT8[]) AND name IN \
                 (SELECT name FROM onward_registrations WHERE node = ANY($1::INT8[]) LIMIT $2)",
                &[&gone, &limit],
            )
            .await
        });
        Ok(usize::try_from(swept.await?).unwrap_or(usize::MAX))
    }

    pub(crate) async fn unregister(&self, name: &str) -> Result<bool, StoreError> {
        self.transact(|tx| async move {
            let tx = &*tx;
            Ok(tx.execute("DELETE FROM onward_registrations WHERE name = $1", &[&row::text(name)]).await? > 0)
        })
        .await
    }

    pub(crate) async fn registrations(&self) -> Result<Vec<(String, Payload)>, StoreError> {
        let rows = self.read("SELECT name, value FROM onward_registrations ORDER BY name", &[]).await?;
        let mut registrations: Vec<(String, Payload)> = Vec::with_capacity(rows.len());
        for row in &rows {
            let name = row::name(row.try_get(0).map_err(row::damaged)?);
            registrations.push((name, row::payload(row.try_get(1).map_err(row::damaged)?)));
        }
        // The database may sort by the rules of a language.
        registrations.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(registrations)
    }
}
