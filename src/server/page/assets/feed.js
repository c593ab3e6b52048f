// The live feed: the newest rows on top, moved at each beat however many events come.

import { onBeat } from "./beat.js";
import { Row } from "./row.js";
import { number, setText } from "./text.js";

/** Rows on the screen, and events kept while it is paused. */
const ROWS = 48;

export class Feed {
  #list = document.getElementById("feed");
  #scroll = document.getElementById("feed-scroll");
  #hint = document.getElementById("feed-hint");
  #pause = document.getElementById("pause");
  #empty = document.getElementById("feed-empty");
  #rows = [];
  #waiting = [];
  /** Events since rows moved last. */
  #news = 0;
  #paused = false;
  #links = false;
  #move = () => this.#flush();

  constructor() {
    this.#pause.addEventListener("click", () => this.#setPaused(!this.#paused));
  }

  /** Whether repositories are GitHub's own: those of a sample lead nowhere. */
  set links(yes) {
    this.#links = yes;
  }

  /** An event came. */
  add(data) {
    this.#news += 1;
    this.#wait((row) => row.show(data, this.#links));
  }

  /** Up to `lost` events are missing here; null where nobody knows how many. It leaves with the rows around it. */
  gap(lost) {
    this.#wait((row) => row.showGap(lost));
  }

  /** Keeps what fills a row until rows move. */
  #wait(fill) {
    this.#waiting.push(fill);
    // Only the newest will be seen.
    if (this.#waiting.length > ROWS) this.#waiting.shift();
    onBeat(this.#move);
  }

  /** Begins anew: what stands there was asked for by other filters. */
  clear() {
    this.#waiting = [];
    this.#rows.length = 0;
    this.#list.replaceChildren();
    this.#news = 0;
    this.#tell();
  }

  #tell() {
    setText(this.#hint, this.#paused ? `paused, ${number(this.#news)} new` : "");
    setText(this.#empty, this.#paused ? "Paused: resume to see what comes." : "Waiting for the next event.");
  }

  #flush() {
    if (this.#paused) return this.#tell();
    this.#news = 0;
    const fills = this.#waiting;
    this.#waiting = [];
    for (const fill of fills) {
      const row = this.#rows.length < ROWS ? new Row() : this.#rows.pop();
      fill(row);
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
