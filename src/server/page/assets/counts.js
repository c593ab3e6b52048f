// The counters and the languages as the stream keeps them: a snapshot, and what changed since.

/** What is known of one `of`; `data` is null before the first snapshot. */
class Kept {
  seq = null;
  data = null;

  /** Takes a snapshot or a difference; false where it does not continue what is known. */
  take(message) {
    if (message.type === "snapshot") {
      this.data = message.data;
    } else if (this.seq !== null && message.from === this.seq) {
      this.add(message.data);
    } else {
      return false;
    }
    this.seq = message.seq;
    return true;
  }

  /** Says that it is not known any more how to go on; false where that was said already. */
  lose() {
    const known = this.seq !== null;
    this.seq = null;
    return known;
  }
}

function addTo(numbers, changes) {
  for (const [name, change] of Object.entries(changes ?? {})) {
    const value = (Object.hasOwn(numbers, name) ? numbers[name] : 0) + change;
    // Not by assignment: strangers may call a language `__proto__`.
    Object.defineProperty(numbers, name, { value, configurable: true, enumerable: true, writable: true });
  }
}

export class Counts extends Kept {
  add({ days, sums, ...replaced }) {
    Object.assign(this.data, replaced);
    for (const [day, changes] of Object.entries(days ?? {})) addTo((this.data.days[day] ??= {}), changes);
    addTo(this.data.sums, sums);
  }

  /** Today's numbers, all of them. */
  today() {
    return { event: 0, open: 0, merge: 0, close: 0, dev: 0, ...this.data.days[this.data.today] };
  }
}

export class Languages extends Kept {
  add({ languages }) {
    addTo(this.data.languages, languages);
    for (const [name, count] of Object.entries(this.data.languages)) {
      if (count === 0) delete this.data.languages[name];
    }
  }

  /** Names and counts, the most first, ties by name. */
  ranked() {
    return Object.entries(this.data.languages).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  }
}
