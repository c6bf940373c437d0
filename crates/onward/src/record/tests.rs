//! Requests and responses survive storage byte for byte.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use onward_core::Payload;
use proptest::prelude::*;

use super::{RequestRecord, decode_response, encode_response};

#[test]
fn a_response_keeps_its_repeated_headers_and_binary_body() {
    let mut response = Response::new(Bytes::from_static(&[0, 159, 146, 150]));
    *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
    response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static("a=1"));
    response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static("b=2"));
    let back = decode_response(&encode_response(&response)).unwrap();
    assert_eq!(back.status(), response.status());
    assert_eq!(back.headers(), response.headers());
    assert_eq!(back.body(), response.body());
}

proptest! {
    #[test]
    fn a_request_survives(body in proptest::collection::vec(any::<u8>(), 0..200), query in "[a-z0-9=&%+]{0,30}", value in "[ -~]{0,40}") {
        let mut headers = HeaderMap::new();
        headers.append("x-kept", HeaderValue::from_str(&value).unwrap());
        headers.append("authorization", HeaderValue::from_static("secret"));
        let record = RequestRecord {
            method: Method::POST,
            uri: format!("/a/b?{query}").parse().unwrap(),
            original_uri: format!("/v1/a/b?{query}").parse().unwrap(),
            matched_path: Some("/v1/a/{id}".to_owned()),
            headers,
            body: body.into(),
            peer: Some("127.0.0.1:80".parse().unwrap()),
            carried: vec![("user".to_owned(), vec![1, 2])],
        };
        let stored = record.encode(|name| name != header::AUTHORIZATION);
        let back = RequestRecord::decode(&stored).unwrap();
        prop_assert_eq!(&back.body, &record.body);
        prop_assert_eq!(&back.uri, &record.uri);
        prop_assert_eq!(&back.original_uri, &record.original_uri);
        prop_assert_eq!(back.headers.len(), 1);
        prop_assert_eq!(back.headers.get("x-kept").map(HeaderValue::as_bytes), Some(value.as_bytes()));
        prop_assert_eq!(&back.carried, &record.carried);
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = RequestRecord::decode(&Payload::from(bytes.clone()));
        let _ = decode_response(&Payload::from(bytes));
    }
}
