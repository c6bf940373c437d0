//! Orders, one after the other: asked for, fed with what they wait for, and waited for.

use std::time::Duration;

use bytes::Bytes;
use onward::RunId;
use rand::RngExt as _;

use super::{Ask, Caller, Ended, Posted, Told, run_of, stream};
use crate::order::{Kind, Order};

/// Orders until it is told to stop; each order is seen through to its end.
pub(crate) async fn order_until(mut caller: Caller, name: String) -> Result<Vec<Told>, String> {
    let mut all = Vec::new();
    for number in 0.. {
        if caller.times.borrow().is_over {
            break;
        }
        let kind = Kind::ALL[caller.draws.random_range(0..Kind::ALL.len())];
        let op = format!("{name}-{number}");
        let ordered = caller.order(kind, &op).await;
        all.extend(ordered.map_err(|error| format!("{op} ({kind:?}): {error}"))?);
    }
    Ok(all)
}

/// Orders one thing, so many times at once, and sees it through.
pub(crate) async fn order_at_once(mut caller: Caller, kind: Kind, times: usize) -> Result<Vec<Told>, String> {
    let one = async |mut caller: Caller, number: usize| {
        let op = format!("{kind:?}-{number}");
        caller.order(kind, &op).await.map_err(|error| format!("{op}: {error}"))
    };
    let all = (0..times).map(|number| one(caller.fork(), number)).collect::<Vec<_>>();
    let all = futures_util::future::join_all(all).await;
    Ok(all.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
}

impl Caller {
    async fn order(&mut self, kind: Kind, op: &str) -> Result<Vec<Told>, String> {
        let members = if kind == Kind::Group { self.draws.random_range(2..4) } else { 1 };
        let mut all = Vec::new();
        for member in 0..members {
            let order = Order {
                op: format!("{op}-{member}"),
                group: op.to_owned(),
                pause_ms: self.pause_ms(),
                fails: self.draws.random_range(1..4),
                nap_ms: self.draws.random_range(20..900),
            };
            let keyed = !kind.ends_alone() || self.draws.random_range(0..2) == 0;
            let mut told = Told::new(kind, order, keyed);
            self.begin(&mut told).await?;
            all.push(told);
        }
        if kind == Kind::Group {
            let id = format!("{op}-event");
            self.send(&id, "sim/group", serde_json::json!({ "group": op, "number": 1 })).await?;
            for told in &mut all {
                told.sent.push(format!("{id} 1"));
            }
        }
        for told in &mut all {
            self.feed(told).await?;
            self.finish(told).await?;
        }
        Ok(all)
    }

    /// Most steps are quick, and some are likely to be under way when a node is killed.
    fn pause_ms(&mut self) -> u64 {
        if self.draws.random_range(0..4) == 0 {
            self.draws.random_range(50..400)
        } else {
            self.draws.random_range(0..25)
        }
    }

    /// Asks for a run until it is acknowledged; with a key sometimes at two nodes at once.
    async fn begin(&mut self, told: &mut Told) -> Result<(), String> {
        let key = format!("\"{}\"", told.order.op);
        let mut headers = Vec::new();
        if told.keyed {
            headers.push(("idempotency-key", key.as_str()));
        }
        if told.kind == Kind::Stream || self.draws.random_range(0..3) == 0 {
            headers.push(("prefer", "respond-async"));
        }
        let body = Bytes::from(serde_json::to_vec(&told.order).expect("it is plain"));
        let path = told.kind.path();
        loop {
            self.check_deadline("the request")?;
            let mut answers = Vec::new();
            if told.keyed && self.draws.random_range(0..3) == 0 {
                let mut other = self.fork();
                let (one, two) =
                    tokio::join!(self.post(path, &headers, body.clone()), other.post(path, &headers, body.clone()));
                answers.extend([one?, two?]);
            } else {
                answers.push(self.post(path, &headers, body.clone()).await?);
            }
            let mut is_done = false;
            for answer in answers {
                is_done |= answer != Posted::Again;
                match answer {
                    Posted::Told(location) => {
                        told.runs.insert(run_of(&location));
                        told.location = Some(location);
                    }
                    Posted::Ended(ended) => told.ended.push(ended),
                    Posted::Again => {}
                }
            }
            if is_done {
                return Ok(());
            }
        }
    }

    /// Sends what the run waits for.
    async fn feed(&mut self, told: &mut Told) -> Result<(), String> {
        let op = told.order.op.clone();
        match told.kind {
            Kind::Event => self.event(told, &op, 1).await,
            Kind::Late => {
                self.until_it_waits(told).await?;
                self.event(told, &op, 1).await
            }
            Kind::Pair => {
                self.event(told, &op, 1).await?;
                self.event(told, &op, 2).await
            }
            Kind::Signal => self.signal(told, &op).await,
            Kind::Never => self.cancel(told).await,
            _ => Ok(()),
        }
    }

    async fn event(&mut self, told: &mut Told, op: &str, number: u32) -> Result<(), String> {
        let id = format!("{op}-{number}");
        self.send(&id, "sim/event", serde_json::json!({ "op": op, "number": number })).await?;
        told.sent.push(format!("{id} {number}"));
        Ok(())
    }

    /// Looks into the database until the run's wait is stored: an event that comes before does not count.
    async fn until_it_waits(&self, told: &Told) -> Result<(), String> {
        let Some(run) = told.runs.iter().find_map(|run| run.parse::<RunId>().ok()) else { return Ok(()) };
        let hex = format!("{:032x}", u128::from_be_bytes(run.to_bytes()));
        let sql = format!("SELECT 1 FROM onward_event_waiters WHERE run_id = '{hex}'");
        loop {
            self.check_deadline("a wait")?;
            if !crate::tables::ask(&self.database, &sql).await.unwrap_or_default().is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Gives signals until a node says that one was taken. Where that word is lost the run has ended all the same.
    async fn signal(&mut self, told: &mut Told, op: &str) -> Result<(), String> {
        loop {
            self.check_deadline("a signal")?;
            told.tried += 1;
            let (path, body) = (format!("/signal/{op}"), Bytes::from(told.tried.to_string()));
            let answer = self.ask(Ask { path: &path, headers: &[], posted: Some(body) }).await;
            if let Some(answer) = answer.filter(|answer| answer.status() == 200)
                && !answer.body().is_empty()
            {
                let run = String::from_utf8_lossy(answer.body()).into_owned();
                if !told.runs.contains(&run) {
                    return Err(format!("P7: the signal was given to {run}, and not to {:?}", told.runs));
                }
                told.sent.push(told.tried.to_string());
                return Ok(());
            }
            if self.has_ended(told).await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn has_ended(&mut self, told: &Told) -> bool {
        let Some(location) = &told.location else { return true };
        let ask = Ask { path: location, headers: &[("prefer", "wait=0")], posted: None };
        self.ask(ask).await.is_some_and(|answer| matches!(answer.status().as_u16(), 200 | 500))
    }

    async fn cancel(&mut self, told: &mut Told) -> Result<(), String> {
        tokio::time::sleep(Duration::from_millis(self.draws.random_range(0..300))).await;
        let Some(run) = told.runs.first().cloned() else { return Ok(()) };
        let path = format!("/cancel/{run}");
        loop {
            self.check_deadline("a cancellation")?;
            let ask = Ask { path: &path, headers: &[], posted: Some(Bytes::new()) };
            match self.ask(ask).await.map(|answer| answer.status().as_u16()) {
                Some(200) => {
                    told.cancelled = true;
                    return Ok(());
                }
                Some(409) => return Ok(()), // an earlier try did it
                Some(503) => self.rest().await,
                None => {}
                Some(other) => return Err(format!("P1: cancelling the acknowledged {run} was answered with {other}")),
            }
        }
    }

    /// Waits for the outcome, reads the stream, and sometimes asks once more.
    async fn finish(&mut self, told: &mut Told) -> Result<(), String> {
        if let Some(location) = told.location.clone() {
            if told.kind == Kind::Stream {
                let (one, two) = (self.fork(), self.fork());
                let (one, two, ended) =
                    tokio::join!(stream::read(one, &location), stream::read(two, &location), self.wait(&location));
                told.shown.extend([one?, two?]);
                told.ended.push(ended?);
            } else {
                told.ended.push(self.wait(&location).await?);
            }
        }
        if told.keyed && self.draws.random_range(0..3) == 0 {
            self.begin(told).await?;
        }
        Ok(())
    }

    /// Asks again for what was told before: it must be the same.
    pub(crate) async fn again(&mut self, told: &mut Told) -> Result<(), String> {
        let Some(location) = told.location.clone() else { return Ok(()) };
        let ended: Ended = self.wait(&location).await?;
        told.ended.push(ended);
        if told.kind == Kind::Stream {
            told.shown.push(stream::read(self.fork(), &location).await?);
        }
        Ok(())
    }
}
