//! Two stores are asked the same and must answer the same.

mod answer;
mod draws;
mod model;
mod operation;

use onward_core::Store;

use self::{answer::Side, model::Model, operation::Operation};

/// Applies `ops` operations, drawn from `seed`, to two empty stores, and compares all that can be seen of them after
/// each: the answer, every run with its journal and deliveries, and the list of runs.
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

        let everything = Operation::Runs(model.all());
        let (listed_a, listed_b) = (a.apply(&everything).await, b.apply(&everything).await);
        assert_eq!(listed_a, listed_b, "{}", context("the lists"));

        let run_ids = model.learn(&operation, &answer_a);
        let mut loaded = Vec::new();
        for run_id in run_ids {
            let (run_a, run_b) = (a.load(run_id).await, b.load(run_id).await);
            assert_eq!(run_a, run_b, "{}", context("the runs"));
            loaded.extend(run_a);
        }
        model.see(loaded);
    }
}

#[cfg(test)]
mod tests;
