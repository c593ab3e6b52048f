//! What a seed needs, streamed row by row from one read snapshot, so that a year of any size takes little memory.

use mysql_async::prelude::Queryable;
use mysql_async::{BinaryProtocol, Conn, Params, QueryResult, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::Connections;
use super::error::{cause, failure, is_other_table};
use super::recount::{date, number};
use super::{Settings, sql};
use crate::event::Day;
use crate::history::{HistoryError, SeedPart};
use crate::state::DayCounts;
use crate::state::seed::{SeedChunk, SeedSet};

/// Ids in one part.
const PART_IDS: usize = 10_000;

const DEVELOPERS: &str = include_str!("../queries/seed_developers.sql");
const REPOSITORIES: &str = include_str!("../queries/seed_repositories.sql");
const DAY_DEVELOPERS: &str = include_str!("../queries/seed_day_developers.sql");
const DAY_PULL_REQUESTS: &str = include_str!("../queries/seed_day_pull_requests.sql");
const DAYS: &str = include_str!("../queries/seed_days.sql");
const SIZES: &str = include_str!("../queries/seed_sizes.sql");

/// Sends what `year` consists of; the days in `open` as sets, the others as counts.
pub async fn stream(
    connections: &Connections,
    settings: &Settings,
    year: i16,
    open: &[Day],
    parts: mpsc::Sender<SeedPart>,
) -> Result<(), HistoryError> {
    let mut conn = connections.open().await?;
    let stream = Stream { connections, connection: conn.id(), limit: settings.statement_limit, parts };
    let began = conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT");
    stream.answer(began).await?;
    let of_year = || vec![Value::from(year)];
    stream.ids(&mut conn, DEVELOPERS, of_year(), SeedSet::YearDev).await?;
    stream.ids(&mut conn, REPOSITORIES, of_year(), SeedSet::YearRepo).await?;
    for &day in open {
        let of_day = || vec![Value::from(year), Value::from(day.to_string())];
        stream.ids(&mut conn, DAY_DEVELOPERS, of_day(), SeedSet::DayDev(day)).await?;
        stream.pull_requests(&mut conn, of_day(), day).await?;
    }
    stream.days(&mut conn, of_year(), open).await?;
    stream.sizes(&mut conn, of_year()).await
}

/// The way of rows from the server to whoever seeds.
struct Stream<'a> {
    connections: &'a Connections,
    /// The server's number of the connection.
    connection: u32,
    /// How long the server may take to begin an answer, and from row to row.
    limit: std::time::Duration,
    parts: mpsc::Sender<SeedPart>,
}

type Rows<'c> = QueryResult<'c, 'static, BinaryProtocol>;

impl Stream<'_> {
    /// The only column of a statement's rows, into `set`.
    async fn ids(
        &self,
        conn: &mut Conn,
        text: &str,
        params: Vec<Value>,
        set: SeedSet,
    ) -> Result<(), HistoryError> {
        let (mut rows, mut ids) = (self.query(conn, text, params).await?, Vec::new());
        while let Some(row) = self.answer(rows.next()).await? {
            ids.extend(row.as_ref(0).and_then(id));
            self.members(set, &mut ids, PART_IDS).await?;
        }
        self.members(set, &mut ids, 1).await
    }

    /// A day's pull requests by outcome.
    async fn pull_requests(&self, conn: &mut Conn, params: Vec<Value>, day: Day) -> Result<(), HistoryError> {
        let mut sets = [SeedSet::Open(day), SeedSet::Merge(day), SeedSet::Close(day), SeedSet::Pending(day)]
            .map(|set| (set, Vec::new()));
        let mut rows = self.query(conn, DAY_PULL_REQUESTS, params).await?;
        while let Some(row) = self.answer(rows.next()).await? {
            let value = |place| row.as_ref(place).and_then(number);
            let (Some(outcome @ 1..=3), Some(id)) = (value(0), row.as_ref(1).and_then(id)) else { continue };
            let unsized_merge = outcome == 2 && value(2) == Some(0);
            for place in [Some(outcome as usize - 1), unsized_merge.then_some(3)].into_iter().flatten() {
                let (set, ids) = &mut sets[place];
                ids.push(id);
                self.members(*set, ids, PART_IDS).await?;
            }
        }
        for (set, mut ids) in sets {
            self.members(set, &mut ids, 1).await?;
        }
        Ok(())
    }

    async fn days(&self, conn: &mut Conn, params: Vec<Value>, open: &[Day]) -> Result<(), HistoryError> {
        let mut rows = self.query(conn, DAYS, params).await?;
        while let Some(row) = self.answer(rows.next()).await? {
            let value = |place| row.as_ref(place).and_then(number).unwrap_or(0);
            let counts = DayCounts { open: value(1), merge: value(2), close: value(3), dev: value(4) };
            if let Some(day) = row.as_ref(0).and_then(date).filter(|day| !open.contains(day)) {
                self.hand_over(SeedPart::Closed(day, counts)).await?;
            }
        }
        Ok(())
    }

    async fn sizes(&self, conn: &mut Conn, params: Vec<Value>) -> Result<(), HistoryError> {
        let mut rows = self.query(conn, SIZES, params).await?;
        while let Some(row) = self.answer(rows.next()).await? {
            let value = |place| row.as_ref(place).and_then(number).unwrap_or(0);
            self.hand_over(SeedPart::Sizes { additions: value(0), deletions: value(1) }).await?;
        }
        Ok(())
    }

    async fn query<'c>(
        &self,
        conn: &'c mut Conn,
        text: &str,
        params: Vec<Value>,
    ) -> Result<Rows<'c>, HistoryError> {
        self.answer(conn.exec_iter(sql(text), Params::Positional(params))).await
    }

    /// Waits for the server, within the limit.
    async fn answer<T>(
        &self,
        asked: impl Future<Output = mysql_async::Result<T>>,
    ) -> Result<T, HistoryError> {
        let address = self.connections.address();
        match timeout(self.limit, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if is_other_table(&error) => {
                Err(HistoryError::Table { problem: format!("cannot be counted from: {}", cause(error)) })
            }
            Ok(Err(error)) => Err(failure("be read for a seed", address, error)),
            Err(_) => {
                self.connections.kill_query(self.connection).await;
                Err(HistoryError::Endless { key: "that reads a seed", limit: self.limit })
            }
        }
    }

    /// Hands over the members of a set that have come together, if they are as many as that.
    async fn members(&self, set: SeedSet, ids: &mut Vec<u64>, from: usize) -> Result<(), HistoryError> {
        if ids.len() < from {
            return Ok(());
        }
        self.hand_over(SeedPart::Members(SeedChunk { set, ids: std::mem::take(ids) })).await
    }

    /// Waits while the other side is busy; the server then waits too.
    async fn hand_over(&self, part: SeedPart) -> Result<(), HistoryError> {
        let gone = |_| HistoryError::Failed { action: "hand over a seed", source: "nobody takes it".into() };
        self.parts.send(part).await.map_err(gone)
    }
}

/// An id; GitHub has no negative ones.
fn id(value: &Value) -> Option<u64> {
    match value {
        Value::Int(id) => u64::try_from(*id).ok(),
        Value::NULL => None,
        value => number(value),
    }
}
