//! How many steps a run has, what they are called, and which events they got.

use expect_test::expect;
use onward_core::{Attempt, Draw, Payload, StepKey, Timestamp};

use super::{
    super::{Ask, Asked, Call, Plan, Unit, step_id, wire},
    Case, STEPS_MAX, check, event, policy,
};

#[test]
fn a_run_with_too_many_steps_fails() {
    check(
        3,
        "first says a; first says b? c? d? e?; first says f? g?; first says h",
        &expect![[r#"
            first says a: a = output/1
            first says b? c? d? e?: b waits, c waits, d waits, e waits -> d/1, e/1, c/1, b/1
            first says f? g?: f waits, FAILED {"message":"the run has 6 steps, the most it may have","name":"TooManySteps"}
            first says h:
        "#]],
    );
}

#[test]
fn a_step_that_is_known_is_not_one_more() {
    check(
        3,
        "first says a; first says b? c? d? e? f?; first says a; b says b",
        &expect![[r#"
            first says a: a = output/1
            first says b? c? d? e? f?: b waits, c waits, d waits, e waits, f waits -> d/1, f/1, e/1, c/1, b/1
            first says a:
            b says b: b = output/1
        "#]],
    );
}

#[test]
fn a_renamed_step_is_known_by_the_key_that_the_endpoint_has_for_it() {
    let renamed = StepKey::of("a:renamed", 0);
    let id = step_id("a", 0, renamed.to_bytes()).unwrap();
    assert_eq!(id.name(), format!("#{renamed}"));
    let now = Timestamp::EPOCH;
    let mut plan = Plan::new(policy(3), STEPS_MAX);
    let asked = |ask| vec![Asked { id: id.clone(), is_race: false, ask }];
    let mut told = plan.apply(Unit::FirstRequest, Attempt::FIRST, asked(Ask::Planned), now, || Draw(0));
    let call = Call { unit: Unit::Targeted(id.key()), attempt: Attempt::FIRST, plan_only: true };
    assert_eq!(plan.calls(now), [call]);
    assert_eq!((plan.wire_of(id.key()), plan.targeted_under_way()), (Some(renamed), vec![renamed]));

    let output = Ask::Ran(Payload::from("output"));
    told = told.and(plan.apply(call.unit, call.attempt, asked(output), now, || Draw(0)));
    let folded = Plan::new(policy(3), STEPS_MAX).replay(&told.entries);
    for plan in [plan, folded] {
        let outcomes: Vec<_> = plan.outcomes().map(|(id, outcome)| (wire(id), outcome.cloned())).collect();
        assert_eq!(outcomes, [(renamed, Ok(Payload::from("output")))]);
    }
}

#[test]
fn an_event_that_a_wait_got_is_known_and_one_that_came_for_nobody_is_not() {
    let has_got = |case: &Case| ["e", "y"].map(|id| case.plan.has_got(&event(id)));
    let mut case = Case::new(Plan::new(policy(3), STEPS_MAX));
    case.line("first says e=100 y=10");
    assert_eq!(has_got(&case), [false, false]);
    for line in ["e comes", "restart", "at 1010", "y comes", "restart"] {
        case.line(line);
        assert_eq!(has_got(&case), [true, false], "{line}");
    }
}
