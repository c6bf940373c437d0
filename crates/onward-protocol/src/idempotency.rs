//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header-07).

use http::HeaderMap;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// A header that holds no key: empty, too long, given twice, or with characters outside visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Idempotency-Key header is malformed")]
pub struct KeyMalformed;

/// The request's key, if it has one: the draft's quoted string, or the same without quotes, as many clients send it.
///
/// ```
/// # use onward_protocol::idempotency::idempotency_key;
/// let mut headers = http::HeaderMap::new();
/// headers.insert("idempotency-key", "\"8e03978e\"".parse().unwrap());
/// assert_eq!(idempotency_key(&headers), Ok(Some("8e03978e".to_owned())));
/// ```
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, KeyMalformed> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(KeyMalformed);
    }
    let text = value.to_str().map_err(|_| KeyMalformed)?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or(KeyMalformed)?,
        None => text,
    };
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(allowed) {
        return Err(KeyMalformed);
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::idempotency_key;

    #[test]
    fn a_key_is_read_with_and_without_quotes_and_anything_else_is_refused() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("idempotency-key", HeaderValue::from_str(value).unwrap());
            }
            idempotency_key(&headers)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(read(&["\"abc\""]), Ok(Some("abc".to_owned())));
        for bad in [&[""][..], &["\"\""], &["\"abc"], &["a b"], &["a", "a"], &["x".repeat(256).as_str()]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
