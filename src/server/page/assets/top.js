// The busiest repositories and people of the last 24 hours, asked for now and then.

import { clean, element, number, setText } from "./text.js";

const EVERY = 10_000;
/** In the first minute there may be little to see, and it changes fast. */
const SOON = 2_500;
const FIRST = 60_000;
/** Rows that a full list has. */
const ROWS = 5;
/** An answer that takes longer is given up. */
const PATIENCE = 10_000;
const NAME = /^[\w.-]{1,100}(\/[\w.-]{1,100})?$/;
const PARTS = [["opened", "opened_prs"], ["merged", "merged_prs"], ["closed", "closed_prs"]];

/** A row of a list. It stays when its place is taken by another name, and so does the focus in it. */
class Entry {
  root = element("li");
  #label = element("a");
  #total = element("span", "total");
  #parts = PARTS.map(([kind]) => element("i", kind));
  #rest = element("i");

  constructor(place) {
    const isolated = element("bdi", "name");
    isolated.append(this.#label);
    const split = element("span", "split");
    split.setAttribute("aria-hidden", "true");
    split.append(...this.#parts, this.#rest);
    this.root.append(element("span", "rank", String(place + 1)), isolated, this.#total, split);
  }

  show(row, name, most, links) {
    setText(this.#label, clean(name));
    if (links && NAME.test(name)) {
      this.#label.href = `https://github.com/${name}`;
      this.#label.rel = "noopener noreferrer";
      this.#label.target = "_blank";
    } else {
      this.#label.removeAttribute("href");
    }
    setText(this.#total, number(row.total_pr_events));
    PARTS.forEach(([, column], part) => {
      this.#parts[part].hidden = !row[column];
      this.#parts[part].style.flexGrow = String(row[column]);
    });
    this.#rest.style.flexGrow = String(most - row.total_pr_events);
  }
}

class Ranking {
  #list;
  #query;
  #column;
  #entries = [];

  constructor(id, query, column) {
    this.#list = document.getElementById(id);
    this.#query = query;
    this.#column = column;
  }

  /** Says how many rows there are; null where there was no answer, and what was there stays. */
  async refresh(links, signal) {
    try {
      const response = await fetch(`q/${this.#query}`, { signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]) });
      if (!response.ok) return null;
      const { data } = await response.json();
      this.#show(data, links);
      return data.length;
    } catch {
      // The server is away, and the connection says so, or it takes too long.
      return null;
    }
  }

  #show(data, links) {
    while (this.#entries.length > data.length) this.#entries.pop().root.remove();
    while (this.#entries.length < data.length) {
      const entry = new Entry(this.#entries.length);
      this.#entries.push(entry);
      this.#list.append(entry.root);
    }
    const most = data[0]?.total_pr_events ?? 1;
    data.forEach((row, place) => this.#entries[place].show(row, String(row[this.#column]), most, links));
  }
}

export class Tops {
  #rankings = [
    new Ranking("top-repos", "live-time-top-repos-by-prs-daily", "repo_name"),
    new Ranking("top-people", "live-time-top-developers-by-prs-daily", "actor_login"),
  ];
  #run = new AbortController();
  #timer = 0;
  links = false;

  /** Keeps them fresh from now on. */
  start() {
    this.stop();
    this.#run = new AbortController();
    this.#refresh(this.#run.signal, Date.now());
  }

  /** Asks no more, and takes no answer that is still on its way. */
  stop() {
    this.#run.abort();
    clearTimeout(this.#timer);
  }

  async #refresh(signal, began) {
    let rows = [];
    if (!document.hidden) rows = await Promise.all(this.#rankings.map((ranking) => ranking.refresh(this.links, signal)));
    if (signal.aborted) return;
    const few = rows.some((count) => count !== null && count < ROWS) && Date.now() - began < FIRST;
    this.#timer = setTimeout(() => this.#refresh(signal, began), few ? SOON : EVERY);
  }
}
