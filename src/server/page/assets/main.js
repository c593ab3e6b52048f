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
import { Year } from "./year.js";

const counts = new Counts();
const languages = new Languages();
const strip = new Strip();
const numbers = new Numbers();
const feed = new Feed();
const race = new Race();
const year = new Year();
const tops = new Tops();
const stream = new Stream({ message, state });
const filters = new Filters(() => subscribe({ anew: true }));

/** What the page asks for whatever the filters say. */
const BASE = { fields: FIELDS, snapshots: ["counts", "languages"] };
/** The number of the last subscription: answers to former ones no longer matter. */
let asked = "0";
/** Whether this connection has a subscription. */
let subscribed = false;

/** Whether what stands in the feed was asked for by other filters. */
let outdated = false;

function subscribe({ anew }) {
  outdated ||= anew;
  asked = stream.subscribe({ ...BASE, ...filters.subscription() });
}

function state(state) {
  strip.state(state);
  if (state.name === "connecting") subscribed = false;
  if (state.name === "open") tops.start();
  else tops.stop();
}

const takers = {
  subscribed({ id }) {
    subscribed = true;
    if (id !== asked) return;
    filters.refuse(null);
    // Only now: until here events of the former subscription came, and one that is refused changes nothing.
    if (outdated) feed.clear();
    outdated = false;
  },
  error({ id, error }) {
    if (id !== undefined && id !== asked) return;
    filters.refuse(error);
    // Filters in the address may be wrong from the beginning: the numbers come all the same.
    if (!subscribed) stream.subscribe(BASE);
  },
  event: ({ data }) => feed.add(data),
  gap: ({ lost }) => feed.say(lost ? `${lost} events are missing here` : ""),
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
  if (!kept.take(message)) return kept.lose() && subscribe({ anew: false });
  if (kept === languages) return race.show(languages);
  numbers.show(counts);
  year.show(counts);
  strip.stale = counts.data.stale === true;
}

function message(message) {
  if (Object.hasOwn(takers, message.type)) takers[message.type](message);
}

subscribe({ anew: false });
stream.connect();
