//! A Restate service with one handler of three steps: `onward-bench-peers ADDRESS`.

#![expect(missing_docs, reason = "the SDK's macro makes a method without")]

use std::net::SocketAddr;

use restate_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// What a step returns: about 150 bytes, as in the project's own benchmarks.
#[derive(Serialize, Deserialize)]
struct Output {
    id: u32,
    status: String,
    note: String,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    steps: u32,
}

struct Bench;

#[service]
impl Bench {
    #[handler]
    async fn steps(&self, context: Context<'_>) -> HandlerResult<Json<Answer>> {
        for name in ["step-1", "step-2", "step-3"] {
            context.run(async || Ok(output())).name(name).await?;
        }
        Ok(Json(Answer { steps: 3 }))
    }
}

fn output() -> Json<Output> {
    Json(Output { id: 4_200_042, status: "accepted".to_owned(), note: "x".repeat(100) })
}

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).and_then(|address| address.parse().ok());
    let address: SocketAddr = address.expect("the first argument is an address to listen on");
    let listener = listen(address).expect("the address is free");
    HttpServer::new(Endpoint::builder().bind(Bench).build()).serve(listener).await;
}

/// Listens without Nagle's delay. The SDK accepts by itself and leaves the delay on, which would hold up its answers by
/// 40 ms; what is set on the socket that listens, connections inherit (on Linux).
fn listen(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    tokio::net::TcpListener::from_std(socket.into())
}
