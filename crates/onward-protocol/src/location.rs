//! Where clients are sent to wait.

/// The URL of a path or absolute URL with `runId` and `token` added to its query.
///
/// With an origin (`https://host`) a path becomes absolute; without one it stays a path.
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
        url.push_str(origin.unwrap_or(""));
    }
    url.push_str(target);
    url.push(if target.contains('?') { '&' } else { '?' });
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    url.push_str(&pairs.append_pair("runId", run_id).append_pair("token", token).finish());
    if let Some(fragment) = fragment {
        url.push('#');
        url.push_str(fragment);
    }
    url
}

/// The pairs of a query, decoded.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::{query_pairs, resolve};

    #[test]
    fn a_location_keeps_its_query_and_fragment() {
        for (target, origin, expected) in [
            ("/wait", None, "/wait?runId=R&token=T%26"),
            ("/wait#top", Some("http://h:1"), "http://h:1/wait?runId=R&token=T%26#top"),
            ("https://other/w?x=1", Some("http://h"), "https://other/w?x=1&runId=R&token=T%26"),
        ] {
            assert_eq!(resolve(target, origin, "R", "T&"), expected);
        }
    }

    #[test]
    fn queries_are_decoded() {
        let pairs: Vec<_> = query_pairs("a=1&b=x%20y&c").collect();
        let expected = [("a", "1"), ("b", "x y"), ("c", "")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
