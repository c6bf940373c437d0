//! Where a reader is in a stream, as `Last-Event-ID` says it.

use http::HeaderMap;

/// What comes after the place in the id of a response frame.
const END: &str = "-end";

/// Where a reader is in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// It has seen nothing.
    Start,
    /// It has seen all up to this frame.
    After(u32),
    /// It has seen the response, which came after this frame.
    End(u32),
}

impl Position {
    /// What `Last-Event-ID` says; `None` where it is not an id of ours.
    ///
    /// ```
    /// # use onward_protocol::sse::Position;
    /// let mut headers = http::HeaderMap::new();
    /// assert_eq!(Position::read(&headers), Some(Position::Start));
    /// headers.insert("last-event-id", Position::end(12).parse()?);
    /// assert_eq!(Position::read(&headers), Some(Position::End(12)));
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let Some(id) = headers.get("last-event-id") else { return Some(Self::Start) };
        let id = id.to_str().ok()?.trim();
        if id.is_empty() {
            return Some(Self::Start);
        }
        let (place, end) = id.strip_suffix(END).map_or((id, false), |place| (place, true));
        if !place.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(match (place.parse().ok()?, end) {
            (place, true) => Self::End(place),
            (0, false) => Self::Start,
            (place, false) => Self::After(place),
        })
    }

    /// The id of the response frame that comes after a place.
    pub fn end(place: u32) -> String {
        format!("{place}{END}")
    }

    /// The last place that was seen; 0 where none was.
    pub const fn place(self) -> u32 {
        match self {
            Self::Start => 0,
            Self::After(place) | Self::End(place) => place,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::Position;

    #[test]
    fn a_last_event_id_is_a_place_or_the_end_or_refused() {
        let read = |id: &'static str| {
            Position::read(&HeaderMap::from_iter([("last-event-id".parse().unwrap(), HeaderValue::from_static(id))]))
        };
        assert_eq!(Position::read(&HeaderMap::new()), Some(Position::Start));
        assert_eq!(read(""), Some(Position::Start));
        assert_eq!(read("0"), Some(Position::Start));
        assert_eq!(read("12"), Some(Position::After(12)));
        assert_eq!(read("12-end"), Some(Position::End(12)));
        for wrong in ["-1", "1.5", "x", "12-", "99999999999", "+3"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
