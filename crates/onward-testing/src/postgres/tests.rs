//! The server starts, comes back, is shared, and leaves nothing.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use super::{PostgresOptions, PostgresServer, SharedPostgres, TestDatabase, draw, programs};

/// Tells a process that this test starts again what it is to do.
const ROLE: &str = "ONWARD_TEST_ROLE";

/// Looks for half a minute, as what is waited for is done by other processes.
#[track_caller]
fn eventually(what: &str, is: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if is() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("not within half a minute: {what}");
}

fn runs(pid: u32, folder: &Path) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&arguments).contains(&*folder.to_string_lossy())
}

/// This test's binary again, with one test that reads its role.
fn again(test: &str, role: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("postgres::tests::{test}"), "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// What the other process tells after a mark: the test harness prints lines of its own.
fn told(out: &mut BufReader<ChildStdout>) -> String {
    let lines = out.lines().map(Result::unwrap);
    let mut marked = lines.filter_map(|line| Some(line.split_once("told: ")?.1.to_owned()));
    marked.next().expect("the other process told nothing")
}

#[expect(clippy::print_stdout, reason = "another process reads it")]
fn tell_and_wait(text: &str) {
    println!("\ntold: {text}");
    loop {
        thread::park();
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn restart_keeps_what_was_committed_and_drop_leaves_nothing() {
    let server = PostgresServer::start(&PostgresOptions::new().setting("application_name", "a b"));
    let (folder, url, first) = (server.socket_folder().to_owned(), server.url(), server.pid().unwrap());
    assert_eq!(server.query("SHOW fsync"), "off");
    server.query("CREATE TABLE t (x int)");
    server.query("INSERT INTO t VALUES (1), (2)");

    server.restart_immediate();

    let second = server.pid().unwrap();
    assert_ne!(first, second);
    assert!(!runs(first, &folder));
    assert!(fs::read_to_string(server.log()).unwrap().contains("was not properly shut down"));
    assert_eq!(server.url(), url);
    assert_eq!(server.query("SELECT x FROM t ORDER BY x"), "1\n2");

    server.stop();
    assert_eq!(server.pid(), None);
    assert!(programs::psql(&url, "SELECT 1").is_err());
    server.start_again();
    server.start_again();
    assert_eq!(server.query("SELECT count(*) FROM t"), "2");

    let last = server.pid().unwrap();
    assert!(runs(last, &folder));
    drop(server);
    assert!(!runs(last, &folder));
    assert!(!folder.exists());
}

#[test]
fn settings_reach_the_server_and_wrong_ones_are_told() {
    let options = PostgresOptions::new().fsync(true).max_connections(7).setting("work_mem", "5MB");
    let server = PostgresServer::start(&options);
    assert_eq!(server.query("SHOW fsync"), "on");
    assert_eq!(server.query("SHOW max_connections"), "7");
    assert_eq!(server.query("SHOW work_mem"), "5MB");

    let wrong = PostgresOptions::new().setting("no_such", "1");
    let error = PostgresServer::try_start(&wrong, None).unwrap_err();
    assert!(error.contains("no_such"), "{error}");
}

#[test]
fn a_password_is_asked_for() {
    let server = PostgresServer::start(&PostgresOptions::new().password("open: s/same@?%"));
    assert_eq!(server.query("SELECT 1"), "1");
    let without = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port());
    assert!(programs::psql(&without, "SELECT 1").unwrap_err().contains("password"));
}

#[test]
fn with_tls_nothing_else_is_taken() {
    let folder = env::temp_dir().join(format!("onward-tls-{:016x}", draw()));
    fs::create_dir(&folder).unwrap();
    let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());

    let server = PostgresServer::start(&PostgresOptions::new().tls(&certificate, &key));
    let secure = format!("{}?sslmode=verify-full&sslrootcert={}", server.url(), certificate.display());
    assert_eq!(programs::psql(&secure, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").unwrap(), "t");
    assert!(programs::psql(&format!("{}?sslmode=disable", server.url()), "SELECT 1").is_err());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn databases_are_apart_and_dropped_whoever_is_connected() {
    let (one, other) = (TestDatabase::create(), TestDatabase::create());
    one.query("CREATE TABLE t (x int)");
    assert_eq!(other.query("SELECT count(*) FROM pg_tables WHERE tablename = 't'"), "0");
    let name = one.query("SELECT current_database()");
    assert!(name.starts_with("test_databases_are_apart_and_dropped_whoever_"), "{name}");
    let url = one.url().to_owned();
    let sleeper = thread::spawn(move || programs::psql(&url, "SELECT pg_sleep(1000)"));
    let connected = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
    eventually("somebody is connected", || other.query(&connected) == "1");

    drop(one);

    assert_eq!(other.query(&format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")), "0");
    assert!(sleeper.join().unwrap().is_err());
}

#[test]
fn a_server_ends_with_a_process_that_is_killed() {
    if env::var_os(ROLE).is_some() {
        let server = PostgresServer::start(&PostgresOptions::new());
        tell_and_wait(&format!("{} {}", server.pid().unwrap(), server.socket_folder().display()));
    }
    let (child, mut out) = again("a_server_ends_with_a_process_that_is_killed", "start");
    let text = told(&mut out);
    let (pid, folder) = text.split_once(' ').unwrap();
    let (pid, folder) = (pid.parse().unwrap(), PathBuf::from(folder));
    assert!(runs(pid, &folder));

    kill(child);

    eventually("nothing is left", || !runs(pid, &folder) && !folder.exists());
}

#[test]
fn processes_share_a_server_until_the_last_one_is_killed() {
    if let Some(folder) = env::var_os(ROLE) {
        let shared = SharedPostgres::in_folder(Path::new(&folder), Duration::from_secs(1)).unwrap();
        tell_and_wait(&format!("{} {}", shared.url(), programs::psql(shared.url(), "SHOW data_directory").unwrap()));
    }
    let test = "processes_share_a_server_until_the_last_one_is_killed";
    let folder = env::temp_dir().join(format!("onward-shared-{:016x}", draw()));
    let role = folder.to_str().unwrap();
    // All at once: one of them starts it.
    let mut children: Vec<_> = (0..4).map(|_| again(test, role)).collect();
    let mut texts: Vec<_> = children.iter_mut().map(|(_, out)| told(out)).collect();
    texts.dedup();
    let [text] = &texts[..] else { panic!("there is more than one: {texts:?}") };
    let (url, data) = text.split_once(' ').unwrap();
    let server = Path::new(data).parent().unwrap();

    // Whoever started it may be among these. Its users count, not its starter.
    let last = children.pop().unwrap().0;
    for (child, _) in children {
        kill(child);
    }
    let watched_for = Duration::from_secs(3);
    thread::sleep(watched_for);
    assert_eq!(programs::psql(url, "SELECT 1").unwrap(), "1");

    kill(last);
    eventually("it is stopped, and removed", || !server.exists() && !folder.join("server").exists());
    assert!(programs::psql(url, "SELECT 1").is_err());

    // Who comes later gets a new one.
    let (child, mut out) = again(test, role);
    let later = told(&mut out);
    assert_ne!(&later, text);
    kill(child);
    eventually("the new one is removed", || !folder.join("server").exists());
    fs::remove_dir_all(folder).unwrap();
}
