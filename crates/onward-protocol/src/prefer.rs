//! What a client prefers: RFC 7240, `respond-async` and `wait`.

use std::time::Duration;

use http::HeaderMap;

/// The longest `wait` that is honoured, in seconds.
const WAIT_SECS_MAX: u64 = 3600;

/// The preferences of a request that are understood here. What is not understood is ignored, as the RFC asks.
///
/// # Example
///
/// ```
/// use http::HeaderMap;
/// use onward_protocol::prefer::Preferences;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("prefer", "respond-async, wait=10".parse().unwrap());
/// let prefer = Preferences::from_headers(&headers);
/// assert!(prefer.respond_async);
/// assert_eq!(prefer.wait.map(|wait| wait.as_secs()), Some(10));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// The client would rather get `202` at once than wait for the response.
    pub respond_async: bool,
    /// How long the client is willing to wait for the response.
    pub wait: Option<Duration>,
}

impl Preferences {
    /// Reads the `Prefer` headers of a request. Of a `wait` that is given twice, the first that is one counts.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut this = Self::default();
        for value in headers.get_all("prefer") {
            let Ok(text) = value.to_str() else { continue };
            for preference in unquoted_split(text, ',') {
                // Parameters after `;` mean nothing for the preferences known here.
                let token = unquoted_split(preference, ';').next().unwrap_or_default();
                let (name, value) = token.split_once('=').unwrap_or((token, ""));
                let value = unquoted(value.trim());
                if name.trim().eq_ignore_ascii_case("respond-async") && value.is_empty() {
                    this.respond_async = true;
                } else if name.trim().eq_ignore_ascii_case("wait") && this.wait.is_none() {
                    this.wait = seconds(value);
                }
            }
        }
        this
    }

    /// What was honoured, as the value of `Preference-Applied`.
    pub fn applied(&self) -> Option<String> {
        let wait = self.wait.map(|wait| format!("wait={}", wait.as_secs()));
        match (self.respond_async, wait) {
            (true, Some(wait)) => Some(format!("respond-async, {wait}")),
            (true, None) => Some("respond-async".to_owned()),
            (false, wait) => wait,
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX).min(WAIT_SECS_MAX)))
}

/// The parts between separators; one inside quotes separates nothing.
fn unquoted_split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |each| {
        let ends = !quoted && each == separator;
        if each == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && each == '\\' && !escaped;
        ends
    })
}

/// A value without the quotes around it, if it has a pair of them.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests;
