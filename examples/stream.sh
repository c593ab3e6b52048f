#!/bin/sh
# Prints live events of pulsehub as lines of JSON: `stream.sh URL [COUNT]`, for example
# `stream.sh 'http://localhost:8080/stream?types=PullRequestEvent&fields=event.repo.name,event.actor.login'`.
#
# Nothing but curl is needed. It reconnects by itself and goes on where it was; where something is missing, the line of
# type `gap` says so.
set -eu
url=$1 left=${2:-0}
# The id of the last event that was printed.
last=$(mktemp)
trap 'rm -f "$last" "$last.left"' EXIT
trap 'exit 130' INT TERM

# Prints data of events and gaps, and remembers each id; ends with 0 once there are enough.
print_events() {
    name='' id=''
    while IFS= read -r line; do
        case $line in
        'event: '*) name=${line#event: } ;;
        'id: '*) id=${line#id: } ;;
        'data: '*)
            case $name in event | gap) printf '%s\n' "${line#data: }" ;; esac
            [ -z "$id" ] || printf %s "$id" >"$last"
            if [ "$name" = event ] && [ "$left" -gt 0 ]; then
                left=$((left - 1))
                [ "$left" -gt 0 ] || return 0
                printf %s "$left" >"$last.left"
            fi
            name='' id=''
            ;;
        esac
    done
    return 1
}

while :; do
    # A server that says nothing for 15 s is gone: it sends a heartbeat every 5 s.
    if curl --silent --show-error --fail --no-buffer --speed-limit 1 --speed-time 15 \
        --header 'Accept: text/event-stream' --header "Last-Event-ID: $(cat "$last")" "$url" | print_events; then
        exit 0
    fi
    [ ! -e "$last.left" ] || left=$(cat "$last.left")
    sleep 1
done
