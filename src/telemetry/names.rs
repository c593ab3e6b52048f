//! Every metric's name, kind and meaning. Labels come from closed sets only.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Events that a source read. Label `source`: `github`, `archive`, `sample`, `webhook`.
pub const POLLED: &str = "pulsehub_events_polled_total";
/// Events that dedup recognised.
pub const DUPLICATE: &str = "pulsehub_events_duplicate_total";
/// Events that the broker confirmed.
pub const PUBLISHED: &str = "pulsehub_events_published_total";
/// Events that workers applied and settled.
pub const APPLIED: &str = "pulsehub_events_applied_total";
/// Events that could not be processed. Label `reason`, see [`crate::event::Rejection::label`]; `state_refused` and
/// `history_refused` where an engine refused them in all attempts.
pub const DEAD_LETTERED: &str = "pulsehub_events_dead_lettered_total";
/// Events that an engine refused and that were handed to the retry topic, each time.
pub const RETRIED: &str = "pulsehub_events_retried_total";
/// Events of closed days that could not be counted for their day.
pub const LATE: &str = "pulsehub_late_events_total";
/// Events that changed nothing because their twin from another source was applied before them.
pub const TWINS: &str = "pulsehub_events_twin_total";
/// Webhook deliveries. Label `outcome`, see [`crate::delivery::Answer::label`], and [`crate::delivery::Unread::label`] of those
/// whose body was not read to its end.
pub const WEBHOOKS: &str = "pulsehub_webhook_deliveries_total";
/// Webhook deliveries that were taken and of which no event was made. Label `reason`, see
/// [`crate::delivery::Ignored::label`].
pub const WEBHOOKS_IGNORED: &str = "pulsehub_webhook_deliveries_ignored_total";
/// Bytes of webhook events that wait on this disk for the broker.
pub const WEBHOOK_SPOOL: &str = "pulsehub_webhook_spool_bytes";
/// Seconds between an event's `created_at` and its application, of the newest batch.
pub const LAG: &str = "pulsehub_event_lag_seconds";
/// Published messages that are not settled.
pub const BACKLOG: &str = "pulsehub_backlog_messages";
/// Seconds that applying one batch took, its durability included.
pub const APPLY_SECONDS: &str = "pulsehub_apply_duration_seconds";
/// Connected clients, those with Server-Sent Events too. Label `endpoint`.
pub const CLIENTS: &str = "pulsehub_clients";
/// WebSocket clients that are gone; Server-Sent Events end without a reason. Label `reason`, see [`crate::server::End::label`].
pub const CLOSED: &str = "pulsehub_clients_closed_total";
/// Open connections to the listeners, WebSockets included.
pub const CONNECTIONS: &str = "pulsehub_connections";
/// Connections that were refused. Label `reason`: `total`, `address`.
pub const CONNECTIONS_REFUSED: &str = "pulsehub_connections_refused_total";
/// Messages sent to clients. Label `endpoint`.
pub const SENT: &str = "pulsehub_messages_sent_total";
/// Messages that a client was too slow for. Label `endpoint`.
pub const DROPPED: &str = "pulsehub_messages_dropped_total";
/// Requests to GitHub. Label `outcome`.
pub const GITHUB_REQUESTS: &str = "pulsehub_github_requests_total";
/// Requests that GitHub still allows in this window.
pub const GITHUB_REMAINING: &str = "pulsehub_github_quota_remaining_requests";
/// Identities that GitHub is asked as. Label `state`: `able`, or `aside` where it refuses one or shows it nothing new.
pub const GITHUB_IDENTITIES: &str = "pulsehub_github_identities";
/// Events that lacked size or language of their pull request and were asked for. Label `result`: `complete`, `gone` where
/// GitHub has nothing, `later` where they went on without and come again, `abandoned` where that was the last time.
pub const ENRICHED: &str = "pulsehub_events_enriched_total";
/// Seconds that events waited for what they lacked.
pub const ENRICH_SECONDS: &str = "pulsehub_enrich_duration_seconds";
/// Queries to GitHub's GraphQL API. Label `outcome`.
pub const GRAPHQL_REQUESTS: &str = "pulsehub_github_graphql_requests_total";
/// Points of the GraphQL quota that were spent.
pub const GRAPHQL_POINTS: &str = "pulsehub_github_graphql_points_total";
/// Points that are left of it in this window.
pub const GRAPHQL_REMAINING: &str = "pulsehub_github_graphql_quota_remaining_points";
/// Damaged records of the embedded log that were skipped.
pub const LOG_DAMAGED_RECORDS: &str = "pulsehub_log_damaged_records_total";
/// Bytes cut off the embedded log's torn tail at a start.
pub const LOG_TRUNCATED_BYTES: &str = "pulsehub_log_truncated_bytes_total";
/// Bytes that are free on the disk of `storage.path`, as of the last write there.
pub const STORAGE_FREE: &str = "pulsehub_storage_free_bytes";
/// Messages of the live topic that are no events: somebody else publishes there.
pub const LIVE_UNREADABLE: &str = "pulsehub_live_messages_unreadable_total";
/// Messages that the live topic did not confirm in time: their events were counted, and perhaps not shown.
pub const LIVE_UNCONFIRMED: &str = "pulsehub_live_messages_unconfirmed_total";
/// Connections to the broker that were lost or given up, and made again. Label `side`: `producer`, `consumer`,
/// `reader`.
pub const RECONNECTS: &str = "pulsehub_broker_reconnects_total";
/// Times that the broker had a backlog and delivered nothing for half a minute.
pub const STALLS: &str = "pulsehub_broker_stalls_total";

