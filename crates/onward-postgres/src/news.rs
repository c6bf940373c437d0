//! What nodes tell one another, where the database passes it on: `LISTEN` and `NOTIFY`.
//!
//! It is told on a connection of its own, many at once, a few milliseconds late: a commit that notifies takes a lock
//! that all who notify in the same database wait for, so no checkpoint does. That a run has ended or streamed is told
//! only where somebody waits for it at another node, which that node has said. What is lost here is found by asking.

mod interest;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use onward_core::{
    RunId,
    store::{BoxError, News},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_postgres::{AsyncMessage, error::SqlState};
use tokio_util::sync::CancellationToken;

use self::interest::{Lately, Watched};
use crate::connect::{Connector, Poll};

/// How long news are gathered before they are told.
const GATHER: Duration = Duration::from_millis(3);
/// The most news that are kept for telling, and for whoever listens here.
const KEPT_MAX: usize = 10_000;
/// The most bytes of one notification (PostgreSQL allows fewer than 8,000).
const PAYLOAD_MAX: usize = 7_500;
/// The first rest after a connection that broke; each is twice as long, up to [`PAUSE`].
const REST: Duration = Duration::from_millis(50);
/// The longest name of a channel that PostgreSQL takes, in bytes.
const CHANNEL_BYTES_MAX: usize = 63;
/// How long the connection is left alone that cannot be made.
const PAUSE: Duration = Duration::from_secs(1);
/// After how much silence it is asked whether the connection still passes anything, and how long that may take.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIME: Duration = Duration::from_secs(5);
/// How long closing waits until words were sent. An operator's connection may not be there yet when its call has ended.
const FLUSH_TIME: Duration = Duration::from_millis(60);
const OPERATOR_FLUSH_TIME: Duration = Duration::from_secs(10);

/// How long it is known what other nodes wait for, how often they say it, and how long it is remembered what has
/// happened for those who say it a moment too late: at least so long, and at most twice.
const WATCHED_FOR: Duration = Duration::from_secs(30);
const SAID_EVERY: Duration = Duration::from_secs(10);
const HAPPENED_FOR: Duration = Duration::from_secs(1);

/// What nodes tell one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    News(News),
    /// Somebody there waits to hear of a run.
    Watch(RunId),
    /// It has begun to listen, and does not know what others wait for.
    Hello,
}

/// What is to be told and what was heard.
#[derive(Debug)]
pub(crate) struct Wire {
    others: AtomicBool,
    told: Mutex<BTreeSet<Word>>,
    /// Whether words that are no longer in `told` are on their way to the database. Changed under the lock of `told`.
    sending: AtomicBool,
    some: Notify,
    heard: Mutex<BTreeSet<News>>,
    news: Notify,
    /// What others wait for.
    watched: Mutex<Watched>,
    /// What the others were told of what is waited for here.
    said: Mutex<Lately<RunId>>,
    /// What has happened to runs here that nobody was known to wait for.
    happened: Mutex<Lately<News>>,
    /// Who tells: what comes back from the database is known here.
    own: String,
    /// False where the database passes nothing on, or nobody wants it to.
    listens: AtomicBool,
    /// Whether the store is an operator's: it joins nothing, so it does not know of others, and tells always.
    is_operator: bool,
}

impl Wire {
    pub(crate) fn new(listens: bool, is_operator: bool) -> Self {
        Self {
            others: AtomicBool::new(false),
            told: Mutex::default(),
            sending: AtomicBool::new(false),
            some: Notify::new(),
            heard: Mutex::default(),
            news: Notify::new(),
            watched: Mutex::new(Watched::new(WATCHED_FOR)),
            said: Mutex::new(Lately::new(SAID_EVERY)),
            happened: Mutex::new(Lately::new(HAPPENED_FOR)),
            own: format!("{:016x}", getrandom::u64().unwrap_or_default()),
            listens: AtomicBool::new(listens),
            is_operator,
        }
    }

