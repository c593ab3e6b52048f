//! Counts of a year, by the statements of the operator's configuration, run as they are.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use tokio::time::timeout;

use super::Settings;
use super::connection::Connections;
use super::error::{elapsed, failure};
use crate::event::{Day, year_of};
use crate::history::HistoryError;
use crate::state::{Base, DayCounts, YearSums};

const DAILY: &str = "tidb.sql.eventsDaily";
const YEARLY: &str = "tidb.sql.yearly";

/// The last second that a session's `timestamp` can be set to.
const LAST_SECOND: i64 = i32::MAX as i64;

/// The moment at which statements are run for `year`: they say `YEAR(NOW())`. Now within this year, else the year's
/// last second. `None` for years that no session can be set into, which have no events either.
pub fn moment_in(year: i16, now: i64) -> Option<i64> {
    if year_of(now) == year {
        return Some(now);
    }
    let first = |year| {
        let new_year = DateTime::new(year, 1, 1, 0, 0, 0, 0).ok()?;
        Some(new_year.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
    };
    // 0 would mean the present.
    let (first, last) = (first(year)?.max(1), (first(year.checked_add(1)?)? - 1).min(LAST_SECOND));
    (first <= last).then_some(last)
}

/// Runs both statements as if it were `moment`, over the same state of the table.
pub async fn recount(
    connections: &Connections,
    settings: &Settings,
    year: i16,
    moment: i64,
) -> Result<Base, HistoryError> {
    let mut conn = connections.open().await?;
    let prepared = async {
        // TiDB can end a statement by itself, also when this process is gone; MariaDB has no such variable.
        let limit = settings.statement_limit.as_millis();
        conn.query_drop(format!("SET timestamp = {moment} /*T! , max_execution_time = {limit} */")).await?;
        conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await
    };
    let prepared =
        timeout(settings.statement_limit, prepared).await.map_err(|_| HistoryError::Unavailable {
            address: connections.address().to_owned(),
            source: elapsed("no answer to a new session", settings.statement_limit),
        })?;
    prepared.map_err(|error| failure("prepare a session", connections.address(), error))?;
    let statement = Statement { connections, limit: settings.statement_limit };
    let daily = statement.run(&mut conn, DAILY, &settings.events_daily).await;
    let result = match daily {
        Ok(daily) => statement.run(&mut conn, YEARLY, &settings.yearly).await.map(|yearly| (daily, yearly)),
        Err(error) => Err(error),
    };
    // The session ends here, and its `timestamp` with it. Not awaited for its success: the result is in hand.
    drop(conn);
    let (daily, yearly) = result?;
    Ok(Base { days: days(&daily, year)?, sums: sums(&yearly)? })
}

struct Statement<'a> {
    connections: &'a Connections,
    limit: std::time::Duration,
}

/// What a statement gave.
struct Table {
    key: &'static str,
    columns: Vec<String>,
    rows: Vec<Row>,
}

impl Statement<'_> {
    async fn run(&self, conn: &mut Conn, key: &'static str, text: &str) -> Result<Table, HistoryError> {
        let id = conn.id();
        let query = async {
            let mut result = conn.query_iter(text).await?;
            let columns =
                result.columns_ref().iter().map(|column| column.name_str().to_lowercase()).collect();
            let rows = result.collect().await?;
            Ok::<_, mysql_async::Error>(Table { key, columns, rows })
        };
        match timeout(self.limit, query).await {
            Ok(Ok(table)) => Ok(table),
            Ok(Err(error)) => Err(match failure("run a statement", self.connections.address(), error) {
                HistoryError::Failed { source, .. } => HistoryError::Statement { key, source },
                error => error,
            }),
            Err(_) => {
                self.connections.kill_query(id).await;
                Err(HistoryError::Endless { key, limit: self.limit })
            }
        }
    }
}

impl Table {
    /// Where the columns of these names are; whatever their case, as in SQL.
    fn places<const N: usize>(&self, names: [&str; N]) -> Result<[usize; N], HistoryError> {
        let place = |name: &str| self.columns.iter().position(|column| column == name);
        let missing: Vec<_> = names.into_iter().filter(|name| place(name).is_none()).collect();
        if missing.is_empty() {
            return Ok(names.map(|name| place(name).unwrap_or_default()));
        }
        let noun = if missing.len() == 1 { "a column" } else { "the columns" };
        Err(self.wrong(
            format!("{noun} {}", missing.join(", ")),
            if self.columns.is_empty() { "no columns".to_owned() } else { self.columns.join(", ") },
        ))
    }

