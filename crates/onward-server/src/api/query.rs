//! The query of a request.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::refusal::Refusal;

/// The query of a request. An unreadable query is refused with a problem document.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                tracing::debug!(error = &rejection as &dyn std::error::Error, "query refused");
                Err(Refusal::malformed("invalid query: a parameter is missing, repeated, or of the wrong form")
                    .shared())
            }
        }
    }
}
