// The status strip: how the connection stands, where events come from, and how well they are seen.

import { clean, duration, number, setText } from "./text.js";

const SOURCES = { live: "live", replay: "replay", sample: "sample", none: "topic" };
const BANNERS = {
  sample: "Sample: invented events of invented people. GitHub is not being watched.",
  replay: "Replay: events of an archive, not of now.",
};

const fact = (name) => document.querySelector(`#fact-${name} dd`);

export class Strip {
  #connection = document.getElementById("connection");
  #text = document.getElementById("connection-text");
  #banner = document.getElementById("banner");
  #facts = Object.fromEntries(["source", "lag", "coverage", "backlog", "clients", "clock"].map((name) => [name, fact(name)]));
  #retryAt = 0;
  #stale = false;
  #said = "";

  constructor() {
    this.#tick();
    setInterval(() => this.#tick(), 1_000);
  }

  /** How the connection stands. */
  state({ name, retryAt }) {
    // While it tries again it is still away.
    const lost = name === "waiting" || (name === "connecting" && this.#retryAt > 0);
    this.#retryAt = name === "open" ? 0 : (retryAt ?? this.#retryAt);
    document.body.dataset.state = this.#connection.dataset.state = lost ? "waiting" : name;
    // Each attempt is seen; it is read out once that the connection is lost.
    this.#connection.dataset.trying = name === "connecting";
    this.#said = lost ? "Connection lost, trying again" : { open: "Connected", connecting: "Connecting" }[name];
    this.#tell();
  }

  /** Whether the counters are the last known ones only. */
  set stale(stale) {
    this.#stale = stale;
    this.#tell();
  }

  heartbeat({ source, state, lagSeconds, backlog, clients, coverage }) {
    const name = SOURCES[source] ?? clean(source, 20);
    setText(this.#facts.source, state && state !== name ? `${name}, ${clean(state, 30)}` : name);
    setText(this.#facts.lag, lagSeconds === null ? "–" : duration(lagSeconds));
    setText(this.#facts.coverage, typeof coverage?.captured === "number" ? `${coverage.captured} %` : "–");
    setText(this.#facts.backlog, backlog === null ? "–" : number(backlog));
    setText(this.#facts.clients, number(clients));
    setText(this.#banner, BANNERS[source] ?? "");
    this.#banner.hidden = !BANNERS[source];
  }

  #tell() {
    setText(this.#text, this.#stale && this.#said === "Connected" ? "Connected, counters are the last known ones" : this.#said);
  }

  #tick() {
    setText(this.#facts.clock, new Date().toISOString().slice(11, 19));
  }
}
