// When the page moves: all of its parts together, for each time that it is painted costs more than what is painted.

/** Milliseconds between two beats: faster nobody reads. */
const BEAT = 500;

const waiting = new Set();
let timer = 0;

/** Calls `action` at the next beat, once however often it was asked for. */
export function onBeat(action) {
  waiting.add(action);
  timer ||= setTimeout(beat, BEAT);
}

function beat() {
  timer = 0;
  const actions = [...waiting];
  waiting.clear();
  for (const action of actions) action();
}
