//! A look into the database, past the nodes.

use std::time::Duration;

use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Asks the database; gives the first column of each row.
pub(crate) async fn ask(url: &str, sql: &str) -> Result<Vec<String>, String> {
    let asked = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let answer = async {
            let answer = client.simple_query(sql).await;
            drop(client);
            answer
        };
        let (answer, _) = tokio::join!(answer, connection);
        let rows = answer?.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        });
        Ok::<_, tokio_postgres::Error>(rows.collect())
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.map_err(|_| "no answer".to_owned())?;
    answer.map_err(|error| error.to_string())
}

/// What must be empty once all is over, and the rows that are in it.
pub(crate) async fn left(url: &str) -> Result<Vec<String>, String> {
    let tables = ["leases", "suspended", "event_waiters", "signal_waiters", "deliveries"];
    let row = "row_to_json(t)::jsonb - 'matcher' - 'step' - 'fact'";
    let count = |table| format!("SELECT '{table}: ' || (t.run_id || ' ' || ({row})::text) FROM onward_{table} t");
    // What a wait may have missed.
    let events = "SELECT 'event ' || e.id || ' received at ' || e.received_at || ', run began at ' || r.created_at \
         || ': ' || convert_from(e.data, 'UTF8') FROM onward_event_waiters w JOIN onward_runs r ON r.run_id = w.run_id \
         JOIN onward_events e ON e.name = w.name AND abs(e.received_at - r.created_at) < 500000";
    let entries = "SELECT 'entry of ' || n.run_id || ': ' || n.seq || ' ' || encode(n.data, 'escape') \
         FROM onward_suspended s JOIN onward_entries n ON n.run_id = s.run_id";
    let count = tables.map(count).join(" UNION ALL ");
    ask(url, &format!("{count} UNION ALL {events} UNION ALL {entries}")).await
}

/// Runs that are in more or fewer than one of the tables that tell how a run is.
pub(crate) async fn torn(url: &str) -> Result<Vec<String>, String> {
    let sql =
        "SELECT run_id FROM onward_runs r WHERE 1 <> (SELECT count(*) FROM onward_leases l WHERE l.run_id = r.run_id)
                 + (SELECT count(*) FROM onward_suspended s WHERE s.run_id = r.run_id)
                 + (SELECT count(*) FROM onward_ended e WHERE e.run_id = r.run_id)";
    ask(url, sql).await
}
