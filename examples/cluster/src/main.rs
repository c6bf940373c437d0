//! One of many nodes: start as many as you like on one database, and kill whichever you like.
//!
//! ```text
//! cargo run -p example-cluster -- postgres://localhost/app 127.0.0.1:3001      # and 3002, 3003 in other terminals
//! curl -L 'localhost:3001/order?item=book'                                    # waits for the approval
//! curl localhost:3002/approve/ORDER                                           # at another node; the log says which order
//! ```

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    routing::get,
};
use onward::{Onward, SqlError, Step, StepError};
use serde::{Deserialize, Serialize, de::IgnoredAny};

#[derive(Deserialize)]
struct Asked {
    item: String,
}

#[derive(Serialize)]
struct Receipt {
    order: i64,
    started_by: String,
    ended_by: String,
}

/// What this node is called in what it writes.
#[derive(Clone)]
struct Node(String);

async fn order(State(node): State<Node>, step: Step, Query(asked): Query<Asked>) -> Result<Json<Receipt>, StepError> {
    // Commits together with its checkpoint, on whichever node: there is one order, whatever is killed.
    let order: i64 = step
        .postgres_transaction("place", move |tx| {
            let item = asked.item.clone();
            async move {
                let row = tx.query_one("INSERT INTO orders (item) VALUES ($1) RETURNING id", &[&item]).await?;
                Ok::<_, SqlError>(row.try_get(0)?)
            }
        })
        .await?;
    let started_by = step.run("greet", async || Ok::<_, StepError>(node.0.clone())).await?;
    tracing::info!(order, "waits for its approval: /approve/{order} at any node");
    step.wait_for_event::<IgnoredAny>("approval", &format!("approved/{order}")).since_start().await?;
    let ended_by = step.run("part", async || Ok::<_, StepError>(node.0.clone())).await?;
    Ok(Json(Receipt { order, started_by, ended_by }))
}

async fn approve(State(onward): State<Onward>, Path(order): Path<i64>) -> Result<String, String> {
    onward.send_event(&format!("approved/{order}"), &()).await.map_err(|error| error.to_string())?;
    Ok(format!("order {order} is approved\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter("info,onward=info").init();
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "postgres://localhost/onward".to_owned());
    let address = args.next().unwrap_or_else(|| "127.0.0.1:3001".to_owned());

    let onward = Onward::builder().lease("3s").open(&url).await?;
    if let Some(postgres) = onward.postgres() {
        postgres
            .batch_execute("CREATE TABLE IF NOT EXISTS orders (id BIGSERIAL PRIMARY KEY, item TEXT NOT NULL)")
            .await?;
    }
    let app = Router::new()
        .merge(onward.route("/order", get(order)).with_state(Node(address.clone())))
        .route("/approve/{order}", get(approve))
        .with_state(onward.clone())
        .route("/wait", onward.proxy());
    onward.serve(address, app).await?;
    Ok(())
}
