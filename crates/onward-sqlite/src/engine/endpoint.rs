//! The numbers of endpoints in their versions, and the lanes of their suspended runs.

use std::collections::BTreeMap;

use onward_core::{
    EndpointId, Version,
    run::NewRun,
    store::{Endpoints, Served},
};
use rusqlite::{Connection, params};

use crate::{engine::Engine, error::Done, row};

/// What rows of runs say of their endpoint, version and pin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// The row of all three.
    pub(super) endpoint: i64,
    /// Where its suspended runs are looked for: those that are not pinned share a lane, whatever their version.
    pub(super) lane: i64,
}

/// Every endpoint that a run was ever made of.
#[derive(Debug, Default)]
pub(super) struct KnownEndpoints(BTreeMap<EndpointId, BTreeMap<(Option<Version>, bool), Numbers>>);

/// Lanes of suspended runs.
pub(super) enum Lanes {
    /// Those of some endpoints.
    These(Vec<i64>),
    /// Those of every endpoint.
    All,
}

impl KnownEndpoints {
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let mut known = Self::default();
        let mut select = conn.prepare_cached("SELECT id, lane, name, version, pinned FROM onward_endpoints")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let numbers = Numbers { endpoint: row.get(0)?, lane: row.get(1)? };
            known.insert(row::endpoint_id(row, 2)?, (row::version(row, 3)?, row.get(4)?), numbers);
        }
        Ok(known)
    }

    fn get(&self, endpoint: &EndpointId, version: Option<&Version>, pinned: bool) -> Option<Numbers> {
        self.0.get(endpoint)?.get(&(version.cloned(), pinned)).copied()
    }

    fn insert(&mut self, endpoint: EndpointId, of: (Option<Version>, bool), numbers: Numbers) {
        self.0.entry(endpoint).or_default().insert(of, numbers);
    }

    /// The lanes of the runs that who serves an endpoint may have: those that are not pinned, and those that are
    /// pinned to its version.
    fn lanes(&self, served: &Served) -> impl Iterator<Item = i64> {
        let version = served.version.as_ref();
        let numbers = [self.get(&served.endpoint, None, false), self.get(&served.endpoint, version, true)];
        numbers.into_iter().flatten().map(|numbers| numbers.lane)
    }
}

impl Engine<'_> {
    /// The numbers of a new run's endpoint; made where it has none.
    pub(super) fn numbers(&mut self, new: &NewRun) -> Done<Numbers> {
        self.numbers_of(&new.endpoint, new.version.as_ref(), new.pinned)
    }

    fn numbers_of(&mut self, endpoint: &EndpointId, version: Option<&Version>, pinned: bool) -> Done<Numbers> {
        if let Some(numbers) = self.known.endpoints.get(endpoint, version, pinned) {
            return Ok(numbers);
        }
        let shares = !pinned && version.is_some();
        let shared = if shares { Some(self.numbers_of(endpoint, None, false)?.lane) } else { None };
        let number = self
            .conn
            .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM onward_endpoints")?
            .query_row([], |row| row.get(0))?;
        let numbers = Numbers { endpoint: number, lane: shared.unwrap_or(number) };
        self.conn
            .prepare_cached(
                "INSERT INTO onward_endpoints (id, lane, name, version, pinned) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                numbers.endpoint,
                numbers.lane,
                endpoint.as_str(),
                version.map_or("", Version::as_str),
                pinned
            ])?;
        self.known.endpoints.insert(endpoint.clone(), (version.cloned(), pinned), numbers);
        Ok(numbers)
    }

    /// Which lanes to look at for the runs of some endpoints.
    pub(super) fn lanes(&mut self, endpoints: &Endpoints) -> Done<Lanes> {
        match endpoints {
            Endpoints::Only(served) => {
                let mut lanes: Vec<i64> = served.iter().flat_map(|served| self.known.endpoints.lanes(served)).collect();
                // An endpoint that is served in two versions.
                lanes.sort_unstable();
                lanes.dedup();
                Ok(Lanes::These(lanes))
            }
            Endpoints::All => {
                if !self.known.claims_all {
                    // Why only now: who claims by endpoint should not pay for an index that is never read.
                    self.conn.execute_batch(
                        "CREATE INDEX IF NOT EXISTS onward_runs_due ON onward_runs (due_at) WHERE lane > 0",
                    )?;
                    self.known.claims_all = true;
                }
                Ok(Lanes::All)
            }
        }
    }

    /// The id of the endpoint in a row.
    pub(super) fn endpoint_id(&self, number: i64) -> Done<EndpointId> {
        let mut select = self.conn.prepare_cached("SELECT name FROM onward_endpoints WHERE id = ?1")?;
        Ok(select.query_row([number], |row| row::endpoint_id(row, 0))?)
    }
}
