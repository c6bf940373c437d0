//! `onward events`: sends an event.

use std::io::Read;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    api::Api,
    output::{Failure, say, say_json},
};
use crate::config::{Environment, Operator, OperatorFlags};

#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// Sends an event to the runs that wait for it.
    Send {
        /// The event's name, such as approval/received.
        name: String,
        /// Its data in JSON, @FILE to read it from a file, or - to read it from standard input.
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
        /// An id of your own: an event that was sent with it before is not sent again.
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        operator: OperatorFlags,
    },
}

impl Events {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self::Send { name, data, id, operator } = self;
        let mut event = json!({ "name": name, "data": read(data.as_deref())? });
        if let Some(id) = id {
            event["id"] = Value::String(id);
        }
        let api = Api::new(Operator::load(&operator, environment)?)?;
        let answer = api.send(&event).await?;
        if operator.json {
            say_json(&answer);
        } else {
            say(&format!("sent {name} as {}", answer["ids"][0].as_str().unwrap_or("an event without an id")));
        }
        Ok(())
    }
}

/// The data, read from where it is said to be; nothing said is an empty object, as with the SDK.
fn read(data: Option<&str>) -> Result<Value, Failure> {
    let unreadable = |error: std::io::Error| Failure::Usage(format!("--data cannot be read: {error}"));
    let text = match data {
        None => return Ok(json!({})),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
            text
        }
        Some(data) => match data.strip_prefix('@') {
            Some(path) => std::fs::read_to_string(path).map_err(unreadable)?,
            None => data.to_owned(),
        },
    };
    let malformed = |error| format!("--data is not JSON ({error}); give some as '{{\"ok\":true}}', @FILE, or -");
    serde_json::from_str(&text).map_err(|error| Failure::Usage(malformed(error)))
}
