//! A forwarder that counts what goes through it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// Stands between a node and its database. It ends when it is dropped.
pub(super) struct Proxy {
    pub(super) port: u16,
    counts: Arc<[AtomicU64; 2]>,
    task: AbortHandle,
}

impl Proxy {
    /// In front of a port of this machine.
    pub(super) async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let task = tokio::spawn(serve(listener, target, Arc::clone(&counts))).abort_handle();
        Self { port, counts, task }
    }

    /// Bytes to the database and from it, so far.
    pub(super) fn bytes(&self) -> (f64, f64) {
        let of = |way: usize| self.counts[way].load(Ordering::Relaxed) as f64;
        (of(0), of(1))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: u16, counts: Arc<[AtomicU64; 2]>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let counts = Arc::clone(&counts);
        connections.spawn(async move {
            let server = TcpStream::connect(("127.0.0.1", target)).await?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::try_join!(forward(from_client, to_server, &counts[0]), forward(from_server, to_client, &counts[1]),)
        });
    }
}

async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        count.fetch_add(read as u64, Ordering::Relaxed);
        to.write_all(&buffer[..read]).await?;
    }
}
