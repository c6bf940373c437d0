//! Re-entry: the HTTP call by which a run goes on at its endpoint.

pub(crate) mod gateway;
mod places;
mod reach;
mod transfer;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use onward_protocol::sdk::{
    checkpoint::HttpRequestEvent,
    readable_body,
    registration::{self, call_body},
    reply::Reply,
};
use tracing::{Instrument, Span};

pub(crate) use self::reach::{Reach, Refused};
use self::{
    places::{Place, Places},
    transfer::{Outgoing, Share, Transfers},
};
use crate::{
    live::Live,
    observe::trace,
    options::{Limits, Options},
    plan::{Call, Unit},
    record::Target,
};

/// Makes calls: keeps connections open, and bounds how many are under way.
pub(crate) struct Caller {
    /// For calls of endpoints: of origins that are listed, and of all others.
    clients: [reqwest::Client; 2],
    /// The same for the requests of steps, which are redirected without us.
    gateway_clients: [reqwest::Client; 2],
    reach: Reach,
    /// For calls of endpoints.
    reentries: Arc<Places>,
    /// For the requests of steps.
    gateways: Arc<Places>,
    /// For the bytes of both while they are being sent or read.
    transfers: Transfers,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Caller {
    pub(crate) fn try_new(options: &Options) -> Result<Self, reqwest::Error> {
        let Limits { reentries, reentries_per_origin, transfers_bytes, .. } = options.limits;
        let reach = Reach::new(&options.origins);
        Ok(Self {
            clients: reach.clients(false)?,
            gateway_clients: reach.clients(true)?,
            reach,
            reentries: Places::new(reentries, reentries_per_origin),
            gateways: Places::new(reentries, reentries_per_origin),
            transfers: Transfers::new(transfers_bytes),
        })
    }

    /// Which endpoints may be called.
    pub(crate) const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The client that may connect to where the URL of an endpoint leads.
    fn client(&self, url: &reqwest::Url) -> &reqwest::Client {
        let [listed, others] = &self.clients;
        if self.reach.is_listed(url) { listed } else { others }
    }

    /// The client that may connect to where the URL of a step leads.
    fn gateway_client(&self, url: &reqwest::Url) -> &reqwest::Client {
        let [listed, others] = &self.gateway_clients;
        if self.reach.is_listed(url) { listed } else { others }
    }

    /// A place among the calls of endpoints, if one is free now.
    fn try_place(&self, url: &reqwest::Url) -> Option<Place> {
        self.reentries.try_take(host_of(url))
    }

    /// Waits for a place among the calls of endpoints. **Cancel-safe**.
    async fn place(&self, url: &reqwest::Url) -> Place {
        self.reentries.take(host_of(url), 1).await
    }

    /// Waits for a place among the requests of steps, which those of endpoints do not wait for. **Cancel-safe**.
    async fn gateway_place(&self, url: &reqwest::Url) -> Place {
        self.gateways.take(host_of(url), 1).await
    }
}

fn host_of(url: &reqwest::Url) -> &str {
    url.host_str().unwrap_or_default()
}

/// A call as it goes over the wire.
#[derive(Debug)]
struct Wire {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

/// Makes a call and tells the run of its answer.
pub(crate) async fn make(live: Arc<Live>, call: Call) {
    let began = tokio::time::Instant::now();
    let span = tracing::info_span!(target: "onward::run", "re-entry", run_id = %live.run_id, endpoint = %live.endpoint,
        attempt = call.attempt.0);
    if let Some(traceparent) = &live.origin.traceparent {
        trace::set_parent(&span, traceparent);
    }
    let answer = tokio::select! {
        answer = ask(&live, call).instrument(span.clone()) => answer,
        () = live.over() => return,
    };
    let result = match &answer {
        Ok((Reply::NotTheSdk { .. } | Reply::Invalid { .. }, _)) | Err(_) => "unanswered",
        Ok((Reply::Error { .. } | Reply::Failed { .. }, _)) => "error",
        Ok((Reply::Ops { .. } | Reply::Result { .. }, _)) => "answered",
    };
    live.shared.metrics.reentry(result, began.elapsed());
    match answer {
        Ok((reply, _share)) => live.answered(call, reply).await,
        Err(NoAnswer::Unreached(why)) => live.unanswered(call, &why),
        Err(NoAnswer::TooLarge(limit)) => {
            let why = format!("the endpoint's answer has more than {limit} bytes: --limit-reply-bytes");
            live.refused(call, "AnswerTooLarge", &why);
        }
    }
}

/// Why there is no answer, in words that may be shown to whoever waits for the run.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// There was none; another time there may be.
    Unreached(String),
    /// There was one of more than so many bytes.
    TooLarge(usize),
}

impl<T: Into<String>> From<T> for NoAnswer {
    fn from(why: T) -> Self {
        Self::Unreached(why.into())
    }
}

/// The endpoint's answer, with what it has of the memory for transfers.
type Answered = (Reply, Share);

async fn ask(live: &Arc<Live>, call: Call) -> Result<Answered, NoAnswer> {
    let url = match &live.origin.target {
        Target::Endpoint { request, .. } => reqwest::Url::parse(&url_of(request)).ok(),
        Target::Function { id, url, .. } => {
            // Why: an app may have moved since the run began.
            let function = live.shared.functions.get(id).map_err(|unreadable| unreadable.to_string())?;
            url_of_function(live, call, function.as_ref().map_or(url, |function| function.url()))
        }
    };
    let url = url.ok_or("invalid endpoint URL")?;
    let reach = &live.shared.caller.reach;
    reach.check(&url).map_err(|refused| {
        reach.explain(&url, refused);
        "the engine may not call the endpoint"
    })?;
    let _place = match live.shared.caller.try_place(&url) {
        Some(place) => place,
        // The runs of a slow host must not take the memory of all.
        None if live.shared.memory.is_half_full() && live.give_back_unplaced() => std::future::pending().await,
        None => live.shared.caller.place(&url).await,
    };
    let time = live.shared.options.reentry_timeout;
    let answered = tokio::time::timeout(time, send(live, call, url));
    answered.await.unwrap_or_else(|_| Err("the endpoint took too long to answer".into()))
}

async fn send(live: &Arc<Live>, call: Call, url: reqwest::Url) -> Result<Answered, NoAnswer> {
    let limits = &live.shared.options.limits;
    let caller = &live.shared.caller;
    let (mut client, mut url, mut hops) = (caller.client(&url), url, 0);
    let mut response = loop {
        // Why before the call is written: the body is as large as the whole state of the run.
        let share = caller.transfers.send(host_of(&url), bytes_of(live)).await;
        // Why here: whatever was waited for is behind it.
        if !live.may_call() {
            std::future::pending::<()>().await; // the run is over here, and with it this call
        }
        let wire = match &live.origin.target {
            Target::Endpoint { request, version } => to_endpoint(live, call, request, *version),
            Target::Function { event, .. } => to_function(live, call, event),
        };
        let Wire { method, headers, body } =
            wire.ok_or("the call cannot be written: a header is none, or JSON is nested too deeply")?;
        let body = reqwest::Body::wrap(Outgoing::new(body, share));
        let request = client.request(method, url).headers(headers).body(body);
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        hops += 1;
        match caller.reach.redirected(&response, hops) {
            Some(to) => {
                if caller.reach.is_listed(&to) {
                    client = caller.client(&to);
                }
                url = to;
            }
            None => break response,
        }
    };
    let host = host_of(response.url()).to_owned();
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    if (300..400).contains(&status) {
        return Err("the endpoint redirects elsewhere: set INNGEST_SERVE_ORIGIN to where it is".into());
    }
    let (body, share) = caller.transfers.read(&host, &mut response, limits.reply_bytes).await?;
    Ok((Reply::read(status, &headers, &body, limits.steps), share))
}

/// How many bytes a call of a run has: an endpoint asks for its run's state, a function is given it.
fn bytes_of(live: &Live) -> usize {
    match &live.origin.target {
        Target::Endpoint { request, .. } => request.body.len(),
        Target::Function { .. } => live.bytes(),
    }
}

/// Why there was no answer: what kind of failure, and nothing from inside.
fn unreachable(error: &reqwest::Error) -> String {
    let refused = std::error::Error::source(error);
    let mut source = refused;
    while let Some(cause) = source {
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            tracing::warn!(%refused, "a host may not be called");
            return "the engine may not call this host".to_owned();
        }
        source = cause.source();
    }
    let why = if error.is_connect() {
        "the endpoint could not be connected to"
    } else if error.is_timeout() {
        "the endpoint took too long to answer"
    } else {
        "the connection to the endpoint broke off"
    };
    why.to_owned()
}

