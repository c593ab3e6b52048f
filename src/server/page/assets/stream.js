// The connection to /stream: it subscribes, notices silence, comes back by itself and goes on where it was.

/** Heartbeats come every 5 s: after so many milliseconds without a word the other side is gone. */
const SILENCE = 15_000;
/** The first wait before connecting again, and the longest, in milliseconds. */
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

/**
 * Tells `listener.message(object)` what the server says and `listener.state(state)` how it stands:
 * `{name: "connecting" | "open" | "waiting", retryAt?}`.
 */
export class Stream {
  #listener;
  #subscription = {};
  #socket = null;
  #cursor = null;
  #wait = FIRST_WAIT;
  #timer = 0;
  #watch = 0;
  #number = 0;

  constructor(listener) {
    this.#listener = listener;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  /** Asks for something else from now on, on the same connection. Returns the number that an answer will have. */
  subscribe(subscription) {
    this.#subscription = subscription;
    this.#number += 1;
    this.#ask({});
    return String(this.#number);
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
      this.#ask(this.#cursor ? { since: this.#cursor } : {});
    };
    socket.onmessage = ({ data }) => this.#take(data);
    socket.onclose = () => socket === this.#socket && this.#retryLater();
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
      this.#listener.state({ name: "open" });
    }
    this.#listener.message(message);
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
    // Not all clients of a server at the same moment.
    const wait = this.#wait * (0.75 + Math.random() / 2);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    this.#listener.state({ name: "waiting", retryAt: Date.now() + wait });
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  /** Does not wait for the timer where something says that it is worth it. */
  #hurry() {
    if (this.#timer) this.connect();
  }
}
