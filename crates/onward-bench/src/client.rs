//! A load driver: keep-alive connections that each send one request after the other.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An HTTP/1.1 connection that keeps alive; enough of one for responses that tell their length or come in chunks.
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
        self.send(&request).await
    }

    /// Posts JSON, as the SDK for JavaScript does.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Answer {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\naccept: */*\r\ncontent-type: application/json\r\n\
             x-inngest-sdk: inngest-js:v4.24.0\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.send(&request).await
    }

    async fn send(&mut self, request: &str) -> Answer {
        self.stream.write_all(request.as_bytes()).await.expect("the server reads");
        self.buffer.clear();
        let head = self.find(b"\r\n\r\n", 0).await;
        let text = String::from_utf8_lossy(&self.buffer[..head]).into_owned();
        let header = |name: &str| {
            text.lines().find_map(|line| {
                let (own, value) = line.split_once(':')?;
                own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let body = if header("transfer-encoding").is_some() {
            self.chunks(head + 4).await
        } else {
            let length: usize = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            self.has(head + 4 + length).await;
            self.buffer[head + 4..].to_vec()
        };
        let status = text.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
        Answer { status, location: header("location"), body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// A body that comes in chunks, from this place on.
    async fn chunks(&mut self, mut at: usize) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.find(b"\r\n", at).await;
            let size = std::str::from_utf8(&self.buffer[at..line]).ok();
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).expect("a chunk has a size");
            at = line + 2;
            self.has(at + size + 2).await;
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&self.buffer[at..at + size]);
            at += size + 2;
        }
    }

    /// Where something is in what came, from a place on.
    async fn find(&mut self, what: &[u8], from: usize) -> usize {
        loop {
            let found = self.buffer[from..].windows(what.len()).position(|bytes| bytes == what);
            match found {
                Some(place) => return from + place,
                None => self.read().await,
            }
        }
    }

    /// Waits until so many bytes have come.
    async fn has(&mut self, bytes: usize) {
        while self.buffer.len() < bytes {
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let read = self.stream.read_buf(&mut self.buffer).await.expect("the server writes");
        assert!(read > 0, "the server closed the connection");
    }
}

/// A histogram of microseconds, up to two minutes.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("the bounds are bounds")
}

/// The microseconds since then, to be recorded.
pub(crate) fn micros_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
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
    load_all(&[address], path, connections, time).await
}

/// Sends requests on this many connections, spread over some servers, for a time.
pub(crate) async fn load_all(addresses: &[&str], path: &str, connections: usize, time: Duration) -> Load {
    let mut tasks = tokio::task::JoinSet::new();
    let until = Instant::now() + time;
    for address in addresses.iter().cycle().take(connections) {
        let (address, path) = ((*address).to_owned(), path.to_owned());
        tasks.spawn(async move {
            let mut connection = Connection::open(&address).await;
            let mut latency = histogram();
            while Instant::now() < until {
                let start = Instant::now();
                let answer = connection.get(&path).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                latency.saturating_record(micros_since(start));
            }
            latency
        });
    }
    let start = Instant::now();
    let mut all = histogram();
    while let Some(latency) = tasks.join_next().await {
        all.add(latency.expect("a connection ends")).expect("the same shape");
    }
    Load { per_second: all.len() as f64 / start.elapsed().as_secs_f64(), latency: all }
}
