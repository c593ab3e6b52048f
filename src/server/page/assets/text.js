// Text from outside: shown as text, whatever is in it. Names on GitHub are chosen by strangers.

/** Characters that show nothing or change what stands around them: controls, marks of direction, invisible ones. */
const HARMFUL = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;
const LONGEST = 140;

/** `text` without what could harm its neighbours, and no longer than a line is wide. */
export function clean(text, longest = LONGEST) {
  const short = String(text ?? "").slice(0, 4 * longest);
  const characters = Array.from(short.replace(HARMFUL, "\ufffd"));
  return characters.length > longest ? `${characters.slice(0, longest - 1).join("")}…` : characters.join("");
}

/** An element with `text` in it. */
export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Sets an element's text only where it changed: the browser lays out again otherwise. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

const whole = new Intl.NumberFormat("en-US");

/** A number with its thousands grouped. */
export function number(value) {
  return whole.format(value);
}

/** Seconds as people say them. */
export function duration(seconds) {
  if (seconds < 120) return `${Math.max(seconds, 0)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${number(Math.round(seconds / 86_400))} d`;
}
