//! A model as they are, but local: its answer comes word by word, and its first attempt breaks off in the middle.
//!
//! The same question gets the same answer, so that what a page shows can be compared.

use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};

/// How long a word takes.
const WORD_PAUSE: Duration = Duration::from_millis(40);

/// The model broke off in the middle of its answer.
#[derive(Debug, thiserror::Error)]
#[error("the model broke off after {0} words")]
pub(crate) struct BrokeOff(usize);

/// A sentence in three forms, one of which is said.
type Sentence = [&'static str; 3];

const PARAGRAPHS: [[Sentence; 3]; 3] = [
    [
        [
            "The short answer is that small steps decide, and not the grand plan.",
            "It is best answered backwards, from what must be true at the end.",
            "There are two honest answers to it, and the quieter one is more useful.",
        ],
        [
            "Begin with what you would be sorry to do twice, and make sure that it happens once.",
            "Ask which of its pieces may be repeated, and which of them somebody would notice.",
            "Write down what is known already, for whoever comes next should not have to guess it.",
        ],
        [
            "Everything else can be tried again until it works.",
            "What is left is patience, and patience can be automated.",
            "The rest is a matter of order, which costs little when it is chosen early.",
        ],
    ],
    [
        [
            "Then look at what goes wrong, because something always does: a line drops, a disk fills.",
            "Failure is no exception: it is the weather, and one dresses for it before going out.",
            "Suppose that the lights go out halfway through, and ask what you would find when they come back.",
        ],
        [
            "A good answer does not depend on luck, it depends on what was kept.",
            "What was promised has to survive the one who promised it.",
            "Whatever was half done should either be finished or vanish without a trace.",
        ],
        [
            "That is why each result is stored before the next begins, and nothing is taken back later.",
            "So keep each result the moment it is there, and let those who ask again have the same one.",
            "Keep a record of each step, read it aloud after every interruption, and go on from its last line.",
        ],
    ],
    [
        [
            "Finally, leave the last word to a person.",
            "In the end somebody has to put a name to it.",
            "Before anything is published, let someone read it who can say no.",
        ],
        [
            "They may take a minute or a day, and nothing should have to stay awake for them.",
            "Waiting is cheap as long as nobody has to hold their breath meanwhile.",
            "A decision that takes until tomorrow is no reason to lose the work of today.",
        ],
        [
            "When they have decided, carry on as if no time had passed at all.",
            "Once the word is given, the rest follows by itself.",
            "If they agree, it was worth the wait, and if they do not, it was worth even more.",
        ],
    ],
];

/// Answers a question. The first attempt breaks off after a third.
pub(crate) fn answer(question: &str, attempt: u32) -> impl Stream<Item = Result<String, BrokeOff>> + use<> {
    let words = words(question);
    let whole = words.len();
    let said = if attempt == 1 { whole / 3 } else { whole };
    let broken = (said < whole).then_some(Err(BrokeOff(said)));
    stream::iter(words.into_iter().take(said).map(Ok).chain(broken)).then(async |word| {
        tokio::time::sleep(WORD_PAUSE).await;
        word
    })
}

/// The words of the answer, each with the space or the break that follows it.
fn words(question: &str) -> Vec<String> {
    let mut seed = seed(question);
    let paragraphs: Vec<String> = PARAGRAPHS
        .iter()
        .map(|sentences| sentences.iter().map(|forms| forms[draw(&mut seed)]).collect::<Vec<_>>().join(" "))
        .collect();
    let asked = question.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = format!("You ask: “{asked}” {}", paragraphs.join("\n\n"));
    text.split_inclusive(char::is_whitespace).fold(Vec::new(), |mut words: Vec<String>, piece| {
        match words.last_mut() {
            // A break is two characters: both belong to the word before it.
            Some(last) if piece.trim().is_empty() => last.push_str(piece),
            _ => words.push(piece.to_owned()),
        }
        words
    })
}

/// FNV-1a.
fn seed(question: &str) -> u64 {
    question.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Draws one of three forms, by a step of a linear congruential generator.
fn draw(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    match (*seed >> 33) % 3 {
        0 => 0,
        1 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(question: &str, attempt: u32) -> (String, Option<String>) {
        let items: Vec<_> = answer(question, attempt).collect().await;
        let error = items.iter().find_map(|item| item.as_ref().err().map(ToString::to_string));
        (items.into_iter().filter_map(Result::ok).collect(), error)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_attempt_breaks_off_and_the_second_says_all_of_the_same() {
        let (half, error) = said("Why?", 1).await;
        let (whole, none) = said("Why?", 2).await;
        assert_eq!((error.is_some(), none), (true, None));
        assert!(whole.starts_with(&half) && half.len() * 2 < whole.len() && half.len() * 5 > whole.len());
        assert_eq!(said("Why?", 3).await.0, whole);
        assert_ne!(said("How?", 2).await.0.split_once('”'), whole.split_once('”'));
    }

    #[test]
    fn answers_have_about_120_words() {
        for number in 0..500 {
            let count = words(&format!("question {number}")).len();
            assert!((100..=150).contains(&count), "{count} words");
        }
    }
}
