//! Exactly once: a step whose own writes commit in one transaction with its checkpoint.

use axum::{Router, extract::Query, routing::post};
use onward::{Onward, Step, StepError};

#[derive(serde::Deserialize)]
struct Transfer {
    to: String,
    cents: i64,
}

async fn transfer(step: Step, Query(transfer): Query<Transfer>) -> Result<String, StepError> {
    let Transfer { to, cents } = transfer;
    let name = to.clone();
    let balance: i64 = step
        .transaction("credit", move |db| {
            db.execute("INSERT INTO accounts VALUES (?1, 0) ON CONFLICT DO NOTHING", [&name])?;
            db.query_row(
                "UPDATE accounts SET cents = cents + ?2 WHERE name = ?1 RETURNING cents",
                (&name, cents),
                |row| row.get(0),
            )
        })
        .await?;
    Ok(format!("{to} has {balance}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let onward = Onward::open("sqlite:transaction.db").await?;
    let sqlite = onward.sqlite().ok_or("the app is on SQLite")?;
    let schema = "CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, cents INTEGER NOT NULL)";
    sqlite.with_connection(move |db| db.execute_batch(schema)).await?;
    let app = Router::new().merge(onward.route("/transfer", post(transfer))).route("/wait", onward.proxy());
    Ok(onward.serve("127.0.0.1:3000", app).await?)
}
