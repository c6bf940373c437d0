//! P8: what a run streams, and who reads it when.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    body::Body,
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use onward::{Onward, Step, StepError, StreamWriter};
use onward_protocol::sse::{Event, Frame, Parser};
use onward_testing::{ManualClock, MemoryStore};
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::support::{App, Count, text};

/// A connection that reads a stream.
struct Connection {
    body: Body,
    parser: Parser,
    events: VecDeque<Event>,
}

impl Connection {
    async fn open(app: &App, uri: &str, after: Option<&str>) -> Result<Self, Response<Bytes>> {
        let mut request = Request::get(uri).header("accept", "text/event-stream").header("host", "test");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        Self::send(app, request.body(Body::empty()).unwrap()).await
    }

    async fn send(app: &App, request: Request<Body>) -> Result<Self, Response<Bytes>> {
        let response = app.router.clone().oneshot(request).await.unwrap();
        if response.status() != 200 || response.headers()["content-type"] != "text/event-stream" {
            let (parts, body) = response.into_parts();
            return Err(Response::from_parts(parts, body.collect().await.unwrap().to_bytes()));
        }
        Ok(Self { body: response.into_body(), parser: Parser::default(), events: VecDeque::default() })
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let frame = self.body.frame().await?.unwrap();
            self.events.extend(self.parser.push(&frame.into_data().unwrap()));
        }
    }

    /// The next events up to one that says this, in short.
    async fn until(&mut self, said: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            let short = short(&event);
            all.push((event.id, short.clone()));
            if short.starts_with(said) {
                return all;
            }
        }
        panic!("the stream ended before {said}: {all:?}");
    }

    async fn all(&mut self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push((event.id.clone(), short(&event)));
        }
        all
    }
}

/// A frame in a few words; steps by the first letters of their hash.
fn short(event: &Event) -> String {
    let step = |step: &Option<String>| step.as_deref().map_or("-".to_owned(), |step| step[..4].to_owned());
    match event.frame().unwrap().unwrap() {
        Frame::Metadata { .. } => "metadata".to_owned(),
        Frame::RedirectInfo { .. } => "redirect".to_owned(),
        Frame::Chunk { data, step: of } => format!("{} {}", step(&of), data.get()),
        Frame::Commit { step: of } => format!("{} commit", step(&of)),
        Frame::Rollback { step: of } => format!("{} rollback", step(&of)),
        Frame::Response { status, content } => format!("response {status:?} {} {}", content.status_code, content.body),
    }
}

fn words(all: &[(String, String)]) -> Vec<&str> {
    all.iter().map(|(_, said)| said.as_str()).collect()
}

/// The path of the waiting URL.
async fn waiting_url(connection: &mut Connection) -> String {
    loop {
        let event = connection.next().await.unwrap();
        if let Frame::RedirectInfo { url, .. } = event.frame().unwrap().unwrap() {
            return url.strip_prefix("http://test").unwrap().to_owned();
        }
    }
}

/// Streams in two steps; the first attempt of the first fails.
async fn story(step: Step, count: Count) -> Result<String, StepError> {
    step.run("a", async || {
        let stream = step.stream();
        stream.push("one");
        if count.hit() == 1 {
            return Err(StepError::retry("it breaks"));
        }
        stream.push(&2);
        Ok(())
    })
    .await?;
    step.stream().push("between");
    let text = step.run("b", async || StreamWriter::current().pipe(stream::iter(["th", "ree"])).await).await?;
    Ok(format!("the end of {text}"))
}

const A: &str = "86f7";
const B: &str = "e9d7";

#[tokio::test]
async fn frames_come_in_the_order_and_shape_of_the_protocol() {
    let count = Count::default();
    let handler = async move |step: Step| story(step, count.clone()).await;
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let mut reader = Connection::open(&app, "/", None).await.unwrap();
    let all = app.while_time_goes_on(reader.all()).await;
    let expected = [
        "metadata",
        "redirect",
        "86f7 \"one\"",
        "86f7 rollback",
        "86f7 \"one\"",
        "86f7 2",
        "86f7 commit",
        "- \"between\"",
        "e9d7 \"th\"",
        "e9d7 \"ree\"",
        "e9d7 commit",
        "response Succeeded 200 the end of three",
    ];
    assert_eq!(words(&all), expected);
    let ids: Vec<_> = all.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["0", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "9-end"]);
}