    /// Whether there are other nodes.
    pub(crate) fn set_others(&self, others: bool) {
        self.others.store(others, Ordering::Relaxed);
    }

    /// Has the others told, if there are any.
    pub(crate) fn tell(&self, news: News) {
        self.say(Word::News(news));
    }

    /// Has the others told what became of a run, if somebody there waits for it.
    pub(crate) fn tell_of(&self, news: News, now: Instant) {
        let (News::Ended(run_id) | News::Streamed(run_id)) = news else { return self.tell(news) };
        if !self.has_others() {
            return;
        }
        // Why first: who says at this moment that it waits finds it here, or is found.
        self.happened.lock().renew(news, now);
        if self.is_operator || self.watched.lock().contains(run_id, now) {
            self.tell(news);
        }
    }

    /// Has the others told which runs somebody here waits for, unless they were told lately.
    pub(crate) fn watch(&self, runs: Vec<RunId>, now: Instant) {
        if !self.has_others() {
            return;
        }
        for run_id in runs {
            let mut said = self.said.lock();
            if !said.contains(&run_id, now) && self.say(Word::Watch(run_id)) {
                said.renew(run_id, now);
            }
        }
    }

    fn has_others(&self) -> bool {
        self.listens.load(Ordering::Relaxed) && (self.is_operator || self.others.load(Ordering::Relaxed))
    }

    /// Whether it will be said.
    fn say(&self, word: Word) -> bool {
        if !self.has_others() {
            return false;
        }
        let mut told = self.told.lock();
        let has_room = told.len() < KEPT_MAX;
        if has_room {
            let was_empty = told.is_empty();
            told.insert(word);
            drop(told);
            if was_empty {
                self.some.notify_one();
            }
        }
        has_room
    }

    /// Waits until the database has what was told last: a moment, or longer where nobody would tell it later.
    pub(crate) async fn flush(&self) {
        let sent = async {
            while !self.is_sent() {
                tokio::time::sleep(GATHER).await;
            }
        };
        let time = if self.is_operator { OPERATOR_FLUSH_TIME } else { FLUSH_TIME };
        if tokio::time::timeout(time, sent).await.is_err() {
            tracing::debug!("closing did not wait for notifications any longer");
        }
    }

    fn is_sent(&self) -> bool {
        let told = self.told.lock();
        told.is_empty() && !self.sending.load(Ordering::Relaxed)
    }

    /// The words that were taken last have arrived.
    fn sent(&self) {
        let _told = self.told.lock();
        self.sending.store(false, Ordering::Relaxed);
    }

    /// The connection broke: other nodes find by asking what was to be told.
    fn forget_told(&self) {
        let mut told = self.told.lock();
        told.clear();
        self.sending.store(false, Ordering::Relaxed);
    }

    /// Waits for news.
    pub(crate) async fn next(&self) -> Vec<News> {
        loop {
            let news = self.news.notified();
            let heard = std::mem::take(&mut *self.heard.lock());
            if !heard.is_empty() {
                return heard.into_iter().collect();
            }
            news.await;
        }
    }

    fn hear(&self, payload: &str, now: Instant) {
        let Some((from, words)) = payload.split_once(' ') else { return };
        if from == self.own {
            return;
        }
        // Before it is counted.
        self.set_others(true);
        let mut some = false;
        for word in words.split(' ').filter_map(parse).take(KEPT_MAX) {
            match word {
                Word::News(news) => {
                    let mut heard = self.heard.lock();
                    if heard.len() < KEPT_MAX {
                        heard.insert(news);
                        some = true;
                    }
                }
                Word::Watch(run_id) => self.is_watched(run_id, now),
                Word::Hello => self.said.lock().clear(),
            }
        }
        if some {
            self.news.notify_one();
        }
    }

