//! What durability costs an endpoint in Node: one handler of three steps, plain, on an engine that stores nothing, and on
//! the engine.

use std::{path::Path, process::Command, time::Duration};

use super::{fake, folder, start};
use crate::{
    Setup,
    client::{Load, load},
    process::{Process, free_address},
    say,
};

const HANDLERS: [(&str, &str); 3] = [("plain", "/plain"), ("stores nothing", "/fake"), ("the engine", "/engine")];

pub(super) async fn run(setup: &Setup) {
    let folder = folder(setup, "engine-overhead");
    let engine = start(&folder, &[]).await;
    let none = fake("fake-engine", &[&folder.to_string_lossy()]).await;
    let node = endpoint(&engine, &none).await;
    for (_, path) in HANDLERS {
        // Until the machine code of hot functions is there.
        load(&node.address, path, 16, setup.seconds).await;
    }
    say("3 steps in Node      conn   req/s  of plain  of none   p50 ms   p99 ms  µs CPU/request: Node, engine");
    for connections in [1, 16, 64] {
        let mut rates = Vec::new();
        for (name, path) in HANDLERS {
            let before = (node.usage(), engine.usage());
            let load = load(&node.address, path, connections, setup.seconds).await;
            // The end of a run is reported behind its answer.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let after = (node.usage(), engine.usage());
            rates.push(load.per_second);
            let each = 1e6 / load.latency.len() as f64;
            let cpu = ((after.0.cpu - before.0.cpu) * each, (after.1.cpu - before.1.cpu) * each);
            tell(name, connections, &load, &rates, cpu);
        }
        say("");
    }
}

fn tell(name: &str, connections: usize, load: &Load, rates: &[f64], cpu: (f64, f64)) {
    let none = rates.get(1).map_or_else(|| "-".to_owned(), |none| format!("{:.2}", load.per_second / none));
    say(&format!(
        "{name:<18} {connections:>6} {:>7.0} {:>9.2} {none:>8} {:>8.2} {:>8.2} {:>22.0} {:>7.0}",
        load.per_second,
        load.per_second / rates[0],
        load.ms(50.0),
        load.ms(99.0),
        cpu.0,
        cpu.1,
    ));
}

/// The endpoint, in Node with the SDK.
async fn endpoint(engine: &Process, none: &Process) -> Process {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/sdk");
    let address = free_address();
    let mut command = Command::new("node");
    command.arg("programs/bench.mjs").current_dir(folder).env("NODE_ENV", "production");
    command.env("PORT", address.rsplit(':').next().unwrap_or_default());
    command.env("ENGINE", format!("http://{}", engine.address)).env("FAKE", format!("http://{}", none.address));
    let node = Process::start(&mut command, address);
    node.answers("/plain").await;
    node
}
