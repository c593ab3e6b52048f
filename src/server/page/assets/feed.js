// The live feed: the newest rows on top, moved a few times a second however many events come.

import { Row } from "./row.js";
import { setText } from "./text.js";

/** Rows on the screen, and events kept while it is paused. */
const ROWS = 48;
/** How often rows move, in milliseconds: faster nobody reads. */
const PACE = 500;

export class Feed {
  #list = document.getElementById("feed");
  #scroll = document.getElementById("feed-scroll");
  #hint = document.getElementById("feed-hint");
  #pause = document.getElementById("pause");
  #rows = [];
  #waiting = [];
  #timer = 0;
  #missed = 0;
  #paused = false;
  #links = false;

  constructor() {
    this.#pause.addEventListener("click", () => this.#setPaused(!this.#paused));
  }

  /** Whether repositories are GitHub's own: those of a sample lead nowhere. */
  set links(yes) {
    this.#links = yes;
  }

  /** An event came. */
  add(data) {
    this.#waiting.push(data);
    // Only the newest will be seen.
    if (this.#waiting.length > ROWS) {
      this.#waiting.shift();
      this.#missed += 1;
    }
    this.#timer ||= setTimeout(() => this.#flush(), PACE);
  }

  /** Begins anew: what stands there was asked for by other filters. */
  clear() {
    this.#waiting = [];
    this.#rows.length = 0;
    this.#list.replaceChildren();
    this.#missed = 0;
  }

  /** Says what the reader should know of what stands below. */
  say(text) {
    this.said = text;
    this.#tell();
  }

  #tell() {
    const waiting = this.#waiting.length + this.#missed;
    setText(this.#hint, this.#paused ? `paused, ${waiting} new` : (this.said ?? ""));
  }

  #flush() {
    this.#timer = 0;
    if (this.#paused) return this.#tell();
    this.#missed = 0;
    const events = this.#waiting;
    this.#waiting = [];
    for (const data of events) {
      const row = this.#rows.length < ROWS ? new Row() : this.#rows.pop();
      row.show(data, this.#links);
      row.reachable(false);
      this.#rows.unshift(row);
      this.#list.prepend(row.root);
    }
  }

  #setPaused(paused) {
    this.#paused = paused;
    this.#pause.setAttribute("aria-pressed", String(paused));
    setText(this.#pause, paused ? "Resume" : "Pause");
    for (const row of this.#rows) row.reachable(paused);
    if (!paused) {
      this.#scroll.scrollTop = 0;
      this.#flush();
    }
    this.#tell();
  }
}
