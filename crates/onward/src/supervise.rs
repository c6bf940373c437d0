//! What becomes of an execution: it ends, is parked, or is suspended.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, response::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Collected, Limited};
use onward_core::{
    Payload, Timestamp,
    run::{Outcome, Status},
    store::Then,
};
use onward_protocol::problem::{Code, Problem};
use onward_scheduler::Permit;
use tokio::sync::oneshot;

use crate::{
    StepError,
    context::{Context, Halt, blocked},
    error::{BoxError, ErrorKind},
    execution::{Ended, Execution, panic_text},
    record,
    step::Failure,
};

/// A handler's response, whatever its body was.
pub(crate) type AnyResponse = Response<crate::endpoint::AnyBody>;

/// How a run ended, with the response as its handler made it.
pub(crate) struct Settled {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) response: Response<Bytes>,
}

/// What an execution leaves behind.
pub(crate) enum Left {
    /// The run has its outcome; it is being stored.
    Outcome(
        Settled,
        onward_core::BoxFuture<'static, Result<onward_core::store::Checkpointed, onward_core::StoreError>>,
    ),
    /// The run is due again later: its handler panicked.
    Suspended,
    /// The run cannot go on here.
    Halted(Halt),
}

/// Settles an execution that ended: makes the outcome and submits it. The run stays reachable until it is
/// [concluded](conclude).
pub(crate) async fn settle<B>(context: &Arc<Context>, ended: Ended<Response<B>>) -> Left
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    context.close();
    context.ungated().await;
    let ended = match ended {
        Ended::Returned(_) if let Some(missing) = context.missing() => Ended::Blocked(missing),
        ended => ended,
    };
    if matches!(ended, Ended::Blocked(_) | Ended::Panicked(_) | Ended::Halted(_)) {
        // Another execution asks for what this one let go of as it went wrong.
        context.keep_waits();
    }
    let ended = match ended {
        Ended::Returned(response) => {
            let failure = response.extensions().get::<Failure>().cloned();
            collect(context, response).await.map_or_else(|ended| ended, |response| Ended::Returned((response, failure)))
        }
        Ended::Panicked(text) => Ended::Panicked(text),
        Ended::TimedOut => Ended::TimedOut,
        Ended::Refused(why) => Ended::Refused(why),
        Ended::TooLarge(error) => Ended::TooLarge(error),
        Ended::Crashed(error) => Ended::Crashed(error),
        Ended::Blocked(missing) => Ended::Blocked(missing),
        Ended::Halted(halt) => Ended::Halted(halt),
    };
    let ended = match (ended, context.take_stream_error(None)) {
        (Ended::Returned(_), Some(error)) => Ended::Refused(error),
        (ended, _) => ended,
    };
    let (status, response, error, entries) = match ended {
        Ended::Returned((response, failure)) => {
            let failed = failure.map(|failure| failure.0).or_else(|| failed_by(context, &response));
            let status = if failed.is_some() { Status::Failed } else { Status::Completed };
            (status, response, failed, Vec::new())
        }
        Ended::TooLarge(error) => (Status::Failed, problem(context, Code::ResponseTooLarge), Some(error), Vec::new()),
        Ended::Refused(error) => (Status::Failed, problem(context, Code::RunFailed), Some(error), Vec::new()),
        Ended::Crashed(error) => (Status::Failed, problem(context, Code::RunCrashed), Some(error), Vec::new()),
        Ended::Panicked(text) => {
            tracing::error!(run_id = %context.run_id, "the handler failed outside its steps; the run's record says how");
            let error = StepError::new(ErrorKind::Panic, text, true);
            let (entry, retry_at) = context.fail_handler(&error);
            if let Some(due_at) = retry_at {
                return suspend_with(context, vec![entry], due_at).await;
            }
            (Status::Failed, problem(context, Code::RunFailed), Some(error), vec![entry])
        }
        Ended::TimedOut => {
            (Status::Failed, record::timed_out(context.run_id), Some(StepError::run_timed_out()), Vec::new())
        }
        Ended::Blocked(missing) => {
            let (entries, rest) = context.block(&missing);
            match rest {
                blocked::Rest::Until(due_at) => return suspend_with(context, entries, due_at).await,
                blocked::Rest::Over(error) => {
                    (Status::Failed, problem(context, Code::NonDeterminism), Some(error), entries)
                }
            }
        }
        Ended::Halted(halt) => return Left::Halted(halt),
    };
    let outcome = Outcome {
        status,
        response: record::encode_response(&response),
        error: error.map_or_else(Payload::default, |error| error.to_outcome()),
    };
    let ack = context.finish(entries, Then::Finish(outcome.clone()));
    Left::Outcome(Settled { outcome: Arc::new(outcome), response }, ack)
}

