//! `config show`, and command lines that cannot be.

use crate::support::Place;

#[tokio::test]
async fn the_file_of_the_folder_is_read_and_outranked() {
    let place = Place::new().file("onward.toml", "port = 1\nhost = \"127.0.0.2\"\n").with("ONWARD_PORT", "2");
    let shown = place.run(&["config", "show"]).await;
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    assert!(shown.out.contains("port = 2  # variable ONWARD_PORT\n"), "{}", shown.out);
    assert!(shown.out.contains("host = \"127.0.0.2\"  # onward.toml line 2, host\n"), "{}", shown.out);
    let shown = place.run(&["config", "show", "--port", "3"]).await;
    assert!(shown.out.contains("port = 3  # flag --port\n"), "{}", shown.out);
    let named = place.file("other.toml", "port = 4").with("ONWARD_CONFIG", "other.toml");
    let shown = named.run(&["config", "show", "--mode", "dev"]).await;
    assert!(shown.out.contains("host = \"127.0.0.1\"  # default of dev\n"), "{}", shown.out);
}

#[tokio::test]
async fn start_without_keys_and_origins_is_refused_with_what_to_do() {
    for args in [["start"].as_slice(), &["config", "show", "--mode", "start"]] {
        let refused = Place::new().run(args).await;
        assert_eq!((refused.code, refused.out.as_str()), (2, ""));
        for words in [
            "no signing key",
            "ONWARD_SIGNING_KEY",
            "no event key",
            "openssl rand -hex 32",
            "no allowed origin",
            "--allow-origin",
        ] {
            assert!(refused.err.contains(words), "{}", refused.err);
        }
    }
}

#[tokio::test]
async fn secrets_are_shown_nowhere() {
    let place = Place::new().with("ONWARD_SIGNING_KEY", "signkey-prod-abcdef").with("ONWARD_EVENT_KEY", "hidden,b/d");
    let refused = place.run(&["config", "show"]).await;
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("variable ONWARD_EVENT_KEY: an event key is malformed"), "{}", refused.err);
    for secret in ["abcdef", "hidden", "b/d"] {
        assert!(!refused.err.contains(secret), "{}", refused.err);
    }
}

#[tokio::test]
async fn what_is_no_command_line_exits_with_2() {
    for args in
        [["fly"].as_slice(), &["dev", "--prot", "1"], &["runs", "list", "--limit", "many"], &["runs", "show"], &[]]
    {
        let refused = Place::new().run(args).await;
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{args:?}");
    }
    let version = Place::new().run(&["--version"]).await;
    assert_eq!((version.code, version.out), (0, format!("onward {}\n", env!("CARGO_PKG_VERSION"))));
}
