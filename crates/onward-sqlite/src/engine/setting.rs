//! Values under names: settings, which stay as they were first proposed, and registrations, which may change.

use onward_core::Payload;
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

    pub(crate) fn put_registration(&self, name: &str, value: &Payload) -> Done<bool> {
        let mut upsert = self.conn.prepare_cached(
            "INSERT INTO onward_registrations (name, value) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value <> excluded.value",
        )?;
        Ok(upsert.execute(params![name, value.as_ref()])? > 0)
    }

    pub(crate) fn remove_registration(&self, name: &str) -> Done<bool> {
        Ok(self.conn.prepare_cached("DELETE FROM onward_registrations WHERE name = ?1")?.execute([name])? > 0)
    }
}