/// The error of a run whose handler has answered with a response that fails it.
fn failed_by(context: &Context, response: &Response<Bytes>) -> Option<StepError> {
    let fails = AssertUnwindSafe(|| context.endpoint.options.failed_when.fails(response));
    let failed = catch_unwind(fails).unwrap_or_else(|_| {
        tracing::error!(run_id = %context.run_id, "failed_when panicked: the run has failed");
        true
    });
    failed.then(|| {
        let text = format!("the handler answered with status {}", response.status().as_u16());
        StepError::new(ErrorKind::Response, text, false)
    })
}

/// A handler's response with its whole body, or how the run ends without one. A body takes no longer than the run may,
/// and ends when the run is cancelled.
async fn collect<B, T>(context: &Arc<Context>, response: Response<B>) -> Result<Response<Bytes>, Ended<T>>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let limit = context.endpoint.options.response_bytes_max;
    let (mut parts, body) = response.into_parts();
    if context.request.method == Method::HEAD {
        // It is the length of a body that is not there, and who waits for the outcome may ask with GET.
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let mut body = pin!(Limited::new(body, limit).collect());
    let mut timeout = context.timeout_at.map(|at| context.shared.clock.sleep_until(at));
    poll_fn(|cx| {
        // What the handler has streamed does not wait for its response's body.
        context.write_frames();
        context.poll_acks(cx);
        let polled = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx)));
        let polled = match polled {
            Ok(polled) => polled,
            Err(panic) => return Poll::Ready(Err(Ended::Panicked(panic_text(&*panic)))),
        };
        if let Poll::Ready(collected) = polled {
            return Poll::Ready(collected.map(Collected::to_bytes).map_err(|error| {
                let text = format!("the response could not be kept (limit {limit} bytes): {error}");
                Ended::TooLarge(StepError::new(ErrorKind::TooLarge, text, false))
            }));
        }
        if let Poll::Ready(halt) = context.poll_halted(cx) {
            return Poll::Ready(Err(Ended::of(halt)));
        }
        match &mut timeout {
            Some(timeout) => timeout.as_mut().poll(cx).map(|()| Err(Ended::TimedOut)),
            None => Poll::Pending,
        }
    })
    .await
    .map(|body| {
        // The response is kept, and given to others over connections of their own.
        onward_host::hop::strip(&mut parts.headers);
        if context.request.method != Method::HEAD {
            set_length(&mut parts, body.len());
        }
        Response::from_parts(parts, body)
    })
}

/// Says how long a body is, where its response may say that.
fn set_length(parts: &mut Parts, bytes: usize) {
    parts.headers.remove(header::CONTENT_LENGTH);
    let has_none =
        parts.status.is_informational() || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !has_none {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    }
}

pub(crate) fn problem(context: &Context, code: Code) -> Response<Bytes> {
    Problem::new(code).instance(format!("/runs/{}", context.run_id)).into_response()
}

async fn suspend_with(context: &Arc<Context>, entries: Vec<onward_core::journal::Entry>, due_at: Timestamp) -> Left {
    context.ungated().await;
    context.set_asynchronous();
    match context.finish(entries, Then::Suspend { due_at }).await {
        Ok(done) => {
            context.shared.scheduler.due_at(due_at);
            context.shared.scheduler.woken(&done.woken);
            Left::Suspended
        }
        Err(onward_core::StoreError::LeaseLost | onward_core::StoreError::RunNotFound) => Left::Halted(Halt::LeaseLost),
        Err(error) => Left::Halted(Halt::Store(error)),
    }
}

