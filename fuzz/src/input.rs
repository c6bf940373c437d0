//! Inputs that consist of several texts.

/// The bytes as text: what is no UTF-8 is refused long before the code under test.
pub fn as_text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The texts between empty lines; empty ones where there are fewer. The last has all that is left.
///
/// ```
/// assert_eq!(onward_fuzz::parts("a\n\nb\n\nc\n\nd"), ["a", "b", "c\n\nd"]);
/// assert_eq!(onward_fuzz::parts("a"), ["a", "", ""]);
/// ```
pub fn parts<const COUNT: usize>(text: &str) -> [&str; COUNT] {
    let mut parts = text.splitn(COUNT, "\n\n");
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
