//! Which hosts the engine connects to: it is told URLs by others, and must not become their way into a private network.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::{Attempt, Policy},
};

use crate::{address::is_private, options::Origins};

/// Which hosts may be connected to.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    only: Arc<[String]>,
    private: bool,
}

/// A host that is not to be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Its origin is not among those that are allowed.
    #[error("the origin is not allowed: add it with --allow-origin")]
    Origin,
    /// It is on a private network.
    #[error("the address is private: allow such with --allow-private")]
    Private,
    /// It is not reached by HTTP.
    #[error("the URL is not one of HTTP")]
    Scheme,
}

/// How many redirects are followed.
const REDIRECTS_MAX: usize = 5;

impl Reach {
    pub(crate) fn new(origins: &Origins) -> Self {
        let only = origins.only.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        Self { only, private: origins.private }
    }

    /// Whether a URL may be called, as far as it tells: the addresses of a name are checked when it is resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme);
        }
        let origin = url.origin().ascii_serialization();
        if !self.only.is_empty() && !self.only.contains(&origin) {
            return Err(Refused::Origin);
        }
        self.check_host(url)
    }

    /// Whether a URL that a step asks for may be called: any origin, but no private address unless that is allowed.
    pub(crate) fn check_host(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme);
        }
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) if !self.private && is_private(address) => Err(Refused::Private),
            _ => Ok(()),
        }
    }

    /// Follows redirects that keep the method and the body, where they stay with who was called or lead to an origin
    /// that is allowed by name: the call and its signature are for nobody else.
    fn redirects(&self) -> Policy {
        let reach = self.clone();
        Policy::custom(move |attempt: Attempt<'_>| {
            let keeps = matches!(attempt.status().as_u16(), 307 | 308) && attempt.previous().len() <= REDIRECTS_MAX;
            let (from, to) = (attempt.previous().last(), attempt.url());
            let same = from.is_some_and(|from| is_same(from, to));
            let allowed = reach.check(to).is_ok() && (same || !reach.only.is_empty());
            if keeps && allowed { attempt.follow() } else { attempt.stop() }
        })
    }

    /// A client that connects to nothing else.
    pub(super) fn client(&self) -> Result<reqwest::Client, reqwest::Error> {
        // An app may have chosen its provider already; then that one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(super::CONNECT_TIMEOUT)
            .redirect(self.redirects())
            .user_agent(concat!("onward/", env!("CARGO_PKG_VERSION")));
        if self.private { builder.build() } else { builder.dns_resolver(Arc::new(PublicOnly)).build() }
    }
}

/// Whether a redirect stays with who was called: on its origin, or on its host's own HTTPS.
fn is_same(from: &Url, to: &Url) -> bool {
    let upgrades = from.scheme() == "http" && to.scheme() == "https" && from.host_str() == to.host_str();
    from.origin() == to.origin() || (upgrades && from.port().is_none() && to.port().is_none())
}

/// Resolves names to public addresses alone: what a name resolves to may change between a check and its use.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<_> = found.iter().copied().filter(|found| !is_private(found.ip())).collect();
            if public.is_empty() && !found.is_empty() {
                return Err(Refused::Private.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Origins, Reach, Refused, Url};

    #[test]
    fn an_origin_must_be_allowed_where_some_are() {
        let reach = |only: &[&str], private| {
            Reach::new(&Origins { only: only.iter().map(|&origin| origin.to_owned()).collect(), private })
        };
        let check = |reach: &Reach, url: &str| reach.check(&Url::parse(url).unwrap());
        let open = reach(&[], true);
        assert_eq!(check(&open, "http://localhost:3000/x"), Ok(()));
        assert_eq!(check(&open, "http://127.0.0.1:3000/x"), Ok(()));
        assert_eq!(check(&open, "file:///etc/passwd"), Err(Refused::Scheme));
        let public = reach(&[], false);
        assert_eq!(check(&public, "http://127.0.0.1/x"), Err(Refused::Private));
        assert_eq!(check(&public, "http://2130706433/x"), Err(Refused::Private), "127.0.0.1 as a number");
        assert_eq!(check(&public, "http://[::1]/x"), Err(Refused::Private));
        assert_eq!(check(&public, "https://app.example/x"), Ok(()));
        let listed = reach(&["https://app.example/", "http://localhost:3000"], true);
        assert_eq!(check(&listed, "https://app.example/x"), Ok(()));
        assert_eq!(check(&listed, "http://localhost:3000/x"), Ok(()));
        assert_eq!(check(&listed, "http://localhost:3001/x"), Err(Refused::Origin));
        assert_eq!(check(&listed, "https://app.example.evil/x"), Err(Refused::Origin));
        assert_eq!(check(&listed, "https://app.example@evil/x"), Err(Refused::Origin));
    }
}
