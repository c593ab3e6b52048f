// A page that was left open while the server was replaced takes over the one that is served now.

/** Reloads are spread over so many milliseconds: ten thousand walls come back at about the same time. */
const SPREAD = 60_000;
/** The folder with the version that this page was loaded from. */
const OWN = new URL(".", import.meta.url).pathname.split("/").slice(-3).join("/");

export class Version {
  #known = false;
  #timer = 0;

  /** To be called at each connection. The first one is that of a page which was loaded just now. */
  async check() {
    if (!this.#known) {
      this.#known = true;
      return;
    }
    try {
      const response = await fetch(location.pathname + location.search, { cache: "no-cache", signal: AbortSignal.timeout(10_000) });
      const page = await response.text();
      const other = response.ok && page.includes('"assets/') && !page.includes(OWN);
      if (other) this.#timer ||= setTimeout(() => location.reload(), Math.random() * SPREAD);
    } catch {
      // It is asked again at the next connection.
    }
  }
}
