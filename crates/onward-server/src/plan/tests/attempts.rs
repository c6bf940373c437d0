//! How attempts are counted, and when they come.

use expect_test::expect;

use super::{check, check_called};

#[test]
fn a_step_fails_for_good_after_as_many_attempts_as_it_has() {
    check(
        0,
        "first says a!; discovery says b",
        &expect![[r#"
            first says a!: a ! error/1 -> discovery/1
            discovery says b: b = output/1 -> discovery/1
        "#]],
    );
    check(
        1,
        "first says a!; at 1100; discovery says a!; discovery says b",
        &expect![[r#"
            first says a!: a failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says a!: a ! error/2 -> discovery/1
            discovery says b: b = output/1 -> discovery/1
        "#]],
    );
    check(
        3,
        "first says a!; at 1100; discovery says a!; at 1200; discovery says a!; at 1300; discovery says a!",
        &expect![[r#"
            first says a!: a failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says a!: a failed/2 until 1200
            at 1200:  -> discovery/3
            discovery says a!: a failed/3 until 1300
            at 1300:  -> discovery/4
            discovery says a!: a ! error/4 -> discovery/1
        "#]],
    );
    check_called(
        1,
        "begins; discovery says a!; at 1100; discovery says a!",
        &expect![[r#"
            begins:  -> discovery/1
            discovery says a!: a failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says a!: a ! error/2 -> discovery/1
        "#]],
    );
}

#[test]
fn a_step_that_is_called_for_counts_for_itself() {
    check(
        1,
        "first says a? b?; a says a!; b says b!!; at 1100; a says a!; discovery says c!; at 1200; discovery says c",
        &expect![[r#"
            first says a? b?: a waits, b waits -> a/1, b/1
            a says a!: a failed/1 until 1100
            b says b!!: b ! error/1
            at 1100:  -> a/2
            a says a!: a ! error/2 -> discovery/1
            discovery says c!: c failed/1 until 1200
            at 1200:  -> discovery/2
            discovery says c: c = output/2 -> discovery/1
        "#]],
    );
    check(
        1,
        "first says a?; a throws; at 1100; a throws",
        &expect![[r#"
            first says a?: a waits -> a/1
            a throws: a failed/1 until 1100
            at 1100:  -> a/2
            a throws: a ! thrown/2 -> discovery/1
        "#]],
    );
}

#[test]
fn a_discovery_that_fails_at_a_step_which_is_called_for_by_now_counts_nothing() {
    // The client's request hands `a` over late. The discovery, which may run a step, finds `a` alone when `z` is over.
    check(
        2,
        "lease ends; first says a? z~15; at 1015; a says a!; discovery says a!; at 1115; a says a!; at 1215; a says a!",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            first says a? z~15: a waits, z waits until 1015 -> a/1
            at 1015: z = null/1
            a says a!: a failed/1 until 1115
            discovery says a!:
            at 1115:  -> a/2
            a says a!: a failed/2 until 1215
            at 1215:  -> a/3
            a says a!: a ! error/3 -> discovery/1
        "#]],
    );
    check(
        2,
        "lease ends; first says a? z~15; at 1015; discovery says a!; a says a!; at 1115; a says a",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            first says a? z~15: a waits, z waits until 1015 -> a/1
            at 1015: z = null/1
            discovery says a!:
            a says a!: a failed/1 until 1115
            at 1115:  -> a/2
            a says a: a = output/2 -> discovery/1
        "#]],
    );
    // The count does not go back, and no time that an error named is forgotten.
    check(
        3,
        "lease ends; first says a? z~15; a says a!; at 1100; a says a!+500; discovery says a!; restart; at 1600",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            first says a? z~15: a waits, z waits until 1015 -> a/1
            a says a!: a failed/1 until 1100
            at 1100: z = null/1 -> a/2
            a says a!+500: a failed/2 until 1600
            discovery says a!:
            restart:  -> discovery*/1
            at 1600:  -> a/3
        "#]],
    );
    // Nor does the discovery's last attempt count, which others have used up.
    check(
        1,
        "lease ends; discovery throws; at 1100; first says a? z~15; at 1115; discovery says a!; a says a!; at 1215; a says a",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            discovery throws: complete failed/1 until 1100
            at 1100:  -> discovery/2
            first says a? z~15: a waits, z waits until 1115 -> a/1
            at 1115: z = null/1
            discovery says a!:
            a says a!: a failed/1 until 1215
            at 1215:  -> a/2
            a says a: a = output/2 -> discovery/1
        "#]],
    );
    // What fails for good need not be tried.
    check(
        2,
        "lease ends; first says a? z~15; at 1015; discovery says a!!; a says a!",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            first says a? z~15: a waits, z waits until 1015 -> a/1
            at 1015: z = null/1
            discovery says a!!: a ! error/1 -> discovery/1
            a says a!:
        "#]],
    );
}

#[test]
fn a_run_fails_whose_handler_fails_too_often() {
    check(
        0,
        "first throws",
        &expect![[r#"
            first throws: complete ! thrown/1, FAILED thrown
        "#]],
    );
    check(
        1,
        "first throws; at 1100; discovery throws",
        &expect![[r#"
            first throws: complete failed/1 until 1100
            at 1100:  -> discovery/2
            discovery throws: complete ! thrown/2, FAILED thrown
        "#]],
    );
    check(
        3,
        "first throws; at 1100; discovery throws; at 1200; discovery throws; at 1300; discovery throws",
        &expect![[r#"
            first throws: complete failed/1 until 1100
            at 1100:  -> discovery/2
            discovery throws: complete failed/2 until 1200
            at 1200:  -> discovery/3
            discovery throws: complete failed/3 until 1300
            at 1300:  -> discovery/4
            discovery throws: complete ! thrown/4, FAILED thrown
        "#]],
    );
}

#[test]
fn a_run_fails_at_once_whose_handler_fails_for_good() {
    check(
        3,
        "first says a!!; discovery throws for good",
        &expect![[r#"
            first says a!!: a ! error/1 -> discovery/1
            discovery throws for good: complete ! thrown/1, FAILED thrown
        "#]],
    );
    check(
        3,
        "first says a? b?; a throws for good",
        &expect![[r#"
            first says a? b?: a waits, b waits -> a/1, b/1
            a throws for good: complete ! thrown/1, FAILED thrown
        "#]],
    );
}

#[test]
fn the_failures_of_one_call_count_together() {
    check(
        2,
        "first throws; at 1100; discovery says a!; at 1200; discovery says a!",
        &expect![[r#"
            first throws: complete failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says a!: a failed/2 until 1200
            at 1200:  -> discovery/3
            discovery says a!: a ! error/3 -> discovery/1
        "#]],
    );
    check(
        2,
        "first says a!; at 1100; discovery throws; at 1200; discovery throws",
        &expect![[r#"
            first says a!: a failed/1 until 1100
            at 1100:  -> discovery/2
            discovery throws: complete failed/2 until 1200
            at 1200:  -> discovery/3
            discovery throws: complete ! thrown/3, FAILED thrown
        "#]],
    );
}

#[test]
fn attempts_are_counted_anew_after_progress() {
    check(
        1,
        "first says a!; at 1100; discovery says a; discovery says b!; at 1200; discovery says b; discovery throws; at 1300; discovery throws",
        &expect![[r#"
            first says a!: a failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says a: a = output/2 -> discovery/1
            discovery says b!: b failed/1 until 1200
            at 1200:  -> discovery/2
            discovery says b: b = output/2 -> discovery/1
            discovery throws: complete failed/1 until 1300
            at 1300:  -> discovery/2
            discovery throws: complete ! thrown/2, FAILED thrown
        "#]],
    );
    check(
        1,
        "first throws; at 1100; discovery says z~50; at 1150; discovery throws; at 1250",
        &expect![[r#"
            first throws: complete failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says z~50: z waits until 1150
            at 1150: z = null/1 -> discovery/1
            discovery throws: complete failed/1 until 1250
            at 1250:  -> discovery/2
        "#]],
    );
}

#[test]
fn an_error_can_say_how_long_to_wait() {
    check_called(
        3,
        "begins; discovery says a!+30; at 1029; at 1030",
        &expect![[r#"
            begins:  -> discovery/1
            discovery says a!+30: a failed/1 until 1030
            at 1029:
            at 1030:  -> discovery/2
        "#]],
    );
    check_called(
        3,
        "begins; discovery says to wait 30; at 1030",
        &expect![[r#"
            begins:  -> discovery/1
            discovery says to wait 30: complete failed/1 until 1030
            at 1030:  -> discovery/2
        "#]],
    );
    check_called(
        3,
        "begins; discovery says a? b?; a says a!+30; b says b!+500; at 1030; at 1500",
        &expect![[r#"
            begins:  -> discovery/1
            discovery says a? b?: a waits, b waits -> a/1, b/1
            a says a!+30: a failed/1 until 1030
            b says b!+500: b failed/1 until 1500
            at 1030:  -> a/2
            at 1500:  -> b/2
        "#]],
    );
}

#[test]
fn a_request_is_tried_as_often_as_a_step() {
    check(
        1,
        "first says f@; f is not fetched; at 1099; at 1100; f is not fetched",
        &expect![[r#"
            first says f@: f waits -> fetch f/1
            f is not fetched: f failed/1 until 1100
            at 1099:
            at 1100:  -> fetch f/2
            f is not fetched: f ! thrown/2 -> discovery/1
        "#]],
    );
    check(
        1,
        "first says f@; f is not fetched; at 1100; f is fetched",
        &expect![[r#"
            first says f@: f waits -> fetch f/1
            f is not fetched: f failed/1 until 1100
            at 1100:  -> fetch f/2
            f is fetched: f = fetched/2 -> discovery/1
        "#]],
    );
}

#[test]
fn an_answer_with_nothing_new_is_a_failed_attempt() {
    check_called(
        1,
        "begins; discovery says; at 1100; discovery says",
        &expect![[r#"
            begins:  -> discovery/1
            discovery says: complete failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says: complete ! {"message":"the endpoint's answer held nothing new","name":"NoProgress"}/2, FAILED {"message":"the endpoint's answer held nothing new","name":"NoProgress"}
        "#]],
    );
    check_called(
        1,
        "begins; discovery says a; discovery says a; at 1100; discovery says b",
        &expect![[r#"
            begins:  -> discovery/1
            discovery says a: a = output/1 -> discovery/1
            discovery says a: complete failed/1 until 1100
            at 1100:  -> discovery/2
            discovery says b: b = output/1 -> discovery/1
        "#]],
    );
    check(
        1,
        "first says a? b?; a says; b says b; at 1100; a says; discovery says c",
        &expect![[r#"
            first says a? b?: a waits, b waits -> a/1, b/1
            a says: a failed/1 until 1100
            b says b: b = output/1
            at 1100:  -> a/2
            a says: a ! {"message":"the endpoint's answer held nothing new","name":"NoProgress"}/2 -> discovery/1
            discovery says c: c = output/1 -> discovery/1
        "#]],
    );
    // While others are under way, there may be nothing new.
    check(
        1,
        "first says |a? |b?; a says a; discovery says b?; b says b",
        &expect![[r#"
            first says |a? |b?: a waits, b waits -> a/1, b/1
            a says a: a = output/1 -> discovery*/1
            discovery says b?:
            b says b: b = output/1 -> discovery/1
        "#]],
    );
}
