//! What is written, sent and counted.

use std::{
    io,
    sync::{Arc, mpsc},
    time::Duration,
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use expect_test::expect;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use parking_lot::Mutex;
use prost::Message;
use tokio::{net::TcpListener, task::JoinSet};
use tracing::{Span, info_span, subscriber::with_default};
use tracing_subscriber::fmt::MakeWriter;

use super::{Levels, LogFormat, METRICS_TYPE, Metrics, plain, subscriber, trace};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Paper {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn written(format: LogFormat, filter: &str, ansi: bool, work: impl FnOnce()) -> String {
    let paper = Paper::default();
    let (subscriber, observe) = subscriber(format, filter, None, paper.clone(), ansi).unwrap();
    with_default(subscriber, work);
    observe.shutdown();
    let bytes = paper.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

fn tell() {
    let (run_id, endpoint) = ("01M8ABCDEFGHJKMNPQRSTVWXYZ", "POST /checkout");
    tracing::info!(target: "onward::run", run_id, endpoint, step = "charge", attempt = 2, took_ms = 31, "step succeeded");
    tracing::info!(target: "onward::run", run_id, endpoint, "run began");
    tracing::warn!(target: "onward::run", run_id, endpoint, step = "a\n\u{1b}[2Jb", retry_in_ms = 500, error = "no\nmoney", "failed");
    let error = io::Error::other("disk\nfull");
    let span = info_span!("request", path = "/a b", line = "x\ny").entered();
    tracing::error!(error = &error as &dyn std::error::Error, writes = 12, "the store is slow");
    tracing::debug!("nobody hears this");
    drop(span);
    tracing::warn!(target: "hyper::client", "a strange thing");
}

#[test]
fn lines_for_people_read_as_sentences_and_obey_nobody() {
    let text = written(LogFormat::Text, "info", false, tell);
    // Each begins with a time such as `11:13:24.123`.
    let lines = text.lines().map(|line| {
        let (time, rest) = line.split_at(12);
        assert!(time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).eq("00:00:00.000".chars()), "{line}");
        format!("{}\n", &rest[1..])
    });
    expect![[r#"
         INFO run 01M8ABCDEFGHJKMNPQRSTVWXYZ POST /checkout  step charge succeeded (attempt 2, 31 ms)
         INFO run 01M8ABCDEFGHJKMNPQRSTVWXYZ POST /checkout  began
         WARN run 01M8ABCDEFGHJKMNPQRSTVWXYZ POST /checkout  step a\n\u{1b}[2Jb failed (retry in 500 ms, error no\nmoney)
        ERROR the store is slow  error=disk\nfull  writes=12  request{path="/a b" line="x\ny"}
         WARN hyper::client a strange thing
    "#]].assert_eq(&lines.collect::<String>());
}

#[test]
fn colours_are_for_terminals() {
    let text = written(LogFormat::Text, "warn", true, || tracing::warn!("slow"));
    let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    assert_eq!(text.contains("\u{1b}[33m WARN\u{1b}[0m slow\n"), is_wanted, "{text:?}");
}

#[test]
fn lines_for_machines_are_one_object_each() {
    let text = written(LogFormat::Json, "info,onward::run=warn", false, tell);
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["level"], "WARN");
    assert_eq!(lines[0]["target"], "onward::run");
    assert_eq!((&lines[0]["step"], &lines[0]["retry_in_ms"]), (&"a\n\u{1b}[2Jb".into(), &500.into()));
    assert_eq!(lines[1]["span"]["path"], "/a b");
    assert!(lines.iter().all(|line| line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z'))));
}

#[test]
fn plain_text_has_no_controls() {
    assert_eq!(plain("é\t\u{1b}[31m\u{9b}\r\n"), r"é\t\u{1b}[31m\u{9b}\r\n");
}

/// A trace that an endpoint began.
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A span of a run as a child of the endpoint's, and what it tells those whom it calls.
fn run_of(parent: &str) -> (Span, Option<String>) {
    let span = info_span!(target: "onward::run", "run", run_id = "01M8");
    trace::set_parent(&span, parent);
    let told = trace::traceparent(&span);
    (span, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_sent_to_the_collector_at_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    let (send, received) = mpsc::channel();
    let collect = move |headers: HeaderMap, body: Bytes| {
        send.send((headers, body)).unwrap();
        std::future::ready(Vec::new())
    };
    let mut collector = JoinSet::new();
    collector.spawn(async move {
        axum::serve(listener, Router::new().route("/v1/traces", post(collect))).await.unwrap();
    });

    // Traces do not go by the filter of the lines.
    let (subscriber, observe) = subscriber(LogFormat::Text, "off", Some(&endpoint), io::sink, false).unwrap();
    let told = with_default(subscriber, || {
        let (span, told) = run_of(PARENT);
        span.in_scope(|| tracing::info!(target: "onward::run", "step charged"));
        drop(span);
        drop(info_span!(target: "hyper::client", "not ours"));
        drop(info_span!(target: "onward_server::call", "alone"));
        told.unwrap()
    });
    observe.shutdown();

    let (headers, body) = received.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    let [of_us] = export.resource_spans.as_slice() else { panic!("{export:?}") };
    let name = of_us.resource.as_ref().unwrap().attributes.iter().find(|each| each.key == "service.name").unwrap();
    assert!(format!("{name:?}").contains("\"onward\""), "{name:?}");
    let spans: Vec<_> = of_us.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["run", "alone"]);
    let run = spans[0];
    let trace_id = TraceId::from_bytes(run.trace_id.as_slice().try_into().unwrap()).to_string();
    let span_id = |bytes: &[u8]| SpanId::from_bytes(bytes.try_into().unwrap()).to_string();
    assert_eq!(trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span_id(&run.parent_span_id), "b7ad6b7169203331");
    assert_eq!(told, format!("00-{trace_id}-{}-01", span_id(&run.span_id)));
    assert!(run.attributes.iter().any(|attribute| attribute.key == "run_id"));
    assert_eq!(run.events.len(), 1);
    assert_ne!(spans[1].trace_id, run.trace_id);
}

#[test]
fn a_collector_that_is_not_there_holds_nothing_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (subscriber, observe) = subscriber(LogFormat::Text, "off", Some(&endpoint), io::sink, false).unwrap();
    with_default(subscriber, || drop(run_of(PARENT)));
    observe.shutdown();
}

#[test]
fn a_malformed_parent_is_as_none() {
    let endpoint = "http://127.0.0.1:1";
    let (subscriber, observe) = subscriber(LogFormat::Text, "off", Some(endpoint), io::sink, false).unwrap();
    with_default(subscriber, || {
        for parent in ["", "00-x", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "a\nb"] {
            assert!(run_of(parent).1.is_some(), "{parent:?}");
        }
    });
    observe.shutdown();
}

#[test]
fn without_a_collector_there_is_no_trace() {
    let work = || assert_eq!(run_of(PARENT).1, None);
    written(LogFormat::Text, "info", false, work);
    work();
}

#[test]
fn what_is_counted_is_rendered_for_prometheus() {
    let metrics = Metrics::new();
    metrics.run_started();
    metrics.run_finished("completed");
    metrics.step_finished("run", "succeeded");
    metrics.step_finished("run", "succeeded");
    metrics.reentry("ok", Duration::from_millis(40));
    metrics.checkpoint("stale", Duration::from_millis(2));
    metrics.events_accepted(3);
    metrics.timer(Duration::from_millis(20));
    metrics.measured(&Levels {
        live_runs: 5,
        streams_open: 2,
        bodies_bytes: 3,
        runs_bytes: 4,
        executions_hung: 1,
        runs_unreadable: 6,
    });
    let text = metrics.render();
    let values = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
    let values: String = values.map(|line| line.replace(env!("CARGO_PKG_VERSION"), "VERSION") + "\n").collect();
    expect![[r#"
        onward_build_info{version="VERSION"} 1
        onward_runs_started_total 1
        onward_runs_finished_total{status="completed"} 1
        onward_steps_finished_total{kind="run",outcome="succeeded"} 2
        onward_reentries_total{result="ok"} 1
        onward_reentry_seconds_sum 0.04
        onward_reentry_seconds_count 1
        onward_checkpoints_total{result="stale"} 1
        onward_checkpoint_seconds_sum 0.002
        onward_checkpoint_seconds_count 1
        onward_events_accepted_total 3
        onward_executions_hung_total 1
        onward_runs_unreadable_total 6
        onward_live_runs 5
        onward_streams_open 2
        onward_bodies_bytes 3
        onward_runs_bytes 4
        onward_timer_lateness_seconds_sum 0.02
        onward_timer_lateness_seconds_count 1
    "#]]
    .assert_eq(&values);
    assert!(text.contains("onward_reentry_seconds_bucket{le=\"0.05\"} 1\n"), "{text}");
    assert!(text.contains("onward_reentry_seconds_bucket{le=\"0.025\"} 0\n"), "{text}");
    assert!(text.ends_with("# EOF\n") && METRICS_TYPE.starts_with("application/openmetrics-text"));
    // Every one says what it is.
    let named: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(named.iter().all(|name| name.starts_with("onward_") && text.contains(&format!("# HELP {name} "))));
}