/// Rows that the history's table could not hold.
pub const HISTORY_REFUSED: &str = "pulsehub_history_rows_refused_total";
/// Rows written to history.
pub const HISTORY_WRITTEN: &str = "pulsehub_history_rows_written_total";

/// Events written to the archive.
pub const ARCHIVE_WRITTEN: &str = "pulsehub_archive_events_written_total";
/// Events that were published and could not be written to the archive.
pub const ARCHIVE_LOST: &str = "pulsehub_archive_events_lost_total";

/// Estimated share of GitHub's feed that is seen, 0 to 1; NaN where it cannot be told. Label `type`: a known event type,
/// `other`, or `all`.
pub const COVERAGE_CAPTURED: &str = "pulsehub_coverage_captured_ratio";
/// Share of the focus repositories' own feeds that the public feed showed.
pub const COVERAGE_FOCUS: &str = "pulsehub_coverage_focus_captured_ratio";
/// Share of a poll that the one before it had shown, of late. Label `page`.
pub const COVERAGE_OVERLAP: &str = "pulsehub_coverage_overlap_ratio";
/// Polls of the last twenty minutes. Label `page`.
pub const COVERAGE_POLLS: &str = "pulsehub_coverage_polls";
/// Those of them that had nothing in common with the one before. Label `page`.
pub const COVERAGE_GAPS: &str = "pulsehub_coverage_gap_polls";
/// Seconds from `created_at` to the first sight. Label `quantile`: `0.5`, `0.99`.
pub const COVERAGE_LAG: &str = "pulsehub_coverage_lag_seconds";
/// Share of the pull request events without details that got them, of late.
pub const COVERAGE_ENRICHED: &str = "pulsehub_coverage_enriched_ratio";
/// Seconds since an event type was seen last while others were. Label `type`.
pub const COVERAGE_QUIET: &str = "pulsehub_coverage_quiet_seconds";

