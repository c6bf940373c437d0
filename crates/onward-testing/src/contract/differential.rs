//! Two stores are asked the same and must answer the same.

mod answer;
mod draws;
mod model;
mod operation;

use onward_core::{Store, store::RunFilter};

use self::{answer::Side, model::Model, operation::Operation};

/// After how many operations every run is read, and not only those that the operation touched.
const EVERYTHING_EVERY: usize = 25;

/// Applies `ops` operations, drawn from `seed`, to two empty stores, and compares what can be seen of them after
/// each: the answer, the list of runs, and each run that was touched, with its journal and deliveries. Now and then,
/// and at the end, that is every run.
///
/// Compare your store with [`MemoryStore`](crate::MemoryStore). What a store may choose is not compared: the numbers
/// of its nodes, the order of runs that are due at the same time, and the order in which woken runs are named.
///
/// # Panics
///
/// Where the two differ. The message names the seed, the number of the operation and the operation.
///
/// # Example
///
/// ```
/// use onward_testing::{MemoryStore, contract::differential};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// for seed in 0..4 {
///     differential(&MemoryStore::new(), &MemoryStore::new(), seed, 100).await;
/// }
/// # }
/// ```
pub async fn differential<A, B>(store_a: &A, store_b: &B, seed: u64, ops: usize)
where
    A: Store + ?Sized,
    B: Store + ?Sized,
{
    let mut a = Side::new(store_a);
    let mut b = Side::new(store_b);
    let mut model = Model::new(seed);
    for number in 0..ops {
        let operation = model.next();
        let context = |what: &str| format!("{what} differ (seed {seed}, operation {number}): {operation:#?}");

        let (answer_a, answer_b) = (a.apply(&operation).await, b.apply(&operation).await);
        model.check_claim_order(&answer_a);
        model.check_claim_order(&answer_b);
        let (answer_a, answer_b) = (answer_a.sorted(), answer_b.sorted());
        assert_eq!(answer_a, answer_b, "{}", context("the answers"));

        let everything = Operation::Runs(RunFilter { limit: 100_000, ..RunFilter::default() });
        let (listed_a, listed_b) = (a.apply(&everything).await, b.apply(&everything).await);
        assert_eq!(listed_a, listed_b, "{}", context("the lists"));
        model.learn(&operation, &answer_a, listed_a);

        // Reading every run after each operation would take most of the time and find little more.
        let all = number % EVERYTHING_EVERY == 0 || number + 1 == ops;
        for run_id in if all { model.all() } else { model.touched(&operation, &answer_a) } {
            let (run_a, run_b) = (a.load(run_id).await, b.load(run_id).await);
            assert_eq!(run_a, run_b, "{}", context("the runs"));
            model.see(run_id, run_a);
        }
    }
}

#[cfg(test)]
mod tests;