fn to_endpoint(live: &Live, call: Call, request: &HttpRequestEvent, version: i32) -> Option<Wire> {
    let method = Method::from_bytes(request.method.as_bytes()).ok()?;
    let body = readable_body(method.as_str(), &request.body);
    let mut headers = headers(live, call, version, method.as_str(), body)?;
    let content_type = HeaderValue::from_str(&request.content_type).ok().filter(|value| !value.is_empty());
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, content_type.unwrap_or(json));
    if let Unit::Targeted(key) = call.unit {
        let key = live.wire_of(key)?;
        headers.insert("x-inngest-step-id", HeaderValue::from_str(&key.to_string()).ok()?);
    }
    if call.plan_only {
        headers.insert("x-inngest-force-step-plan", HeaderValue::from_static("true"));
    }
    Some(Wire { method, headers, body: Bytes::from(body.to_owned()) })
}

/// The URL of a request.
fn url_of(request: &HttpRequestEvent) -> String {
    let HttpRequestEvent { domain, path, query_params, .. } = request;
    let query = match query_params.as_str() {
        "" => String::new(),
        // Why: the SDK takes a parameter of this name for its own. An empty one before it makes it look at the header.
        query if has_step_id(query) => format!("?stepId=&{query}"),
        query => format!("?{query}"),
    };
    format!("{}{path}{query}", domain.trim_end_matches('/'))
}

