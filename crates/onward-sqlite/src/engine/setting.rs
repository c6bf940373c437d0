//! Values under names: settings, which stay as they were first proposed, and registrations, which may change.

use onward_core::{NodeId, Payload, StoreError};
use rusqlite::{OptionalExtension, params};

use crate::{engine::Engine, error::Done};

impl Engine<'_> {
    pub(crate) fn setting(&mut self, name: &str, proposal: Option<&Payload>) -> Done<Option<Payload>> {
        let kept: Option<Vec<u8>> = self
            .conn
            .prepare_cached("SELECT value FROM onward_settings WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        if let Some(kept) = kept {
            return Ok(Some(Payload::from(kept)));
        }
        let Some(proposal) = proposal else { return Ok(None) };
        self.conn
            .prepare_cached("INSERT INTO onward_settings (name, value) VALUES (?1, ?2)")?
            .execute(params![name, proposal.as_ref()])?;
        Ok(Some(proposal.clone()))
    }

    /// Puts a value under a name, where it stays as long as the node, or for good.
    pub(crate) fn put_registration(&self, name: &str, value: &Payload, node: Option<NodeId>) -> Done<bool> {
        if node.is_some_and(|node| !self.is_here(node)) {
            return Err(StoreError::LeaseLost.into());
        }
        let mut upsert = self.conn.prepare_cached(
            "INSERT INTO onward_registrations (name, value, node) VALUES (?1, ?2, ?3) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, node = excluded.node \
             WHERE value <> excluded.value OR node IS NOT excluded.node",
        )?;
        Ok(upsert.execute(params![name, value.as_ref(), node.map(|node| node.0.cast_signed())])? > 0)
    }

    /// Removes some of what nodes announced that are gone; gives how many.
    pub(super) fn sweep_announced(&self, limit: i64) -> Done<usize> {
        let mut delete = self.conn.prepare_cached(
            "DELETE FROM onward_registrations WHERE name IN (SELECT name FROM onward_registrations \
             WHERE node IS NOT NULL AND node IS NOT ?1 LIMIT ?2)",
        )?;
        Ok(delete.execute(params![self.node.map(|node| node.0.cast_signed()), limit])?)
    }

    pub(crate) fn remove_registration(&self, name: &str) -> Done<bool> {
        Ok(self.conn.prepare_cached("DELETE FROM onward_registrations WHERE name = ?1")?.execute([name])? > 0)
    }
}
