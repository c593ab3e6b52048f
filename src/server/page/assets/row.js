// One event as a row of the feed. Rows are used again, so that an open page does not grow.

import { clean, element, number } from "./text.js";

/** What the feed asks of an event. */
export const FIELDS = [
  "event.type",
  "event.created_at",
  "event.repo.name",
  "event.actor.login",
  "event.payload.action",
  "event.payload.ref",
  "event.payload.ref_type",
  "event.payload.release.tag_name",
  "event.payload.issue.number",
  "event.payload.pull_request.number",
  "event.payload.pull_request.merged",
  "event.payload.pull_request.additions",
  "event.payload.pull_request.deletions",
  "event.payload.pull_request.base.repo.language",
];

const VERBS = new Map([
  ["PushEvent", "pushed"],
  ["WatchEvent", "starred"],
  ["ForkEvent", "forked"],
  ["CreateEvent", "created"],
  ["DeleteEvent", "deleted"],
  ["ReleaseEvent", "released"],
  ["IssueCommentEvent", "commented"],
  ["CommitCommentEvent", "commented"],
  ["PullRequestReviewEvent", "reviewed"],
  ["PullRequestReviewCommentEvent", "reviewed"],
  ["MemberEvent", "joined"],
  ["PublicEvent", "published"],
  ["GollumEvent", "wrote"],
]);

/** What stands for an outcome, as colours and the counters call it. */
const OUTCOMES = new Map([["opened", "opened"], ["merged", "merged"], ["closed", "closed"], ["reopened", "opened"]]);
/** Names as GitHub allows them: any other one is text and leads nowhere. */
const REPOSITORY = /^[\w.-]{1,100}\/[\w.-]{1,100}$/;

function verb(data) {
  const type = data["event.type"];
  const action = data["event.payload.action"];
  if (type === "PullRequestEvent") {
    return action === "closed" && data["event.payload.pull_request.merged"] === true ? "merged" : action;
  }
  if (type === "IssuesEvent") return "issue";
  return VERBS.get(type) ?? String(type ?? "").replace(/Event$/, "");
}

/** The last part of a branch's or tag's full name. */
const shortRef = (ref) => String(ref).replace(/^refs\/(heads|tags)\//, "");

function subject(data) {
  const number = data["event.payload.pull_request.number"] ?? data["event.payload.issue.number"];
  const done = data["event.type"] === "IssuesEvent" ? ` ${clean(data["event.payload.action"], 16)}` : "";
  if (Number.isSafeInteger(number)) return ` #${number}${done}`;
  const ref = data["event.payload.release.tag_name"] ?? data["event.payload.ref"];
  return typeof ref === "string" ? ` ${clean(shortRef(ref), 40)}` : "";
}

/** A row of the feed. */
export class Row {
  #time = element("time");
  #verb = element("span", "verb");
  #repo = element("a");
  #subject = element("span", "subject");
  #who = element("bdi", "who");
  #more = element("span", "more");
  root = element("li");

  constructor() {
    const what = element("span", "what");
    const isolated = element("bdi", "repo");
    isolated.append(this.#repo);
    what.append(isolated, this.#subject, this.#who);
    this.root.append(this.#time, this.#verb, what, this.#more);
  }

  /** Shows an event; real repositories lead to GitHub. */
  show(data, links) {
    const said = clean(verb(data), 24);
    const outcome = data["event.type"] === "PullRequestEvent" ? OUTCOMES.get(said) : undefined;
    this.root.className = outcome ? `row ${outcome}` : "row";
    const at = String(data["event.created_at"] ?? "");
    this.#time.textContent = clean(at.slice(11, 19), 8);
    this.#verb.textContent = said;
    const repo = String(data["event.repo.name"] ?? "");
    this.#repo.textContent = clean(repo);
    if (links && REPOSITORY.test(repo)) {
      this.#repo.href = `https://github.com/${repo}`;
      this.#repo.rel = "noopener noreferrer";
      this.#repo.target = "_blank";
    } else {
      this.#repo.removeAttribute("href");
    }
    this.#subject.textContent = subject(data);
    this.#who.textContent = clean(data["event.actor.login"], 40);
    this.#showMore(data);
  }

  /** Says that up to `lost` events are missing between its neighbours; null where nobody knows how many. */
  showGap(lost) {
    this.root.className = "row gap";
    this.#time.textContent = "";
    this.#verb.textContent = "missing";
    this.#repo.removeAttribute("href");
    // Counted before filters: they may have left out all of them.
    this.#repo.textContent = lost === null ? "events may be missing here" : `up to ${number(lost)} events are missing here`;
    this.#subject.textContent = this.#who.textContent = "";
    this.#more.replaceChildren();
  }

  /** While rows move, the keyboard passes them by. */
  reachable(yes) {
    this.#repo.tabIndex = yes ? 0 : -1;
  }

  #showMore(data) {
    const additions = data["event.payload.pull_request.additions"];
    const deletions = data["event.payload.pull_request.deletions"];
    const language = data["event.payload.pull_request.base.repo.language"];
    const parts = [];
    if (Number.isSafeInteger(additions)) parts.push(element("span", "plus", `+${number(additions)} `));
    if (Number.isSafeInteger(deletions)) parts.push(element("span", "minus", `−${number(deletions)} `));
    if (typeof language === "string") parts.push(element("bdi", "language", clean(language, 24)));
    this.#more.replaceChildren(...parts);
  }
}
