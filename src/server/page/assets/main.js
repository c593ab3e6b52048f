// The page: what the stream says goes to the parts that show it.

import { Counts, Languages } from "./counts.js";
import { Feed } from "./feed.js";
import { Filters } from "./filters.js";
import { Numbers } from "./numbers.js";
import { Race } from "./race.js";
import { FIELDS } from "./row.js";
import { Stream } from "./stream.js";
import { Strip } from "./strip.js";
import { Tops } from "./top.js";
import { Version } from "./version.js";
import { Year } from "./year.js";

const counts = new Counts();
const languages = new Languages();
const strip = new Strip();
const numbers = new Numbers();
const feed = new Feed();
const race = new Race();
const year = new Year();
const tops = new Tops();
const version = new Version();

/** What the page asks for whatever the filters say. */
const BASE = { fields: FIELDS, snapshots: ["counts", "languages"] };
const stream = new Stream(BASE, { message, state });
const filters = new Filters(() => {
  outdated = true;
  subscribe();
});

/** What was asked for last. */
let asked = BASE;
/** Whether what stands in the feed was asked for by other filters. */
let outdated = false;

function subscribe() {
  asked = { ...BASE, ...filters.subscription() };
  stream.subscribe(asked);
}

function state(state) {
  strip.state(state);
  if (state.name !== "open") return tops.stop();
  tops.start();
  version.check();
}

const takers = {
  subscribed() {
    // Where the last filters were refused it may be about those before.
    if (stream.accepted !== asked) return;
    filters.refuse(null);
    // Only now: until here events of the former subscription came, and one that is refused changes nothing.
    if (outdated) feed.clear();
    outdated = false;
  },
  error({ error }) {
    // The stream begins anew where the server does not know its cursor, with the same filters.
    if (error.field === "since") feed.gap(null);
    else filters.refuse(error);
  },
  event: ({ data }) => feed.add(data),
  gap: ({ lost }) => feed.gap(lost),
  heartbeat(beat) {
    strip.heartbeat(beat);
    tops.links = feed.links = beat.source === "live" || beat.source === "replay";
  },
  snapshot: keep,
  difference: keep,
};

function keep(message) {
  const kept = message.of === "counts" ? counts : languages;
  // Where something is missing in between, subscribing again brings a snapshot.
  if (!kept.take(message)) return kept.lose() && stream.again();
  if (kept === languages) return race.show(languages);
  numbers.show(counts);
  year.show(counts);
  strip.stale = counts.data.stale === true;
}

function message(message) {
  if (Object.hasOwn(takers, message.type)) takers[message.type](message);
}

subscribe();
stream.connect();
