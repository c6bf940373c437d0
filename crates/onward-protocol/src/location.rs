//! Where clients are sent to wait.

/// The URL of a path or absolute URL with `runId` and `token` added to its query.
///
/// With an origin (`https://host`) a path becomes absolute; without one it stays a path. The target keeps its query and
/// its fragment, and what is in it already is not checked: it comes from the app.
///
/// ```
/// # use onward_protocol::location::resolve;
/// assert_eq!(resolve("/wait?a=1", Some("http://h"), "R", "T"), "http://h/wait?a=1&runId=R&token=T");
/// ```
pub fn resolve(target: &str, origin: Option<&str>, run_id: &str, token: &str) -> String {
    let (target, fragment) = match target.split_once('#') {
        Some((target, fragment)) => (target, Some(fragment)),
        None => (target, None),
    };
    let mut url = String::new();
    if target.starts_with('/') && !target.starts_with("//") {
        url.push_str(origin.unwrap_or("").trim_end_matches('/'));
    }
    push_encoded(&mut url, target);
    match target.split_once('?') {
        None => url.push('?'),
        Some((_, query)) if query.is_empty() || query.ends_with('&') => {}
        Some(_) => url.push('&'),
    }
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    url.push_str(&pairs.append_pair("runId", run_id).append_pair("token", token).finish());
    if let Some(fragment) = fragment {
        url.push('#');
        push_encoded(&mut url, fragment);
    }
    url
}

/// Appends a part of a URL, with what no URL may hold (controls, spaces, quotes, letters beyond ASCII) encoded.
fn push_encoded(url: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') {
            url.push(char::from(byte));
        } else {
            url.push('%');
            for digit in [byte >> 4, byte & 15] {
                url.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
}

/// The pairs of a query, decoded.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

#[cfg(test)]
mod tests;
