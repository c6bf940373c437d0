//! Which headers are keys.

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::{KEY_BYTES_MAX, KeyMalformed, idempotency_key};

fn read(values: &[&[u8]]) -> Result<Option<String>, KeyMalformed> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("idempotency-key", HeaderValue::from_bytes(value).unwrap());
    }
    idempotency_key(&headers)
}

#[test]
fn a_key_is_read_with_and_without_quotes() {
    assert_eq!(read(&[]), Ok(None));
    for (value, key) in [
        ("abc", "abc"),
        ("\"abc\"", "abc"),
        ("  \"abc\" ", "abc"),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("YWJj/+==", "YWJj/+=="),
        ("\"a,b\"", "a,b"),
        (r#""a\"b\\c""#, r#"a"b\c"#),
    ] {
        assert_eq!(read(&[value.as_bytes()]), Ok(Some(key.to_owned())), "{value}");
    }
}

#[test]
fn anything_else_is_refused() {
    let long = "x".repeat(KEY_BYTES_MAX + 1);
    let long_quoted = format!("\"{long}\"");
    let bad = [
        "",
        "\"",
        "\"\"",
        "\"abc",
        "abc\"",
        "\"abc\"; a=1",
        "\"a\"b\"",
        r#""a\b""#,
        r#""a\"#,
        "a b",
        "\"a b\"",
        "a\\b",
        "a, a",
        "a,b",
        "\"a\", \"a\"",
        &long,
        &long_quoted,
    ];
    for value in bad {
        assert_eq!(read(&[value.as_bytes()]), Err(KeyMalformed), "{value}");
    }
    assert_eq!(read(&[b"a", b"a"]), Err(KeyMalformed), "given twice");
    assert_eq!(read(&["käse".as_bytes()]), Err(KeyMalformed));
}

#[test]
fn the_longest_key_is_taken_quoted_or_not() {
    let key = "x".repeat(KEY_BYTES_MAX);
    assert_eq!(read(&[key.as_bytes()]), Ok(Some(key.clone())));
    assert_eq!(read(&[format!("\"{key}\"").as_bytes()]), Ok(Some(key)));
}

proptest! {
    #[test]
    fn every_visible_key_survives_quoting(key in "[!-~]{1,255}") {
        let quoted = format!("\"{}\"", key.replace('\\', r"\\").replace('"', r#"\""#));
        prop_assert_eq!(read(&[quoted.as_bytes()]), Ok(Some(key)));
    }

    #[test]
    fn what_is_read_is_visible_and_short(value in "[\t -~\u{80}-\u{ff}]{0,300}") {
        if let Ok(Some(key)) = read(&[value.as_bytes()]) {
            prop_assert!((1..=KEY_BYTES_MAX).contains(&key.len()));
            prop_assert!(key.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
