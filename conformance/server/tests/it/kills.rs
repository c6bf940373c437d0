//! P8 end to end: the real server, killed with -9 at seeded moments, and several readers who come and go.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use onward_client::{Client, Frame};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const KILLS: u32 = 25;
const SEED: u64 = 20_261_124;

/// The server in a process of its own; killed when it is dropped.
struct Program(Child);

impl Program {
    fn start(address: &str, folder: &Path) -> Self {
        let store = format!("sqlite:{}", folder.join("onward.db").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_conformance-server"));
        let mut child = command.args([address, &store]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("http://"), "{line}");
        Self(child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client() -> Client {
    let delays = Client::builder().resume_attempts(1_000).resume_delay(Duration::from_millis(5));
    delays.resume_delay_max(Duration::from_millis(40)).build().unwrap()
}

/// What a reader shows: the numbers that count, in order.
#[derive(Default)]
struct Shown {
    numbers: Vec<u32>,
    rollbacks: u32,
    committed: bool,
}

impl Shown {
    fn take(&mut self, frame: &Frame) -> bool {
        match frame {
            Frame::Chunk { data, .. } => self.numbers.push(data.get().parse().unwrap()),
            Frame::Rollback { .. } => {
                assert!(!self.committed, "what was committed is rolled back");
                self.rollbacks += 1;
                self.numbers.clear();
            }
            Frame::Commit { .. } => self.committed = true,
            Frame::Response { content, .. } => {
                assert_eq!(content.body, "100");
                return true;
            }
            Frame::Metadata { .. } | Frame::RedirectInfo { .. } => {}
        }
        false
    }
}

/// Reads a run over its waiting URL, and gives up its connection again and again.
async fn wander(location: String, mut draws: StdRng) -> Shown {
    let (client, mut shown, mut last) = (client(), Shown::default(), None::<String>);
    loop {
        let mut stream = client.attach(&location, last.as_deref());
        for _ in 0..draws.random_range(1..40) {
            let Some(received) = stream.next().await else { break };
            let received = received.unwrap();
            if shown.take(&received.frame) {
                return shown;
            }
            last = received.id.or(last);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_server_that_is_killed_again_and_again_see_each_chunk_once() {
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut draws = StdRng::seed_from_u64(SEED);
    let mut program = Some(Program::start(&address, folder.path()));
    let (mut kills, mut rollbacks, mut runs) = (0, 0, 0);
    while kills < KILLS {
        runs += 1;
        let mut stream = client().stream_frames(format!("http://{address}/many"));
        let mut first = Shown::default();
        let mut readers = tokio::task::JoinSet::new();
        let ended = loop {
            // Killed while the run streams: it takes half a second, if it is let.
            let patience = if kills < KILLS { draws.random_range(20..900) } else { 60_000 };
            let patience = Duration::from_millis(patience);
            let until = tokio::time::sleep(patience);
            tokio::pin!(until);
            let ended = loop {
                tokio::select! {
                    received = stream.next() => {
                        let received = match received.expect("a response comes last") {
                            Ok(received) => received,
                            // The kill met the request itself: there is no run that the client knows of.
                            Err(error) if readers.is_empty() && error.is_transient() => break true,
                            Err(error) => panic!("run {runs}: {error}"),
                        };
                        if let Frame::RedirectInfo { url, .. } = &received.frame && readers.is_empty() {
                            for _ in 0..2 {
                                readers.spawn(wander(url.clone(), StdRng::seed_from_u64(draws.random())));
                            }
                        }
                        if first.take(&received.frame) {
                            break true;
                        }
                    }
                    () = &mut until => break false,
                }
            };
            if ended || kills >= KILLS {
                break ended;
            }
            kills += 1;
            drop(program.take());
            program = Some(Program::start(&address, folder.path()));
        };
        assert!(ended, "run {runs} ended in {kills} kills");
        if readers.is_empty() {
            continue;
        }
        let mut all = vec![first];
        while let Some(reader) = readers.join_next().await {
            all.push(reader.unwrap());
        }
        for shown in &all {
            assert_eq!(shown.numbers, (0..100).collect::<Vec<_>>(), "run {runs} after {kills} kills");
            assert!(shown.committed);
            rollbacks += shown.rollbacks;
        }
    }
    assert!(rollbacks > 0, "no kill met a run that streamed");
}
