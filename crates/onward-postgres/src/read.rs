//! What is read: one run with its journal, or a page of many. Each is one statement, so one moment.

mod page;
mod unserved;

use deadpool::managed::Pool;
use onward_core::{
    Fence, NodeId, RunId, Seq, StoreError, Timestamp,
    journal::{Entry, format},
    run::{CrashRecord, Crashes, RunRecord},
    store::{Lease, Loaded, News, Watched, record},
    stream::{self, Frame, Place},
    waiter::Delivery,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    connect::{self, Connector},
    error::{Abort, Done, corrupt},
    row::{self, damaged},
    store::Inner,
    tx::Param,
};

/// About how many bytes of frames are read at once, however many are asked for: readers may be many, and slow.
const FRAMES_BYTES: usize = 512 * 1024;
/// How many pieces of frames are read at once.
const PIECES: i64 = 64;

const STATE: &str = "LEFT JOIN onward_leases l ON l.run_id = r.run_id \
     LEFT JOIN onward_suspended s ON s.run_id = r.run_id \
     LEFT JOIN onward_ended e ON e.run_id = r.run_id";

impl Inner {
    /// Asks in a statement of its own.
    pub(crate) async fn read(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.read_by(&self.pool, sql, params).await
    }

    /// Asks in a statement of its own, by a connection of a pool.
    pub(crate) async fn read_by(
        &self,
        pool: &Pool<Connector>,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let conn = connect::get(pool).await?;
        let asked = self
            .in_time(async {
                let statement = conn.prepare_cached(sql).await?;
                Ok(conn.query(&statement, params).await?)
            })
            .await;
        if matches!(asked, Err(Abort::Failed(_))) {
            // What the connection is in the middle of is not known.
            drop(connect::Conn::take(conn));
        }
        Ok(asked?)
    }

