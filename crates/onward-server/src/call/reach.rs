//! Which hosts the engine connects to: it is told URLs by others, and must not become their way into a private network.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::{Attempt, Policy},
};

use crate::{address::is_private, options::Origins};

/// Which hosts may be connected to.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// Origins that are allowed by name, wherever they are.
    listed: Arc<[String]>,
    /// Whether every other origin may be called, too.
    any: bool,
    /// Whether private addresses may be connected to that are not listed.
    private: bool,
    /// Origins that were refused and logged.
    told: Arc<Mutex<BTreeSet<String>>>,
}

/// A host that is not to be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Its origin is not among those that are allowed.
    #[error("origin not allowed")]
    Origin,
    /// It is on a private network.
    #[error("address is private")]
    Private,
    /// It is not reached by HTTP.
    #[error("URL is not one of HTTP")]
    Scheme,
}

/// How many redirects are followed.
const REDIRECTS_MAX: usize = 5;
/// How many refused origins are logged, each once.
const TOLD_MAX: usize = 1_000;

impl Reach {
    pub(crate) fn new(origins: &Origins) -> Self {
        let listed = origins.only.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        Self { listed, any: origins.any, private: origins.private, told: Arc::default() }
    }

    /// Whether an endpoint may be called, as far as its URL tells: the addresses of a name are checked when it is
    /// resolved. A client chooses the `Host` of its request to an endpoint, and with it the URL that the SDK reports,
    /// so only origins that were listed beforehand are trusted with signed calls.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme);
        }
        if !self.any && !self.is_listed(url) {
            return Err(Refused::Origin);
        }
        self.check_host(url)
    }

    /// Whether a URL that a step asks for may be called: any origin, but no private address that is not listed.
    pub(crate) fn check_host(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme);
        }
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) if !self.private && !self.is_listed(url) && is_private(address) => Err(Refused::Private),
            _ => Ok(()),
        }
    }

    /// Whether a URL's origin was allowed by name.
    pub(super) fn is_listed(&self, url: &Url) -> bool {
        self.listed.contains(&url.origin().ascii_serialization())
    }

    /// Says why an endpoint is not called and which flag allows it, and logs that once for each origin.
    pub(crate) fn explain(&self, url: &Url, refused: Refused) -> String {
        let origin = url.origin().ascii_serialization();
        {
            let mut told = self.told.lock();
            if told.len() < TOLD_MAX && told.insert(origin.clone()) {
                tracing::warn!(origin, %refused, "origin refused: allow it with --allow-origin if endpoints are there");
            }
        }
        match refused {
            Refused::Scheme => format!("invalid endpoint URL: {origin} is not reached by HTTP"),
            Refused::Origin | Refused::Private => format!(
                "the engine does not call {origin} ({refused}): allow it with --allow-origin {origin} if the endpoint is \
                 there; the SDK takes its origin from the request's Host, or from INNGEST_SERVE_ORIGIN where that is set"
            ),
        }
    }

    /// Follows redirects that keep the method and the body, where they stay with who was called or lead to an origin
    /// that is allowed by name: the call and its signature are for nobody else.
    fn redirects(&self) -> Policy {
        let reach = self.clone();
        Policy::custom(move |attempt: Attempt<'_>| {
            let (from, to) = (attempt.previous().last(), attempt.url());
            let follows =
                from.is_some_and(|from| reach.follows(attempt.status().as_u16(), from, to, attempt.previous().len()));
            if follows { attempt.follow() } else { attempt.stop() }
        })
    }

    /// Whether a request that was answered with a status is sent again to where that leads, as the `hops`th time.
    fn follows(&self, status: u16, from: &Url, to: &Url, hops: usize) -> bool {
        let keeps = matches!(status, 307 | 308) && hops <= REDIRECTS_MAX;
        keeps && (self.is_listed(to) || (is_same(from, to) && self.check_host(to).is_ok()))
    }

    /// The URL to which a response redirects, if the redirect may be followed. The client itself cannot follow it, because the
    /// body is not kept.
    pub(super) fn redirected(&self, response: &reqwest::Response, hops: usize) -> Option<Url> {
        let location = response.headers().get(http::header::LOCATION)?.to_str().ok()?;
        let to = response.url().join(location).ok()?;
        self.follows(response.status().as_u16(), response.url(), &to, hops).then_some(to)
    }

    /// A client for origins that are listed, and one for all others, which connects to public addresses alone.
    pub(super) fn clients(&self, redirects: bool) -> Result<[reqwest::Client; 2], reqwest::Error> {
        // An app may have chosen its provider already; then that one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .no_proxy()
                .tcp_nodelay(true)
                .connect_timeout(super::CONNECT_TIMEOUT)
                .redirect(if redirects { self.redirects() } else { Policy::none() })
                .user_agent(concat!("onward/", env!("CARGO_PKG_VERSION")))
        };
        let others = if self.private { builder() } else { builder().dns_resolver(Arc::new(PublicOnly)) };
        Ok([builder().build()?, others.build()?])
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

    fn reach(only: &[&str], any: bool, private: bool) -> Reach {
        Reach::new(&Origins { only: only.iter().map(|&origin| origin.to_owned()).collect(), any, private })
    }

    fn url(url: &str) -> Url {
        Url::parse(url).unwrap()
    }

    #[test]
    fn an_endpoint_is_called_where_its_origin_is_listed_or_all_are() {
        let listed = reach(&["https://app.example/", "http://localhost:3000"], false, false);
        for (is, ok) in [
            ("https://app.example/x", Ok(())),
            ("http://localhost:3000/x", Ok(())),
            ("http://localhost:3001/x", Err(Refused::Origin)),
            ("https://app.example.evil/x", Err(Refused::Origin)),
            ("https://app.example@evil/x", Err(Refused::Origin)),
            ("http://app.example/x", Err(Refused::Origin)),
            ("file:///etc/passwd", Err(Refused::Scheme)),
        ] {
            assert_eq!(listed.check(&url(is)), ok, "{is}");
        }
        assert_eq!(
            reach(&[], false, true).check(&url("https://app.example/x")),
            Err(Refused::Origin),
            "none is listed"
        );
        assert_eq!(reach(&[], true, false).check(&url("https://app.example/x")), Ok(()));
    }

    #[test]
    fn a_private_address_is_called_where_it_is_listed_and_no_other_is() {
        let public = reach(&["http://10.0.0.5:3000"], true, false);
        for private in [
            "http://127.0.0.1/x",
            "http://2130706433/x",
            "http://[::1]/x",
            "http://10.0.0.5:3001/",
            "http://10.0.0.6:3000/",
        ] {
            assert_eq!(public.check(&url(private)), Err(Refused::Private), "{private}");
            assert_eq!(public.check_host(&url(private)), Err(Refused::Private), "{private}, for a step");
            assert_eq!(reach(&[], true, true).check(&url(private)), Ok(()), "{private}");
        }
        assert_eq!(public.check(&url("http://10.0.0.5:3000/x")), Ok(()));
        assert_eq!(public.check_host(&url("http://10.0.0.5:3000/x")), Ok(()));
    }

    #[test]
    fn a_redirect_is_followed_on_its_origin_to_its_https_and_to_what_is_listed() {
        let reach = reach(&["https://listed.example"], true, false);
        let from = url("http://app.example/x");
        for (to, follows) in [
            ("http://app.example/y", true),
            ("https://app.example/x", true),
            ("https://app.example:8443/x", false),
            ("http://other.example/x", false),
            ("https://listed.example/x", true),
        ] {
            assert_eq!(reach.follows(307, &from, &url(to), 1), follows, "{to}");
            assert!(!reach.follows(302, &from, &url(to), 1) && !reach.follows(308, &from, &url(to), 6), "{to}");
        }
        assert!(!reach.follows(307, &url("http://127.0.0.1/x"), &url("http://127.0.0.1/y"), 1), "it is private");
    }

    /// The address of a name may change between the check and the connection.
    #[tokio::test]
    async fn a_name_that_leads_to_a_private_address_is_not_connected_to() {
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(&format!("http://localhost:{}/", open.local_addr().unwrap().port()));
        let [listed, others] = reach(&[], true, false).clients(false).unwrap();
        let refused = others.get(url.clone()).send().await.unwrap_err();
        assert!(crate::call::unreachable(&refused).contains("may not call this host"), "{refused:?}");
        let connects = async { drop(listed.get(url).send().await) };
        tokio::select! {
            () = connects => panic!("nobody answers"),
            accepted = open.accept() => drop(accepted.unwrap()),
        }
    }

    #[test]
    fn what_is_refused_names_the_flag_and_never_the_one_that_opens_all() {
        let reach = reach(&[], false, false);
        let text = reach.explain(&url("http://10.0.0.5:3000/api?secret=1"), Refused::Private);
        assert!(
            text.contains("--allow-origin http://10.0.0.5:3000 ") && text.contains("INNGEST_SERVE_ORIGIN"),
            "{text}"
        );
        assert!(!text.contains("allow-private") && !text.contains("secret"), "{text}");
    }
}
