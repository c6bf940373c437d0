//! The network between a node and the database: it can be cut, frozen, slowed, and mended.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// All passes.
    Open,
    /// Connections break, and new ones are closed at once.
    Cut,
    /// Connections are there and nothing passes: what was sent arrives when the way is open again.
    Frozen,
    /// Each piece takes this long, in each direction.
    Slow(Duration),
}

/// A proxy of one node.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Passes connections on to the database.
    pub(crate) async fn start(database: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (way, seen) = watch::channel(Way::Open);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, database, seen));
        Ok(Self { address, way, _serving: serving })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn serve(listener: TcpListener, database: SocketAddr, way: watch::Receiver<Way>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(near, database, way.clone()));
    }
}

async fn connection(near: TcpStream, database: SocketAddr, mut way: watch::Receiver<Way>) {
    if !passes(&mut way).await {
        return;
    }
    let Ok(far) = TcpStream::connect(database).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // One direction that ends breaks the other: a database's connection is of no use with one.
    tokio::select! {
        () = copy(near_in, far_out, way.clone()) => {}
        () = copy(far_in, near_out, way) => {}
    }
}

/// Waits until something may pass; whether it may still.
async fn passes(way: &mut watch::Receiver<Way>) -> bool {
    loop {
        match *way.borrow_and_update() {
            Way::Open | Way::Slow(_) => return true,
            Way::Cut => return false,
            Way::Frozen => {}
        }
        if way.changed().await.is_err() {
            return false;
        }
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            changed = way.changed() => {
                if changed.is_err() || *way.borrow_and_update() == Way::Cut {
                    return;
                }
                continue;
            }
        };
        let Ok(len @ 1..) = read else { return };
        let now = *way.borrow();
        if let Way::Slow(time) = now {
            tokio::time::sleep(time).await;
        }
        if !passes(&mut way).await || to.write_all(&piece[..len]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::{Proxy, Way};

    const SOON: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn what_is_sent_while_frozen_comes_later_and_a_cut_ends_it() {
        let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(database.local_addr().unwrap()).await.unwrap();
        let mut near = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut far, _) = database.accept().await.unwrap();
        near.write_all(b"a").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'a');

        proxy.set(Way::Frozen);
        near.write_all(b"b").await.unwrap();
        assert!(timeout(SOON, far.read_u8()).await.is_err(), "nothing passes");
        proxy.set(Way::Open);
        assert_eq!(far.read_u8().await.unwrap(), b'b');

        proxy.set(Way::Cut);
        assert!(near.read_u8().await.is_err(), "the connection is broken");
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(refused.read_u8().await.is_err());
    }
}
