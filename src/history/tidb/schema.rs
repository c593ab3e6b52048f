//! The table: made where it is missing, checked where it is there.

use std::collections::HashMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::sql;
use crate::history::HistoryError;

/// The columns that are written, in the order of `upsert.sql`.
pub const COLUMNS: [&str; 19] = [
    "id",
    "type",
    "created_at",
    "repo_id",
    "repo_name",
    "actor_id",
    "actor_login",
    "org_id",
    "org_login",
    "language",
    "additions",
    "deletions",
    "action",
    "number",
    "pr_or_issue_id",
    "pr_merged",
    "event_day",
    "event_month",
    "event_year",
];

/// How many characters the table takes of each text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// Of `type`.
    pub kind: usize,
    /// Of `repo_name`.
    pub repo_name: usize,
    /// Of `actor_login`.
    pub actor_login: usize,
    /// Of `org_login`.
    pub org_login: usize,
    /// Of `language`.
    pub language: usize,
    /// Of `action`.
    pub action: usize,
}

/// Makes the table where it is missing, and reads what it looks like.
pub async fn ensure(conn: &mut Conn) -> mysql_async::Result<HashMap<String, Option<u64>>> {
    conn.query_drop(sql(include_str!("../queries/create_table.sql"))).await?;
    let columns: Vec<(String, Option<u64>)> = conn.query(sql(include_str!("../queries/columns.sql"))).await?;
    Ok(columns.into_iter().collect())
}

/// Whether a table with these columns can be written; how long its texts may be.
///
/// # Errors
/// Names every column that is missing.
pub fn check(columns: &HashMap<String, Option<u64>>) -> Result<Widths, HistoryError> {
    let missing: Vec<_> = COLUMNS.iter().filter(|name| !columns.contains_key(**name)).copied().collect();
    if !missing.is_empty() {
        let noun = if missing.len() == 1 { "the column" } else { "the columns" };
        return Err(HistoryError::Table { missing: format!("{noun} {}", missing.join(", ")) });
    }
    let width = |name| {
        let width = columns.get(name).copied().flatten();
        width.and_then(|width| usize::try_from(width).ok()).unwrap_or(usize::MAX)
    };
    Ok(Widths {
        kind: width("type"),
        repo_name: width("repo_name"),
        actor_login: width("actor_login"),
        org_login: width("org_login"),
        language: width("language"),
        action: width("action"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_column_is_named() {
        let mut columns: HashMap<String, Option<u64>> =
            COLUMNS.iter().map(|name| ((*name).to_owned(), Some(7))).collect();
        assert_eq!(check(&columns).unwrap().kind, 7);
        columns.insert("language".to_owned(), None);
        assert_eq!(check(&columns).unwrap().language, usize::MAX);
        columns.retain(|name, _| !["number", "pr_merged"].contains(&name.as_str()));
        let error = check(&columns).unwrap_err().to_string();
        assert!(error.contains("lacks the columns number, pr_merged;"), "{error}");
    }

    #[test]
    fn the_statements_name_the_same_columns() {
        let [create, upsert] =
            [include_str!("../queries/create_table.sql"), include_str!("../queries/upsert.sql")].map(sql);
        let named = upsert.split(['(', ')']).nth(1).unwrap();
        assert_eq!(named.split(',').map(str::trim).collect::<Vec<_>>(), COLUMNS);
        for column in COLUMNS {
            assert!(create.contains(&format!("    {column} ")), "{column}");
        }
    }
}
