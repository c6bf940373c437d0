//! How long something may take, and how much of the stack.

use std::{
    any::Any,
    fs::File,
    os::unix::fs::FileExt,
    sync::mpsc::{self, Receiver, Sender},
    time::{Duration, Instant},
};

/// What a thread has of a runtime that calls us from somewhere deep.
const STACK_BYTES: usize = 1_536 * 1_024;
/// The longest that anything takes on a busy machine. Ten times what it is meant to.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs something that must be quick. It may be slow twice: others use the machine, too.
pub fn in_time<T>(what: &str, mut run: impl FnMut() -> T) -> T {
    for _ in 0..2 {
        let (done, took) = timed(&mut run);
        if took < PATIENCE {
            return done;
        }
    }
    let (done, took) = timed(&mut run);
    assert!(took < PATIENCE, "{what} took {took:?}");
    done
}

#[expect(clippy::disallowed_methods, reason = "it is real time that matters")]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = run();
    (done, begun.elapsed())
}

/// A thread with little stack that checks inputs, one after the other.
#[derive(Debug)]
pub struct SmallStack {
    inputs: Sender<Vec<u8>>,
    results: Receiver<Result<(), String>>,
    last: Option<File>,
}

impl SmallStack {
    /// Starts the thread.
    ///
    /// Panics that the code under test catches are nothing: what it must not do is let one out. So none is shown.
    pub fn start(check: fn(&[u8])) -> Self {
        std::panic::set_hook(Box::new(|_| {}));
        let (inputs, received) = mpsc::channel::<Vec<u8>>();
        let (done, results) = mpsc::channel();
        let work = move || {
            while let Ok(input) = received.recv() {
                let checked = std::panic::catch_unwind(|| check(&input)).map_err(|panic| text_of(&*panic));
                let _ = done.send(checked);
            }
        };
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).expect("there is room for a thread");
        // Opened once: to make the file anew each time, the disk would be waited for.
        Self { inputs, results, last: File::create("last-input").ok() }
    }

    /// Checks an input. Without stack nobody can write down which one took it, so that is done before, into the file
    /// `last-input`.
    pub fn run(&self, input: &[u8]) {
        if let Some(file) = &self.last {
            let _ = file.write_all_at(input, 0).and_then(|()| file.set_len(input.len() as u64));
        }
        let _ = self.inputs.send(input.to_owned());
        if let Err(text) = self.results.recv().expect("the thread lives") {
            eprintln!("panicked: {text}");
            std::process::abort();
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text").to_owned()
}
