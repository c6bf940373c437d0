//! The cluster: nodes in processes of their own on one PostgreSQL, beside SQLite in the same run.

mod cost;
mod database;
mod growth;
pub(crate) mod node;
mod proxy;
mod rates;
mod takeover;

use crate::{Setup, aims::Aims, cluster::database::Server, say};

/// How many connections send requests.
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
/// What each request does: see [`node`].
const PATH: &str = "/steps/3";
const STEPS: f64 = 3.0;

/// Measures all parts, or the one of that name.
pub(crate) async fn run(setup: &Setup, only: Option<&str>, aims: &mut Aims) {
    let is = |name| only.is_none_or(|only| only == name);
    let server = Server::start();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    say(&format!("the cluster: {cores} cores for nodes, database and load; {}\n", server.conditions()));
    if is("rates") {
        rates::run(setup, &server, aims).await;
    }
    if is("cost") {
        cost::run(setup, &server, aims).await;
    }
    if is("takeover") {
        takeover::run(setup, &server, aims).await;
    }
    if is("growth") {
        growth::run(setup, &server, aims).await;
    }
}

/// The middle one of some figures.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
