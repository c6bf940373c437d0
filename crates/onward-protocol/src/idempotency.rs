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
        Some(rest) => unquoted(rest)?,
        None => text.to_owned(),
    };
    // Why no comma without quotes: it may be two headers that something on the way has joined.
    let bare = !text.starts_with('"');
    let allowed = |byte: u8| byte.is_ascii_graphic() && !(bare && matches!(byte, b'"' | b'\\' | b','));
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(allowed) {
        return Err(KeyMalformed);
    }
    Ok(Some(key))
}

/// What a string of RFC 9651 says, after its first quote.
fn unquoted(rest: &str) -> Result<String, KeyMalformed> {
    let mut key = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next().ok_or(KeyMalformed)? {
            '"' => break,
            '\\' => key.push(chars.next().filter(|next| matches!(next, '"' | '\\')).ok_or(KeyMalformed)?),
            other => key.push(other),
        }
    }
    if chars.next().is_none() { Ok(key) } else { Err(KeyMalformed) }
}

#[cfg(test)]
mod tests;