/// Gives every metric its help text and makes the counters without labels appear before they first count.
pub fn describe() {
    let counters = [
        (POLLED, "Events that a source read."),
        (DUPLICATE, "Events that dedup recognised."),
        (PUBLISHED, "Events that the broker confirmed."),
        (APPLIED, "Events that workers applied and settled."),
        (DEAD_LETTERED, "Events that could not be processed."),
        (LIVE_UNREADABLE, "Messages of the live topic that are no events."),
        (LIVE_UNCONFIRMED, "Messages of counted events that the live topic did not confirm in time."),
        (RETRIED, "Events that an engine refused and that are tried again later."),
        (TWINS, "Events that changed nothing because their twin from another source came first."),
        (WEBHOOKS, "Webhook deliveries by what became of them."),
        (WEBHOOKS_IGNORED, "Webhook deliveries of which no event was made, by reason."),
        (LATE, "Events of closed days that could not be counted for their day."),
        (SENT, "Messages sent to WebSocket clients."),
        (CLOSED, "WebSocket clients that are gone, by reason."),
        (CONNECTIONS_REFUSED, "Connections that were refused, by reason."),
        (DROPPED, "Messages that a WebSocket client was too slow for."),
        (GITHUB_REQUESTS, "Requests to GitHub."),
        (ENRICHED, "Events that were asked for what they lack of their pull request."),
        (GRAPHQL_REQUESTS, "Queries to GitHub's GraphQL API."),
        (GRAPHQL_POINTS, "Points of the GraphQL quota that were spent."),
        (LOG_DAMAGED_RECORDS, "Damaged records of the embedded log that were skipped."),
        (HISTORY_REFUSED, "Rows that the history's table could not hold."),
        (HISTORY_WRITTEN, "Rows written to history."),
        (LOG_TRUNCATED_BYTES, "Bytes cut off the embedded log's torn tail at a start."),
        (RECONNECTS, "Connections to the broker that were lost or given up, and made again."),
        (ARCHIVE_WRITTEN, "Events written to the archive."),
        (ARCHIVE_LOST, "Published events that could not be written to the archive."),
        (STALLS, "Times that the broker had a backlog and delivered nothing."),
    ];
    for (name, help) in counters {
        describe_counter!(name, Unit::Count, help);
    }
    describe_gauge!(LAG, Unit::Seconds, "Age of the newest applied event when it was applied.");
    describe_gauge!(BACKLOG, Unit::Count, "Published messages that are not settled.");
    describe_gauge!(STORAGE_FREE, Unit::Bytes, "Free on the disk of storage.path, as of the last write.");
    describe_gauge!(WEBHOOK_SPOOL, Unit::Bytes, "Webhook events that wait on this disk for the broker.");
    describe_gauge!(CONNECTIONS, Unit::Count, "Open connections, WebSockets included.");
    describe_gauge!(CLIENTS, Unit::Count, "Connected clients of the WebSockets and of Server-Sent Events.");
    describe_gauge!(GITHUB_REMAINING, Unit::Count, "Requests that GitHub still allows in this window.");
    describe_gauge!(COVERAGE_CAPTURED, "Estimated share of GitHub's feed that is seen.");
    describe_gauge!(COVERAGE_FOCUS, "Share of the focus feeds that the public feed showed.");
    describe_gauge!(COVERAGE_OVERLAP, "Share of a poll that the one before it had shown.");
    describe_gauge!(COVERAGE_POLLS, Unit::Count, "Polls of the last twenty minutes.");
    describe_gauge!(COVERAGE_GAPS, Unit::Count, "Polls of the last twenty minutes without overlap.");
    describe_gauge!(COVERAGE_LAG, Unit::Seconds, "Time from created_at to the first sight.");
    describe_gauge!(COVERAGE_ENRICHED, "Share of the pull request events without details that got them.");
    describe_gauge!(COVERAGE_QUIET, Unit::Seconds, "Time since a type was seen while others were.");
    describe_gauge!(GITHUB_IDENTITIES, Unit::Count, "Identities that GitHub is asked as.");
    describe_gauge!(GRAPHQL_REMAINING, Unit::Count, "Points that are left of GitHub's GraphQL quota.");
    describe_histogram!(ENRICH_SECONDS, Unit::Seconds, "Time that events waited for what they lack.");
    describe_histogram!(APPLY_SECONDS, Unit::Seconds, "Time to apply one batch, durability included.");
    for name in [
        DUPLICATE,
        PUBLISHED,
        APPLIED,
        RETRIED,
        LIVE_UNREADABLE,
        LIVE_UNCONFIRMED,
        LATE,
        TWINS,
        LOG_DAMAGED_RECORDS,
        LOG_TRUNCATED_BYTES,
        HISTORY_REFUSED,
        HISTORY_WRITTEN,
        ARCHIVE_WRITTEN,
        ARCHIVE_LOST,
        STALLS,
        GRAPHQL_POINTS,
    ] {
        metrics::counter!(name).increment(0);
    }
    for side in ["producer", "consumer", "reader"] {
        metrics::counter!(RECONNECTS, "side" => side).increment(0);
    }
    let unread = crate::delivery::Unread::ALL.map(crate::delivery::Unread::label);
    for outcome in crate::delivery::Answer::LABELS.into_iter().chain(unread) {
        metrics::counter!(WEBHOOKS, "outcome" => outcome).increment(0);
    }
    for reason in crate::delivery::Ignored::ALL {
        metrics::counter!(WEBHOOKS_IGNORED, "reason" => reason.label()).increment(0);
    }
    metrics::gauge!(WEBHOOK_SPOOL).set(0.0);
    for source in ["github", "archive", "sample", "webhook"] {
        metrics::counter!(POLLED, "source" => source).increment(0);
    }
    for rejection in crate::event::Rejection::ALL {
        metrics::counter!(DEAD_LETTERED, "reason" => rejection.label()).increment(0);
    }
    for refused in ["state_refused", "history_refused"] {
        metrics::counter!(DEAD_LETTERED, "reason" => refused).increment(0);
    }
    for endpoint in ["sampling", "language_latest", "language_watch", "stream", "stream_events"] {
        metrics::gauge!(CLIENTS, "endpoint" => endpoint).set(0.0);
        metrics::counter!(SENT, "endpoint" => endpoint).increment(0);
        metrics::counter!(DROPPED, "endpoint" => endpoint).increment(0);
    }
    for reason in crate::server::End::LABELS {
        metrics::counter!(CLOSED, "reason" => reason).increment(0);
    }
    for reason in ["total", "address"] {
        metrics::counter!(CONNECTIONS_REFUSED, "reason" => reason).increment(0);
    }
    metrics::gauge!(CONNECTIONS).set(0.0);
    for outcome in ["page", "not_modified", "rate_limited", "server_error", "timeout", "transport"] {
        metrics::counter!(GITHUB_REQUESTS, "outcome" => outcome).increment(0);
    }
    for result in ["complete", "gone", "later", "abandoned"] {
        metrics::counter!(ENRICHED, "result" => result).increment(0);
    }
    for outcome in ["answered", "rate_limited", "server_error", "timeout", "transport"] {
        metrics::counter!(GRAPHQL_REQUESTS, "outcome" => outcome).increment(0);
    }
    for state in ["able", "aside"] {
        metrics::gauge!(GITHUB_IDENTITIES, "state" => state).set(0.0);
    }
    metrics::gauge!(GRAPHQL_REMAINING).set(f64::NAN);
    // Not known before GitHub's first answer; 0 would mean that the quota is used up.
    metrics::gauge!(GITHUB_REMAINING).set(f64::NAN);
    metrics::gauge!(LAG).set(0.0);
    metrics::gauge!(BACKLOG).set(0.0);
}
