//! A load driver: keep-alive connections that each send one request after the other.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An HTTP/1.1 connection that keeps alive; enough of one for responses with a `content-length`.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response: its status, `location`, and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: String,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\naccept: */*\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.expect("the server reads");
        self.buffer.clear();
        loop {
            let head = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(head) = head {
                let text = String::from_utf8_lossy(&self.buffer[..head]).into_owned();
                let header = |name: &str| {
                    text.lines().find_map(|line| {
                        let (own, value) = line.split_once(':')?;
                        own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
                    })
                };
                let length: usize = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                while self.buffer.len() < head + 4 + length {
                    self.read().await;
                }
                let status = text.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
                let body = String::from_utf8_lossy(&self.buffer[head + 4..]).into_owned();
                return Answer { status, location: header("location"), body };
            }
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let read = self.stream.read_buf(&mut self.buffer).await.expect("the server writes");
        assert!(read > 0, "the server closed the connection");
    }
}

/// What a load came to.
pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub(crate) latency: Histogram<u64>,
}

impl Load {
    /// A percentile, in milliseconds.
    pub(crate) fn ms(&self, percentile: f64) -> f64 {
        self.latency.value_at_percentile(percentile) as f64 / 1e3
    }
}

/// Sends requests on this many connections for a time.
pub(crate) async fn load(address: &str, path: &str, connections: usize, time: Duration) -> Load {
    let mut tasks = tokio::task::JoinSet::new();
    let until = Instant::now() + time;
    for _ in 0..connections {
        let (address, path) = (address.to_owned(), path.to_owned());
        tasks.spawn(async move {
            let mut connection = Connection::open(&address).await;
            let mut latency = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3).expect("the bounds are bounds");
            while Instant::now() < until {
                let start = Instant::now();
                let answer = connection.get(&path).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                latency.saturating_record(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            latency
        });
    }
    let start = Instant::now();
    let mut all = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3).expect("the bounds are bounds");
    while let Some(latency) = tasks.join_next().await {
        all.add(latency.expect("a connection ends")).expect("the same shape");
    }
    Load { per_second: all.len() as f64 / start.elapsed().as_secs_f64(), latency: all }
}