    fn wrong(&self, wanted: String, found: String) -> HistoryError {
        HistoryError::Result { key: self.key, wanted, found }
    }

    fn number(&self, row: &Row, place: usize) -> Result<u64, HistoryError> {
        let value = row.as_ref(place).unwrap_or(&Value::NULL);
        number(value)
            .ok_or_else(|| self.wrong(format!("a number as {}", self.columns[place]), value.as_sql(false)))
    }
}

fn days(table: &Table, year: i16) -> Result<std::collections::BTreeMap<Day, DayCounts>, HistoryError> {
    let names = ["event_day", "developers", "opened_prs", "closed_prs", "merged_prs"];
    let [day, dev, open, close, merge] = table.places(names)?;
    let mut days = std::collections::BTreeMap::new();
    for row in &table.rows {
        let value = row.as_ref(day).unwrap_or(&Value::NULL);
        if *value == Value::NULL {
            // Rows of a loader that did not fill it in: no day that they could be shown on.
            continue;
        }
        let parsed =
            date(value).ok_or_else(|| table.wrong("a date as event_day".to_owned(), value.as_sql(false)))?;
        let counts = DayCounts {
            open: table.number(row, open)?,
            merge: table.number(row, merge)?,
            close: table.number(row, close)?,
            dev: table.number(row, dev)?,
        };
        // A statement without the condition on the year gives all of them.
        if parsed.year() == year {
            days.insert(parsed, counts);
        }
    }
    Ok(days)
}

fn sums(table: &Table) -> Result<YearSums, HistoryError> {
    let [dev, repo, additions, deletions] =
        table.places(["developers", "repos", "additions", "deletions"])?;
    let Some(row) = table.rows.first() else { return Ok(YearSums::default()) };
    Ok(YearSums {
        dev: table.number(row, dev)?,
        repo: table.number(row, repo)?,
        additions: table.number(row, additions)?,
        deletions: table.number(row, deletions)?,
    })
}

/// A count in any numeric type: BIGINT, DECIMAL (what SUM gives), DOUBLE, or its text. NULL, what SUM gives of no
/// rows, is 0, and so is what is negative.
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::NULL => Some(0),
        Value::Int(number) => Some(u64::try_from(*number).unwrap_or(0)),
        Value::UInt(number) => Some(*number),
        Value::Float(number) => Some(*number as u64),
        Value::Double(number) => Some(*number as u64),
        Value::Bytes(text) => {
            let text = std::str::from_utf8(text).ok()?.trim();
            // Not by way of f64 where it can be helped: sums of lines outgrow its 53 bits.
            let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
            whole.parse().ok().or_else(|| text.parse::<f64>().ok().map(|number| number.round() as u64))
        }
        Value::Date(..) | Value::Time(..) => None,
    }
}

/// A DATE, a DATETIME, or a text that begins like one.
pub fn date(value: &Value) -> Option<Day> {
    match value {
        Value::Date(year, month, day, ..) => Day::parse(&format!("{year:04}-{month:02}-{day:02}")),
        Value::Bytes(text) => Day::parse(std::str::from_utf8(text).ok()?.get(..10)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_kinds_are_read() {
        let text = |text: &str| number(&Value::Bytes(text.into()));
        assert_eq!(
            (text("7"), text("18446744073709551615"), text("7.00")),
            (Some(7), Some(u64::MAX), Some(7))
        );
        assert_eq!((text("1e3"), text("-4"), text("many")), (Some(1000), Some(0), None));
        assert_eq!(
            (number(&Value::NULL), number(&Value::Int(-1)), number(&Value::Double(2.0))),
            (Some(0), Some(0), Some(2))
        );
    }

    #[test]
    fn the_moment_lies_in_the_year() {
        let now = 1_795_219_200;
        assert_eq!(moment_in(2026, now), Some(now));
        assert_eq!(moment_in(2016, now), Some(1_483_228_799));
        assert_eq!(moment_in(2038, now), Some(i64::from(i32::MAX)));
        for year in [-9999, 1969, 2039, i16::MAX] {
            assert_eq!(moment_in(year, now), None, "{year}");
        }
        assert_eq!(moment_in(1970, now), Some(31_535_999));
    }

    #[test]
    fn dates_come_in_two_forms() {
        let day = Day::parse("2016-01-02");
        assert!(day.is_some());
        assert_eq!(date(&Value::Bytes(b"2016-01-02 00:00:00".to_vec())), day);
        assert_eq!(date(&Value::Date(2016, 1, 2, 3, 4, 5, 6)), day);
        assert_eq!(date(&Value::Bytes(b"yesterday".to_vec())), None);
    }
}