fn has_step_id(query: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next() == Some("stepId"))
}

fn to_function(live: &Live, call: Call, event: &serde_json::Value) -> Option<Wire> {
    let event = serde_json::value::to_raw_value(event).ok()?;
    let body = call_body(registration::Call {
        event: &event,
        memos: &live.steps(),
        run_id: &live.run_id.to_string(),
        attempt: call.attempt.0.saturating_sub(1),
        attempts_max: live.origin.retries.saturating_add(1),
        force_plan: call.plan_only,
    });
    let body = body.ok()?;
    let mut headers = headers(live, call, 1, "POST", &body)?;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(Wire { method: Method::POST, headers, body: body.into() })
}

/// The URL at which a function is called, for a step or for the next discovery.
fn url_of_function(live: &Live, call: Call, url: &str) -> Option<reqwest::Url> {
    let mut url = reqwest::Url::parse(url).ok()?;
    let step = match call.unit {
        Unit::Targeted(key) => live.wire_of(key)?.to_string(),
        _ => "step".to_owned(),
    };
    let kept: Vec<_> = url
        .query_pairs()
        .filter(|(name, _)| name != "stepId")
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(kept).append_pair("stepId", &step);
    Some(url)
}

fn headers(live: &Live, call: Call, version: i32, method: &str, body: &str) -> Option<HeaderMap> {
    let shared = &live.shared;
    let now = shared.clock.now().as_millis().div_euclid(1000);
    let signature = shared.keys.signature_header(method, body, now);
    let kind = match shared.options.mode {
        crate::options::Mode::Dev => "dev",
        crate::options::Mode::Start => "cloud",
    };
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).ok()?;
        headers.insert(HeaderName::from_static(name), value);
        Some(())
    };
    put("x-run-id", &live.run_id.to_string())?;
    put("x-inngest-signature", &signature)?;
    put("x-inngest-req-version", &version.to_string())?;
    put("x-request-id", &format!("{}.{:08x}", live.run_id, rand::random::<u32>()))?;
    put("x-inngest-generation-id", &call.attempt.0.to_string())?;
    put("x-inngest-server-kind", kind)?;
    if let Some(traceparent) = trace::traceparent(&Span::current()).as_ref().or(live.origin.traceparent.as_ref()) {
        put("traceparent", traceparent)?;
    }
    Some(headers)
}

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use onward_protocol::sdk::checkpoint::HttpRequestEvent;

    use super::url_of;

    #[test]
    fn a_users_own_step_id_does_not_hide_that_of_the_call() {
        let request = |query: &str| HttpRequestEvent {
            domain: "http://a.example".to_owned(),
            path: "/x".to_owned(),
            query_params: query.to_owned(),
            ..HttpRequestEvent::default()
        };
        assert_eq!(url_of(&request("")), "http://a.example/x");
        assert_eq!(url_of(&request("a=1")), "http://a.example/x?a=1");
        assert_eq!(url_of(&request("a=1&stepId=7")), "http://a.example/x?stepId=&a=1&stepId=7");
        assert_eq!(url_of(&request("xstepId=7")), "http://a.example/x?xstepId=7");
    }
}
