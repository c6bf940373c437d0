//! What the client's own request reports, and when the run leaves it.

use expect_test::expect;

use super::check;

#[test]
fn its_steps_are_recorded_and_nothing_is_called() {
    check(
        3,
        "begins; first says a; first says b",
        &expect![[r#"
            begins:
            first says a: a = output/1
            first says b: b = output/1
        "#]],
    );
}

#[test]
fn it_is_left_when_it_asks_for_what_it_cannot_do_itself() {
    check(
        3,
        "first says a; first says b?",
        &expect![[r#"
            first says a: a = output/1
            first says b?: b waits -> b/1
        "#]],
    );
    check(
        3,
        "first says a; first says z~50; at 1050",
        &expect![[r#"
            first says a: a = output/1
            first says z~50: z waits until 1050
            at 1050: z = null/1 -> discovery/1
        "#]],
    );
    check(
        3,
        "first says e=50",
        &expect![[r#"
            first says e=50: e waits until 1050
        "#]],
    );
    check(
        3,
        "first says f@",
        &expect![[r#"
            first says f@: f waits -> fetch f/1
        "#]],
    );
    check(
        3,
        "first says a-",
        &expect![[r#"
            first says a-: a ! refused/1 -> discovery/1
        "#]],
    );
}

#[test]
fn it_is_left_when_a_step_fails() {
    check(
        3,
        "first says a!; at 1099; at 1100",
        &expect![[r#"
            first says a!: a failed/1 until 1100
            at 1099:
            at 1100:  -> discovery/2
        "#]],
    );
    check(
        3,
        "first says a!!",
        &expect![[r#"
            first says a!!: a ! error/1 -> discovery/1
        "#]],
    );
    check(
        0,
        "first says a!",
        &expect![[r#"
            first says a!: a ! error/1 -> discovery/1
        "#]],
    );
}

#[test]
fn it_is_left_when_the_handler_fails() {
    check(
        3,
        "first says a; first throws; at 1100",
        &expect![[r#"
            first says a: a = output/1
            first throws: complete failed/1 until 1100
            at 1100:  -> discovery/2
        "#]],
    );
    check(
        0,
        "first says a; first throws",
        &expect![[r#"
            first says a: a = output/1
            first throws: complete ! thrown/1, FAILED thrown
        "#]],
    );
}

#[test]
fn it_is_left_when_its_lease_runs_out() {
    check(
        3,
        "first says a; lease ends; lease ends",
        &expect![[r#"
            first says a: a = output/1
            lease ends: complete reset -> discovery/1
            lease ends:
        "#]],
    );
}

#[test]
fn what_it_repeats_changes_nothing() {
    check(
        3,
        "first says a; first says a; first says b? c? z~10; first says a; first says b? c? z~10",
        &expect![[r#"
            first says a: a = output/1
            first says a:
            first says b? c? z~10: b waits, c waits, z waits until 1010 -> c/1, b/1
            first says a:
            first says b? c? z~10:
        "#]],
    );
    check(
        3,
        "first says a!; first says a!; at 1100; first says a!; discovery says a!; first says a!; at 1200; discovery says a",
        &expect![[r#"
            first says a!: a failed/1 until 1100
            first says a!:
            at 1100:  -> discovery/2
            first says a!:
            discovery says a!: a failed/2 until 1200
            first says a!:
            at 1200:  -> discovery/3
            discovery says a: a = output/3 -> discovery/1
        "#]],
    );
    check(
        3,
        "first throws; first throws; at 1100; first throws; discovery says a",
        &expect![[r#"
            first throws: complete failed/1 until 1100
            first throws:
            at 1100:  -> discovery/2
            first throws:
            discovery says a: a = output/1 -> discovery/1
        "#]],
    );
    check(
        3,
        "first says a!!; first says a!!; discovery says b; first says a!!",
        &expect![[r#"
            first says a!!: a ! error/1 -> discovery/1
            first says a!!:
            discovery says b: b = output/1 -> discovery/1
            first says a!!:
        "#]],
    );
    check(
        3,
        "first says z~10; at 1010; first says z~10; discovery says a",
        &expect![[r#"
            first says z~10: z waits until 1010
            at 1010: z = null/1 -> discovery/1
            first says z~10:
            discovery says a: a = output/1 -> discovery/1
        "#]],
    );
}

#[test]
fn what_it_reports_late_is_recorded_where_nobody_has_been_faster() {
    // It has run `a` and then `b`; the discovery has run `a` too.
    check(
        3,
        "lease ends; discovery says a; first says a; first says b; discovery says b; discovery says c",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            discovery says a: a = output/1 -> discovery/1
            first says a:
            first says b: b = output/1
            discovery says b:  -> discovery/1
            discovery says c: c = output/1 -> discovery/1
        "#]],
    );
    // The discovery is slower.
    check(
        3,
        "lease ends; first says a; discovery says a; discovery says b",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            first says a: a = output/1
            discovery says a:  -> discovery/1
            discovery says b: b = output/1 -> discovery/1
        "#]],
    );
    // It hands the run over that others have.
    check(
        3,
        "lease ends; first says a? b?; discovery says a? b?; a says a; first says a? b?; b says b",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            first says a? b?: a waits, b waits -> a/1, b/1
            discovery says a? b?:
            a says a: a = output/1
            first says a? b?:
            b says b: b = output/1 -> discovery/1
        "#]],
    );
}

#[test]
fn what_it_fails_at_late_is_for_others_to_try() {
    check(
        3,
        "lease ends; first says a!; discovery says a",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            first says a!:
            discovery says a: a = output/1 -> discovery/1
        "#]],
    );
    check(
        3,
        "lease ends; first throws; discovery says a",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            first throws:
            discovery says a: a = output/1 -> discovery/1
        "#]],
    );
    check(
        3,
        "lease ends; discovery says a!; first says a!; at 1100",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            discovery says a!: a failed/1 until 1100
            first says a!:
            at 1100:  -> discovery/2
        "#]],
    );
    // What fails for good need not be tried.
    check(
        3,
        "lease ends; first says a!!; discovery says a",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            first says a!!: a ! error/1
            discovery says a:  -> discovery/1
        "#]],
    );
}

#[test]
fn what_it_does_late_need_not_be_tried_again() {
    check(
        3,
        "lease ends; discovery says a!; first says a",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            discovery says a!: a failed/1 until 1100
            first says a: a = output/2 -> discovery/1
        "#]],
    );
    // A call that was to try it again may hear of it, and come to what has not been tried.
    check(
        1,
        "lease ends; discovery says a!; at 1100; first says a; discovery says b!; at 1200; discovery says b!",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            discovery says a!: a failed/1 until 1100
            at 1100:  -> discovery/2
            first says a: a = output/2
            discovery says b!: b failed/1 until 1200
            at 1200:  -> discovery/2
            discovery says b!: b ! error/2 -> discovery/1
        "#]],
    );
    check(
        1,
        "lease ends; discovery says a!; at 1100; first says a; discovery throws; at 1200; discovery throws",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            discovery says a!: a failed/1 until 1100
            at 1100:  -> discovery/2
            first says a: a = output/2
            discovery throws: complete failed/1 until 1200
            at 1200:  -> discovery/2
            discovery throws: complete ! thrown/2, FAILED thrown
        "#]],
    );
}

#[test]
fn what_it_does_late_of_others_leaves_a_step_its_attempts() {
    check(
        3,
        "lease ends; discovery says a!; first says b; discovery says a!",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            discovery says a!: a failed/1 until 1100
            first says b: b = output/1 -> discovery/1
            discovery says a!: a failed/2 until 1100
        "#]],
    );
    check(
        3,
        "lease ends; discovery says a!; at 1100; first says b; discovery says a!",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            discovery says a!: a failed/1 until 1100
            at 1100:  -> discovery/2
            first says b: b = output/1
            discovery says a!: a failed/2 until 1200
        "#]],
    );
}
