//! `doctor`: a line for each check, and what to do.

use crate::support::{Fake, Place};

/// The lines of one check.
fn lines<'a>(out: &'a str, about: &str) -> Vec<&'a str> {
    out.lines().filter(|line| line.split_whitespace().nth(1) == Some(about)).collect()
}

#[tokio::test]
async fn a_good_place_is_found_good() {
    let said = Place::new().run(&["doctor", "--port", "0"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    for about in ["config", "keys", "store", "clock", "port"] {
        assert!(lines(&said.out, about)[0].starts_with("ok "), "{}", said.out);
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_told() {
    let said = Place::new().file("onward.toml", "prot = 1").run(&["doctor", "--mode", "start"]).await;
    assert_eq!(said.code, 1);
    assert_eq!(lines(&said.out, "config").len(), 4);
    assert!(said.out.contains("FAIL  config  onward.toml line 1, prot: there is no such key; did you mean port?"));
    assert!(said.out.contains("FAIL  config  there is no signing key"), "{}", said.out);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_to_be_made() {
    let said = Place::new().run(&["doctor", "--port", "0", "--store", "sqlite:data/onward.db"]).await;
    assert_eq!(said.code, 1);
    assert!(lines(&said.out, "store")[0].contains("make it: mkdir -p"), "{}", said.out);
}

#[cfg(unix)]
#[tokio::test]
async fn files_that_others_can_read_are_told() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new().file("onward-dev.db", "");
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.path().join("onward-dev.db"), permissions).unwrap();
    };
    mode(0o644);
    let said = place.run(&["doctor", "--port", "0"]).await;
    assert!(said.out.contains("others can read") && said.out.contains("chmod 600"), "{}", said.out);
    mode(0o600);
    let said = place.run(&["doctor", "--port", "0"]).await;
    assert!(!said.out.contains("others can read"), "{}", said.out);
}

#[tokio::test]
async fn a_taken_port_is_an_engine_or_another_program() {
    for (status, code, words) in [(200, 0, "an engine answers"), (404, 1, "choose another with --port")] {
        let other = Fake::new(status, "{}").await;
        let port = other.url.rsplit(':').next().unwrap();
        let said = Place::new().run(&["doctor", "--port", port]).await;
        assert_eq!(said.code, code);
        assert!(lines(&said.out, "port")[0].contains(words), "{}", said.out);
        assert_eq!(other.asked().what, "GET /health");
    }
}

#[tokio::test]
async fn an_endpoint_is_found_allowed_and_answers() {
    let sdk = Fake::with_headers(500, "", vec![("x-inngest-sdk", "inngest-js:v4.24.0")]).await;
    let said = Place::new().run(&["doctor", "--port", "0", "--endpoint", &format!("{}/api", sdk.url)]).await;
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(said.out.contains("ok    endpoint  it answers, with the SDK inngest-js:v4.24.0"), "{}", said.out);
    assert_eq!(sdk.asked().what, "GET /api");

    let place = Place::new().with("ONWARD_SIGNING_KEY", "abab").with("ONWARD_EVENT_KEY", "key");
    let plain = Fake::new(200, "hello").await;
    let args = ["doctor", "--mode", "start", "--port", "0", "--endpoint", &plain.url, "--allow-origin", "*"];
    let said = place.run(&args).await;
    assert_eq!(said.code, 1);
    let told = lines(&said.out, "endpoint").join("\n");
    let advice = format!("127.0.0.1 is not public; if that is meant, add --allow-origin {}", plain.url);
    assert!(told.contains(&advice), "{told}");
    assert!(lines(&said.out, "origins")[0].contains("chooses where signed calls go"), "{}", said.out);
    assert!(told.contains("it answers 200 without the SDK's headers"), "{told}");

    let (args, listed) = (&args[..7], ["--allow-origin", "https://app.example"]);
    let said = place.run(&[args, &listed].concat()).await;
    assert!(said.out.contains(&format!("it is not called: add --allow-origin {}", plain.url)), "{}", said.out);
}

#[tokio::test]
async fn an_endpoint_that_trusts_other_keys_is_told_from_one_without_the_sdk() {
    let sdk = Fake::with_headers(401, "", vec![("x-inngest-sdk-handled", "true")]).await;
    let args = ["doctor", "--port", "0", "--endpoint", &sdk.url];
    let said = Place::new().run(&args).await;
    assert_eq!(said.code, 1);
    assert!(said.out.contains("give its signing key to the engine, too, or set INNGEST_DEV"), "{}", said.out);
    let said = Place::new().with("ONWARD_SIGNING_KEY", "abab").run(&args).await;
    assert!(said.out.contains("give your app and the engine the same signing key"), "{}", said.out);
}

#[tokio::test]
async fn a_script_gets_the_checks_as_json() {
    let said = Place::new().run(&["doctor", "--port", "0", "--json"]).await;
    let checks = said.json()["data"].as_array().unwrap().clone();
    assert!(checks.iter().any(|check| check["check"] == "store" && check["verdict"] == "ok"), "{checks:?}");
}
