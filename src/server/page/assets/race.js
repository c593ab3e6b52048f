// The language race: who leads in the language window, overtaking to be seen.

import { clean, duration, element, number, setText } from "./text.js";

const LANES = 12;
/** How often lanes change, in milliseconds: calmer to look at, and each move is painted again and again. */
const PACE = 5_000;
const MOVE = { duration: 400, easing: "ease-out" };
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** The colours that GitHub gives languages; any other one gets a hue of its own. */
const COLOURS = {
  Python: "#3572a5", TypeScript: "#3178c6", JavaScript: "#d9b400", Java: "#b07219", Go: "#00add8", "C++": "#f34b7d",
  Rust: "#d08770", "C#": "#2f9e2f", PHP: "#6c77c0", C: "#7a7a7a", Shell: "#79c943", Ruby: "#b3202c", Kotlin: "#a97bff",
  Swift: "#f05138", HTML: "#e34c26", CSS: "#8a5cc0", Dart: "#00b4ab", Scala: "#c22d40", Vue: "#41b883", Nix: "#7e7eff",
  Lua: "#5151c0", Elixir: "#8e6aa8", Haskell: "#7a6cae", "Jupyter Notebook": "#da5b0b",
};

function colour(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return Object.hasOwn(COLOURS, name) ? COLOURS[name] : `hsl(${hash % 360} 45% 52%)`;
}

class Lane {
  root = element("li");
  #bar = element("span", "bar");
  #count = element("span", "count");
  #share = null;

  constructor(name) {
    const track = element("span", "track");
    track.setAttribute("aria-hidden", "true");
    this.#bar.style.setProperty("--hue", colour(name));
    track.append(this.#bar);
    this.root.append(element("bdi", "name", clean(name, 30)), track, this.#count);
  }

  show(count, share) {
    setText(this.#count, number(count));
    if (share === this.#share) return;
    this.#share = share;
    this.#bar.style.transform = `scaleX(${share.toFixed(4)})`;
  }
}

export class Race {
  #list = document.getElementById("race");
  #hint = document.getElementById("race-hint");
  #lanes = new Map();
  #order = [];
  #timer = 0;

  show(languages) {
    if (this.#timer) return;
    this.#draw(languages);
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#draw(languages);
    }, PACE);
  }

  #draw(languages) {
    const ranked = languages.ranked().slice(0, LANES);
    const most = ranked[0]?.[1] ?? 1;
    const names = ranked.map(([name]) => name);
    for (const name of this.#order) if (!names.includes(name)) this.#leave(name);
    for (const [name, count] of ranked) {
      if (!this.#lanes.has(name)) this.#lanes.set(name, new Lane(name));
      this.#lanes.get(name).show(count, count / most);
    }
    const same = names.length === this.#order.length && names.every((name, place) => this.#order[place] === name);
    if (!same) this.#reorder(names);
    const { windowSeconds } = languages.data;
    setText(this.#hint, `pull request events of the last ${windowSeconds === 3_600 ? "hour" : duration(windowSeconds)}`);
  }

  #leave(name) {
    this.#lanes.get(name).root.remove();
    this.#lanes.delete(name);
  }

  /** The list is in the order of the race, for those who hear it; those who see it see the overtaking. */
  #reorder(names) {
    const roots = names.map((name) => this.#lanes.get(name).root);
    const before = new Map(this.#order.map((name, place) => [name, place]));
    this.#order = names;
    if (!names.length) return;
    roots.forEach((root, place) => {
      if (this.#list.children[place] !== root) this.#list.insertBefore(root, this.#list.children[place] ?? null);
    });
    const height = roots[0].offsetHeight;
    names.forEach((name, place) => {
      const moved = (before.get(name) ?? LANES) - place;
      if (moved === 0 || still.matches) return;
      roots[place].animate([{ transform: `translateY(${moved * height}px)` }, { transform: "none" }], MOVE);
    });
  }
}
