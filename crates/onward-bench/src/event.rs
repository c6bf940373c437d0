//! From an event's arrival to the waiting client's response.

use std::time::Instant;

use crate::{Setup, aims::Aims, client::Connection, say, server};

pub(crate) async fn run(setup: &Setup, sync_us: f64, aims: &mut Aims) {
    let folder = setup.directory.join("event");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let server = server::start(&folder).await;
    let mut took = Vec::new();
    let mut sender = Connection::open(&server.address).await;
    for n in 0..if setup.quick { 100 } else { 400 } {
        let mut client = Connection::open(&server.address).await;
        let first = client.get(&format!("/event?id={n}")).await;
        let location = first.location.expect("a client that waits is redirected");
        let (answered, sent) = tokio::join!(
            async {
                let answer = client.get(&location).await;
                assert_eq!(answer.status, 200);
                Instant::now()
            },
            async {
                // Long enough for the waiting route to have the client.
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                let sent = Instant::now();
                sender.get(&format!("/send?id={n}")).await;
                sent
            }
        );
        took.push(answered.saturating_duration_since(sent).as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    say(&format!("event to the waiting client's response: p50 {p50:.2} ms, p99 {p99:.2} ms ({} events)\n", took.len()));
    aims.at_most("ms from an event to its client, p99 (5 ms + fdatasync)", 5.0 + sync_us / 1e3, p99);
}
