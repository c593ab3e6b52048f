// The filters: a form, the same in the page's address, so that a wall can open it, and the subscription that they make.

const LISTS = ["repos", "orgs", "actors", "languages"];
const CHECKED = ["types", "actions"];
/** Typing is over after so many milliseconds. */
const TYPING = 400;

/** The items of a list as people write them. */
const items = (text) => text.split(/[,\s]+/).filter(Boolean);
/** Languages have blanks in their names. */
const names = (text) => text.split(",").map((name) => name.trim()).filter(Boolean);

export class Filters {
  #form = document.getElementById("filters");
  #toggle = document.getElementById("filters-toggle");
  #error = document.getElementById("filters-error");
  #changed;
  #timer = 0;
  #shown;

  /** Calls `changed` when the reader wants something else. */
  constructor(changed) {
    this.#changed = changed;
    this.#read();
    this.#shown = this.#written();
    this.#toggle.addEventListener("click", () => this.#open(this.#form.hidden));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#apply();
    });
    this.#form.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#apply(), TYPING);
    });
    // The form is empty only after the event.
    this.#form.addEventListener("reset", () => setTimeout(() => this.#apply()));
    addEventListener("hashchange", () => {
      if (location.hash.slice(1) === this.#written()) return;
      this.#read();
      this.#apply();
    });
    this.#count();
  }

  /** What the stream is asked for. */
  subscription() {
    const { elements } = this.#form;
    const asked = {};
    for (const name of CHECKED) asked[name] = this.#checked(name);
    for (const name of LISTS) asked[name] = (name === "languages" ? names : items)(elements[name].value);
    for (const name of CHECKED.concat(LISTS)) if (!asked[name].length) delete asked[name];
    if (elements.bots.value) asked.bots = elements.bots.value;
    if (elements.every.value) asked.every = Number(elements.every.value);
    if (elements.intervalMs.value) {
      asked.delivery = "latest";
      asked.intervalMs = Number(elements.intervalMs.value);
    }
    return asked;
  }

  /** Says what the stream did not understand, or with null that it did. */
  refuse(error) {
    // Who opened the page by its address has to see that it is wrong.
    if (error) this.#open(true);
    this.#error.textContent = error ? (error.message ?? "not understood") : "";
    for (const element of this.#form.elements) {
      if (error && element.name === error.field) element.setAttribute("aria-invalid", "true");
      else element.removeAttribute("aria-invalid");
    }
  }

  #open(open) {
    this.#form.hidden = !open;
    this.#toggle.setAttribute("aria-expanded", String(open));
  }

  #apply() {
    clearTimeout(this.#timer);
    const written = this.#written();
    if (written === this.#shown) return;
    this.#shown = written;
    this.#address();
    this.#count();
    this.#changed();
  }

  #checked(name) {
    return [...this.#form.querySelectorAll(`[name="${name}"]:checked`)].map((box) => box.value);
  }

  /** The form as the part of the address behind `#`. */
  #written() {
    const written = new URLSearchParams();
    for (const [name, value] of new FormData(this.#form)) if (value.trim()) written.append(name, value.trim());
    return written.toString();
  }

  /** What the form says, in the address. */
  #address() {
    const written = this.#written();
    history.replaceState(null, "", written ? `#${written}` : location.pathname + location.search);
  }

  /** Takes over the address as far as the form has it. What it does not have leaves the address: it does not hold. */
  #read() {
    const written = new URLSearchParams(location.hash.slice(1));
    for (const element of this.#form.elements) {
      if (element.type === "checkbox") element.checked = written.getAll(element.name).includes(element.value);
      else if (element.name) element.value = written.get(element.name) ?? "";
    }
    this.#address();
  }

  #count() {
    const set = new Set([...new URLSearchParams(this.#shown).keys()]).size;
    this.#toggle.textContent = set ? `Filters (${set})` : "Filters";
  }
}
