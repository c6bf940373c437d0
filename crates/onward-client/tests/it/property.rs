//! However a stream is cut, its reader sees each frame once and in order.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use onward_client::{Client, Frame, ReceivedFrame};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::support::{Answer, Call, Script, Server, succeeded};

const RUNS: u64 = 120;

/// What a server draws from: one run after the other.
struct Draws {
    rng: StdRng,
    script: Script,
}

#[tokio::test]
async fn random_cuts_lose_repeat_and_reorder_no_frame() {
    let draws = Arc::new(Mutex::new(draws(0)));
    let shared = Arc::clone(&draws);
    let server = Server::start(move |call, answer| {
        let plan = plan(&mut shared.lock().unwrap(), &call);
        play(plan, answer)
    })
    .await;
    let client = Client::builder().resume_attempts(200).resume_delay(Duration::ZERO).build().unwrap();
    for seed in 1..=RUNS {
        *draws.lock().unwrap() = self::draws(seed);
        let mut frames = client.stream_frames(server.at("/run"));
        let mut seen: Vec<ReceivedFrame> = Vec::new();
        while let Some(received) =
            frames.next().await.transpose().unwrap_or_else(|error| panic!("seed {seed}: {error}"))
        {
            seen.push(received);
        }
        let script = draws.lock().unwrap().script.clone();
        let ids: Vec<_> = seen.iter().map(|received| received.id.clone().unwrap()).collect();
        let wanted: Vec<_> = (1..=script.0.len()).map(|at| at.to_string()).collect();
        assert_eq!(ids, wanted, "seed {seed}");
        for (received, wire) in seen.iter().zip(&script.0) {
            if let Frame::Chunk { data, .. } = &received.frame {
                assert!(wire.contains(&format!(r#""data":{data}"#)), "seed {seed}: {data} is not in {wire}");
            }
        }
        let last = seen.pop().map(|received| received.frame);
        assert!(matches!(last, Some(Frame::Response { content, .. }) if content.body == "🦀 done"), "seed {seed}");
    }
}

fn draws(seed: u64) -> Draws {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut frames = vec![
        ("metadata", json!({ "runId": "run1" })),
        ("redirect_info", json!({ "runId": "run1", "url": "/wait?token=é" })),
    ];
    for at in 0..rng.random_range(0..40) {
        let step = ["a", "b"][rng.random_range(0..2)];
        frames.push(match rng.random_range(0..10) {
            0..7 => ("stream", json!({ "data": format!("{at} ✓ {}", "🦀".repeat(at % 5)), "hashedStepId": step })),
            7 | 8 => ("commit", json!({ "hashedStepId": step })),
            _ => ("rollback", json!({ "hashedStepId": step })),
        });
    }
    frames.push(("response", succeeded("🦀 done")));
    Draws { rng, script: Script::new(&frames) }
}

/// How one connection is answered.
enum Plan {
    Refused,
    Cut,
    Stream { parts: Vec<Vec<u8>>, in_order: bool },
}

fn plan(Draws { rng, script }: &mut Draws, call: &Call) -> Plan {
    let mut parts = Vec::new();
    let text = if call.path == "/run" {
        // A stream that is cut before the client knows where it goes on is lost, so the cuts come after that.
        parts.push(script.first(2).into_bytes());
        script.after(Some("2"))
    } else {
        match rng.random_range(0..10) {
            0 => return Plan::Refused,
            1 => return Plan::Cut,
            _ => {}
        }
        let repeated = if rng.random_bool(0.3) { script.first(2) } else { String::new() };
        let beats = if rng.random_bool(0.3) { ":\n\n" } else { "" };
        format!("{beats}{repeated}{}", script.after(call.last_event_id()))
    };
    let whole = rng.random_bool(0.1);
    let cut = if whole { text.len() } else { rng.random_range(0..400).min(text.len()) };
    let mut rest = &text.as_bytes()[..cut];
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rng.random_range(1..=60).min(rest.len()));
        parts.push(part.to_vec());
        rest = after;
    }
    Plan::Stream { parts, in_order: rng.random_bool(0.5) }
}

async fn play(plan: Plan, answer: Answer) {
    match plan {
        Plan::Refused => answer.plain(503, &[], "").await,
        Plan::Cut => drop(answer),
        Plan::Stream { parts, in_order } => {
            let mut answer = answer.begin().await;
            for part in parts {
                answer.send(part).await;
            }
            if in_order {
                answer.end().await;
            }
        }
    }
}
