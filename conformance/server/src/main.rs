//! `conformance-server [ADDRESS [STORE]]`: serves the endpoints of the cases; the first line it prints is its address.

#[expect(clippy::print_stdout, reason = "who started it reads where it listens")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let store = args.next().unwrap_or_else(|| "memory:".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    let onward = onward::Onward::open(&store).await?;
    let app = conformance_server::app(&onward);
    onward.serve(listener, app).await?;
    Ok(())
}
