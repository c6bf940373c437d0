//! The plain store keeps the contract.

mod as_a_store {
    use crate::MemoryStore;

    store_contract!(MemoryStore::new());
}
