//! A payment service as they are: half of its calls fail, and knows a charge again by its `Idempotency-Key`.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader, Write},
    sync::Arc,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use parking_lot::Mutex;

struct Payments {
    /// The charges that were made, by key: in memory, and line by line in a file.
    charges: Mutex<(BTreeMap<String, String>, File)>,
}

/// Starts the service. Its charges survive it.
pub(crate) async fn start(address: &str, path: &str) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let lines = BufReader::new(file.try_clone()?).lines().map_while(Result::ok);
    let known =
        lines.filter_map(|line| line.split_once(' ').map(|(key, id)| (key.to_owned(), id.to_owned()))).collect();
    let payments = Arc::new(Payments { charges: Mutex::new((known, file)) });
    let app = Router::new().route("/charge", post(charge)).route("/charges", get(charges)).with_state(payments);
    let listener = tokio::net::TcpListener::bind(address).await?;
    #[expect(clippy::disallowed_methods, reason = "it stands for a service elsewhere, and ends with the process")]
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

async fn charge(State(payments): State<Arc<Payments>>, headers: HeaderMap) -> Result<String, StatusCode> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).ok_or(StatusCode::BAD_REQUEST)?;
    let luck = RandomState::new().hash_one(key) % 4;
    if luck == 0 {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let id = {
        let mut charges = payments.charges.lock();
        match charges.0.get(key) {
            Some(id) => id.clone(),
            None => {
                let id = format!("ch_{}", charges.0.len() + 1);
                let kept = writeln!(charges.1, "{key} {id}").and_then(|()| charges.1.sync_data());
                kept.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
                charges.0.insert(key.to_owned(), id.clone());
                id
            }
        }
    };
    // The worst kind of failure: the card is charged, and the caller is told that it was not.
    if luck == 1 { Err(StatusCode::BAD_GATEWAY) } else { Ok(id) }
}

async fn charges(State(payments): State<Arc<Payments>>) -> String {
    format!("{}\n", payments.charges.lock().0.len())
}
