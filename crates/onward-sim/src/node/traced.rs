//! Steps that write down when they run and what came of them.

use std::{sync::atomic::Ordering, time::Duration};

use onward::{RetryPolicy, SqlError, Step, StepContext, StepError};

use super::App;
use crate::{
    order::{Order, Output},
    plan::LEASE,
    record::{Journal, What, stopwatch},
};

/// One call of a handler.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    pub(super) step: Step,
    journal: Journal,
    execution: u64,
    run: String,
    op: String,
    pause: Duration,
}

impl Traced {
    pub(super) fn enter(app: &App, step: Step, order: &Order) -> Self {
        let execution = app.executions.fetch_add(1, Ordering::Relaxed);
        let (run, op) = (step.run_id().to_string(), order.op.clone());
        let pause = Duration::from_millis(order.pause_ms);
        let traced = Self { step, journal: app.journal.clone(), execution, run, op, pause };
        traced.write(What::Enter);
        traced
    }

    pub(super) fn run(&self) -> &str {
        &self.run
    }

    fn write(&self, what: What) -> u64 {
        self.journal.write(self.execution, &self.run, &self.op, what)
    }

    /// What no other attempt gives.
    fn nonce(&self, step: &str, attempt: u32) -> String {
        format!("{}/{}/{step}/{attempt}/{}", self.journal.process(), self.execution, stopwatch())
    }

    /// The body of a step: it fails as often as told, and takes its time.
    async fn body(&self, name: &str, cx: &StepContext, fails: u32) -> Result<Output, StepError> {
        let (step, attempt) = (name.to_owned(), cx.attempt);
        let began = self.write(What::Start { step: step.clone(), attempt, key: cx.idempotency_key.clone() });
        tokio::time::sleep(self.pause).await;
        if attempt <= fails {
            return Err(StepError::retry("as told"));
        }
        let nonce = self.nonce(name, attempt);
        let ended = self.write(What::End { step, attempt, nonce: nonce.clone() });
        Ok(Output { nonce, began, ended })
    }

    fn got(&self, step: &str, output: Output) -> Output {
        self.write(What::Got { step: step.to_owned(), nonce: output.nonce.clone() });
        output
    }

    /// A step that fails as often as told.
    pub(super) async fn work_after(&self, name: &str, fails: u32) -> Result<Output, StepError> {
        let patience = RetryPolicy::fixed(Duration::from_millis(40), 20)?;
        let run = self.step.run_with(name, async |cx| self.body(name, &cx, fails).await);
        Ok(self.got(name, run.retry_policy(patience).await?))
    }

    pub(super) async fn work(&self, name: &str) -> Result<Output, StepError> {
        self.work_after(name, 0).await
    }

    /// A step that fails for good after two retries.
    pub(super) async fn fail(&self, name: &str) -> Result<Output, StepError> {
        let patience = RetryPolicy::fixed(Duration::from_millis(40), 2)?;
        self.step.run_with(name, async |cx| self.body(name, &cx, u32::MAX).await).retry_policy(patience).await
    }

    /// A step that takes its process down.
    pub(super) async fn die(&self, name: &str) -> Result<Output, StepError> {
        let run = self.step.run_with(name, async |cx| -> Result<Output, StepError> {
            let (step, attempt) = (name.to_owned(), cx.attempt);
            self.write(What::Start { step, attempt, key: cx.idempotency_key.clone() });
            std::process::abort()
        });
        Ok(self.got(name, run.await?))
    }

    /// A step that blocks its thread for longer than a lease lasts.
    pub(super) async fn block(&self, name: &str) -> Result<Output, StepError> {
        let run = self.step.run_with(name, async |cx| {
            let (step, attempt) = (name.to_owned(), cx.attempt);
            let began = self.write(What::Start { step: step.clone(), attempt, key: cx.idempotency_key.clone() });
            std::thread::sleep(LEASE * 2);
            let nonce = self.nonce(name, attempt);
            let ended = self.write(What::End { step, attempt, nonce: nonce.clone() });
            Ok::<_, StepError>(Output { nonce, began, ended })
        });
        Ok(self.got(name, run.await?))
    }

    /// A step that streams: every second chunk is sent on at once.
    pub(super) async fn stream(&self, name: &str, chunks: u32, fails: u32) -> Result<Output, StepError> {
        let patience = RetryPolicy::fixed(Duration::from_millis(40), 20)?;
        let run = self.step.run_with(name, async |cx| {
            let stream = self.step.stream();
            for chunk in 0..chunks {
                stream.push(&format!("{name} {chunk} of {}", cx.attempt));
                if chunk % 2 == 0 {
                    stream.flush().await;
                }
            }
            self.body(name, &cx, fails).await
        });
        Ok(self.got(name, run.retry_policy(patience).await?))
    }

    /// A step that writes to a table of its own in the same database, exactly once.
    pub(super) async fn transact(&self, name: &'static str) -> Result<Output, StepError> {
        let traced = self.clone();
        let run = self.step.postgres_transaction(name, move |tx| {
            let traced = traced.clone();
            async move {
                let nonce = traced.nonce(name, 1);
                let step = name.to_owned();
                let began = traced.write(What::Start { step: step.clone(), attempt: 0, key: String::new() });
                let sql = "INSERT INTO sim_money (run, nonce) VALUES ($1, $2)";
                tx.execute(sql, &[&traced.run, &nonce]).await?;
                tokio::time::sleep(traced.pause).await;
                let ended = traced.write(What::End { step, attempt: 0, nonce: nonce.clone() });
                Ok::<_, SqlError>(Output { nonce, began, ended })
            }
        });
        Ok(self.got(name, run.retries(20).await?))
    }
}
