//! What browsers meet: the page in a real Chromium, the queries beside the sockets, and the real front end's logic.

mod browser;
mod files;
mod front_end;
mod queries;
mod scenario;

/// 2016-01-02T06:00:00Z in milliseconds: of the recorded hours, those before 06:00 are older than a day by then.
const NEXT_MORNING: i64 = 1_451_714_400_000;
