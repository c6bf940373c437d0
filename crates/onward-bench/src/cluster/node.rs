//! A node that is measured, in a process of its own.

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use onward::{Onward, Step, StepError};
use parking_lot::Mutex;

use crate::{
    process::Process,
    server::{micros, steps},
};

/// Serves until it is killed. One that holds never ends the step that a run at `/hold` has to end.
pub(crate) async fn serve(address: &str, url: &str, holds: bool) {
    let onward = Onward::open(url).await.expect("the store opens");
    let executed = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&executed);
    let hold = async move |step: Step| {
        step.run("start", async || Ok::<_, StepError>(())).await?;
        let record = Arc::clone(&record);
        let hold = || async {
            if holds {
                std::future::pending::<()>().await;
            }
            record.lock().push(micros());
            Ok::<_, StepError>(())
        };
        step.run("hold", hold).await?;
        Ok::<_, StepError>("done")
    };
    let app = Router::new()
        .merge(onward.route("/steps/3", get(async |step: Step| steps(&step, 3).await)))
        .merge(onward.route("/hold", get(hold)))
        .route("/executed", get(async move || Json(executed.lock().clone())));
    onward.serve(address, app).await.expect("the node serves");
}

/// Starts one.
pub(crate) async fn start(url: &str) -> Process {
    let node = Process::ours("serve-node", &[url]);
    node.listens().await;
    node
}

/// Starts one that holds.
pub(super) async fn start_holding(url: &str) -> Process {
    let node = Process::ours("serve-node", &[url, "holds"]);
    node.listens().await;
    node
}
