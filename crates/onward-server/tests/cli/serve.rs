//! `dev` and `start`: what they say at their start, and how they end.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::support::Place;

/// Reads what it says until a line has these words.
async fn until(err: &mut (impl AsyncBufReadExt + Unpin), words: &str) -> String {
    let mut text = String::new();
    while !text.contains(words) {
        assert_ne!(err.read_line(&mut text).await.unwrap(), 0, "it ended without {words:?}: {text}");
    }
    text
}

#[cfg(unix)]
#[tokio::test]
async fn dev_says_where_things_are_and_ends_at_a_signal() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let place = Place::new();
        let mut child = place.start(&["dev", "--port", "0"]);
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let said = until(&mut err, "INNGEST_DEV=").await;
        assert!(said.contains("keys    none needed"), "{said}");
        assert!(said.contains("/onward-dev.db"), "{said}");
        let url = said.lines().find_map(|line| line.trim().strip_prefix("engine  ")).unwrap();
        assert!(said.contains(&format!("INNGEST_DEV={url}")) && !url.ends_with(":0"), "{said}");
        kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), signal).unwrap();
        assert!(child.wait().await.unwrap().success());
        let mut rest = String::new();
        err.read_to_string(&mut rest).await.unwrap();
        assert!(rest.contains("a second signal stops at once"), "{rest}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = Place::new().run(&["dev", "--port", &port, "--store", "memory:"]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("onward: ") && said.err.contains("in use"), "{}", said.err);
}
