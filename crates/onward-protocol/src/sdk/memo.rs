//! Memos: what became of the steps of a run, as the SDK reads it when it calls the handler again.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{json, value::RawValue};

use super::{hex::hex, json::literal};

/// The memos of a run, in the order in which the steps ended: the SDK takes that from the order of the keys, and it
/// decides who wins a race.
///
/// # Example
///
/// ```
/// use onward_protocol::sdk::{Memos, memo};
/// use serde_json::value::RawValue;
///
/// let mut memos = Memos::default();
/// memos.push([0xee; 20], memo::data(&RawValue::from_string("[1.0]".to_owned())?));
/// memos.push([0x11; 20], memo::null());
/// let json = memos.to_json();
/// assert_eq!(json, format!(r#"{{"{}":{{"data":[1.0]}},"{}":null}}"#, "ee".repeat(20), "11".repeat(20)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memos(Vec<([u8; 20], Box<RawValue>)>);

impl Memos {
    /// Adds the memo of the step that ended after all of those before. Each step has one.
    pub fn push(&mut self, key: [u8; 20], memo: Box<RawValue>) {
        self.0.push((key, memo));
    }

    /// The steps, in their order, by the names that the SDK has for them.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = String> {
        self.0.iter().map(|(key, _)| hex(key))
    }

    /// The object that the SDK reads.
    pub fn to_json(&self) -> String {
        let size = self.0.iter().map(|(_, memo)| memo.get().len() + 44).sum::<usize>();
        let mut json = Vec::with_capacity(size + 2);
        serde_json::to_writer(&mut json, self).expect("JSON as it is serialises");
        String::from_utf8(json).expect("JSON is UTF-8")
    }
}

impl FromIterator<([u8; 20], Box<RawValue>)> for Memos {
    fn from_iter<I: IntoIterator<Item = ([u8; 20], Box<RawValue>)>>(memos: I) -> Self {
        Self(memos.into_iter().collect())
    }
}

impl Serialize for Memos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, memo) in &self.0 {
            map.serialize_entry(&hex(key), memo)?;
        }
        map.end()
    }
}

/// The step has a result. The object has one key and no other: a second one would change what the SDK makes of it.
pub fn data(value: &RawValue) -> Box<RawValue> {
    literal(&format!(r#"{{"data":{}}}"#, value.get()))
}

/// The step failed for good.
///
/// ```
/// # use onward_protocol::sdk::memo;
/// # let error = serde_json::value::RawValue::from_string(r#"{"name":"Error","message":"no"}"#.to_owned())?;
/// assert_eq!(memo::error(&error).get(), r#"{"error":{"name":"Error","message":"no"}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn error(value: &RawValue) -> Box<RawValue> {
    literal(&format!(r#"{{"error":{}}}"#, value.get()))
}

/// The step failed for good, for a reason of the engine's own.
///
/// ```
/// # use onward_protocol::sdk::memo;
/// assert_eq!(memo::failed("GatewayError", "timed out").get(), r#"{"error":{"message":"timed out","name":"GatewayError"}}"#);
/// ```
pub fn failed(name: &str, message: &str) -> Box<RawValue> {
    literal(&json!({ "error": { "name": name, "message": message } }).to_string())
}

/// The sleep is over, or nothing came before the wait's timeout.
pub fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// The signal came.
///
/// ```
/// # use onward_protocol::sdk::memo;
/// # let data = serde_json::value::RawValue::from_string("1".to_owned())?;
/// assert_eq!(memo::signal("approve", &data).get(), r#"{"data":{"signal":"approve","data":1}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn signal(signal: &str, data: &RawValue) -> Box<RawValue> {
    literal(&format!(r#"{{"data":{{"signal":{},"data":{}}}}}"#, json!(signal), data.get()))
}

/// The invoked function did not end before its timeout.
pub fn invoke_timed_out() -> Box<RawValue> {
    const MESSAGE: &str = "Timed out waiting for invoked function to complete";
    literal(
        &json!({ "error": { "name": "InngestInvokeTimeoutError", "message": MESSAGE, "error": MESSAGE } }).to_string(),
    )
}

/// There is no such function.
pub fn function_unknown(function_id: &str) -> Box<RawValue> {
    failed("Error", &format!("could not find function with ID: {function_id}"))
}

/// The HTTP request of a step was answered, with whatever status.
///
/// ```
/// # use onward_protocol::sdk::memo;
/// let memo = memo::fetched("http://x", 204, &[("a".to_owned(), "b".to_owned())].into(), "");
/// assert_eq!(memo.get(), r#"{"data":{"body":"","headers":{"a":"b"},"status_code":204,"url":"http://x"}}"#);
/// ```
pub fn fetched(url: &str, status: u16, headers: &BTreeMap<String, String>, body: &str) -> Box<RawValue> {
    let data = json!({ "url": url, "status_code": status, "headers": headers, "body": body });
    literal(&json!({ "data": data }).to_string())
}

#[cfg(test)]
mod tests;
