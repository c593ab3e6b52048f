// The busiest repositories and people of the last 24 hours, asked for now and then.

import { clean, element, number } from "./text.js";

const EVERY = 10_000;
/** Right after the start there is little to see, and it changes fast. */
const SOON = 2_500;
const NAME = /^[\w.-]{1,100}(\/[\w.-]{1,100})?$/;
const PARTS = [["opened", "opened_prs"], ["merged", "merged_prs"], ["closed", "closed_prs"]];

function entry(row, place, name, most, links) {
  const root = element("li");
  const isolated = element("bdi", "name");
  const label = element(links && NAME.test(name) ? "a" : "span", "", clean(name));
  if (label.localName === "a") {
    label.href = `https://github.com/${name}`;
    label.rel = "noopener noreferrer";
    label.target = "_blank";
  }
  isolated.append(label);
  const split = element("span", "split");
  split.setAttribute("aria-hidden", "true");
  let left = most - row.total_pr_events;
  for (const [kind, column] of PARTS) {
    if (!row[column]) continue;
    const part = element("i", kind);
    part.style.flexGrow = String(row[column]);
    split.append(part);
  }
  const rest = element("i");
  rest.style.flexGrow = String(left);
  split.append(rest);
  root.append(element("span", "rank", String(place + 1)), isolated, element("span", "total", number(row.total_pr_events)), split);
  return root;
}

class Ranking {
  #list;
  #query;
  #column;

  constructor(id, query, column) {
    this.#list = document.getElementById(id);
    this.#query = query;
    this.#column = column;
  }

  async refresh(links) {
    const response = await fetch(`q/${this.#query}`);
    if (!response.ok) return 0;
    const { data } = await response.json();
    const most = data[0]?.total_pr_events ?? 1;
    // A link that has the keyboard keeps it.
    if (!this.#list.contains(document.activeElement)) {
      this.#list.replaceChildren(...data.map((row, place) => entry(row, place, String(row[this.#column]), most, links)));
    }
    return data.length;
  }
}

export class Tops {
  #rankings = [
    new Ranking("top-repos", "live-time-top-repos-by-prs-daily", "repo_name"),
    new Ranking("top-people", "live-time-top-developers-by-prs-daily", "actor_login"),
  ];
  #timer = 0;
  links = false;

  /** Keeps them fresh from now on. */
  async start() {
    clearTimeout(this.#timer);
    let rows = 0;
    if (!document.hidden) {
      try {
        const counts = await Promise.all(this.#rankings.map((ranking) => ranking.refresh(this.links)));
        rows = Math.min(...counts);
      } catch {
        // The server is away: what was there stays, and the connection says so.
      }
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.start(), rows < 5 ? SOON : EVERY);
  }

  stop() {
    clearTimeout(this.#timer);
  }
}
