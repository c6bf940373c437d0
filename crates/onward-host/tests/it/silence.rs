//! Silent connections are closed, busy ones are not, and operators find a place.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use onward_host::serve::{Limits, RequestBody, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::Instant,
};
use tower_service::Service;

/// Answers with the length of the body; `/slow` after a while, `/large` with more than any buffer takes.
#[derive(Clone)]
struct App;

impl Service<Request<RequestBody>> for App {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let read = match body.collect().await {
                Ok(body) => body.to_bytes().len().to_string(),
                Err(error) => error.to_string(),
            };
            if parts.uri.path() == "/slow" {
                tokio::time::sleep(Duration::from_secs(600)).await;
            }
            let large = || Bytes::from(vec![b'x'; 64 << 20]);
            let body = if parts.uri.path() == "/large" { large() } else { read.into() };
            Ok(Response::new(Full::new(body)))
        })
    }
}

struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinSet<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mut serving) = (listener.local_addr().unwrap(), JoinSet::new());
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async move { drop(stopped.await) };
        serving.spawn(serve(listener, |_| App, limits, until, Duration::from_secs(5)));
        Self { address, stop: Some(stop), serving }
    }

    /// Sends bytes, and reads until the server closes; gives what came, and after how long.
    async fn until_closed(&self, sends: &[u8]) -> (String, Duration) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(sends).await.unwrap();
        let (began, mut came) = (Instant::now(), Vec::new());
        // A connection that is reset is closed, too.
        let _ = stream.read_to_end(&mut came).await;
        (String::from_utf8_lossy(&came).into_owned(), began.elapsed())
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.join_next().await.unwrap().unwrap();
    }
}

fn limits() -> Limits {
    Limits { connections: 64, ..Limits::default() }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_or_not_all_is_closed() {
    let server = Server::start(limits()).await;
    let silent: [&[u8]; 6] = [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nhost:",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for sends in silent {
        let (_, after) = server.until_closed(sends).await;
        assert!(after <= Duration::from_secs(20), "{:?} after {after:?}", String::from_utf8_lossy(sends));
        assert!(after >= Duration::from_secs(14), "{:?} after {after:?}", String::from_utf8_lossy(sends));
    }
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_while_a_request_is_under_way_and_closed_when_idle() {
    let server = Server::start(limits()).await;
    let (came, after) = server.until_closed(GET).await;
    assert!(came.starts_with("HTTP/1.1 200"), "{came}");
    assert!(after >= Duration::from_secs(74) && after <= Duration::from_secs(78), "{after:?}");
    let half = [GET, b"GET / HTTP/1.1\r\nhost:"].concat();
    let (came, after) = server.until_closed(&half).await;
    assert_eq!(came.matches("HTTP/1.1 200").count(), 1, "{came}");
    assert!(after >= Duration::from_secs(74) && after <= Duration::from_secs(78), "half a head: {after:?}");
    let slow = b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n";
    let (came, after) = server.until_closed(slow).await;
    assert!(came.starts_with("HTTP/1.1 200") && after >= Duration::from_secs(600), "{came} after {after:?}");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_fails() {
    let server = Server::start(limits()).await;
    let (came, after) = server.until_closed(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc").await;
    assert!(came.contains("the request's body was silent"), "{came}");
    assert!(after >= Duration::from_secs(60) && after <= Duration::from_secs(138), "{after:?}");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let server = Server::start(limits()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(90)).await;
    let mut came = Vec::new();
    let _ = stream.read_to_end(&mut came).await;
    assert!(came.len() < 64 << 20, "what was in buffers is all that came: {}", came.len());
    server.stop().await;
}

/// In real time, as the system's buffers go by that.
#[tokio::test]
async fn a_reader_that_is_slow_gets_everything() {
    let server = Server::start(Limits { write: Duration::from_secs(3), ..limits() }).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /large HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut taken, mut piece) = (0, vec![0; 8 << 20]);
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        match slow.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(read) => taken += read,
        }
    }
    assert!(taken > 64 << 20, "{taken}");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn with_all_places_taken_operators_are_served_and_others_told_to_come_again() {
    let kept = |request: &http::request::Parts| request.uri.path() == "/health";
    let server = Server::start(Limits { connections: 3, reserved: 2, kept, ..limits() }).await;
    let mut holders = Vec::new();
    for _ in 0..3 {
        let mut holder = TcpStream::connect(server.address).await.unwrap();
        holder.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        holders.push(holder);
    }
    let (came, _) = server.until_closed(b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(came.starts_with("HTTP/1.1 200"), "{came}");
    let (came, _) = server.until_closed(GET).await;
    assert!(came.starts_with("HTTP/1.1 503") && came.contains("retry-after: 1"), "{came}");
    // Silent connections take the reserved places: further ones are closed at once, until those are closed.
    let silent = [TcpStream::connect(server.address).await.unwrap(), TcpStream::connect(server.address).await.unwrap()];
    let (came, after) = server.until_closed(GET).await;
    assert_eq!((came.as_str(), after < Duration::from_secs(1)), ("", true));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let (came, _) = server.until_closed(b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(came.starts_with("HTTP/1.1 200"), "{came}");
    drop((holders, silent));
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wave_of_silent_connections_leaves_no_descriptor_behind() {
    let server = Server::start(Limits { connections: 300, ..Limits::default() }).await;
    let open = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let before = open();
    let mut wave = Vec::new();
    for _ in 0..250 {
        wave.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert!(open() >= before + 250);
    tokio::time::sleep(Duration::from_secs(40)).await;
    drop(wave);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(open() <= before + 5, "{} before, {} after", before, open());
    server.stop().await;
}
