//! Who is heard, and what is refused with which words.

use std::time::Duration;

use clap::{Args, Command, FromArgMatches};
use expect_test::{Expect, expect};
use onward_server::options::{Mode, Origins, OutputForm, Retry};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Config, ConfigError, Environment, Flags, value};

/// Two keys, so that `start` is content.
const KEYS: [(&str, &str); 2] = [("ONWARD_SIGNING_KEY", "signkey-prod-abab"), ("ONWARD_EVENT_KEY", "evt")];

fn flags(args: &[&str]) -> Flags {
    let command = Flags::augment_args(Command::new("onward").no_binary_name(true));
    Flags::from_arg_matches(&command.try_get_matches_from(args).unwrap()).unwrap()
}

/// A folder with a file of settings.
fn file(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn load<const N: usize>(
    mode: Mode,
    args: &[&str],
    variables: [(&str, &str); N],
    text: &str,
) -> Result<Config, ConfigError> {
    let (_folder, path) = file(text);
    let args: Vec<_> = ["--config", &path].into_iter().chain(args.iter().copied()).collect();
    Config::load(mode, &flags(&args), &Environment::from(variables))
}

/// Why that is refused, with the file's folder left out.
fn check<const N: usize>(mode: Mode, args: &[&str], variables: [(&str, &str); N], text: &str, expect: &Expect) {
    let refused = load(mode, args, variables, text).err().expect("this is refused").to_string();
    let words = refused.lines().map(|line| match line.find("/settings.toml") {
        Some(at) => format!("  {}\n", &line[at + 1..]),
        None => format!("{line}\n"),
    });
    expect.assert_eq(&words.collect::<String>());
}

#[test]
fn a_flag_outranks_a_variable_which_outranks_the_file_which_outranks_the_default() {
    let port = |args: &[&str], variable: &str, text: &str| {
        load(Mode::Dev, args, [("ONWARD_PORT", variable)], text).unwrap().options.listen.port()
    };
    assert_eq!(port(&[], "", ""), 8288);
    assert_eq!(port(&[], "", "port = 1"), 1);
    assert_eq!(port(&[], "2", "port = 1"), 2);
    assert_eq!(port(&["--port", "3"], "2", "port = 1"), 3);
}

#[test]
fn each_mode_has_defaults_of_its_own() {
    let dev = load(Mode::Dev, &[], [], "").unwrap().options;
    assert_eq!((dev.store.as_str(), dev.retry), ("sqlite:onward-dev.db", Retry::Every(Duration::from_secs(1))));
    assert!(dev.origins.private && dev.origins.any && dev.origins.only.is_empty());
    let start = load(Mode::Start, &[ORIGIN], KEYS, "").unwrap().options;
    assert_eq!(start.store, "sqlite:onward.db");
    assert!(!start.origins.private && !start.origins.any);
    assert_eq!(start.origins.only, ["https://app.example"]);
    let any = load(Mode::Start, &["--allow-origin=*", ORIGIN], KEYS, "").unwrap().options;
    assert!(any.origins.any && !any.origins.private && any.origins.only == ["https://app.example"]);
    assert!(matches!(start.retry, Retry::Between(..)));
}

#[test]
fn every_kind_of_value_is_read_from_every_source() {
    let text = r#"
        signing_key = ["signkey-prod-abab", "cdcd"]
        event_key = "one"
        allow_origin = ["https://App.example:443/"]
        drain = "0s"
        [limits]
        checkpoint_bytes = 1_000
        steps = 0x10
        event_bytes = "2 MB"
    "#;
    let args = ["--allow-private=false", "--output", "original", "--limit-reply-bytes", "1GiB"];
    let variables = [("ONWARD_EVENT_KEY", "two, three,"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/")];
    let config = load(Mode::Dev, &args, variables, text).unwrap();
    let options = &config.options;
    assert_eq!(options.signing_keys, ["signkey-prod-abab", "cdcd"]);
    assert_eq!(options.event_keys, ["two", "three"]);
    assert_eq!(options.origins, Origins { only: vec!["https://app.example".to_owned()], any: false, private: false });
    assert_eq!((options.drain, options.output), (Duration::ZERO, OutputForm::Original));
    assert_eq!((options.limits.checkpoint_bytes, options.limits.steps), (1_000, 16));
    assert_eq!((options.limits.event_bytes, options.limits.reply_bytes), (2_000_000, 1 << 30));
    assert_eq!(config.otlp_endpoint.as_deref(), Some("http://localhost:4318"));
}

#[test]
fn of_two_ways_to_retry_the_source_of_higher_rank_is_heard() {
    let retry = |args: &[&str], text: &str| load(Mode::Dev, args, [], text).unwrap().options.retry;
    let (five, ten) = (Duration::from_secs(5), Duration::from_secs(10));
    assert_eq!(retry(&["--retry-interval", "5s"], "retry_min = '10s'"), Retry::Every(five));
    assert_eq!(retry(&["--retry-max", "10s"], "retry_interval = '1h'\nretry_min = '5s'"), Retry::Between(five, ten));
    let start = load(Mode::Start, &["--retry-interval", "5s", ORIGIN], KEYS, "").unwrap();
    assert_eq!(start.options.retry, Retry::Every(five));
}

#[test]
fn a_default_gives_way_to_a_lower_bound_that_was_given() {
    let args = ["--limit-reentries", "8", "--limit-stream-bytes", "1KiB"];
    let limits = load(Mode::Dev, &args, [], "").unwrap().options.limits;
    assert_eq!((limits.reentries_per_origin, limits.chunk_bytes), (8, 1024));
}

#[test]
fn start_needs_keys_and_an_origin() {
    check(
        Mode::Start,
        &[],
        [],
        "",
        &expect![[r#"
        the configuration cannot be used
          there is no signing key: make one with `openssl rand -hex 32`, give it with ONWARD_SIGNING_KEY, --signing-key or signing_key in the file, and give the same to your app as INNGEST_SIGNING_KEY; or use `onward dev`, which needs none
          there is no event key: make one with `openssl rand -hex 32`, give it with ONWARD_EVENT_KEY, --event-key or event_key in the file, and give the same to your app as INNGEST_EVENT_KEY; or use `onward dev`, which needs none
          there is no allowed origin: name each one that has endpoints with --allow-origin https://app.example, ONWARD_ALLOW_ORIGIN, or allow_origin in the file; '*' allows every one, and then whoever reaches an endpoint with a Host header of his own chooses where signed calls go
    "#]],
    );
}

/// The setting that `start` needs beside its keys.
const ORIGIN: &str = "--allow-origin=https://app.example";

#[test]
fn bad_flags_are_refused_by_name() {
    let args = [
        "--host=here",
        "--port=80000",
        "--store=postgres:db",
        "--store-connections=0",
        "--lease=10ms",
        "--signing-key=signkey-prod-xyz",
        "--event-key=a/b",
        "--retry-interval=soon",
        "--allow-origin=https://app.example/path",
        "--allow-private=perhaps",
        "--allow-host=engine:8288",
        "--output=mine",
        "--retention=0s",
        "--log-format=xml",
        "--log=warn,onward=loud",
        "--otlp-endpoint=localhost:4318",
        "--limit-event-bytes=1 mile",
        "--limit-steps=0",
    ];
    check(
        Mode::Dev,
        &args,
        [],
        "",
        &expect![[r#"
            the configuration cannot be used
              flag --host: "here" is not an IP address; give one of this machine, such as 127.0.0.1, or 0.0.0.0 for all
              flag --port: "80000" is not a port; give a number from 0 to 65535
              flag --store: postgres: names no server; give postgres://USER:PASSWORD@HOST/DATABASE
              flag --store-connections: "0" is not a count; give a whole number from 1
              flag --lease: "10ms" is too short; give a second or more
              flag --signing-key: a signing key is not an even number of hexadecimal digits; make one with `openssl rand -hex 32`, alone or after `signkey-prod-`
              flag --event-key: an event key is malformed; it stands in a URL: take letters, digits, and - _ . ~
              flag --retry-interval: invalid duration "soon": a unit is not one of ms, s, m, h, d, w; write it like "30s", "1h30m", "24h" or "7d"
              flag --allow-origin: "https://app.example/path" is not an origin; give scheme, host and port alone, as https://app.example:8443
              flag --allow-private: "perhaps" is neither true nor false; give one of them
              flag --allow-host: invalid host name "engine:8288": give a name without a port, such as engine or onward.internal
              flag --output: "mine" is not a form; give compatible or original
              flag --retention: "0s" is no time at all; give a longer one, such as 1s
              flag --limit-event-bytes: "1 mile" is not a size; give a number of bytes from 1, or one as 512 KiB or 16 MiB
              flag --limit-steps: "0" is not a count; give a whole number from 1
              flag --log-format: "xml" is not a format; give text or json
              flag --log: "warn,onward=loud" is not a filter (error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5); give one such as info, or warn,onward::run=debug
              flag --otlp-endpoint: "localhost:4318" is not a URL; give one such as http://127.0.0.1:4318
        "#]],
    );
}

#[test]
fn stores_that_are_none_are_refused() {
    for (store, why) in [
        ("sqlite:", "has no path"),
        ("memory:x", "takes no path"),
        ("onward.db", "is not a store"),
        ("postgresql:db", "names no server"),
    ] {
        let refused = load(Mode::Dev, &["--store", store], [], "").err().unwrap().to_string();
        assert!(refused.contains("flag --store") && refused.contains(why), "{refused}");
    }
}

#[test]
fn a_filter_is_levels_and_targets_with_levels() {
    for good in ["info", "WARN,onward::run=debug", "off", "info,onward::run[run]=trace"] {
        assert_eq!(value::log(good).as_deref(), Ok(good));
    }
    for bad in ["debugg", "info,onward", "onward=loud"] {
        assert!(value::log(bad).is_err(), "{bad}");
    }
}

#[test]
fn bad_variables_are_refused_by_name() {
    let variables = [("ONWARD_PORT", "tcp://10.0.0.1:8288"), ("ONWARD_SIGNING_KEY", "abab,odd"), ("ONWARD_DRAIN", "5")];
    check(
        Mode::Dev,
        &[],
        variables,
        "",
        &expect![[r#"
            the configuration cannot be used
              variable ONWARD_PORT: "tcp://10.0.0.1:8288" is not a port; Kubernetes sets this for a service named onward: set `enableServiceLinks: false`, or give --port
              variable ONWARD_SIGNING_KEY: a signing key is not an even number of hexadecimal digits; make one with `openssl rand -hex 32`, alone or after `signkey-prod-`
              variable ONWARD_DRAIN: invalid duration "5": a number has no unit; write it like "30s", "1h30m", "24h" or "7d"
        "#]],
    );
}

#[test]
fn bad_keys_of_the_file_are_refused_by_line() {
    let text =
        "prot = 1\nhost = 1.5\nevent_key = [1]\nretention = [\"1d\"]\n\n[limits]\nstep = 1\nevents = -1\n[other]\n";
    check(
        Mode::Dev,
        &[],
        [],
        text,
        &expect![[r#"
        the configuration cannot be used
          settings.toml line 1, prot: there is no such key; did you mean port?
          settings.toml line 2, host: write a text or a whole number
          settings.toml line 3, event_key: write a list of texts, such as ["…"]
          settings.toml line 4, retention: write a text or a whole number
          settings.toml line 7, limits.step: there is no such key; did you mean limits.steps?
          settings.toml line 9, other: there is no such key; `onward config show` lists all, or take it out
          settings.toml line 8, limits.events: "-1" is not a count; give a whole number from 1
    "#]],
    );
    check(
        Mode::Dev,
        &[],
        [],
        "port = 1\nport = 2\n",
        &expect![[r#"
        the configuration cannot be used
          settings.toml line 2: duplicate key; write it as TOML
    "#]],
    );
    check(
        Mode::Dev,
        &[],
        [],
        "port = \n",
        &expect![[r#"
        the configuration cannot be used
          settings.toml line 1: string values must be quoted, expected literal string; write it as TOML
    "#]],
    );
}

#[test]
fn values_that_contradict_each_other_are_refused_with_both_sources() {
    let args = ["--retry-interval=1s", "--retry-max=1s", "--limit-chunk-bytes=2KiB"];
    let variables = [("ONWARD_LIMIT_STREAM_BYTES", "1KiB"), ("ONWARD_LIMIT_REENTRIES_PER_ORIGIN", "2000")];
    check(
        Mode::Dev,
        &args,
        variables,
        "",
        &expect![[r#"
        the configuration cannot be used
          flag --retry-interval and flag --retry-max: either retries are evenly spaced or they grow apart; change one of them or take it out
          flag --limit-chunk-bytes and variable ONWARD_LIMIT_STREAM_BYTES: a chunk may be larger than a stream; change one of them or take it out
          variable ONWARD_LIMIT_REENTRIES_PER_ORIGIN and limit-reentries (default of dev): one origin may have more calls than all have; change one of them or take it out
    "#]],
    );
    check(
        Mode::Dev,
        &["--token-lifetime=1h"],
        [],
        "",
        &expect![[r#"
        the configuration cannot be used
          flag --token-lifetime and retention (default of dev): a run would be kept longer than its token opens it; change one of them or take it out
    "#]],
    );
    let kept = load(Mode::Dev, &["--retention=30d"], [], "").unwrap().options;
    assert_eq!(kept.token_lifetime, kept.retention, "a default gives way");
    check(
        Mode::Start,
        &["--retry-min=10m", ORIGIN],
        KEYS,
        "",
        &expect![[r#"
        the configuration cannot be used
          flag --retry-min and retry-max (default of start): the shortest wait is longer than the longest; change one of them or take it out
    "#]],
    );
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let load = |args: &[&str], variables: &[(&str, &str); 1]| {
        Config::load(Mode::Dev, &flags(args), &Environment::from(*variables)).err().unwrap().to_string()
    };
    let flag = load(&["--config", "/nowhere/x.toml"], &[("ONWARD_CONFIG", "/elsewhere/y.toml")]);
    assert!(flag.contains("flag --config: /nowhere/x.toml cannot be read"), "{flag}");
    let variable = load(&[], &[("ONWARD_CONFIG", "/elsewhere/y.toml")]);
    assert!(variable.contains("variable ONWARD_CONFIG: /elsewhere/y.toml cannot be read"), "{variable}");
}

#[test]
fn what_is_shown_names_its_sources_and_no_secret() {
    let text = "retry_min = \"1500ms\"\nevent_key = \"hidden-event\"\n[limits]\nsteps = 7\n";
    let args = ["--port=0", "--otlp-endpoint=http://[::1]:4318", ORIGIN];
    let config = load(Mode::Start, &args, [("ONWARD_SIGNING_KEY", "abab,cdcd")], text).unwrap();
    let folder = config.file.as_ref().unwrap().parent().unwrap().to_str().unwrap().to_owned();
    let shown = config.show();
    assert!(!shown.contains("abab") && !shown.contains("hidden"));
    expect![[r#"
        host = "127.0.0.1"  # default of start
        port = 0  # flag --port
        # advertise  # default of start
        store = "sqlite:onward.db"  # default of start
        store_connections = 8  # default of start
        lease = "10s"  # default of start
        start_patience = "30s"  # default of start
        signing_key = ["…", "…"]  # variable ONWARD_SIGNING_KEY
        event_key = ["…"]  # settings.toml line 2, event_key
        retry_min = "1s500ms"  # settings.toml line 1, retry_min
        retry_max = "5m"  # default of start
        allow_origin = ["https://app.example"]  # flag --allow-origin
        allow_private = false  # default of start
        allow_host = []  # default of start
        output = "compatible"  # default of start
        retention = "7d"  # default of start
        event_retention = "7d"  # default of start
        token_lifetime = "7d"  # default of start
        first_request_lease = "5m"  # default of start
        unreachable_for = "1d"  # default of start
        reentry_timeout = "2h"  # default of start
        hold = "4m"  # default of start
        drain = "20s"  # default of start
        log_format = "text"  # default of start
        log = "info"  # default of start
        otlp_endpoint = "http://[::1]:4318"  # flag --otlp-endpoint

        [limits]
        checkpoint_bytes = "16 MiB"  # default of start
        reply_bytes = "16 MiB"  # default of start
        event_bytes = "512 KiB"  # default of start
        events = 5000  # default of start
        steps = 7  # settings.toml line 4, limits.steps
        chunk_bytes = "1 MiB"  # default of start
        stream_bytes = "64 MiB"  # default of start
        state_bytes = "32 MiB"  # default of start
        bodies_bytes = "256 MiB"  # default of start
        runs_bytes = "1 GiB"  # default of start
        transfers_bytes = "256 MiB"  # default of start
        connections = 65536  # default of start
        reentries = 1024  # default of start
        reentries_per_origin = 256  # default of start
    "#]]
    .assert_eq(&shown.replace(&format!("{folder}/"), ""));
}

#[test]
fn what_is_shown_can_be_read_again() {
    let shown = load(Mode::Dev, &["--drain=1.25s", "--store=sqlite:a \"b\".db"], [], "").unwrap().show();
    let again = load(Mode::Dev, &[], [], &shown).unwrap().show();
    let values = |text: &str| text.lines().map(|line| line.split("  #").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&shown), values(&again));
}

#[test]
fn signing_keys_are_hexadecimal_digits_after_what_the_sdk_puts_before_them() {
    for good in ["ab", "signkey-prod-00ff", "signkey-branch_env-AB"] {
        assert!(value::signing_key(good).is_ok(), "{good}");
    }
    for bad in ["", "abc", "xy", "signkey-prod-", "signkey--ab", "signkey-ab", "signkey-prod-x-ab"] {
        assert!(value::signing_key(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn a_duration_is_read_as_it_was_written(nanos in 0..=366_u64 * 86_400 * 1_000_000_000) {
        let duration = Duration::from_nanos(nanos);
        prop_assert_eq!(value::duration_or_zero(&value::duration_text(duration)), Ok(duration));
    }

    #[test]
    fn a_size_is_read_as_it_was_written(size in 1..usize::MAX) {
        prop_assert_eq!(value::size(&value::size_text(size)), Ok(size));
    }
}
