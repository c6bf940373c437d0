//! What holds for every handler, every order of events, and every crash.

use std::time::Duration;

use onward_core::RetryPolicy;
use proptest::prelude::*;

use super::{
    program::{Program, program},
    world::World,
};

fn case() -> impl Strategy<Value = (u32, Program)> {
    (0_u32..4).prop_flat_map(|retries| (Just(retries), program(retries)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// The world asserts what must not happen on the way.
    #[test]
    fn a_run_ends_as_its_handler_does_by_itself(
        (retries, program) in case(),
        is_function in any::<bool>(),
        choices in prop::collection::vec(any::<u8>(), 0..250),
    ) {
        let policy = RetryPolicy::try_new(Duration::from_micros(10), Duration::from_micros(40), retries).unwrap();
        let mut world = World::new(&program, policy, is_function, choices);
        world.execute();

        let memos = World::memos(&world.plan);
        for step in program.steps() {
            if let Some((_, outcome)) = memos.get(&step.wire()) {
                prop_assert!(step.ends_so(outcome), "{step:?} ended with {outcome:?}");
            }
        }
        prop_assert_eq!(program.run(&memos).result, world.outcome.clone());
        prop_assert_eq!(World::memos(&world.folded()), memos);
    }
}
