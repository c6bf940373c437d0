//! The client of Onward's durable endpoints.
//!
//! [`Client::fetch_with_stream`] calls an endpoint, gives what it streams to callbacks, and resolves to its response;
//! [`Client::stream_frames`] gives the same as a stream of typed frames. A lost connection, a restarted server or a run
//! that waits for a day does not lose the stream: it goes on after the last frame that came.
//!
//! ```no_run
//! use bytes::Bytes;
//! use onward_client::{Client, Error};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new();
//! let request = http::Request::post("https://app.example/api/answer").body(Bytes::from("Why?"))?;
//! let response = client
//!     .fetch_with_stream(request)
//!     .on_data(|data, _step| println!("chunk of {} bytes", data.get().len()))
//!     .on_rollback(|_step| println!("the chunks of this attempt no longer count"))
//!     .on_done(|| println!("done"))
//!     .await?;
//! println!("{}", response.status());
//! # Ok(()) }
//! ```
//!
//! Who does not stream starts a run with [`Client::start`] and gets its response with [`Client::wait`], from another
//! process if need be; [`Client::attach`] reads the stream of a run that goes on already. [`Client::send_event`] sends
//! what a run waits for, and [`Client::runs`] is the run API for operators.
//!
//! Neither `Debug` nor what is logged shows tokens, headers or payloads. A waiting URL holds its run's token: whoever has
//! it can read the run.
//!
//! # Features
//! `tls`, on by default: `https`, by rustls with ring.

mod answer;
mod client;
mod connection;
mod error;
mod event;
mod fetch;
mod problem;
mod request;
mod retry;
mod run;
mod runs;
mod stream;

pub use onward_protocol::{
    run::{RunDetails, RunInfo, RunList, StepInfo},
    sse::{Content, Frame, ResponseStatus},
};

pub use self::{
    client::{Client, ClientBuilder},
    error::{Error, LostRun},
    event::NewEvent,
    fetch::FetchWithStream,
    problem::Problem,
    request::IntoRequest,
    run::{Start, Started},
    runs::{RunFilter, Runs},
    stream::{Frames, ReceivedFrame},
};
