//! What a journal tells after a restart.

use expect_test::expect;

use super::{check, check_called};

#[test]
fn the_clients_request_goes_on() {
    check(
        3,
        "first says a; restart; first says b; lease ends; restart",
        &expect![[r#"
            first says a: a = output/1
            restart:
            first says b: b = output/1
            lease ends: complete reset -> discovery/1
            restart:  -> discovery/1
        "#]],
    );
}

#[test]
fn a_run_of_which_nothing_is_recorded_begins_anew() {
    check(
        3,
        "restart; lease ends",
        &expect![[r#"
            restart:
            lease ends: complete reset -> discovery/1
        "#]],
    );
    check_called(
        3,
        "begins; restart",
        &expect![[r#"
            begins:  -> discovery/1
            restart:  -> discovery/1
        "#]],
    );
}

#[test]
fn calls_are_made_again() {
    check(
        3,
        "first says a? b?; a says a!; restart; b says b; restart; at 1100; a says a; restart",
        &expect![[r#"
            first says a? b?: a waits, b waits -> a/1, b/1
            a says a!: a failed/1 until 1100
            restart:  -> b/1
            b says b: b = output/1 -> discovery*/1
            restart:  -> discovery*/1
            at 1100:  -> a/2
            a says a: a = output/2
            restart:  -> discovery/1
        "#]],
    );
    check(
        3,
        "first says f@; f is not fetched; restart; at 1100; restart; f is fetched; restart",
        &expect![[r#"
            first says f@: f waits -> fetch f/1
            f is not fetched: f failed/1 until 1100
            restart:
            at 1100:  -> fetch f/2
            restart:  -> fetch f/2
            f is fetched: f = fetched/2 -> discovery/1
            restart:  -> discovery/1
        "#]],
    );
}

#[test]
fn attempts_stay_counted() {
    check(
        1,
        "first says a!; restart; at 1100; restart; discovery says a!; restart",
        &expect![[r#"
            first says a!: a failed/1 until 1100
            restart:
            at 1100:  -> discovery/2
            restart:  -> discovery/2
            discovery says a!: a ! error/2 -> discovery/1
            restart:  -> discovery/1
        "#]],
    );
    check(
        1,
        "first throws; restart; at 1100; restart; discovery throws",
        &expect![[r#"
            first throws: complete failed/1 until 1100
            restart:
            at 1100:  -> discovery/2
            restart:  -> discovery/2
            discovery throws: complete ! thrown/2, FAILED thrown
        "#]],
    );
    check(
        1,
        "first says a? b?; a says a!; restart; at 1100; a says a!; b says b",
        &expect![[r#"
            first says a? b?: a waits, b waits -> a/1, b/1
            a says a!: a failed/1 until 1100
            restart:  -> b/1
            at 1100:  -> a/2
            a says a!: a ! error/2 -> discovery*/1
            b says b: b = output/1
        "#]],
    );
}

#[test]
fn attempts_are_counted_anew_after_progress() {
    check(
        1,
        "first throws; at 1100; discovery says a? z~500; restart; a says a; discovery throws; at 1200",
        &expect![[r#"
            first throws: complete failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says a? z~500: a waits, z waits until 1600 -> a/1
            restart:  -> a/1
            a says a: a = output/1 -> discovery*/1
            discovery throws: complete failed/1 until 1200
            at 1200:  -> discovery*/2
        "#]],
    );
    check(
        1,
        "first says a!; at 1100; discovery says a; restart; discovery throws",
        &expect![[r#"
            first says a!: a failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says a: a = output/2 -> discovery/1
            restart:  -> discovery/1
            discovery throws: complete failed/1 until 1200
        "#]],
    );
}

#[test]
fn a_retry_stays_while_others_end_beside_it() {
    check(
        2,
        "first says |a? |b?; a says a; discovery throws; b says b; restart; at 1100",
        &expect![[r#"
            first says |a? |b?: a waits, b waits -> a/1, b/1
            a says a: a = output/1 -> discovery*/1
            discovery throws: complete failed/1 until 1100
            b says b: b = output/1
            restart:
            at 1100:  -> discovery/2
        "#]],
    );
}

#[test]
fn waits_go_on() {
    check(
        3,
        "first says z~50 e=100; restart; at 1050; restart; e comes; restart",
        &expect![[r#"
            first says z~50 e=100: z waits until 1050, e waits until 1100
            restart:
            at 1050: z = null/1 -> discovery*/1
            restart:  -> discovery*/1
            e comes: e = {"id":"e"}/1
            restart:  -> discovery/1
        "#]],
    );
    check_called(
        3,
        "begins; discovery says z~50; restart; at 1050",
        &expect![[r#"
            begins:  -> discovery/1
            discovery says z~50: z waits until 1050
            restart:
            at 1050: z = null/1 -> discovery/1
        "#]],
    );
}

#[test]
fn the_first_of_a_race_is_heard_of_at_once() {
    check(
        3,
        "first says |a? |b?; restart; a says a",
        &expect![[r#"
            first says |a? |b?: a waits, b waits -> a/1, b/1
            restart:  -> a/1, b/1
            a says a: a = output/1 -> discovery*/1
        "#]],
    );
    check(
        3,
        "first says |a? |z~10; restart; at 1010",
        &expect![[r#"
            first says |a? |z~10: a waits, z waits until 1010 -> a/1
            restart:  -> a/1
            at 1010: z = null/1 -> discovery*/1
        "#]],
    );
    // Of a group that is none too, until the endpoint has told.
    check(
        3,
        "first says a? b? c?; restart; a says a; discovery says b? c?; b says b; c says c",
        &expect![[r#"
            first says a? b? c?: a waits, b waits, c waits -> c/1, a/1, b/1
            restart:  -> c/1, a/1, b/1
            a says a: a = output/1 -> discovery*/1
            discovery says b? c?:
            b says b: b = output/1
            c says c: c = output/1 -> discovery/1
        "#]],
    );
}

#[test]
fn what_was_repeated_is_known() {
    check(
        3,
        "first says a!; restart; first says a!; at 1100; first says a!",
        &expect![[r#"
            first says a!: a failed/1 until 1100
            restart:
            first says a!:
            at 1100:  -> discovery/2
            first says a!:
        "#]],
    );
}
