//! Requests and responses survive storage byte for byte.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use onward_core::Payload;
use proptest::prelude::*;

use super::{KeptRequest, RequestHead, decode_response, encode_response};

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
        let (uri, original_uri) = (format!("/a/b?{query}").parse().unwrap(), format!("/v1/a/b?{query}").parse().unwrap());
        let carried = vec![("user".to_owned(), vec![1, 2])];
        let head = RequestHead {
            method: &Method::POST,
            uri: &uri,
            original_uri: &original_uri,
            matched_path: Some("/v1/a/{id}"),
            headers: &headers,
            peer: Some("127.0.0.1:80".parse().unwrap()),
            carried: &carried,
        };
        let body = Bytes::from(body);
        let kept = KeptRequest::new(&head, body.clone(), |name| name != header::AUTHORIZATION);
        let (again, back) = KeptRequest::read(&kept.payload()).unwrap();
        prop_assert_eq!(again.payload(), kept.payload());
        prop_assert_eq!(&back.body, &body);
        prop_assert_eq!(&back.method, &Method::POST);
        prop_assert_eq!(&back.uri, &uri);
        prop_assert_eq!(&back.original_uri, &original_uri);
        prop_assert_eq!(back.matched_path.as_deref(), Some("/v1/a/{id}"));
        prop_assert_eq!(back.headers.len(), 1);
        prop_assert_eq!(back.headers.get("x-kept").map(HeaderValue::as_bytes), Some(value.as_bytes()));
        prop_assert_eq!(&back.carried, &carried);
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = KeptRequest::read(&Payload::from(bytes.clone()));
        let _ = decode_response(&Payload::from(bytes));
    }
}
