// The connection to /stream: it subscribes, notices silence, comes back by itself and goes on where it was.

/** Heartbeats come every 5 s: after so many milliseconds without a word the other side is gone. */
const SILENCE = 15_000;
/**
 * Milliseconds before connecting again: at least, and at most at the first attempt and at later ones. Drawn between them,
 * so that ten thousand walls come back to a restarted server over some seconds.
 */
const SHORTEST_WAIT = 200;
const FIRST_WAIT = 3_000;
const LONGEST_WAIT = 15_000;

/**
 * Tells `listener.message(object)` what the server says and `listener.state(state)` how it stands:
 * `{name: "connecting" | "open" | "waiting", retryAt?}`.
 */
export class Stream {
  #listener;
  /** What is asked for where everything else is refused. */
  #least;
  /** What the server accepted last, */
  accepted;
  /** and what it is asked for. */
  #subscription;
  #socket = null;
  /** Whether this connection has a subscription. */
  #subscribed = false;
  /** Whether snapshots are waited for. */
  #renewing = false;
  #cursor = null;
  #wait = FIRST_WAIT;
  #timer = 0;
  #watch = 0;
  #number = 0;

  constructor(least, listener) {
    this.#least = this.accepted = this.#subscription = least;
    this.#listener = listener;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  /** Asks for something else from now on, on the same connection. Once it is `accepted`, events are those of it. */
  subscribe(subscription) {
    this.#subscription = subscription;
    this.#number += 1;
    this.#ask({});
  }

  /** Asks for the same once more, which brings snapshots. */
  again() {
    this.#renewing = true;
    this.subscribe(this.#subscription);
  }

  connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#listener.state({ name: "connecting" });
    const url = new URL("stream", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.hash = "";
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#listen();
    socket.onopen = () => {
      this.#listen();
      this.#subscribed = false;
      this.#goOn();
    };
    socket.onmessage = ({ data }) => this.#take(data);
    socket.onclose = () => socket === this.#socket && this.#retryLater();
  }

  /** Asks for what comes behind the last that was seen. */
  #goOn() {
    this.#ask(this.#cursor ? { since: this.#cursor } : {});
  }

  #ask(more) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    const message = { type: "subscribe", id: String(this.#number), ...this.#subscription, ...more };
    this.#socket.send(JSON.stringify(message));
  }

  #take(data) {
    this.#listen();
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message.cursor) this.#cursor = message.cursor;
    if (message.type === "subscribed") {
      this.#wait = FIRST_WAIT;
      const before = this.#subscribed;
      this.#subscribed = true;
      if (!before) this.#listener.state({ name: "open" });
    }
    // Only the last answer matters.
    if (message.id !== undefined && message.id !== String(this.#number)) return;
    if (message.type === "subscribed") {
      this.accepted = this.#subscription;
      this.#renewing = false;
    }
    this.#listener.message(message);
    if (message.type === "error") this.#refused(message.error);
  }

  /** What is refused changes nothing: what was accepted before holds, also at the next connection. */
  #refused(error) {
    if (error?.field === "since" && this.#cursor) {
      // The server's clock went back, or it is another one: what it has now counts.
      this.#cursor = null;
    } else if (this.#subscription !== this.accepted) {
      this.#subscription = this.accepted;
    } else if (this.#subscription !== this.#least) {
      this.#subscription = this.accepted = this.#least;
    } else {
      return;
    }
    if (this.#subscribed && !this.#renewing) return;
    this.#number += 1;
    if (this.#subscribed) this.#ask({});
    else this.#goOn();
  }

  /** Gives the other side time again. */
  #listen() {
    clearTimeout(this.#watch);
    const socket = this.#socket;
    this.#watch = setTimeout(() => {
      // A dead connection may take minutes to close: it is left behind.
      socket.onclose = socket.onmessage = socket.onopen = null;
      socket.close();
      this.#retryLater();
    }, SILENCE);
  }

  #retryLater() {
    clearTimeout(this.#watch);
    this.#socket = null;
    const wait = SHORTEST_WAIT + Math.random() * (this.#wait - SHORTEST_WAIT);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    this.#listener.state({ name: "waiting", retryAt: Date.now() + wait });
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  /** Does not wait for the timer where something says that it is worth it. */
  #hurry() {
    if (this.#timer) this.connect();
  }
}