#[tokio::test]
async fn a_late_reader_sees_what_counts_and_one_who_comes_back_sees_the_rest_once() {
    let count = Count::default();
    let handler = async move |step: Step| story(step, count.clone()).await;
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let mut first = Connection::open(&app, "/", None).await.unwrap();
    let wait = waiting_url(&mut first).await;
    let all = app.while_time_goes_on(first.all()).await;
    let late = Connection::open(&app, &wait, None).await.unwrap().all().await;
    let expected: Vec<_> = words(&all).into_iter().skip(2).collect();
    assert_eq!(words(&late)[..2], ["metadata", "redirect"]);
    assert_eq!(words(&late)[2..], expected, "the failed attempt is left out");
    for (place, (id, _)) in all.iter().enumerate().filter(|(_, (id, _))| !id.ends_with("end")) {
        let rest = Connection::open(&app, &wait, Some(id)).await.unwrap().all().await;
        assert_eq!(rest[2..], all[place + 1..], "after {id}");
    }
    // Who has the response has all.
    let nothing = Connection::open(&app, &wait, Some("9-end")).await.err().unwrap();
    assert_eq!(nothing.status(), 204);
    // Without the media type it is the response as ever.
    assert_eq!(text(&app.get(&wait).await), "the end of three");
}

#[tokio::test]
async fn a_reader_who_leaves_cancels_nothing_and_finds_the_run_where_it_is() {
    let (go, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait_for) = (go.clone(), gate.clone());
    let handler = async move |step: Step| {
        step.run("a", async || {
            let stream = step.stream();
            stream.push("before");
            stream.flush().await;
            tell.notify_one();
            wait_for.notified().await;
            stream.push("after");
            Ok::<_, StepError>(())
        })
        .await?;
        step.sleep("nap", "3h").await?;
        step.run("b", async || {
            step.stream().push("later");
            Ok::<_, StepError>("done".to_owned())
        })
        .await
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let mut first = Connection::open(&app, "/", None).await.unwrap();
    let wait = waiting_url(&mut first).await;
    go.notified().await;
    let seen = first.until(&format!("{A} \"before\"")).await;
    drop(first);
    gate.notify_one();
    let mut readers = Vec::new();
    for after in [None, Some(seen[0].0.as_str())] {
        readers.push(Connection::open(&app, &wait, after).await.unwrap());
    }
    let late = app.while_time_goes_on(readers[0].all()).await;
    let back = readers[1].all().await;
    let rest = [
        format!("{A} \"after\""),
        format!("{A} commit"),
        format!("{B} \"later\""),
        format!("{B} commit"),
        "response Succeeded 200 done".to_owned(),
    ];
    assert_eq!(words(&back)[2..], rest);
    assert_eq!(words(&late)[2], format!("{A} \"before\""));
    assert_eq!(words(&late)[3..], rest);
}

#[tokio::test]
async fn what_a_dead_process_streamed_of_an_unfinished_step_is_rolled_back_by_its_successor() {
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::new());
    let (begun, count) = (Arc::new(Notify::new()), Count::default());
    let (tell, counted) = (begun.clone(), count.clone());
    let handler = async move |step: Step| {
        step.stream().push("outside");
        step.run("a", async || {
            let stream = step.stream();
            stream.push(&counted.hit());
            stream.flush().await;
            tell.notify_one();
            if counted.get() == 1 {
                std::future::pending::<()>().await;
            }
            Ok::<_, StepError>("done".to_owned())
        })
        .await
    };
    let open =
        || App::on(store.clone(), clock.clone(), Onward::builder(), |onward| onward.route("/", get(handler.clone())));
    let old = open().await;
    let mut first = Connection::open(&old, "/", None).await.unwrap();
    let wait = waiting_url(&mut first).await;
    begun.notified().await;
    let seen = first.until(&format!("{A} 1")).await;
    assert_eq!(words(&seen), ["- \"outside\"", "86f7 1"]);
    // Its successor takes the run over.
    let new = open().await;
    let mut back = Connection::open(&new, &wait, Some(&seen[1].0)).await.unwrap();
    let rest = new.while_time_goes_on(back.all()).await;
    assert_eq!(words(&rest)[2..], ["86f7 rollback", "86f7 2", "86f7 commit", "response Succeeded 200 done"]);
    let late = Connection::open(&new, &wait, None).await.unwrap().all().await;
    assert_eq!(words(&late)[2..], ["- \"outside\"", "86f7 2", "86f7 commit", "response Succeeded 200 done"]);
}

