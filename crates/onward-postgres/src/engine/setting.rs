//! Values under names: settings, which stay as they were first proposed, and registrations, which may change.

use onward_core::{Payload, StoreError};

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

    pub(crate) async fn register(&self, name: &str, value: &Payload) -> Result<bool, StoreError> {
        self.transact(|tx| async move {
            let tx = &*tx;
            let changed = tx
                .execute(
                    "INSERT INTO onward_registrations AS r (name, value) VALUES ($1, $2) \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE r.value <> excluded.value",
                    &[&row::text(name), &value.as_ref()],
                )
                .await?;
            Ok(changed > 0)
        })
        .await
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
