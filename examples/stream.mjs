// A client of pulsehub's stream for browsers: reconnects by itself, goes on where it was, keeps counts and languages.
//
//   import { follow } from './stream.mjs';
//   const stop = follow('ws://localhost:8080/stream', { types: ['PullRequestEvent'], snapshots: ['counts'] }, {
//     event: ({ cursor, data }) => …,
//     counts: (counts) => …,
//     gap: ({ lost }) => …,
//     connected: (yes) => …,
//   });

/** A server that says nothing for so long, in milliseconds, is gone: it sends a heartbeat every 5 s. */
const SILENCE = 15_000;
/** Milliseconds before the first attempt to connect again, and at most. */
const [FIRST_PAUSE, LONGEST_PAUSE] = [500, 15_000];

/**
 * Follows a stream until the function that it returns is called. `on` has a function for each type of message that is of
 * interest, and `counts`, `languages` for what these have become.
 */
export function follow(url, subscription, on) {
  const followed = {};
  let { since } = subscription;
  let pause = FIRST_PAUSE;
  let stopped = false;
  let socket, timer;

  function connect() {
    socket = new WebSocket(url);
    socket.onopen = () => {
      // Without `since` the first time: from now on.
      socket.send(JSON.stringify({ ...subscription, type: 'subscribe', since }));
      watch();
    };
    socket.onmessage = ({ data }) => {
      watch();
      take(JSON.parse(data));
    };
    socket.onclose = () => {
      clearTimeout(timer);
      if (stopped) return;
      on.connected?.(false);
      // Not all clients at the same moment.
      timer = setTimeout(connect, pause * (0.5 + Math.random() / 2));
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    };
  }

  function watch() {
    clearTimeout(timer);
    timer = setTimeout(() => socket.close(), SILENCE);
  }

  function take(message) {
    // Everything up to here was received, or was not asked for.
    if (message.cursor) since = message.cursor;
    if (message.type === 'subscribed') {
      pause = FIRST_PAUSE;
      on.connected?.(true);
    } else if (message.type === 'snapshot' || message.type === 'difference') {
      const known = (followed[message.of] = add(followed[message.of], message));
      on[message.of]?.(known.data);
    }
    on[message.type]?.(message);
  }

  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    socket.close();
  };
}

/** What is known of counts or languages after a snapshot or a difference. */
export function add(known, message) {
  const { type, of, seq, data } = message;
  if (type === 'snapshot') return { seq, data };
  if (message.from !== known?.seq) throw new Error(`a difference from ${message.from}, but ${known?.seq} is known`);
  if (of === 'languages') {
    const languages = sum(known.data.languages, data.languages);
    for (const name of Object.keys(languages)) if (languages[name] === 0) delete languages[name];
    return { seq, data: { ...known.data, languages } };
  }
  const zero = { event: 0, open: 0, merge: 0, close: 0, dev: 0 };
  const days = { ...known.data.days };
  for (const day of Object.keys(data.days)) days[day] = sum(days[day] ?? zero, data.days[day]);
  return { seq, data: { ...known.data, ...data, days, sums: sum(known.data.sums, data.sums) } };
}

function sum(numbers, changes) {
  // A language may be called `constructor`, or `__proto__`.
  const of = (map, name) => (Object.hasOwn(map, name) ? map[name] : 0);
  const names = new Set([...Object.keys(numbers), ...Object.keys(changes)]);
  return Object.fromEntries([...names].map((name) => [name, of(numbers, name) + of(changes, name)]));
}
