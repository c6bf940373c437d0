//! What nodes tell one another, where the database passes it on: `LISTEN` and `NOTIFY`.
//!
//! It is told on a connection of its own, many at once, a few milliseconds late: a commit that notifies takes a lock
//! that all who notify in the same database wait for, so no checkpoint does. What is lost here is found by asking.

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
use tokio::sync::{Notify, mpsc};
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;

use crate::connect::{Connector, Poll};

/// How long news are gathered before they are told.
const GATHER: Duration = Duration::from_millis(3);
/// The most news that are kept for telling, and for whoever listens here.
const KEPT_MAX: usize = 10_000;
/// The most bytes of one notification (PostgreSQL allows fewer than 8,000).
const PAYLOAD_MAX: usize = 7_500;
/// How long the connection is left alone that cannot be made.
const PAUSE: Duration = Duration::from_secs(1);
/// After how much silence it is asked whether the connection still passes anything, and how long that may take.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIME: Duration = Duration::from_secs(5);

/// What is to be told and what was heard.
#[derive(Debug)]
pub(crate) struct Wire {
    others: AtomicBool,
    told: Mutex<BTreeSet<News>>,
    some: Notify,
    heard: Mutex<BTreeSet<News>>,
    news: Notify,
    /// Who tells: what comes back from the database is known here.
    own: String,
    listens: bool,
}

impl Wire {
    pub(crate) fn new(listens: bool) -> Self {
        Self {
            others: AtomicBool::new(false),
            told: Mutex::default(),
            some: Notify::new(),
            heard: Mutex::default(),
            news: Notify::new(),
            own: format!("{:016x}", getrandom::u64().unwrap_or_default()),
            listens,
        }
    }

    /// Whether there are other nodes.
    pub(crate) fn set_others(&self, others: bool) {
        self.others.store(others, Ordering::Relaxed);
    }

    /// Has the others told, if there are any.
    pub(crate) fn tell(&self, news: News) {
        if !self.listens || !self.others.load(Ordering::Relaxed) {
            return;
        }
        let mut told = self.told.lock();
        if told.len() < KEPT_MAX {
            let was_empty = told.is_empty();
            told.insert(news);
            drop(told);
            if was_empty {
                self.some.notify_one();
            }
        }
    }

    /// Waits a moment for what was told last to be on its way.
    pub(crate) async fn flush(&self) {
        for _ in 0..20 {
            if self.told.lock().is_empty() {
                break;
            }
            tokio::time::sleep(GATHER).await;
        }
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

    fn hear(&self, payload: &str) {
        let Some((from, news)) = payload.split_once(' ') else { return };
        if from == self.own {
            return;
        }
        let mut heard = self.heard.lock();
        for news in news.split(' ').filter_map(parse).take(KEPT_MAX) {
            if heard.len() < KEPT_MAX {
                heard.insert(news);
            }
        }
        drop(heard);
        self.news.notify_one();
    }

    /// Something may have been missed: what is due is looked for.
    fn may_have_missed(&self) {
        self.heard.lock().insert(News::Due);
        self.news.notify_one();
    }

    /// What is to be told, in notifications that are short enough.
    fn payloads(&self) -> Vec<String> {
        let told = std::mem::take(&mut *self.told.lock());
        let mut payloads: Vec<String> = Vec::new();
        for news in told {
            let word = match news {
                News::Due => "d".to_owned(),
                News::Ended(run_id) => format!("e{run_id}"),
                News::Streamed(run_id) => format!("s{run_id}"),
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

fn parse(word: &str) -> Option<News> {
    let run_id = || word.get(1..)?.parse::<RunId>().ok();
    match word.as_bytes().first()? {
        b'd' => Some(News::Due),
        b'e' => run_id().map(News::Ended),
        b's' => run_id().map(News::Streamed),
        _ => None,
    }
}

/// Tells and listens until the store is closed.
pub(crate) async fn serve(wire: Arc<Wire>, connector: Connector, closed: CancellationToken) {
    loop {
        let served = tokio::select! {
            () = closed.cancelled() => return,
            served = serve_one(&wire, &connector) => served,
        };
        match served {
            Ok(()) => tracing::info!("the connection for notifications ended"),
            Err(error)
                if error.downcast_ref().is_some_and(|error: &tokio_postgres::Error| error.as_db_error().is_some()) =>
            {
                // It says no to LISTEN: then it does not know it, and nodes ask.
                tracing::info!(error = &*error, "the database has no notifications: nodes will ask one another's runs");
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = tokio::time::sleep(PAUSE * 60) => {}
                }
            }
            Err(error) => tracing::debug!(error = &*error, "no connection for notifications"),
        }
        wire.told.lock().clear();
        tokio::select! {
            () = closed.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
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
            wire.hear(&payload);
        }
    };
    let tell = async {
        client.batch_execute("LISTEN onward").await?;
        wire.may_have_missed();
        let notify =
            client.prepare("SELECT pg_notify('onward', payload) FROM unnest($1::TEXT[]) AS p (payload)").await?;
        loop {
            let some = wire.some.notified();
            let payloads = wire.payloads();
            if !payloads.is_empty() {
                within(client.execute(&notify, &[&payloads])).await?;
            } else if tokio::time::timeout(PING_EVERY, some).await.is_ok() {
                tokio::time::sleep(GATHER).await;
            } else {
                within(client.simple_query("SELECT 1")).await?;
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
    use onward_core::{RunId, Timestamp, store::News};

    use super::{PAYLOAD_MAX, Wire};

    fn run_id(number: u128) -> RunId {
        RunId::new(Timestamp::from_micros(1), number)
    }

    #[tokio::test]
    async fn what_one_tells_another_hears_once_and_itself_never() {
        let (one, other) = (Wire::new(true), Wire::new(true));
        one.set_others(true);
        let news = [News::Due, News::Ended(run_id(1)), News::Streamed(run_id(2))];
        news.into_iter().chain(news).for_each(|news| one.tell(news));
        for payload in one.payloads() {
            one.hear(&payload);
            other.hear(&payload);
        }
        assert_eq!(other.next().await, news);
        assert!(one.heard.lock().is_empty());
    }

    #[test]
    fn who_is_alone_tells_nobody() {
        let wire = Wire::new(true);
        wire.tell(News::Due);
        assert!(wire.payloads().is_empty());
    }

    #[test]
    fn notifications_are_short_enough() {
        let wire = Wire::new(true);
        wire.set_others(true);
        (0..1000).for_each(|number| wire.tell(News::Ended(run_id(number))));
        let payloads = wire.payloads();
        assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD_MAX));
        let words: usize = payloads.iter().map(|payload| payload.split(' ').count() - 1).sum();
        assert_eq!(words, 1000);
    }
}
