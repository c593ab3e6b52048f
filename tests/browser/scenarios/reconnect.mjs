// The server goes and comes again: the page says so, comes back by itself, and counts on.

export default {
  expected: [/WebSocket connection to/, /Failed to load resource/],

  async run({ page, live, ask, assert, shot }) {
    await live();
    await ask("stop");
    await page.waitForFunction(() => document.body.dataset.state === "waiting");
    assert.match(await page.locator("#connection").textContent(), /lost|Reconnecting/);
    assert.equal(await page.locator("#connection").getAttribute("role"), "status", "it is read out");
    const before = await page.locator("#today-event").textContent();
    assert.match(before, /\d/, "the last numbers stay");
    await shot("away");
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