    /// Somebody at another node waits for a run: what has just happened to it is told.
    fn is_watched(&self, run_id: RunId, now: Instant) {
        self.watched.lock().insert(run_id, now);
        for news in [News::Ended(run_id), News::Streamed(run_id)] {
            if self.happened.lock().contains(&news, now) {
                self.tell(news);
            }
        }
    }

    /// Something may have been missed: what is due is looked for.
    fn may_have_missed(&self) {
        self.heard.lock().insert(News::Due);
        self.news.notify_one();
    }

    /// What is to be told, in notifications that are short enough.
    fn payloads(&self) -> Vec<String> {
        let told = {
            let mut told = self.told.lock();
            self.sending.store(!told.is_empty(), Ordering::Relaxed);
            std::mem::take(&mut *told)
        };
        let mut payloads: Vec<String> = Vec::new();
        for word in told {
            let word = match word {
                Word::News(News::Due) => "d".to_owned(),
                Word::News(News::Ended(run_id)) => format!("e{run_id}"),
                Word::News(News::Streamed(run_id)) => format!("s{run_id}"),
                Word::Watch(run_id) => format!("w{run_id}"),
                Word::Hello => "h".to_owned(),
            };
            match payloads.last_mut().filter(|last| last.len() + word.len() < PAYLOAD_MAX) {
                Some(last) => {
                    last.push(' ');
                    last.push_str(&word);
                }
                None => payloads.push(format!("{} {word}", self.own)),
            }
        }
        payloads
    }
}

fn parse(word: &str) -> Option<Word> {
    let run_id = || word.get(1..)?.parse::<RunId>().ok();
    match word.as_bytes().first()? {
        b'd' => Some(Word::News(News::Due)),
        b'e' => run_id().map(|run_id| Word::News(News::Ended(run_id))),
        b's' => run_id().map(|run_id| Word::News(News::Streamed(run_id))),
        b'w' => run_id().map(Word::Watch),
        b'h' => Some(Word::Hello),
        _ => None,
    }
}

