//! Headers that are about one connection, and must not go on with a message that is kept (RFC 9110, section 7.6.1).

use http::{HeaderMap, HeaderName, header};

/// Headers of the hop that `connection` need not list.
static OF_THE_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// Takes away the headers of the hop, by a fixed list and by the names in `connection`.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// headers.insert("connection", "close, x-hop".parse().unwrap());
/// headers.insert("x-hop", "1".parse().unwrap());
/// headers.insert("transfer-encoding", "chunked".parse().unwrap());
/// headers.insert("x-own", "1".parse().unwrap());
/// onward_host::hop::strip(&mut headers);
/// assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-own"]);
/// ```
pub fn strip(headers: &mut HeaderMap) {
    // Nearly always. `connection`, which names others, is one of them.
    if !headers.keys().any(|name| OF_THE_HOP.contains(name)) {
        return;
    }
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in &OF_THE_HOP {
        headers.remove(name);
    }
}
