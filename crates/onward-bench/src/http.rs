//! Requests: the plain handler, the floor, and the same handler durable.

use crate::{
    Setup,
    aims::Aims,
    client::{Load, load},
    process::Process,
    say, server,
};

const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];

/// What is asked for: a name, a path, and how many steps it takes.
const HANDLERS: [(&str, &str, u32); 6] = [
    ("plain", "/plain", 0),
    ("control-wal", "/control-wal", 3),
    ("0 steps", "/steps/0", 0),
    ("1 step", "/steps/1", 1),
    ("3 steps", "/steps/3", 3),
    ("10 steps", "/steps/10", 10),
];

pub(crate) async fn run(setup: &Setup, sync_us: f64, alone: &[(usize, f64)], aims: &mut Aims) {
    let folder = setup.directory.join("http");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let server = server::start(&folder).await;
    say("handler        conn   req/s  of plain  steps/s   p50 ms   p99 ms p99.9 ms  µs CPU/step  bytes/step");
    load(&server.address, "/steps/3", 16, setup.seconds).await;
    for connections in CONNECTIONS {
        let mut controls = Controls { sync_us, plain: f64::NAN, floor: f64::NAN, alone: f64::NAN };
        controls.alone = alone.iter().find(|(tasks, _)| *tasks == connections).map_or(f64::NAN, |(_, rate)| *rate);
        for (name, path, steps) in HANDLERS {
            let load = measure(setup, &server, connections, (name, path, steps), &mut controls).await;
            judge(connections, path, &load, &controls, aims);
        }
        say("");
    }
    curve(setup, &server, aims).await;
}

/// What a durable handler is held against.
struct Controls {
    sync_us: f64,
    plain: f64,
    floor: f64,
    alone: f64,
}

/// Loads one handler and prints its line.
async fn measure(
    setup: &Setup,
    server: &Process,
    connections: usize,
    (name, path, steps): (&str, &str, u32),
    controls: &mut Controls,
) -> Load {
    let before = server.usage();
    let load = load(&server.address, path, connections, setup.seconds).await;
    let after = server.usage();
    let rate = load.per_second;
    match path {
        "/plain" => controls.plain = rate,
        "/control-wal" => controls.floor = rate,
        _ => {}
    }
    let done = (load.latency.len() as f64 * f64::from(steps.max(1))).max(1.0);
    let (cpu, bytes) = ((after.cpu - before.cpu) / done * 1e6, (after.written - before.written) / done);
    say(&format!(
        "{name:<12} {connections:>6} {rate:>7.0} {:>9.2} {:>8.0} {:>8.2} {:>8.2} {:>8.2} {cpu:>12.1} {bytes:>11.0}",
        rate / controls.plain,
        rate * f64::from(steps),
        load.ms(50.0),
        load.ms(99.0),
        load.ms(99.9),
    ));
    load
}

/// Holds a load against what it aims at.
fn judge(connections: usize, path: &str, load: &Load, controls: &Controls, aims: &mut Aims) {
    let rate = load.per_second;
    match (connections, path) {
        (64, "/steps/0") => {
            aims.at_least("0 steps, of the plain handler's requests/s at 64", 0.9, rate / controls.plain);
        }
        (1, "/steps/10") => {
            let step_us = load.ms(50.0) * 100.0;
            let aim = controls.sync_us + 100.0;
            aims.at_most("µs a step adds at 1 connection (fdatasync p50 + 100 µs)", aim, step_us);
        }
        (64, "/steps/3") => {
            aims.at_least("3 steps, of the plain handler's requests/s at 64", 0.35, rate / controls.plain);
            aims.at_least("3 steps, of control-wal's requests/s at 64", 0.6, rate / controls.floor);
            aims.at_least("3 steps, of the store alone's steps/s at 64", 0.6, rate * 3.0 / controls.alone);
        }
        (256, "/steps/3") => aims.at_most("p99 / p50 at 256 connections", 8.0, load.ms(99.0) / load.ms(50.0)),
        _ => {}
    }
}

/// What a step costs late in a long run, of what it costs early.
async fn curve(setup: &Setup, server: &Process, aims: &mut Aims) {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for _ in 0..if setup.quick { 3 } else { 9 } {
        let curve = server.json("/curve").await;
        first.push(curve[0].as_f64().unwrap_or(f64::NAN) / 1e3);
        last.push(curve[9].as_f64().unwrap_or(f64::NAN) / 1e3);
    }
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (first, last) = (median(first), median(last));
    say(&format!("100 steps of one run, median: the first {first:.1} ms, the tenth hundred {last:.1} ms"));
    aims.at_most("steps 901 to 1,000 cost, of steps 1 to 100", 1.2, last / first);
}