#[tokio::test]
async fn a_failed_run_says_so_without_what_is_inside() {
    let handler = async |step: Step| {
        step.run("a", async || {
            step.stream().push("half");
            Err::<String, _>(StepError::fail("password hunter2"))
        })
        .await
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let all = Connection::open(&app, "/", None).await.unwrap().all().await;
    let ending = r#"response Failed 500 "A step of the request failed""#;
    assert_eq!(words(&all)[2..], ["86f7 \"half\"", "86f7 rollback", ending]);
}

#[tokio::test]
async fn bad_input_has_its_documented_answer() {
    let handler = async |step: Step| {
        step.run("a", async || {
            step.stream().push("one");
            Ok::<_, StepError>("done".to_owned())
        })
        .await
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let mut first = Connection::open(&app, "/", None).await.unwrap();
    let wait = waiting_url(&mut first).await;
    first.all().await;
    for id in ["nonsense", "-1", "99", "4294967296", "77-end"] {
        let refused = Connection::open(&app, &wait, Some(id)).await.err().unwrap();
        assert_eq!(refused.status(), 400, "{id}");
        assert!(text(&refused).contains("stream-position-unknown"));
    }
    let mut other = Connection::open(&app, "/", None).await.unwrap();
    let other = waiting_url(&mut other).await;
    let (own, token) = (wait.split_once("&token=").unwrap().0, other.split_once("&token=").unwrap().1);
    let refused = Connection::open(&app, &format!("{own}&token={token}"), None).await.err().unwrap();
    assert_eq!(refused.status(), 401);
    app.clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(Connection::open(&app, &wait, None).await.err().unwrap().status(), 401);
}

#[tokio::test]
async fn a_chunk_that_cannot_be_streamed_is_the_steps_error_and_outside_of_steps_the_runs() {
    struct Stubborn;
    impl serde::Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let handler = async |step: Step| {
        let error = |name: &'static str, large: bool| {
            let step = &step;
            async move {
                let push = async || {
                    if large {
                        step.stream().push(&"x".repeat(300_000));
                    } else {
                        step.stream().push(&Stubborn);
                    }
                    Ok::<_, StepError>(())
                };
                step.run(name, push).await.unwrap_err()
            }
        };
        let (unserialisable, large) = (error("a", false).await, error("b", true).await);
        format!("{} {} {}", unserialisable.message(), large.is_too_large(), unserialisable.is_retryable())
    };
    let outside = async |step: Step| {
        step.stream().push(&Stubborn);
        "unused"
    };
    let app = App::new(|onward| onward.route("/", get(handler)).merge(onward.route("/outside", get(outside)))).await;
    assert_eq!(text(&app.get("/").await), "a chunk does not become JSON: no true false");
    let all = Connection::open(&app, "/outside", None).await.unwrap().all().await;
    assert_eq!(words(&all)[2..], [r#"response Failed 500 "The request could not be completed""#]);
}

#[tokio::test]
async fn a_pipe_joins_what_is_cut_inside_a_letter_and_ends_with_the_first_error() {
    let handler = async |step: Step| {
        let bytes = "a€ö😀".as_bytes().to_vec();
        let cut = bytes.into_iter().map(|byte| Ok::<_, std::io::Error>(vec![byte]));
        let text = step.run("a", async || step.stream().pipe(stream::iter(cut.clone())).await).await?;
        let broken = [Ok("x"), Err(std::io::Error::other("it broke")), Ok("y")];
        let broken = Arc::new(std::sync::Mutex::new(Some(broken)));
        let error = step.run("b", async || {
            let items = broken.lock().unwrap().take().unwrap();
            step.stream().pipe(stream::iter(items)).await
        });
        let error = error.retries(0).await.unwrap_err();
        Ok::<_, StepError>(format!("{text} {}", error.message()))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let all = Connection::open(&app, "/", None).await.unwrap().all().await;
    let chunks: Vec<_> = words(&all).into_iter().filter(|said| said.starts_with(A)).collect();
    assert_eq!(chunks, ["86f7 \"a\"", "86f7 \"€\"", "86f7 \"ö\"", "86f7 \"😀\"", "86f7 commit"]);
    assert_eq!(words(&all)[7..], ["e9d7 \"x\"", "e9d7 rollback", "response Succeeded 200 a€ö😀 it broke"]);
    assert_eq!(StreamWriter::current().pipe(stream::iter(["x"])).await.unwrap(), "");
}

#[tokio::test]
async fn steps_in_parallel_stream_side_by_side_and_a_step_that_lost_its_race_is_rolled_back() {
    let handler = async |step: Step| {
        let one = step.run("a", async || {
            step.stream().push("fast");
            Ok::<_, StepError>(1)
        });
        let two = step.run("b", async || {
            step.stream().push("slow");
            std::future::pending::<Result<u32, StepError>>().await
        });
        let won = tokio::select! {
            won = one => won?,
            won = two => won?,
        };
        Ok::<_, StepError>(won.to_string())
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let all = Connection::open(&app, "/", None).await.unwrap().all().await;
    let said = words(&all);
    let place = |what: &str| said.iter().position(|said| *said == what);
    assert!(place("86f7 \"fast\"") < place("86f7 commit"), "{said:?}");
    if place("e9d7 \"slow\"").is_some() {
        assert!(place("e9d7 \"slow\"") < place("e9d7 rollback"), "{said:?}");
    }
    assert_eq!(*said.last().unwrap(), "response Succeeded 200 1");
}

#[tokio::test]
async fn a_transactional_step_tells_its_commit_and_its_rollback_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("onward.db").display());
    let clock = ManualClock::new();
    let onward = Onward::builder().clock(Arc::new(clock.clone())).open(&url).await.unwrap();
    let count = Count::default();
    let handler = async move |step: Step| {
        let counted = count.clone();
        let (one, two) = tokio::join!(
            step.transaction("a", move |_| if counted.hit() == 1 { Err(StepError::retry("no")) } else { Ok(1) }),
            step.run("b", async || {
                step.stream().push("beside");
                Ok::<_, StepError>(2)
            })
        );
        Ok::<_, StepError>(format!("{} {}", one?, two?))
    };
    let router = onward.route("/", get(handler)).route("/wait", onward.proxy()).with_state(());
    onward.start().await.unwrap();
    let app = App { onward, clock, router };
    let mut reader = Connection::open(&app, "/", None).await.unwrap();
    let wait = waiting_url(&mut reader).await;
    let all = app.while_time_goes_on(reader.all()).await;
    let mut of_a: Vec<_> = words(&all).into_iter().filter(|said| said.starts_with(A)).collect();
    assert_eq!(of_a, ["86f7 rollback", "86f7 commit"]);
    of_a = words(&all).into_iter().filter(|said| said.starts_with(B)).collect();
    assert_eq!(of_a, ["e9d7 \"beside\"", "e9d7 commit"]);
    let ids: Vec<u32> = all.iter().filter_map(|(id, _)| id.parse().ok()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    let late = Connection::open(&app, &wait, None).await.unwrap().all().await;
    assert_eq!(words(&late).len(), 2 + 3 + 1, "{late:?}");
    app.onward.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_run_without_a_reader_keeps_what_it_streams_for_one_who_comes_later() {
    let handler = async |step: Step| {
        step.run("a", async || {
            step.stream().push("one");
            Ok::<_, StepError>(())
        })
        .await?;
        step.sleep("nap", "1h").await?;
        Ok::<_, StepError>(Bytes::from_static(&[0, 159, 146]))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let first = app.get("/").await;
    let wait = crate::support::location(&first);
    assert_eq!(app.follow(first).await.body(), &Bytes::from_static(&[0, 159, 146]));
    let mut late = Connection::open(&app, &wait, None).await.unwrap();
    let seen = late.until("86f7 commit").await;
    assert_eq!(words(&seen)[2..], ["86f7 \"one\"", "86f7 commit"]);
    let Frame::Response { content, .. } = late.next().await.unwrap().frame().unwrap().unwrap() else { panic!() };
    assert_eq!(content.into_response().unwrap().body(), &Bytes::from_static(&[0, 159, 146]));
}

#[tokio::test]
async fn a_request_that_joins_a_run_by_its_key_reads_the_same_stream() {
    let count = Count::default();
    let handler = async move |step: Step| story(step, count.clone()).await;
    let app = App::new(|onward| onward.route("/", post(handler))).await;
    let request = || {
        let request = Request::post("/").header("accept", "text/event-stream").header("idempotency-key", "k");
        request.header("host", "test").body(Body::empty()).unwrap()
    };
    let mut first = Connection::send(&app, request()).await.unwrap();
    let mut second = Connection::send(&app, request()).await.unwrap();
    let all = app.while_time_goes_on(first.all()).await;
    let joined = second.all().await;
    assert_eq!(words(&joined).last(), words(&all).last());
    assert_eq!(app.onward.runs().list(onward::RunQuery::new()).await.unwrap().runs.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_has_heartbeats() {
    let handler = async |step: Step| {
        step.wait_for_event::<u32>("wait", "never").await?;
        Ok::<_, StepError>("done")
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let mut reader = Connection::open(&app, "/", None).await.unwrap();
    waiting_url(&mut reader).await;
    let begun = tokio::time::Instant::now();
    for beat in 1..=3 {
        let bytes = reader.body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((&bytes[..], begun.elapsed().as_secs()), (&b":\n\n"[..], 15 * beat));
    }
}

#[tokio::test]
async fn a_slow_reader_catches_up_from_the_store() {
    const CHUNKS: usize = 5_000;
    let handler = async |step: Step| {
        step.run("a", async || {
            let numbers = stream::iter(0..CHUNKS).map(|number| format!("{number} "));
            step.stream().pipe(numbers).await.map(|text| text.len().to_string())
        })
        .await
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let mut slow = Connection::open(&app, "/", None).await.unwrap();
    let wait = waiting_url(&mut slow).await;
    app.follow(app.get(&wait).await).await;
    let all = slow.all().await;
    let chunks: Vec<_> = words(&all).into_iter().filter_map(|said| said.strip_prefix("86f7 \"")).collect();
    let expected: Vec<_> = (0..CHUNKS).map(|number| format!("{number} \"")).collect();
    assert_eq!(chunks, expected);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_far_behind_to_a_run_that_waits_gets_all_at_once() {
    const CHUNKS: usize = 3_000;
    let handler = async |step: Step| {
        let numbers = || stream::iter(0..CHUNKS).map(|number| number.to_string());
        step.run("a", async || step.stream().pipe(numbers()).await).await?;
        step.wait_for_event::<u32>("wait", "never").await?;
        Ok::<_, StepError>("done")
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let mut first = Connection::open(&app, "/", None).await.unwrap();
    let wait = waiting_url(&mut first).await;
    first.until(&format!("{A} commit")).await;
    let begun = tokio::time::Instant::now();
    let mut back = Connection::open(&app, &wait, Some("1")).await.unwrap();
    assert_eq!(back.until(&format!("{A} commit")).await.len(), 2 + CHUNKS);
    assert_eq!(begun.elapsed().as_secs(), 0);
}

#[tokio::test]
async fn a_pipe_goes_no_faster_than_the_store_and_splits_what_is_too_large() {
    const CHUNKS: usize = 70_000;
    let handler = async |step: Step| {
        let many = step.run("many", async || step.stream().pipe(stream::iter(vec!["x"; CHUNKS])).await).await?;
        let large = step.run("large", async || step.stream().pipe(stream::iter(["€".repeat(200_000)])).await).await?;
        Ok::<_, StepError>(format!("{} {}", many.len(), large.len()))
    };
    let app = App::new(|onward| onward.route("/", get(handler))).await;
    let mut reader = Connection::open(&app, "/", None).await.unwrap();
    assert_eq!(reader.all().await.last().unwrap().1, "response Succeeded 200 70000 600000");
    assert_eq!(text(&app.get("/").await), "70000 600000", "nor where nobody reads");
}

#[tokio::test]
async fn a_handlers_writer_streams_for_the_step_that_uses_it() {
    let handler = async |step: Step| {
        let stream = step.stream();
        step.run("a", async || {
            stream.push("inside");
            Ok::<_, StepError>(())
        })
        .await?;
        step.sleep("nap", "2h").await?;
        stream.push("outside");
        Ok::<_, StepError>("done")
    };
    let app = App::with(Onward::builder().parked_max(0), |onward| onward.route("/", get(handler))).await;
    let mut reader = Connection::open(&app, "/", None).await.unwrap();
    let all = app.while_time_goes_on(reader.all()).await;
    let expected = ["86f7 \"inside\"", "86f7 commit", "- \"outside\"", "response Succeeded 200 done"];
    assert_eq!(words(&all)[2..], expected);
}

#[tokio::test]
async fn a_step_that_is_cut_off_by_the_runs_timeout_is_rolled_back_and_who_waits_in_a_task_of_its_own_is_let_go() {
    let let_go = Arc::new(Notify::new());
    let tell = let_go.clone();
    let handler = async move |step: Step| {
        step.run("a", async || {
            let (stream, tell) = (step.stream(), tell.clone());
            stream.push("half");
            #[expect(clippy::disallowed_methods, reason = "it is what users do")]
            let task = tokio::spawn(async move {
                loop {
                    stream.push(&"x".repeat(1000));
                    stream.flush().await;
                    tokio::task::yield_now().await;
                    tell.notify_one();
                }
            });
            drop(task);
            std::future::pending::<Result<String, StepError>>().await
        })
        .await
    };
    let app = App::new(|onward| onward.endpoint().timeout("1h").route("/", get(handler))).await;
    let mut reader = Connection::open(&app, "/", None).await.unwrap();
    let wait = waiting_url(&mut reader).await;
    let all = app.while_time_goes_on(reader.all()).await;
    assert!(words(&all).contains(&"86f7 rollback"), "{:?}", words(&all).last());
    let_go.notified().await;
    let late = Connection::open(&app, &wait, None).await.unwrap().all().await;
    assert_eq!(words(&late)[2..], [r#"response Failed 500 "The request took too long""#]);
}

#[tokio::test]
async fn what_is_piped_ends_where_it_could_not_be_kept() {
    let read = Count::default();
    let counts = read.clone();
    let handler = async move |step: Step| {
        let piped = step.run("pipe", async || {
            let source = stream::iter(0..1_000).map(|_| {
                counts.hit();
                "x".repeat(100)
            });
            step.stream().pipe(source).await
        });
        piped.await.map_err(|error| format!("{} {}", error.is_too_large(), error.message())).unwrap_err()
    };
    let options = onward::Options::default().output_bytes_max(1_000);
    let app = App::with(Onward::builder().defaults(options), |onward| onward.route("/", get(handler))).await;
    let answer = app.get("/").await;
    assert!(text(&answer).starts_with("true") && text(&answer).contains("output_bytes_max"), "{}", text(&answer));
    assert_eq!(read.get(), 11, "the rest was not asked for");
}
