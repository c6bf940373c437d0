//! Where clients are sent.

use http::{HeaderValue, Uri, uri::Authority};
use proptest::prelude::*;

use super::{query_pairs, resolve};

#[test]
fn a_location_keeps_its_query_and_fragment() {
    for (target, origin, expected) in [
        ("/wait", None, "/wait?runId=R&token=T%26"),
        ("/wait", Some("https://h"), "https://h/wait?runId=R&token=T%26"),
        ("/wait", Some("https://h/"), "https://h/wait?runId=R&token=T%26"),
        ("/wait?", None, "/wait?runId=R&token=T%26"),
        ("/wait?a=1&", None, "/wait?a=1&runId=R&token=T%26"),
        ("/wait??", None, "/wait??&runId=R&token=T%26"),
        ("/wait&", None, "/wait&?runId=R&token=T%26"),
        ("/wait?a=1", None, "/wait?a=1&runId=R&token=T%26"),
        ("/wait#top?x", Some("http://h:1"), "http://h:1/wait?runId=R&token=T%26#top?x"),
        ("https://other/w?x=1#y", Some("http://h"), "https://other/w?x=1&runId=R&token=T%26#y"),
        ("//other/w", Some("http://h"), "//other/w?runId=R&token=T%26"),
    ] {
        assert_eq!(resolve(target, origin, "R", "T&"), expected, "{target}");
    }
}

#[test]
fn what_no_url_may_hold_is_encoded_and_what_is_encoded_stays() {
    assert_eq!(resolve("/wärme leer%20\r\n", None, "R", "T"), "/w%C3%A4rme%20leer%20%0D%0A?runId=R&token=T");
}

#[test]
fn queries_are_decoded() {
    let pairs: Vec<_> = query_pairs("a=1&b=x%20y&c").collect();
    let expected = [("a", "1"), ("b", "x y"), ("c", "")];
    assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

proptest! {
    #[test]
    fn every_location_is_a_header_and_gives_back_what_was_put_in(
        path in ".{0,40}",
        run_id in ".{0,30}",
        token in ".{0,60}",
        with_origin: bool,
    ) {
        let origin = with_origin.then_some("https://host:8443");
        let target = format!("/{}", path.trim_start_matches('/'));
        let location = resolve(&target, origin, &run_id, &token);
        prop_assert!(HeaderValue::from_str(&location).is_ok());
        let uri: Uri = location.parse().unwrap();
        prop_assert_eq!(uri.authority().map(Authority::as_str), origin.map(|_| "host:8443"));
        let pairs: Vec<_> = query_pairs(uri.query().unwrap_or_default()).collect();
        let own = [("runId".to_owned(), run_id), ("token".to_owned(), token)];
        prop_assert!(pairs.ends_with(&own), "{location}");
    }
}