/// Drives an execution that has no client of its own to its end, or until it is suspended.
///
/// `slot` is dropped when the run no longer needs a place among those that are being resumed.
pub(crate) async fn supervise<F, B>(mut execution: Execution<F>, mut slot: Option<oneshot::Sender<()>>)
where
    F: Future<Output = Result<Response<B>, BoxError>>,
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let context = Arc::clone(&execution.context);
    let mut parked: Option<Parked> = None;
    let turn = poll_fn(|cx| {
        loop {
            match execution.poll(cx) {
                Poll::Ready(ended) => return Poll::Ready(Turn::Ended(ended)),
                Poll::Pending if !execution.is_quiescent() => {
                    parked = None;
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
            if park(&context, &mut parked, execution.next_wake(), cx).is_pending() {
                slot = None;
                return Poll::Pending;
            }
            // A task of its own may have got it something to do since.
            if let Some(due_at) = context.close_to_suspend() {
                return Poll::Ready(Turn::Suspend(due_at));
            }
        }
    })
    .await;
    let left = match turn {
        Turn::Ended(ended) => settle(&context, ended).await,
        Turn::Suspend(due_at) => suspend_with(&context, Vec::new(), due_at).await,
    };
    conclude(&context, left).await;
}

enum Turn<T> {
    Ended(Ended<T>),
    Suspend(Timestamp),
}

/// A handler that is kept in memory while it waits, and until when.
struct Parked {
    _permit: Permit,
    over: onward_core::BoxFuture<'static, ()>,
    until: Option<Timestamp>,
}

/// Keeps a waiting handler in memory while that is allowed. `Ready` when it must be let go of.
fn park(
    context: &Context,
    parked: &mut Option<Parked>,
    until: Option<Timestamp>,
    cx: &mut std::task::Context<'_>,
) -> Poll<()> {
    let shared = &context.shared;
    // What holds no lease cannot crash with this process once more.
    if shared.is_draining() || context.is_suspect() {
        return Poll::Ready(());
    }
    if parked.as_ref().is_none_or(|parked| parked.until != until) {
        *parked = None;
        let now = shared.clock.now();
        if !shared.parking.worth_parking(now, until) {
            return Poll::Ready(());
        }
        let Some(permit) = shared.parking.try_park(context.bytes_kept()) else { return Poll::Ready(()) };
        context.is_parked();
        let over = shared.clock.sleep_until(now.after(shared.parking.time_max()));
        let draining = shared.tasks.shutdown_token().clone().cancelled_owned();
        let over = Box::pin(async move {
            tokio::select! {
                () = over => {}
                () = draining => {}
            }
        });
        *parked = Some(Parked { _permit: permit, over, until });
    }
    let Some(parked) = parked else { return Poll::Pending };
    parked.over.as_mut().poll(cx)
}

/// Waits until what an execution left behind is stored, and tells who waits for it.
pub(crate) async fn conclude(context: &Arc<Context>, left: Left) {
    match left {
        Left::Outcome(settled, ack) => match ack.await {
            Ok(done) => {
                context.announce(&settled.outcome);
                context.shared.scheduler.woken(&done.woken);
            }
            Err(error) => halted(context, &error),
        },
        Left::Suspended | Left::Halted(Halt::LeaseLost) => {}
        Left::Halted(Halt::Blocked(_)) => context.shared.recover(context),
        Left::Halted(Halt::LeaseExpired) => {
            tracing::warn!(run_id = %context.run_id, "execution ended: the node's lease has run out");
            // The lease may be renewed all the same, and then nobody else would look at the run.
            context.shared.recover(context);
        }
        Left::Halted(Halt::Store(error)) => halted(context, &error),
    }
    context.detach();
}

/// The store would not write. The run stays as it was stored; once the store answers again it is taken up from there.
fn halted(context: &Arc<Context>, error: &onward_core::StoreError) {
    if matches!(error, onward_core::StoreError::LeaseLost | onward_core::StoreError::RunNotFound) {
        tracing::debug!(run_id = %context.run_id, "the run was ended or taken over by somebody else");
        return;
    }
    tracing::error!(run_id = %context.run_id, error = error as &dyn std::error::Error, "a checkpoint was not written");
    context.shared.recover(context);
}
