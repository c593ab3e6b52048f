//! Rows into the table: upserts of 500, and past the rows that the table can never hold.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};
use tokio::time::timeout;

use super::error::is_misfit;
use super::schema::{COLUMNS, Widths};
use super::sql;
use crate::domain::github::row::Row;
use crate::telemetry::names;

/// Rows of one statement. Few sizes, so that the server keeps few statements prepared; 500 rows gave 58,000 rows/s,
/// single ones 3,000.
const SIZES: [usize; 4] = [500, 50, 5, 1];

/// How long one statement may take before the connection is given up.
const STATEMENT: Duration = Duration::from_secs(60);

/// What a write ended with.
#[derive(Debug)]
pub enum WriteError {
    /// The server or the connection failed.
    Server(mysql_async::Error),
    /// There was no answer in time.
    Timeout(Duration),
}

/// Writes `rows`, each text cut to its width. A row that the table refuses for its values is left out.
pub async fn write(conn: &mut Conn, rows: &[Row], widths: &Widths) -> Result<(), WriteError> {
    let mut pending: Vec<&[Row]> = Vec::new();
    let mut rest = rows;
    let mut refused = Refused::default();
    while !rest.is_empty() {
        let size = SIZES.into_iter().find(|size| *size <= rest.len()).unwrap_or(1);
        let (chunk, behind) = rest.split_at(size);
        rest = behind;
        pending.push(chunk);
        while let Some(chunk) = pending.pop() {
            match timeout(STATEMENT, insert(conn, chunk, widths)).await {
                Err(_) => return Err(WriteError::Timeout(STATEMENT)),
                Ok(Ok(())) => {}
                Ok(Err(error)) if is_misfit(&error) => match chunk {
                    [row] => refused.add(row, &error),
                    // Halves, until the row that does not fit stands alone.
                    _ => pending.extend(<[&[Row]; 2]>::from(chunk.split_at(chunk.len() / 2))),
                },
                Ok(Err(error)) => return Err(WriteError::Server(error)),
            }
        }
    }
    refused.say();
    metrics::counter!(names::HISTORY_WRITTEN).increment(rows.len() as u64 - refused.rows);
    Ok(())
}

async fn insert(conn: &mut Conn, rows: &[Row], widths: &Widths) -> mysql_async::Result<()> {
    let mut values = Vec::with_capacity(rows.len() * COLUMNS.len());
    for row in rows {
        values.extend(row_values(row, widths));
    }
    conn.exec_drop(upsert(rows.len()), Params::Positional(values)).await
}

/// The statement for that many rows.
fn upsert(rows: usize) -> String {
    let row = format!("({})", ["?"; COLUMNS.len()].join(","));
    sql(include_str!("../queries/upsert.sql")).replace("{rows}", &vec![row; rows].join(","))
}

/// Rows that the table can never hold: said once for all of a write.
#[derive(Default)]
struct Refused {
    rows: u64,
    first: Option<(i64, String)>,
}

impl Refused {
    fn add(&mut self, row: &Row, error: &mysql_async::Error) {
        metrics::counter!(names::HISTORY_REFUSED).increment(1);
        self.rows += 1;
        self.first.get_or_insert_with(|| (row.key.id, error.to_string()));
    }

    fn say(&self) {
        if let Some((id, error)) = &self.first {
            let rows = self.rows;
            tracing::warn!(rows, id, error, "the history's table cannot hold some events, leaving them out");
        }
    }
}

/// A row's values in the order of [`COLUMNS`].
fn row_values(row: &Row, widths: &Widths) -> [Value; COLUMNS.len()] {
    let (year, month, day) = row.day.year_month_day();
    let date = |day| Value::Date(u16::try_from(year).unwrap_or(0), month, day, 0, 0, 0, 0);
    let text = |text: &Option<String>, width| text.as_deref().map(|text| cut(text, width));
    let flag = |flag: Option<bool>| flag.map_or(Value::NULL, |flag| Value::Int(flag.into()));
    [
        Value::Int(row.key.id),
        cut(&row.kind, widths.kind),
        date_time(row),
        number(row.repo_id),
        text(&row.repo_name, widths.repo_name).unwrap_or(Value::NULL),
        number(row.actor_id),
        text(&row.actor_login, widths.actor_login).unwrap_or(Value::NULL),
        number(row.org_id),
        text(&row.org_login, widths.org_login).unwrap_or(Value::NULL),
        text(&row.language, widths.language).unwrap_or(Value::NULL),
        number(row.additions),
        number(row.deletions),
        text(&row.action, widths.action).unwrap_or(Value::NULL),
        number(row.number),
        number(row.pr_or_issue_id),
        flag(row.pr_merged),
        date(day),
        date(1),
        Value::Int(year.into()),
    ]
}

fn number(number: Option<u64>) -> Value {
    number.map_or(Value::NULL, Value::UInt)
}

/// The first `width` characters.
fn cut(text: &str, width: usize) -> Value {
    let end = text.char_indices().nth(width).map_or(text.len(), |(index, _)| index);
    Value::Bytes(text.as_bytes()[..end].to_vec())
}

/// The moment in UTC. Not by way of a timestamp, whose last day is before the calendar's.
fn date_time(row: &Row) -> Value {
    let (year, month, day) = row.day.year_month_day();
    let second = row.key.created_at.rem_euclid(24 * 60 * 60);
    let part = |part: i64| u8::try_from(part).unwrap_or(0);
    let (hour, minute, second) = (part(second / 3600), part(second / 60 % 60), part(second % 60));
    Value::Date(u16::try_from(year).unwrap_or(0), month, day, hour, minute, second, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("äöü", 2), Value::Bytes("äö".into()));
        assert_eq!(cut("äöü", usize::MAX), Value::Bytes("äöü".into()));
    }

    #[test]
    fn a_statement_has_a_place_for_every_value() {
        assert_eq!(upsert(500).matches('?').count(), 500 * COLUMNS.len());
        assert!(!upsert(1).contains("--") && !upsert(1).contains('{'));
    }

    #[test]
    fn moments_are_utc_up_to_the_calendars_end() {
        let at = |moment: &str| {
            let raw = format!(r#"{{"id":"1","created_at":"{moment}"}}"#);
            date_time(&Row::of(&crate::event::Event::parse(&raw).unwrap()).unwrap())
        };
        assert_eq!(at("2016-01-01T01:02:03+01:00"), Value::Date(2016, 1, 1, 0, 2, 3, 0));
        assert_eq!(at("9999-12-31T23:59:59Z"), Value::Date(9999, 12, 31, 23, 59, 59, 0));
    }
}
