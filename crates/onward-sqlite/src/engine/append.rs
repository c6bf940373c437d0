//! Rows of entries, kept back until the group needs them: many go into one statement.

use onward_core::Payload;
use rusqlite::{Connection, Statement};

/// How many rows the larger statement inserts.
const ROWS: usize = 16;

/// The rows that are to be inserted. Nothing about them can be refused any more: what could be was checked.
#[derive(Debug)]
pub(super) struct Appender<'c> {
    pending: Vec<(i64, Payload)>,
    one: Statement<'c>,
    many: Statement<'c>,
}

impl<'c> Appender<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        // FAIL, because the group is undone as a whole: SQLite need not keep what it takes to undo the statement.
        let insert = "INSERT OR FAIL INTO onward_entries (place, data) VALUES (?, ?)";
        let many = format!("{insert}{}", ", (?, ?)".repeat(ROWS - 1));
        Ok(Self { pending: Vec::new(), one: conn.prepare(insert)?, many: conn.prepare(&many)? })
    }

    /// Keeps a row for the next flush.
    pub(super) fn push(&mut self, place: i64, data: Payload) {
        self.pending.push((place, data));
    }

    /// Inserts what was kept back, in order.
    pub(super) fn flush(&mut self) -> rusqlite::Result<()> {
        let mut chunks = self.pending.chunks_exact(ROWS);
        for rows in &mut chunks {
            insert(&mut self.many, rows)?;
        }
        for row in chunks.remainder().chunks(1) {
            insert(&mut self.one, row)?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Forgets what was kept back.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }
}

fn insert(statement: &mut Statement<'_>, rows: &[(i64, Payload)]) -> rusqlite::Result<()> {
    for (number, (place, data)) in rows.iter().enumerate() {
        statement.raw_bind_parameter(number * 2 + 1, place)?;
        statement.raw_bind_parameter(number * 2 + 2, data.as_ref())?;
    }
    statement.raw_execute().map(drop)
}
