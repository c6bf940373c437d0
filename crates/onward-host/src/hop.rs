//! Headers that are about one connection, and must not go on with a message that is kept (RFC 9110, section 7.6.1).

use http::{HeaderMap, HeaderName, header};

/// Headers of the hop that `connection` need not list.
const OF_THE_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
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
    for name in OF_THE_HOP {
        headers.remove(name);
    }
}
