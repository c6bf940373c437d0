//! Keeps a user's SQL on the writer's connection to the user's own tables and inside the writer's transaction.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rusqlite::{
    Connection,
    hooks::{AuthAction, AuthContext, Authorization},
};

/// Pragmas that only tell.
const PRAGMAS: [&str; 11] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "compile_options",
    "function_list",
    "data_version",
];

/// Whether the statements prepared now are a user's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard(Arc<AtomicBool>);

impl Guard {
    /// Watches a connection. The authorizer stays: setting one anew would make SQLite prepare every statement again.
    pub(crate) fn install(conn: &mut Connection) -> rusqlite::Result<Self> {
        let guard = Self::default();
        let on = guard.clone();
        conn.authorizer(Some(move |context: AuthContext<'_>| {
            if !on.0.load(Ordering::Relaxed) || is_allowed(&context.action) {
                Authorization::Allow
            } else {
                Authorization::Deny
            }
        }))?;
        // Not all can be seen when a statement is prepared: `COMMIT` may come from the connection's cache, and after
        // `INSERT OR ROLLBACK` each statement commits by itself. Both come to nothing, and the group is undone.
        let on = guard.clone();
        conn.commit_hook(Some(move || on.0.load(Ordering::Relaxed)))?;
        Ok(guard)
    }

    /// Runs a user's code.
    pub(crate) fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Off<'a>(&'a Guard);
        impl Drop for Off<'_> {
            fn drop(&mut self) {
                self.0.0.store(false, Ordering::Relaxed);
            }
        }
        self.0.store(true, Ordering::Relaxed);
        let _off = Off(self);
        work()
    }
}

fn is_ours(name: &str) -> bool {
    name.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case("onward_"))
}

fn is_allowed(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Unknown { .. } => false,
        AuthAction::Pragma { pragma_name, .. } => PRAGMAS.iter().any(|name| name.eq_ignore_ascii_case(pragma_name)),
        AuthAction::CreateIndex { table_name, .. }
        | AuthAction::CreateTable { table_name }
        | AuthAction::CreateTempTable { table_name }
        | AuthAction::CreateTempIndex { table_name, .. }
        | AuthAction::CreateTempTrigger { table_name, .. }
        | AuthAction::CreateTrigger { table_name, .. }
        | AuthAction::CreateVtable { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::DropIndex { table_name, .. }
        | AuthAction::DropTable { table_name }
        | AuthAction::Insert { table_name }
        | AuthAction::Read { table_name, .. }
        | AuthAction::Update { table_name, .. }
        | AuthAction::AlterTable { table_name, .. } => !is_ours(table_name),
        AuthAction::CreateTempView { view_name } | AuthAction::CreateView { view_name } => !is_ours(view_name),
        _ => true,
    }
}
