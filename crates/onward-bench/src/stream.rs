//! Streams: how soon a chunk is with its reader, what many streams cost, and what a slow reader keeps in memory.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Setup,
    aims::Aims,
    process::Process,
    say,
    server::{self, micros},
};

pub(crate) async fn run(setup: &Setup, aims: &mut Aims) {
    let folder = setup.directory.join("stream");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let server = server::start(&folder).await;
    first_chunk(setup, &server).await;
    many(setup, &server).await;
    slow_readers(setup, &server, aims).await;
    say("");
}

async fn open(server: &Process, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).await.expect("the server listens");
    stream.set_nodelay(true).expect("TCP_NODELAY can be set");
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    stream
}

/// From the request to its first chunk.
async fn first_chunk(setup: &Setup, server: &Process) {
    let mut p50 = Vec::new();
    for (name, path, steps) in [("plain SSE", "/plain-sse", ""), ("durable", "/chunks?n=1&ms=0", "")] {
        let mut took = Vec::new();
        for _ in 0..if setup.quick { 100 } else { 500 } {
            let begun = Instant::now();
            let mut stream = open(server, path).await;
            let mut bytes = Vec::new();
            while !bytes.windows(7).any(|part| part == b"\"data\":") {
                assert!(stream.read_buf(&mut bytes).await.expect("the server writes") > 0, "no chunk came");
            }
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        let (half, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        say(&format!("first chunk, {name:<9} p50 {half:.2} ms, p99 {most:.2} ms{steps}"));
        p50.push(half);
    }
    say(&format!("first chunk, durable of plain: {:.1}", p50[1] / p50[0]));
}

/// Many streams at once: 50 chunks a second each.
async fn many(setup: &Setup, server: &Process) {
    let (streams, chunks) = if setup.quick { (200, 100) } else { (1_000, 250) };
    let before = server.usage();
    let begun = Instant::now();
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let mut stream = open(server, &format!("/chunks?n={chunks}&ms=20")).await;
        set.spawn(async move {
            let mut late = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3).expect("the bounds are bounds");
            let mut bytes = Vec::new();
            while stream.read_buf(&mut bytes).await.expect("the server writes") > 0 {
                let now = micros();
                let text = String::from_utf8_lossy(&bytes);
                let whole = text.rfind('\n').map_or(0, |end| end + 1);
                for line in text[..whole].lines() {
                    let sent = line.strip_prefix("data: {\"data\":").and_then(|rest| rest.split([',', '}']).next());
                    if let Some(sent) = sent.and_then(|sent| sent.parse::<u64>().ok()) {
                        late.saturating_record(now.saturating_sub(sent));
                    }
                }
                drop(text);
                bytes.drain(..whole.min(bytes.len()));
            }
            late
        });
    }
    let mut late = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3).expect("the bounds are bounds");
    while let Some(each) = set.join_next().await {
        late.add(each.expect("a reader ends")).expect("the same shape");
    }
    let (after, seconds) = (server.usage(), begun.elapsed().as_secs_f64());
    let count = late.len() as f64;
    say(&format!(
        "{streams} streams of 50 chunks/s: {:.0} chunks/s ({:.1} s), with their readers after p50 {:.1} ms, p99 {:.1} ms; \
         {:.1} µs CPU and {:.0} bytes written a chunk",
        count / seconds,
        seconds,
        late.value_at_quantile(0.5) as f64 / 1e3,
        late.value_at_quantile(0.99) as f64 / 1e3,
        (after.cpu - before.cpu) / count * 1e6,
        (after.written - before.written) / count,
    ));
}

/// Readers that connect and read nothing, of streams that go on without them.
async fn slow_readers(setup: &Setup, server: &Process, aims: &mut Aims) {
    let readers = if setup.quick { 20 } else { 100 };
    let mut rss = Vec::new();
    for chunks in [10, 20_000] {
        let before = server.usage().rss_kib;
        let mut kept = Vec::new();
        for _ in 0..readers {
            kept.push(open(server, &format!("/chunks?n={chunks}&ms=0")).await);
        }
        tokio::time::sleep(Duration::from_secs(if setup.quick { 4 } else { 15 })).await;
        rss.push((server.usage().rss_kib - before) / f64::from(readers));
        drop(kept);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    say(&format!(
        "a reader that does not read: {:.0} KiB of a stream of 10 chunks, {:.0} KiB of one of 20,000",
        rss[0], rss[1]
    ));
    aims.at_most("KiB of a reader that does not read, of 20,000 chunks", 1_024.0, rss[1]);
}