/// Tells and listens until the store is closed.
pub(crate) async fn serve(wire: Arc<Wire>, connector: Connector, closed: CancellationToken) {
    let mut rest = REST;
    loop {
        let began = Instant::now();
        wire.listens.store(true, Ordering::Relaxed);
        let served = tokio::select! {
            () = closed.cancelled() => return,
            served = serve_one(&wire, &connector) => served,
        };
        match served {
            Ok(()) => tracing::info!("the connection for notifications ended"),
            Err(error) if is_unsupported(&*error) => {
                tracing::info!(error = &*error, "the database has no notifications: nodes will ask one another's runs");
                wire.listens.store(false, Ordering::Relaxed);
                wire.forget_told();
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = tokio::time::sleep(PAUSE * 60) => {}
                }
            }
            Err(error) => tracing::debug!(error = &*error, "no connection for notifications"),
        }
        wire.forget_told();
        // A connection that worked for a while is replaced at once; rests grow while connections fail.
        rest = if began.elapsed() > PAUSE { REST } else { (rest * 2).min(PAUSE) };
        tokio::select! {
            () = closed.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// Whether the database has no notifications, which it tells by "not supported" or by a syntax error. Every other refusal
/// passes.
fn is_unsupported(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    code.is_some_and(|code| [SqlState::FEATURE_NOT_SUPPORTED, SqlState::SYNTAX_ERROR].contains(code))
}

/// The channel of a schema: nodes of another one have nothing to say here.
fn channel(schema: &str) -> String {
    let name = format!("onward_{schema}");
    name[..name.floor_char_boundary(CHANNEL_BYTES_MAX)].to_owned()
}

async fn within<T>(asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, BoxError> {
    let answered = tokio::time::timeout(PING_TIME, asked).await;
    Ok(answered.map_err(|_| "the connection for notifications passes nothing")??)
}

async fn serve_one(wire: &Wire, connector: &Connector) -> Result<(), BoxError> {
    let (client, mut connection) = connector.connect().await?;
    let (tell, mut heard) = mpsc::unbounded_channel();
    let listen = std::future::poll_fn(move |cx| {
        loop {
            match std::task::ready!(connection.poll_message(cx)) {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    let _ = tell.send(notification.payload().to_owned());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return std::task::Poll::Ready(Err(error)),
                None => return std::task::Poll::Ready(Ok(())),
            }
        }
    });
    let hear = async {
        while let Some(payload) = heard.recv().await {
            wire.hear(&payload, Instant::now());
        }
    };
    let tell = async {
        let schema: String = client.query_one("SELECT current_schema()::TEXT", &[]).await?.try_get(0)?;
        let channel = channel(&schema);
        client.batch_execute(&format!("LISTEN \"{}\"", channel.replace('"', "\"\""))).await?;
        wire.may_have_missed();
        // Why also where no others are known: they may know of this one first. An operator does not ask them.
        if !wire.is_operator {
            wire.told.lock().insert(Word::Hello);
        }
        // What was on its way when the last connection broke may not have arrived.
        wire.said.lock().clear();
        let notify =
            client.prepare("SELECT pg_notify($2::TEXT, payload) FROM unnest($1::TEXT[]) AS p (payload)").await?;
        loop {
            let some = wire.some.notified();
            let payloads = wire.payloads();
            if !payloads.is_empty() {
                within(client.execute(&notify, &[&payloads, &channel])).await?;
                wire.sent();
            } else if tokio::time::timeout(PING_EVERY, some).await.is_ok() {
                tokio::time::sleep(GATHER).await;
            } else {
                // A server that is no longer the primary passes nothing on, and keeps its connections.
                let said = within(client.query_one("SHOW transaction_read_only", &[])).await?;
                if said.try_get::<_, String>(0)? == "on" {
                    return Err("the server takes no writes any more".into());
                }
            }
        }
    };
    let tell = async {
        let told: Result<std::convert::Infallible, BoxError> = tell.await;
        told
    };
    tokio::select! {
        listened = listen => listened.map_err(Into::into),
        () = hear => Ok(()),
        told = tell => match told { Err(error) => Err(error), Ok(never) => match never {} },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use onward_core::{RunId, Timestamp, store::News};

    use tokio::time::Instant;

    use super::{GATHER, HAPPENED_FOR, PAYLOAD_MAX, SAID_EVERY, WATCHED_FOR, Wire};

    fn run_id(number: u128) -> RunId {
        RunId::new(Timestamp::from_micros(1), number)
    }

    #[test]
    fn a_channel_has_the_name_of_its_schema_as_far_as_it_may() {
        assert_eq!(super::channel("public"), "onward_public");
        let long = super::channel(&"ä".repeat(31));
        assert!(long.len() <= 63 && long.starts_with("onward_ä"), "{long}");
    }

    #[tokio::test]
    async fn what_one_tells_another_hears_once_and_itself_never() {
        let (one, other) = (Wire::new(true, false), Wire::new(true, false));
        one.set_others(true);
        let news = [News::Due, News::Ended(run_id(1)), News::Streamed(run_id(2))];
        news.into_iter().chain(news).for_each(|news| one.tell(news));
        one.watch(vec![run_id(3)], Instant::now());
        for payload in one.payloads() {
            one.hear(&payload, Instant::now());
            other.hear(&payload, Instant::now());
        }
        assert_eq!(other.next().await, news);
        assert!(one.heard.lock().is_empty());
    }

    fn two() -> (Wire, Wire) {
        let (one, other) = (Wire::new(true, false), Wire::new(true, false));
        one.set_others(true);
        other.set_others(true);
        (one, other)
    }

    /// What one has to tell is heard by the other; how many words there were.
    fn pass(from: &Wire, to: &Wire, now: Instant) -> usize {
        let payloads = from.payloads();
        for payload in &payloads {
            to.hear(payload, now);
        }
        payloads.iter().map(|payload| payload.split(' ').count() - 1).sum()
    }

    #[tokio::test]
    async fn what_becomes_of_a_run_is_told_where_somebody_waits_for_it() {
        let ((waits, moves), now) = (two(), Instant::now());
        moves.tell_of(News::Ended(run_id(1)), now);
        assert_eq!(pass(&moves, &waits, now), 0, "nobody waits");

        waits.watch(vec![run_id(2), run_id(3)], now);
        assert_eq!(pass(&waits, &moves, now), 2);
        moves.tell_of(News::Streamed(run_id(2)), now);
        moves.tell_of(News::Ended(run_id(3)), now);
        pass(&moves, &waits, now);
        assert_eq!(waits.next().await, [News::Ended(run_id(3)), News::Streamed(run_id(2))]);

        // It is said again where it is still so, and forgotten where it is not.
        waits.watch(vec![run_id(2)], now);
        assert_eq!(pass(&waits, &moves, now), 0);
        let later = now + 2 * SAID_EVERY;
        waits.watch(vec![run_id(2)], later);
        assert_eq!(pass(&waits, &moves, later), 1);
        let much_later = now + 2 * WATCHED_FOR;
        moves.tell_of(News::Ended(run_id(3)), much_later);
        assert_eq!(pass(&moves, &waits, much_later), 0);
    }

    #[tokio::test]
    async fn who_says_a_moment_too_late_that_it_waits_is_told_nevertheless() {
        let ((waits, moves), now) = (two(), Instant::now());
        moves.tell_of(News::Streamed(run_id(1)), now);
        moves.tell_of(News::Ended(run_id(1)), now);
        waits.watch(vec![run_id(1)], now);
        pass(&waits, &moves, now + HAPPENED_FOR / 2);
        pass(&moves, &waits, now);
        assert_eq!(waits.next().await, [News::Ended(run_id(1)), News::Streamed(run_id(1))]);
    }

    #[test]
    fn who_comes_is_told_again_what_others_wait_for() {
        let ((waits, moves), now) = (two(), Instant::now());
        waits.watch(vec![run_id(1)], now);
        waits.payloads(); // nobody hears it
        moves.told.lock().insert(super::Word::Hello);
        pass(&moves, &waits, now);
        waits.watch(vec![run_id(1)], now);
        assert_eq!(pass(&waits, &moves, now), 1);
    }

    #[test]
    fn who_is_alone_tells_nobody() {
        let wire = Wire::new(true, false);
        wire.tell(News::Due);
        wire.tell_of(News::Ended(run_id(1)), Instant::now());
        wire.watch(vec![run_id(1)], Instant::now());
        assert!(wire.payloads().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_tells_always_and_closing_waits_until_it_was_sent() {
        let wire = Wire::new(true, true);
        wire.flush().await;
        wire.tell_of(News::Ended(run_id(1)), Instant::now());
        let is_flushed = async |time| tokio::time::timeout(time, wire.flush()).await.is_ok();
        assert!(!is_flushed(HAPPENED_FOR).await, "it is to be sent");
        assert_eq!(wire.payloads().len(), 1);
        assert!(!is_flushed(HAPPENED_FOR).await, "it is on its way");
        wire.sent();
        assert!(is_flushed(GATHER).await);

        // Where the database passes nothing on, nothing is waited for.
        wire.tell(News::Due);
        wire.listens.store(false, Ordering::Relaxed);
        wire.forget_told();
        wire.tell(News::Due);
        assert!(is_flushed(GATHER).await && wire.payloads().is_empty());
    }

    #[test]
    fn notifications_are_short_enough() {
        let wire = Wire::new(true, false);
        wire.set_others(true);
        (0..1000).for_each(|number| wire.tell(News::Ended(run_id(number))));
        let payloads = wire.payloads();
        assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD_MAX));
        let words: usize = payloads.iter().map(|payload| payload.split(' ').count() - 1).sum();
        assert_eq!(words, 1000);
    }
}
