// The big numbers, counting up to what they have become.

import { onBeat } from "./beat.js";
import { number, setText } from "./text.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");

/** A number on the screen that runs after its value. */
class Counter {
  #target;
  #shown = null;
  #value = 0;

  constructor(id) {
    this.#target = document.getElementById(id);
  }

  set(value) {
    this.#value = value;
    // The first number stands there at once, and so does a smaller one: a new day.
    if (this.#shown === null || value < this.#shown || still.matches) this.#show(value);
  }

  /** Goes half of the way; false where it has arrived. */
  step() {
    const left = this.#value - this.#shown;
    if (left <= 0) return false;
    this.#show(this.#shown + Math.ceil(left / 2));
    return this.#shown < this.#value;
  }

  #show(value) {
    this.#shown = value;
    setText(this.#target, number(value));
  }
}

const TODAY = ["event", "open", "merge", "close", "dev"];
const SUMS = ["dev", "repo", "additions", "deletions"];

export class Numbers {
  #today = new Map(TODAY.map((name) => [name, new Counter(`today-${name}`)]));
  #sums = new Map(SUMS.map((name) => [name, new Counter(`sum-${name}`)]));
  #step = () => this.#next();

  /** Shows what `counts` say. */
  show(counts) {
    const today = counts.today();
    for (const [name, counter] of this.#today) counter.set(today[name]);
    for (const [name, counter] of this.#sums) counter.set(counts.data.sums[name] ?? 0);
    setText(document.getElementById("today-day"), dayName(counts.data.today));
    setText(document.getElementById("sums-year"), `in ${counts.data.year}`);
    onBeat(this.#step);
  }

  #next() {
    // Each of them takes its step, the last ones too.
    const going = [...this.#today.values(), ...this.#sums.values()].filter((counter) => counter.step());
    if (going.length) onBeat(this.#step);
  }
}

const format = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", timeZone: "UTC" });

/** `2026-11-21` as people say it. */
export function dayName(day) {
  return format.format(new Date(`${day}T00:00:00Z`));
}
