//! The latest pull requests, streamed row by row, so that a day of any size takes little memory.

use jiff::Timestamp;
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row as Columns, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::Connections;
use super::error::{cause, elapsed, failure, is_other_table};
use super::recount::number;
use super::{Settings, sql};
use crate::domain::github::project::PULL_REQUEST_EVENT;
use crate::domain::github::row::Row;
use crate::event::{EventKey, year_of};
use crate::history::HistoryError;

/// Rows in one part.
const PART_ROWS: usize = 1_000;
const ACTION: &str = "read the latest pull requests";
const STATEMENT: &str = include_str!("../queries/recent_pull_requests.sql");

/// Sends what happened after `from`, in Unix seconds: the latest `most`.
pub async fn stream(
    connections: &Connections,
    settings: &Settings,
    from: i64,
    most: usize,
    parts: mpsc::Sender<Vec<Row>>,
) -> Result<(), HistoryError> {
    let limit = settings.statement_limit;
    let mut conn = connections.open().await?;
    let connection = conn.id();
    let since = Timestamp::from_second(from).unwrap_or_default().strftime("%Y-%m-%d %H:%M:%S").to_string();
    let params = vec![Value::from(year_of(from)), Value::from(since), Value::from(most as u64)];
    let late = async || {
        connections.kill_query(connection).await;
        HistoryError::Failed { action: ACTION, source: elapsed("no answer", limit) }
    };
    let asked = timeout(limit, conn.exec_iter(sql(STATEMENT), Params::Positional(params))).await;
    let mut rows = match asked {
        Ok(asked) => asked.map_err(|error| refused(connections, error))?,
        Err(_) => return Err(late().await),
    };
    let mut part = Vec::new();
    loop {
        let next: Option<Columns> = match timeout(limit, rows.next()).await {
            Ok(next) => next.map_err(|error| refused(connections, error))?,
            Err(_) => return Err(late().await),
        };
        let ended = next.is_none();
        part.extend(next.as_ref().and_then(row));
        if part.len() >= PART_ROWS || ended {
            let gone = |_| HistoryError::Failed { action: ACTION, source: "nobody takes them".into() };
            parts.send(std::mem::take(&mut part)).await.map_err(gone)?;
        }
        if ended {
            return Ok(());
        }
    }
}

fn refused(connections: &Connections, error: mysql_async::Error) -> HistoryError {
    if is_other_table(&error) {
        return HistoryError::Table { problem: format!("has not all columns: {}", cause(error)) };
    }
    failure(ACTION, connections.address(), error)
}

/// A row of the statement, in its order.
fn row(columns: &Columns) -> Option<Row> {
    let whole = |place| match columns.as_ref(place)? {
        Value::NULL => None,
        Value::Int(number) => Some(*number),
        value => i64::try_from(number(value)?).ok(),
    };
    let id = |place| whole(place).and_then(|id| u64::try_from(id).ok());
    let text = |place| match columns.as_ref(place)? {
        Value::Bytes(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    };
    let key = EventKey { id: whole(0)?, created_at: whole(1)? };
    Some(Row {
        key,
        day: key.day()?,
        kind: PULL_REQUEST_EVENT.to_owned(),
        repo_id: id(2),
        repo_name: text(3),
        actor_id: id(4),
        actor_login: text(5),
        org_id: None,
        org_login: None,
        language: None,
        additions: id(6),
        deletions: id(7),
        action: text(8),
        number: None,
        pr_or_issue_id: id(9),
        pr_merged: whole(10).map(|merged| merged != 0),
    })
}
