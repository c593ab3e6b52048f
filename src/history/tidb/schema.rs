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

/// A table as the server describes it.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: HashMap<String, Column>,
    /// The columns of each of its unique keys.
    unique_keys: HashMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    /// Characters of a text.
    width: Option<u64>,
    takes_null: bool,
}

/// Columns that every row fills; the others must take NULL, which is how "not known" is written.
const ALWAYS_KNOWN: [&str; 6] = ["id", "type", "created_at", "event_day", "event_month", "event_year"];

/// What a unique key may consist of, beside `id`: what follows from `created_at`, as in a partitioned table's key.
const OF_THE_MOMENT: [&str; 4] = ["created_at", "event_day", "event_month", "event_year"];

/// Makes the table where it is missing, and reads what it looks like.
pub async fn ensure(conn: &mut Conn) -> mysql_async::Result<Table> {
    conn.query_drop(sql(include_str!("../queries/create_table.sql"))).await?;
    let mut table = Table::default();
    let columns: Vec<(String, Option<u64>, bool)> =
        conn.query(sql(include_str!("../queries/columns.sql"))).await?;
    for (name, width, takes_null) in columns {
        table.columns.insert(name, Column { width, takes_null });
    }
    let keys: Vec<(String, String)> = conn.query(sql(include_str!("../queries/unique_keys.sql"))).await?;
    for (key, column) in keys {
        table.unique_keys.entry(key).or_default().push(column);
    }
    Ok(table)
}

impl Table {
    /// How long the table's texts may be.
    ///
    /// # Errors
    /// When it cannot be written: a column is missing, one takes no NULL, or nothing keeps a row from being there twice.
    pub fn widths(&self) -> Result<Widths, HistoryError> {
        self.refuse(|name| !self.columns.contains_key(name), "lacks")?;
        let takes_no_null = |name: &str| {
            !ALWAYS_KNOWN.contains(&name) && self.columns.get(name).is_some_and(|column| !column.takes_null)
        };
        self.refuse(takes_no_null, "takes no NULL in")?;
        if !self.unique_keys.values().any(|columns| identifies(columns)) {
            let problem =
                "has no unique key on (id, created_at), so that rows written twice would be there twice";
            return Err(HistoryError::Table { problem: problem.to_owned() });
        }
        let width = |name| {
            let width = self.columns.get(name).and_then(|column| column.width);
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

    /// Fails with the names of all columns that are `wrong`.
    fn refuse(&self, wrong: impl Fn(&str) -> bool, verb: &str) -> Result<(), HistoryError> {
        let named: Vec<_> = COLUMNS.into_iter().filter(|name| wrong(name)).collect();
        if named.is_empty() {
            return Ok(());
        }
        let noun = if named.len() == 1 { "the column" } else { "the columns" };
        Err(HistoryError::Table { problem: format!("{verb} {noun} {}", named.join(", ")) })
    }
}

/// Whether a unique key of these columns keeps an event from being there twice, and two events from being one.
fn identifies(columns: &[String]) -> bool {
    let has = |name: &str| columns.iter().any(|column| column == name);
    let allowed = |column: &String| column == "id" || OF_THE_MOMENT.contains(&column.as_str());
    has("id") && has("created_at") && columns.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Table {
        let column = Column { width: Some(7), takes_null: true };
        Table {
            columns: COLUMNS.iter().map(|name| ((*name).to_owned(), column)).collect(),
            unique_keys: [("PRIMARY".to_owned(), vec!["id".to_owned(), "created_at".to_owned()])].into(),
        }
    }

    #[test]
    fn every_missing_column_is_named() {
        let mut table = sound();
        assert_eq!(table.widths().unwrap().kind, 7);
        table.columns.insert("language".to_owned(), Column { width: None, takes_null: true });
        assert_eq!(table.widths().unwrap().language, usize::MAX);
        table.columns.retain(|name, _| !["number", "pr_merged"].contains(&name.as_str()));
        let error = table.widths().unwrap_err().to_string();
        assert!(error.contains("lacks the columns number, pr_merged;"), "{error}");
    }

    #[test]
    fn a_table_that_would_lose_or_double_is_refused() {
        let mut table = sound();
        table.columns.insert("id".to_owned(), Column { width: None, takes_null: false });
        assert!(table.widths().is_ok());
        table.columns.insert("language".to_owned(), Column { width: None, takes_null: false });
        let error = table.widths().unwrap_err().to_string();
        assert!(error.contains("takes no NULL in the column language"), "{error}");
        let mut table = sound();
        table.unique_keys = [("PRIMARY".to_owned(), vec!["id".to_owned()])].into();
        assert!(table.widths().unwrap_err().to_string().contains("no unique key on (id, created_at)"));
        let partitioned = ["id", "event_year", "created_at"].map(str::to_owned).to_vec();
        table.unique_keys.insert("k".to_owned(), partitioned);
        assert!(table.widths().is_ok());
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
