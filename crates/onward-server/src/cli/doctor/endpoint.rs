//! Checks of an endpoint: is it found, may it be called, and does the SDK answer?

use std::net::SocketAddr;

use onward_core::Clock;
use onward_protocol::sdk::{Keys, SigningKey};
use onward_scheduler::SystemClock;
use onward_server::{Options, address::is_private, options::Origins};
use reqwest::{StatusCode, Url, header::HeaderMap};

use super::Finding;
use crate::cli::{
    api,
    output::{chain, plain},
};

/// A run that there is not: with its id the SDK takes the call for an engine's, and starts no run of its own.
const NO_RUN: &str = "00000000000000000000000000";

pub(super) async fn check(text: &str, options: &Options) -> Vec<Finding> {
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        _ => {
            return vec![Finding::bad(
                "endpoint",
                format!("{text:?} is not a URL; give one as https://app.example/api"),
            )];
        }
    };
    let addresses = match resolve(&url).await {
        Ok(addresses) => addresses,
        Err(why) => return vec![Finding::bad("endpoint", why)],
    };
    let listed = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
    let mut findings = vec![Finding::good("endpoint", format!("it is found at {listed}"))];
    if let Some(refused) = refused(&url, &addresses, &options.origins) {
        findings.push(refused);
    }
    findings.push(answer(url, &options.signing_keys).await);
    findings
}

async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, String> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
    match found.map(Vec::from_iter) {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses),
        Ok(_) => Err(format!("{host} has no address; check its name")),
        Err(error) => Err(format!("{host} is not found ({error}); check its name and this machine's DNS")),
    }
}

/// Why the engine would not call it.
fn refused(url: &Url, addresses: &[SocketAddr], origins: &Origins) -> Option<Finding> {
    let origin = url.origin().ascii_serialization();
    if origins.only.contains(&origin) {
        return None;
    }
    if !origins.any {
        return Some(Finding::bad("endpoint", format!("it is not called: add --allow-origin {origin}")));
    }
    let private = addresses.iter().find(|address| is_private(address.ip()))?;
    (!origins.private).then(|| {
        let what = format!("it is not called, as {} is not public", private.ip());
        Finding::bad("endpoint", format!("{what}; if that is meant, add --allow-origin {origin}"))
    })
}

/// Calls it as the engine does, so that the SDK also tells whether the keys are the same.
async fn answer(url: Url, keys: &[String]) -> Finding {
    let client = match api::client(&url) {
        Ok(client) => client,
        Err(why) => return Finding::bad("endpoint", format!("it cannot be called: {why:?}")),
    };
    let keys = Keys::new(keys.iter().filter_map(|key| SigningKey::parse(key).ok()).collect());
    let signature = keys.signature_header("GET", "", SystemClock::default().now().as_millis() / 1000);
    let request = client.get(url).header("x-run-id", NO_RUN).header("x-inngest-signature", signature);
    match request.send().await {
        Ok(response) => judge(response.status(), response.headers(), keys.is_empty()),
        Err(error) => {
            let why = chain(&error.without_url());
            Finding::bad("endpoint", format!("it does not answer ({why}); is it running, and reachable from here?"))
        }
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, without_keys: bool) -> Finding {
    let sdk = headers.get("x-inngest-sdk").map(|name| plain(&String::from_utf8_lossy(name.as_bytes())));
    // An SDK that does not trust a call says no more than that it took it.
    if sdk.is_none() && !headers.contains_key("x-inngest-sdk-handled") {
        let what = format!("it answers {} without the SDK's headers", status.as_u16());
        return Finding::warning(
            "endpoint",
            format!("{what}; is the handler wrapped, and no login or proxy in front?"),
        );
    }
    if status == StatusCode::UNAUTHORIZED {
        let what = if without_keys {
            "the SDK wants calls to be signed: give its signing key to the engine, too, or set INNGEST_DEV in your app"
        } else {
            "the SDK does not trust the signature: give your app and the engine the same signing key, and set both clocks"
        };
        return Finding::bad("endpoint", what);
    }
    Finding::good("endpoint", format!("it answers, with the SDK {}", sdk.unwrap_or_default()))
}
