#!/usr/bin/env python3
"""Runs statements over archive files in a database: what `/q/…` must answer when the same events were shown.

    echo '["SELECT …"]' | python3 tests/oracle/day.py FILE...

Reads a list of statements, and prints the rows of each as objects. FILE is one event a line. Rows are made from the
events as the design describes the table github_events, not by the program. Needs nothing but Python 3.9.
"""

import json
import sqlite3
import sys

COLUMNS = (
    "id INTEGER, type TEXT, created_at TEXT, repo_id INTEGER, repo_name TEXT, actor_id INTEGER, actor_login TEXT,"
    " additions INTEGER, deletions INTEGER, action TEXT, pr_or_issue_id INTEGER, pr_merged BOOLEAN"
)


def main():
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    database.execute(f"CREATE TABLE github_events ({COLUMNS}, PRIMARY KEY (id, created_at))")
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            for line in file:
                row = row_of(json.loads(line))
                database.execute(f"INSERT OR IGNORE INTO github_events VALUES ({', '.join('?' * len(row))})", row)
    answers = [[dict(row) for row in database.execute(statement)] for statement in json.load(sys.stdin)]
    print(json.dumps(answers))


def row_of(event):
    payload = event["payload"]
    pull_request = payload.get("pull_request") or {}
    action, merged = payload.get("action"), pull_request.get("merged")
    if action == "merged":
        action, merged = "closed", True
    return (
        int(event["id"]),
        event["type"],
        event["created_at"].replace("T", " ").rstrip("Z"),
        event["repo"]["id"],
        event["repo"]["name"],
        event["actor"]["id"],
        event["actor"]["login"],
        pull_request.get("additions"),
        pull_request.get("deletions"),
        action,
        pull_request.get("id"),
        bool(merged) if action == "closed" else merged,
    )


if __name__ == "__main__":
    main()
