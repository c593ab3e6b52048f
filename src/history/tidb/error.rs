//! What the server says, in the words of a history's errors.

use std::time::Duration;

use mysql_async::{DriverError, Error, IoError};

use crate::history::HistoryError;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Write conflict, schema changed (in two forms), deadlock, lock wait timeout.
/// <https://docs.pingcap.com/tidb/stable/error-codes/>
const BUSY: [u16; 5] = [9007, 8022, 8028, 1213, 1205];
/// Wrong password or host, no such database, no rights on database, table, column or routine.
const DENIED: [u16; 7] = [1045, 1698, 1049, 1044, 1142, 1143, 1227];
/// read_only or super_read_only is set, or tidb_restricted_read_only.
const READ_ONLY: [u16; 2] = [1290, 1836];
/// Shutting down, too many connections, killed, gone away; TiKV or PD away, region unavailable, TiKV busy.
const AWAY: [u16; 11] = [1053, 1040, 1927, 2006, 2013, 9001, 9002, 9003, 9005, 9010, 1317];
/// A value that does not fit: out of range, too long, not of that type, not a date, a check or another key that it
/// violates.
const MISFIT: [u16; 7] = [1264, 1406, 1366, 1292, 3819, 4025, 1062];
/// The table's own rules: no partition for the row (in two forms), no NULL, no default, data truncated, a value that a
/// function does not take, a division by zero, a foreign key, a trigger's own error, out of range in an expression; a
/// statement or transaction that is too large for the server, of which half may not be.
const UNFIT: [u16; 13] = [1526, 1748, 1048, 1364, 1265, 1411, 1365, 1452, 1644, 1690, 1153, 8004, 8025];
/// No such table, no such column.
const OTHER_TABLE: [u16; 2] = [1146, 1054];

/// The error of `action`, which the driver gave up with `error`.
pub fn failure(action: &'static str, address: &str, error: Error) -> HistoryError {
    let code = code(&error);
    let lost = is_lost(&error);
    let (address, source) = (address.to_owned(), cause(error));
    match code {
        Some(code) if BUSY.contains(&code) => HistoryError::Busy { action, source },
        Some(code) if DENIED.contains(&code) => HistoryError::Denied { address, source },
        Some(code) if UNFIT.contains(&code) => HistoryError::Unfit { action, source },
        Some(code) if READ_ONLY.contains(&code) => HistoryError::ReadOnly { address, source },
        _ if lost => HistoryError::Unavailable { address, source },
        _ => HistoryError::Failed { action, source },
    }
}

/// Whether it is the data of a row that was refused, so that trying again cannot help.
pub fn is_misfit(error: &Error) -> bool {
    code(error).is_some_and(|code| MISFIT.contains(&code))
}

/// Whether the table is not the one (any more) that was looked at.
pub fn is_other_table(error: &Error) -> bool {
    code(error).is_some_and(|code| OTHER_TABLE.contains(&code))
}

fn is_lost(error: &Error) -> bool {
    match error {
        Error::Io(_) => true,
        Error::Server(error) => AWAY.contains(&error.code),
        Error::Driver(error) => matches!(
            error,
            DriverError::ConnectionClosed
                | DriverError::PacketOutOfOrder
                | DriverError::UnexpectedPacket { .. }
                | DriverError::PoolDisconnected
        ),
        Error::Other(_) | Error::Url(_) => false,
    }
}

fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

/// The innermost error that says something of its own; the driver's wrappers repeat it.
pub fn cause(error: Error) -> Cause {
    match error {
        Error::Server(error) => error.into(),
        Error::Io(IoError::Io(error)) => error.into(),
        Error::Driver(error) => error.into(),
        // `Display` of the rest holds the text of its source.
        error => error.to_string().into(),
    }
}

/// The cause of what took too long.
pub fn elapsed(what: &str, limit: Duration) -> Cause {
    format!("{what} within {limit:?}").into()
}
