// The server goes and comes again: the page says so, comes back by itself, and counts on.

export default {
  expected: [/WebSocket connection to/, /Failed to load resource/],

  async run({ page, live, ask, accessible, assert, shot }) {
    await live();
    await page.evaluate(() => {
      [window.said, window.attempts] = [[], 0];
      const connection = document.getElementById("connection");
      const text = document.getElementById("connection-text");
      new MutationObserver(() => window.said.push(text.textContent)).observe(text, { childList: true, characterData: true, subtree: true });
      new MutationObserver(() => (window.attempts += connection.dataset.trying === "true")).observe(connection, { attributeFilter: ["data-trying"] });
    });
    await ask("stop");
    await page.waitForFunction(() => document.body.dataset.state === "waiting");
    assert.match(await page.locator("#connection").textContent(), /lost/);
    assert.equal(await page.locator("#connection").getAttribute("role"), "status", "it is read out");
    const before = await page.locator("#today-event").textContent();
    assert.match(before, /\d/, "the last numbers stay");
    await shot("away");
    await accessible();
    await page.waitForFunction(() => window.attempts > 1);
    assert.deepEqual(await page.evaluate(() => window.said), ["Connection lost, trying again"], "said once, however often it tries");
    const asked = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    // Longer than the lists rest between two questions.
    await page.waitForTimeout(11_000);
    assert.deepEqual(asked.filter((path) => path.startsWith("/q/")), [], "a server that is away is not asked for its lists");
    await ask("start");
    await page.waitForFunction(() => document.body.dataset.state === "open");
    assert.equal(await page.locator("#connection").textContent().then((text) => text.trim()), "Connected");
    await page.waitForFunction((before) => {
      const read = (text) => Number(text.replaceAll(",", ""));
      return read(document.getElementById("today-event").textContent) > read(before);
    }, before);
    await shot("back");
  },
};
