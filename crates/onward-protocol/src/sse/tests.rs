//! Frames survive the wire, however their bytes are cut.

use bytes::Bytes;
use http::{Response, header};
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::{Content, Event, Frame, Parser, ResponseStatus, encode};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn read(bytes: &[u8], cut: usize) -> Vec<Event> {
    let mut parser = Parser::default();
    bytes.chunks(cut).flat_map(|part| parser.push(part)).collect()
}

#[test]
fn frames_have_the_shapes_of_the_protocol() {
    let step = Some("86f7".to_owned());
    let of = |frame: Frame| encode(&frame, "1").trim_end().lines().skip(1).collect::<Vec<_>>().join("|");
    assert_eq!(of(Frame::Metadata { run_id: "R".into() }), r#"event: inngest.metadata|data: {"runId":"R"}"#);
    let chunk = Frame::Chunk { data: raw("{\n \"a\": 1}"), step: step.clone() };
    assert_eq!(of(chunk), r#"event: inngest.stream|data: {"data":{  "a": 1},"hashedStepId":"86f7"}"#);
    assert_eq!(of(Frame::Chunk { data: raw("1"), step: None }), r#"event: inngest.stream|data: {"data":1}"#);
    assert_eq!(of(Frame::Rollback { step: None }), r#"event: inngest.rollback|data: {"hashedStepId":null}"#);
    let redirect = Frame::RedirectInfo { run_id: "R".into(), url: "/wait".into() };
    assert_eq!(of(redirect), r#"event: inngest.redirect_info|data: {"runId":"R","url":"/wait"}"#);
    let response = Response::builder().status(201).header("x", "y").body(Bytes::from("hi")).unwrap();
    let response = Frame::Response { status: ResponseStatus::Succeeded, content: Content::of(&response) };
    assert_eq!(
        of(response),
        r#"event: inngest.response|data: {"status":"succeeded","response":{"body":"hi","statusCode":201,"headers":{"x":"y"}}}"#
    );
}

#[test]
fn a_response_survives_with_repeated_headers_and_binary_body() {
    let mut response = Response::new(Bytes::from_static(&[0, 159, 146, 150]));
    for cookie in ["a=1", "b=2"] {
        response.headers_mut().append(header::SET_COOKIE, cookie.parse().unwrap());
    }
    response.headers_mut().insert("x-one", "1".parse().unwrap());
    let back = Content::of(&response).into_response().unwrap();
    assert_eq!((back.status(), back.headers(), back.body()), (response.status(), response.headers(), response.body()));
}

#[test]
fn lines_end_in_any_way_and_comments_and_other_events_are_skipped() {
    let text = "\u{feff}: comment\r\nid: 1\revent: inngest.commit\ndata: {\"hashedStepId\":null}\r\n\r\n\
                event: other\ndata: x\n\ndata: a\ndata: b\nretry: 50\n\n:\n\nid: 9\n\n";
    for cut in [1, 2, 3, 7, 1000] {
        let events = read(text.as_bytes(), cut);
        assert_eq!(events.len(), 3, "{events:?}");
        assert!(matches!(events[0].frame(), Ok(Some(Frame::Commit { step: None }))));
        assert!(matches!(events[1].frame(), Ok(None)));
        assert_eq!((events[2].data.as_str(), events[2].id.as_str(), events[2].retry_ms), ("a\nb", "1", Some(50)));
    }
}

#[test]
fn data_of_another_shape_is_an_error() {
    for data in ["", "nonsense", "{}", "[1]", r#"{"status":"perhaps","response":{}}"#] {
        let event = Event { name: "inngest.response".into(), data: data.into(), ..Event::default() };
        assert!(event.frame().is_err(), "{data}");
    }
}

proptest! {
    #[test]
    fn a_chunk_of_any_text_survives_any_cut(text in "\\PC*", cut in 1_usize..9) {
        let data = serde_json::to_string(&text).unwrap();
        let frame = Frame::Chunk { data: raw(&data), step: None };
        let events = read(encode(&frame, "12").as_bytes(), cut);
        prop_assert_eq!(events.len(), 1);
        let Ok(Some(Frame::Chunk { data: back, .. })) = events[0].frame() else { panic!("no chunk") };
        prop_assert_eq!(serde_json::from_str::<String>(back.get()).unwrap(), text);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1_usize..9) {
        for event in read(&bytes, cut) {
            let _ = event.frame();
        }
    }
}
