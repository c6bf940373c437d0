//! What a step asks the engine to do for it: call a URL, ask a model, run a function.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json::{object, or_empty, or_null, read};

/// An HTTP request that the engine makes (`Gateway`). `Debug` shows neither header values nor the body.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// Where it goes.
    pub url: String,
    /// Its method; `GET` where the step names none.
    #[serde(default = "get")]
    pub method: String,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its body. Of one that is no string, the JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// A call to a model that the engine makes (`AIGateway`). `Debug` shows neither the key nor anything that may hold it.
#[derive(Clone, Serialize, Deserialize)]
pub struct AiRequest {
    /// Where it goes. Some providers take the key in its query.
    pub url: String,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The provider's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_key: Option<String>,
    /// Which provider's shape it has, such as `openai-chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What is asked, in that shape.
    pub body: Box<RawValue>,
}

/// What a function is invoked with.
#[derive(Clone, Debug)]
pub struct InvokePayload {
    /// The data of its event; `{}` where the step gives none.
    pub data: Box<RawValue>,
    /// The version of that data, where the step gives one.
    pub v: Option<String>,
    /// What the SDK says about the event, such as its sessions.
    pub meta: Option<Box<RawValue>>,
}

impl FetchRequest {
    pub(super) fn read(opts: &RawValue) -> Option<Self> {
        let opts: Call<'_> = object(Some(opts))?;
        Some(Self {
            url: given(opts.url)?,
            method: given(opts.method).unwrap_or_else(get),
            headers: headers(opts.headers),
            body: opts.body.map(text),
        })
    }
}

impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("FetchRequest")
            .field("method", &self.method)
            .field("url", &without_query(&self.url))
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

impl AiRequest {
    pub(super) fn read(opts: &RawValue) -> Option<Self> {
        let opts: Call<'_> = object(Some(opts))?;
        Some(Self {
            url: given(opts.url)?,
            headers: headers(opts.headers),
            auth_key: given(opts.auth_key),
            format: given(opts.format),
            body: or_null(opts.body),
        })
    }
}

impl fmt::Debug for AiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("AiRequest")
            .field("url", &without_query(&self.url))
            .field("headers", &names)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl InvokePayload {
    pub(super) fn read(payload: Option<&RawValue>) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Payload<'a> {
            #[serde(borrow)]
            data: Option<&'a RawValue>,
            #[serde(borrow)]
            v: Option<&'a RawValue>,
            #[serde(borrow)]
            meta: Option<&'a RawValue>,
        }
        let payload: Payload<'_> = object(payload).unwrap_or_default();
        Self { data: or_empty(payload.data), v: read(payload.v), meta: payload.meta.map(ToOwned::to_owned) }
    }
}

/// The arguments of both kinds of call.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    auth_key: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
}

fn get() -> String {
    "GET".to_owned()
}

fn given(value: Option<&RawValue>) -> Option<String> {
    read::<String>(value).filter(|text| !text.is_empty())
}

fn headers(value: Option<&RawValue>) -> BTreeMap<String, String> {
    let headers: BTreeMap<String, Option<&RawValue>> = object(value).unwrap_or_default();
    headers.into_iter().filter_map(|(name, value)| Some((name, text(value?)))).collect()
}

/// The string that a value is, or its JSON text.
fn text(value: &RawValue) -> String {
    read(Some(value)).unwrap_or_else(|| value.get().to_owned())
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}
