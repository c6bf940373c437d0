//! Server-sent events: however the bytes are cut, the same events come out, and frames survive being written.
#![no_main]

use onward_protocol::sse::{Event, Frame, Parser, encode};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut parser = Parser::default();
    let events = parser.push(data);
    // A byte that is no UTF-8 becomes a character of three.
    assert!(parser.pending_len() <= 3 * data.len());

    let mut by_byte = Parser::default();
    let one_by_one: Vec<_> = data.iter().flat_map(|byte| by_byte.push(&[*byte])).collect();
    assert_eq!(events, one_by_one);
    let mut by_part = Parser::default();
    let in_parts: Vec<_> = cut(data).into_iter().flat_map(|part| by_part.push(part)).collect();
    assert_eq!(events, in_parts);
    assert!([by_byte, by_part].iter().all(|other| other.pending_len() == parser.pending_len()));

    for event in &events {
        assert!(!event.name.is_empty() && !event.data.contains('\r') && !event.id.contains(['\n', '\r', '\0']));
        if let Ok(Some(frame)) = event.frame() {
            assert_frame(&frame, event);
        }
    }
});

/// Cuts where the bytes say so.
fn cut(data: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), data);
    while let Some(&first) = rest.first() {
        let (part, after) = rest.split_at(usize::from(first % 23).min(rest.len()));
        parts.push(part);
        if part.is_empty() {
            parts.push(&after[..1]);
            rest = &after[1..];
        } else {
            rest = after;
        }
    }
    parts
}

/// Written and read again it is the same, but for line breaks between tokens of what users wrote.
fn assert_frame(frame: &Frame, event: &Event) {
    let text = encode(frame, &event.id);
    let again = Parser::default().push(text.as_bytes());
    let [again] = again.as_slice() else { panic!("{text:?} has {} events", again.len()) };
    assert_eq!((&again.id, &again.name), (&event.id, &event.name));
    let back = again.frame().expect("it is a frame").expect("its name is known");
    assert_eq!(format!("{back:?}"), format!("{:?}", on_one_line(frame.clone())));
    if let Frame::Response { content, .. } = back
        && let Some(response) = content.into_response()
    {
        let content = onward_protocol::sse::Content::of(&response);
        let again = content.clone().into_response().expect("it was a response");
        assert_eq!(
            (again.status(), again.headers(), again.body()),
            (response.status(), response.headers(), response.body())
        );
    }
}

fn on_one_line(frame: Frame) -> Frame {
    match frame {
        Frame::Chunk { data, step } => {
            let data = data.get().replace('\n', " ");
            Frame::Chunk { data: serde_json::from_str(&data).expect("only spaces changed"), step }
        }
        other => other,
    }
}
