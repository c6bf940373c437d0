//! What a step asks of the database: statements, bytes both ways, and its log.

use crate::{
    Setup,
    aims::Aims,
    client::load,
    cluster::{CONNECTIONS, PATH, STEPS, database::Server, node, proxy::Proxy},
    say,
};

/// A run of three steps: one that makes it and takes its first step, one for each of the others, one that ends it.
const CHECKPOINTS: f64 = 4.0;

pub(super) async fn run(setup: &Setup, server: &Server, aims: &mut Aims) {
    let database = server.database();
    let proxy = Proxy::start(server.port()).await;
    let through = database.url().replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port));
    let node = node::start(&through).await;
    load(&node.address, PATH, 16, setup.seconds).await;
    say("1 node, through a proxy that counts bytes; a run of 3 steps is 4 checkpoints");
    say("                    statements   a checkpoint: bytes to and from the database   its WAL   a step's WAL");
    for connections in CONNECTIONS {
        let before = (server.asked(&database), proxy.bytes());
        let load = load(&node.address, PATH, connections, setup.seconds).await;
        let asked = server.asked(&database).since(before.0);
        let (sent, received) = proxy.bytes();
        let checkpoints = load.latency.len() as f64 * CHECKPOINTS;
        let each = asked.statements / checkpoints;
        say(&format!(
            "{connections:>3} conn, {:>5.0} req/s {each:>9.3} {:>32.0} {:>13.0} {:>9.0} {:>14.0}",
            load.per_second,
            (sent - before.1.0) / checkpoints,
            (received - before.1.1) / checkpoints,
            asked.wal_bytes / checkpoints,
            asked.wal_bytes / checkpoints * CHECKPOINTS / STEPS,
        ));
        if connections >= 64 {
            aims.at_most(&format!("statements a checkpoint at {connections} connections"), 0.1, each);
        }
    }
    say("");
}
