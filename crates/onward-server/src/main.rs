//! The binary `onward`.

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mode = if args[1] == "start" { onward_server::options::Mode::Start } else { onward_server::options::Mode::Dev };
    let mut options = onward_server::Options::new(mode);
    let mut at = 2;
    while at < args.len() {
        let value = args.get(at + 1).cloned().unwrap_or_default();
        let dur = || onward_core::parse_duration(&value).expect("duration");
        match args[at].as_str() {
            "--port" => options.listen.set_port(value.parse().expect("port")),
            "--host" => {}
            "--store" => options.store = value.clone(),
            "--retry-interval" => options.retry = onward_server::options::Retry::Every(dur()),
            "--first-request-lease" => options.first_request_lease = dur(),
            "--signing-key" => options.signing_keys.push(value.clone()),
            "--event-key" => options.event_keys.push(value.clone()),
            "--allow-private" => {
                options.origins.private = true;
                at -= 1;
            }
            other => panic!("{other}"),
        }
        at += 2;
    }
    tracing_subscriber::fmt().with_env_filter("info").init();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let engine = onward_server::Engine::open(options).await.expect("open");
        engine
            .serve(async {
                let _ = tokio::signal::ctrl_c().await;
            })
            .await
            .expect("serve");
    });
}