    pub(crate) async fn load(&self, run_id: RunId) -> Result<Option<Loaded>, StoreError> {
        let sql = format!(
            "SELECT {columns}, r.request, e.outcome, \
             (SELECT array_agg(n.seq ORDER BY n.seq) FROM onward_entries n WHERE n.run_id = r.run_id) AS seqs, \
             (SELECT array_agg(n.data ORDER BY n.seq) FROM onward_entries n WHERE n.run_id = r.run_id) AS entries, \
             (SELECT array_agg(d.step ORDER BY d.place) FROM onward_deliveries d WHERE d.run_id = r.run_id) AS steps, \
             (SELECT array_agg(d.at ORDER BY d.place) FROM onward_deliveries d WHERE d.run_id = r.run_id) AS at, \
             (SELECT array_agg(d.fact ORDER BY d.place) FROM onward_deliveries d WHERE d.run_id = r.run_id) AS facts, \
             (SELECT max(f.place + f.count - 1) FROM onward_frames f WHERE f.run_id = r.run_id) AS streamed, \
             c.next AS crash_next, c.last_at AS crash_at, \
             (SELECT count(*) FROM unnest(c.nodes) AS d (node) \
              WHERE NOT EXISTS (SELECT 1 FROM onward_lives l WHERE l.node = d.node)) AS crash_count \
             FROM onward_runs r JOIN onward_endpoints p ON p.id = r.endpoint {STATE} \
             LEFT JOIN onward_crashes c ON c.run_id = r.run_id WHERE r.run_id = $1",
            columns = row::RECORD_COLUMNS
        );
        let rows = self.read(&sql, &[&row::uuid(run_id)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let record = record_of(row)?;
        let seqs = row.try_get::<_, Option<Vec<i64>>>("seqs").map_err(damaged)?.unwrap_or_default();
        let data = row.try_get::<_, Option<Vec<&[u8]>>>("entries").map_err(damaged)?.unwrap_or_default();
        let journal = seqs.iter().zip(&data).enumerate();
        let journal =
            journal.map(|(place, (seq, data))| entry(place, *seq, data)).collect::<Result<Vec<Entry>, StoreError>>()?;
        let deliveries = if record.outcome.is_some() { Vec::new() } else { deliveries_of(row)? };
        let streamed = row::place(row.try_get("streamed").map_err(damaged)?)?;
        let next = journal.last().map_or(Seq(0), |entry| entry.seq.next());
        let crashes = crash_record(row)?.map_or_else(Crashes::default, |record| record.crashes(next));
        Ok(Some(Loaded { record, journal, deliveries, streamed, crashes }))
    }

    pub(crate) async fn run(&self, run_id: RunId) -> Result<Option<RunRecord>, StoreError> {
        let sql = format!(
            "SELECT {columns}, r.request, e.outcome \
             FROM onward_runs r JOIN onward_endpoints p ON p.id = r.endpoint {STATE} WHERE r.run_id = $1",
            columns = row::RECORD_COLUMNS
        );
        self.read(&sql, &[&row::uuid(run_id)]).await?.first().map(record_of).transpose()
    }

    pub(crate) async fn deliveries(&self, run_id: RunId) -> Result<Vec<Delivery>, StoreError> {
        let sql = "SELECT array_agg(d.step ORDER BY d.place) AS steps, array_agg(d.at ORDER BY d.place) AS at, \
             array_agg(d.fact ORDER BY d.place) AS facts FROM onward_deliveries d WHERE d.run_id = $1 \
             AND NOT EXISTS (SELECT 1 FROM onward_ended e WHERE e.run_id = d.run_id)";
        let rows = self.read(sql, &[&row::uuid(run_id)]).await?;
        rows.first().map_or(Ok(Vec::new()), deliveries_of)
    }

    pub(crate) async fn frames(&self, run_id: RunId, after: Place, limit: usize) -> Result<Vec<Frame>, StoreError> {
        // The piece that holds the frame after it begins there or before.
        let sql = "SELECT place, data FROM onward_frames WHERE run_id = $1 AND place >= coalesce( \
             (SELECT max(place) FROM onward_frames WHERE run_id = $1 AND place <= $2), 0) \
             AND EXISTS (SELECT 1 FROM onward_runs WHERE run_id = $1) ORDER BY place LIMIT $3";
        let (run, mut from) = (row::uuid(run_id), i64::from(after.0) + 1);
        let (mut frames, mut bytes) = (Vec::new(), 0);
        loop {
            let rows = self.read(sql, &[&run, &from, &PIECES]).await?;
            for row in &rows {
                let data: &[u8] = row.try_get(1).map_err(damaged)?;
                bytes += data.len();
                let first = row::place(Some(row.try_get(0).map_err(damaged)?))?;
                let piece = stream::format::decode(first, data).map_err(corrupt)?;
                frames.extend(piece.into_iter().filter(|frame| frame.place > after));
                if frames.len() >= limit || bytes >= FRAMES_BYTES {
                    return Ok(frames);
                }
            }
            let Some(last) = frames.last().filter(|_| i64::try_from(rows.len()).unwrap_or(0) == PIECES) else {
                return Ok(frames);
            };
            from = i64::from(last.place.0) + 1;
        }
    }

    pub(crate) async fn held_by(&self, node: NodeId) -> Result<Vec<Lease>, StoreError> {
        let rows = self.read("SELECT run_id, fence FROM onward_leases WHERE node = $1", &[&row::node(node)]).await?;
        let lease = |row: &Row| {
            let fence = Fence(row.try_get::<_, i64>(1)?.cast_unsigned());
            Ok(Lease { run_id: row::run_id(row.try_get(0)?), fence, node })
        };
        rows.iter().map(lease).collect::<Result<_, _>>().map_err(damaged)
    }

    pub(crate) async fn look(&self, watched: &[Watched]) -> Result<Vec<News>, StoreError> {
        if watched.is_empty() {
            return Ok(Vec::new());
        }
        let runs: Vec<Uuid> = watched.iter().map(|watched| row::uuid(watched.run_id)).collect();
        let known: Vec<Option<i64>> =
            watched.iter().map(|watched| watched.streamed.map(|place| i64::from(place.0))).collect();
        let sql = "SELECT w.run_id, \
             EXISTS (SELECT 1 FROM onward_ended e WHERE e.run_id = w.run_id), \
             EXISTS (SELECT 1 FROM onward_frames f WHERE f.run_id = w.run_id AND f.place > w.known) \
             FROM unnest($1::UUID[], $2::INT8[]) AS w (run_id, known)";
        let rows = self.read(sql, &[&runs, &known]).await?;
        let mut news = Vec::new();
        for row in &rows {
            let run_id = row::run_id(row.try_get(0).map_err(damaged)?);
            // In this order: whoever hears of the end has heard of what was streamed before.
            if row.try_get(2).map_err(damaged)? {
                news.push(News::Streamed(run_id));
            }
            if row.try_get(1).map_err(damaged)? {
                news.push(News::Ended(run_id));
            }
        }
        Ok(news)
    }
}

/// A run's record with its request and outcome.
fn record_of(row: &Row) -> Result<RunRecord, StoreError> {
    let mut run = row::run_record(row)?;
    run.request = row::payload(row.try_get("request").map_err(damaged)?);
    if let Some(outcome) = row.try_get::<_, Option<&[u8]>>("outcome").map_err(damaged)? {
        run.outcome = Some(record::decode_outcome(outcome).map_err(corrupt)?);
    }
    Ok(run)
}

/// What is stored of a run's crashes.
fn crash_record(row: &Row) -> Result<Option<CrashRecord>, StoreError> {
    let Some(next) = row.try_get::<_, Option<i64>>("crash_next").map_err(damaged)? else { return Ok(None) };
    let small = |number: i64| u32::try_from(number).map_err(|_| corrupt("a count of crashes is out of range"));
    Ok(Some(CrashRecord {
        next: Seq(small(next)?),
        count: small(row.try_get("crash_count").map_err(damaged)?)?,
        last_at: Timestamp::from_micros(row.try_get("crash_at").map_err(damaged)?),
        node: NodeId(0), // who died is the table's own
    }))
}

fn entry(place: usize, seq: i64, data: &[u8]) -> Result<Entry, StoreError> {
    let seq = u32::try_from(seq).map_err(|_| corrupt("an entry has no place"))?;
    if usize::try_from(seq) != Ok(place) {
        return Err(corrupt("the journal has a gap"));
    }
    format::decode(Seq(seq), data).map_err(corrupt)
}

/// Entries of rows with their place and data, in order.
pub(crate) fn entries(rows: &[Row]) -> Done<Vec<Entry>> {
    let mut entries = Vec::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate() {
        entries.push(entry(place, row.try_get(0)?, row.try_get(1)?)?);
    }
    Ok(entries)
}

fn deliveries_of(row: &Row) -> Result<Vec<Delivery>, StoreError> {
    let Some(steps) = row.try_get::<_, Option<Vec<&[u8]>>>("steps").map_err(damaged)? else { return Ok(Vec::new()) };
    let at = row.try_get::<_, Vec<i64>>("at").map_err(damaged)?;
    let facts = row.try_get::<_, Vec<&[u8]>>("facts").map_err(damaged)?;
    let together = steps.into_iter().zip(at).zip(facts);
    let delivery = |((step, at), fact)| {
        let fact = record::decode_fact(fact).map_err(corrupt)?;
        Ok(Delivery { step: row::step(step)?, at: Timestamp::from_micros(at), fact })
    };
    together.map(delivery).collect()
}
