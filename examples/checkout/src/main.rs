//! A checkout that survives anything: reserve stock, charge a card at a flaky service, wait for an approval, confirm.
//!
//! `cargo run -p example-checkout`, then see the README for what to `curl`. Kill it with `-9` whenever you like.

mod payments;

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use bytes::Bytes;
use onward::{Onward, RetryPolicy, Step, StepError, rusqlite::Connection};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "clients call it `orderId`")]
struct Order {
    order_id: String,
    item: String,
    cents: u64,
}

#[derive(Deserialize)]
struct Approval {
    approved: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    order_id: String,
    left: i64,
    charge: String,
    status: &'static str,
    paused_ms: u64,
}

#[derive(Clone)]
struct Config {
    payments: String,
}

async fn checkout(
    State(config): State<Config>,
    step: Step,
    Json(order): Json<Order>,
) -> Result<Json<Receipt>, StepError> {
    // Commits in one transaction with the step's checkpoint: exactly once.
    let item = order.item.clone();
    let left = step.transaction("reserve-stock", move |db| reserve(db, &item)).await?;

    // A durable HTTP call. Every attempt sends the same Idempotency-Key, so the card is charged once.
    let body = serde_json::json!({ "orderId": order.order_id, "cents": order.cents }).to_string();
    let request = http::Request::post(format!("{}/charge", config.payments)).header("content-type", "application/json");
    let request = request.body(Bytes::from(body)).map_err(StepError::fail)?;
    let patience = RetryPolicy::try_new(Duration::from_millis(100), Duration::from_secs(1), 20)?;
    let charged = step.fetch("charge-card", request).error_for_status().retry_policy(patience).timeout("2s").await?;

    let before = step.run("before-pause", async || Ok::<_, StepError>(now_ms())).await?;
    step.sleep("settle", "200ms").await?;
    let after = step.run("after-pause", async || Ok::<_, StepError>(now_ms())).await?;

    let approval = step
        .wait_for_event::<Approval>("wait-for-approval", "approval/received")
        .matching("data.orderId")
        .since_start()
        .timeout("24h")
        .await?;
    let approved = approval.is_some_and(|event| event.data.approved);
    let status = if approved { "confirmed" } else { "refused" };
    step.run("confirm", async || {
        tracing::info!(order_id = order.order_id, status, "checkout ends");
        Ok::<_, StepError>(())
    })
    .await?;
    let charge = String::from_utf8_lossy(charged.body()).into_owned();
    Ok(Json(Receipt { order_id: order.order_id, left, charge, status, paused_ms: after - before }))
}

fn reserve(db: &Connection, item: &str) -> Result<i64, onward::rusqlite::Error> {
    db.query_row("UPDATE stock SET n = n - 1 WHERE item = ?1 AND n > 0 RETURNING n", [item], |row| row.get(0))
}

#[expect(clippy::disallowed_methods, reason = "the example shows that its pause is never short")]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// `checkout [ADDRESS [PAYMENTS_ADDRESS [DIRECTORY]]]`
fn arguments() -> (String, String, String) {
    let mut args = std::env::args().skip(1);
    let mut next = |default: &str| args.next().unwrap_or_else(|| default.to_owned());
    (next("127.0.0.1:3000"), next("127.0.0.1:3001"), next("."))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_target(false).init();
    let (address, payments, directory) = arguments();
    payments::start(&payments, &format!("{directory}/payments.log")).await?;

    let onward = Onward::open(&format!("sqlite:{directory}/checkout.db")).await?;
    let sqlite = onward.sqlite().ok_or("the app is on SQLite")?;
    let schema = "CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, n INTEGER NOT NULL);
                  INSERT INTO stock VALUES ('lamp', 100000) ON CONFLICT DO NOTHING";
    sqlite.with_connection(move |db| db.execute_batch(schema)).await?;
    let stock = {
        let sqlite = sqlite.clone();
        get(async move || {
            let left = sqlite.with_connection(|db| db.query_row("SELECT n FROM stock", [], |row| row.get::<_, i64>(0)));
            left.await.map_or_else(|_| "unknown\n".to_owned(), |left| format!("{left}\n"))
        })
    };
    let app = Router::new()
        .merge(onward.route("/checkout", post(checkout)))
        .with_state(Config { payments: format!("http://{payments}") })
        .route("/wait", onward.proxy())
        .route("/events", onward.events())
        .route("/stock", stock);
    tracing::info!(%address, "checkout is open");
    onward.serve(address, app).await?;
    Ok(())
}
