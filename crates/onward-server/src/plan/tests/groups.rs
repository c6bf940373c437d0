//! Steps beside each other: who is called for which, and when the handler hears of it.

use expect_test::expect;

use super::check;

#[test]
fn each_of_a_group_is_called_for_once_and_the_handler_when_all_are_done() {
    check(
        3,
        "first says a? b? c?; b says b; a says a!; c says c!!; at 1100; a says a; discovery says d",
        &expect![[r#"
            first says a? b? c?: a waits, b waits, c waits -> c/1, a/1, b/1
            b says b: b = output/1
            a says a!: a failed/1 until 1100
            c says c!!: c ! error/1
            at 1100:  -> a/2
            a says a: a = output/2 -> discovery/1
            discovery says d: d = output/1 -> discovery/1
        "#]],
    );
}

#[test]
fn what_is_fetched_belongs_to_the_group() {
    check(
        3,
        "first says a? f@; a says a; f is fetched",
        &expect![[r#"
            first says a? f@: a waits, f waits -> a/1, fetch f/1
            a says a: a = output/1
            f is fetched: f = fetched/1 -> discovery/1
        "#]],
    );
    check(
        3,
        "first says a? f@; f is fetched; a says a",
        &expect![[r#"
            first says a? f@: a waits, f waits -> a/1, fetch f/1
            f is fetched: f = fetched/1
            a says a: a = output/1 -> discovery/1
        "#]],
    );
}

#[test]
fn the_handler_hears_at_once_where_the_rest_only_waits() {
    check(
        3,
        "first says a? z~500 e=; a says a; discovery says b? z~500 e=; b says b; discovery says; e comes; at 1500",
        &expect![[r#"
            first says a? z~500 e=: a waits, z waits until 1500, e waits -> a/1
            a says a: a = output/1 -> discovery*/1
            discovery says b? z~500 e=: b waits -> b/1
            b says b: b = output/1 -> discovery*/1
            discovery says:
            e comes: e = {"id":"e"}/1 -> discovery*/1
            at 1500: z = null/1
        "#]],
    );
    check(
        3,
        "first says z~10 y~20 f@; at 1010; at 1020; f is fetched",
        &expect![[r#"
            first says z~10 y~20 f@: z waits until 1010, y waits until 1020, f waits -> fetch f/1
            at 1010: z = null/1
            at 1020: y = null/1
            f is fetched: f = fetched/1 -> discovery/1
        "#]],
    );
}

#[test]
fn the_handler_hears_at_once_of_a_race() {
    check(
        3,
        "first says |a? |b?; a says a; discovery says |b? c?; c says c; discovery says |b?; b says b",
        &expect![[r#"
            first says |a? |b?: a waits, b waits -> a/1, b/1
            a says a: a = output/1 -> discovery*/1
            discovery says |b? c?: c waits -> c/1
            c says c: c = output/1 -> discovery*/1
            discovery says |b?:
            b says b: b = output/1 -> discovery/1
        "#]],
    );
    // A time-out.
    check(
        3,
        "first says |a? |z~10; at 1010; discovery says |a? b?; a says a!; b says b",
        &expect![[r#"
            first says |a? |z~10: a waits, z waits until 1010 -> a/1
            at 1010: z = null/1 -> discovery*/1
            discovery says |a? b?: b waits -> b/1
            a says a!: a failed/1 until 1110
            b says b: b = output/1 -> discovery*/1
        "#]],
    );
}

#[test]
fn one_discovery_is_under_way_and_the_next_hears_of_what_came_meanwhile() {
    check(
        3,
        "first says |a? |b? |c?; a says a; b says b; c says c; discovery says; discovery says d",
        &expect![[r#"
            first says |a? |b? |c?: a waits, b waits, c waits -> c/1, a/1, b/1
            a says a: a = output/1 -> discovery*/1
            b says b: b = output/1
            c says c: c = output/1
            discovery says:  -> discovery/1
            discovery says d: d = output/1 -> discovery/1
        "#]],
    );
    check(
        3,
        "first says |a? |b?; a says a; b says b; discovery throws; at 1100",
        &expect![[r#"
            first says |a? |b?: a waits, b waits -> a/1, b/1
            a says a: a = output/1 -> discovery*/1
            b says b: b = output/1
            discovery throws: complete failed/1 until 1100
            at 1100:  -> discovery/2
        "#]],
    );
}

#[test]
fn no_step_runs_by_itself_beside_others() {
    check(
        3,
        "first says |a? |z~500; a says a; discovery says b?; b says b",
        &expect![[r#"
            first says |a? |z~500: a waits, z waits until 1500 -> a/1
            a says a: a = output/1 -> discovery*/1
            discovery says b?: b waits -> b/1
            b says b: b = output/1 -> discovery*/1
        "#]],
    );
}

#[test]
fn an_answer_for_a_step_that_is_done_changes_nothing() {
    check(
        3,
        "lease ends; discovery says a? b?; first says a; a says a; b says b; discovery says c",
        &expect![[r#"
            lease ends: complete reset -> discovery/1
            discovery says a? b?: a waits, b waits -> a/1, b/1
            first says a: a = output/1
            a says a:
            b says b: b = output/1 -> discovery/1
            discovery says c: c = output/1 -> discovery/1
        "#]],
    );
    check(
        3,
        "first says a? b?; b says b; a says a; discovery says a? b? c",
        &expect![[r#"
            first says a? b?: a waits, b waits -> a/1, b/1
            b says b: b = output/1
            a says a: a = output/1 -> discovery/1
            discovery says a? b? c: c = output/1 -> discovery/1
        "#]],
    );
}

#[test]
fn what_cannot_be_fails_at_once() {
    check(
        3,
        "first says a-; discovery says b",
        &expect![[r#"
            first says a-: a ! refused/1 -> discovery/1
            discovery says b: b = output/1 -> discovery/1
        "#]],
    );
    check(
        3,
        "first says a- b?; b says b",
        &expect![[r#"
            first says a- b?: a ! refused/1, b waits -> b/1
            b says b: b = output/1 -> discovery/1
        "#]],
    );
}

#[test]
fn waits_end_once() {
    check(
        3,
        "first says e=50; e comes; e comes; at 1050",
        &expect![[r#"
            first says e=50: e waits until 1050
            e comes: e = {"id":"e"}/1 -> discovery/1
            e comes:
            at 1050:
        "#]],
    );
    check(
        3,
        "first says e=50; at 1050; e comes",
        &expect![[r#"
            first says e=50: e waits until 1050
            at 1050: e = null/1 -> discovery/1
            e comes:
        "#]],
    );
    check(
        3,
        "first says z~50; at 1049; at 1050; at 1060",
        &expect![[r#"
            first says z~50: z waits until 1050
            at 1049:
            at 1050: z = null/1 -> discovery/1
            at 1060:
        "#]],
    );
}
