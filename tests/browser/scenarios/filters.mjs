// Filters change what is shown on the same connection, stand in the address, and say what is wrong with them.

const verbs = (page) => page.locator("#feed .verb").allTextContents();

export default {
  async run({ page, live, assert, shot, url }) {
    const sockets = [];
    page.on("websocket", (socket) => sockets.push(socket.url()));
    await live();
    await page.click("#filters-toggle");
    await page.getByRole("checkbox", { name: "Pull requests" }).check();
    await page.getByRole("checkbox", { name: "Merged" }).check();
    await page.waitForFunction(() => location.hash.includes("actions=merged"));
    // Those that were asked for before stand there until the server has answered.
    await page.waitForFunction(() => {
      const verbs = [...document.querySelectorAll("#feed .verb")].map((verb) => verb.textContent);
      return verbs.length > 3 && verbs.every((verb) => verb === "merged");
    });
    // Two beats: no other row may come behind them.
    await page.waitForTimeout(1_000);
    assert.deepEqual([...new Set(await verbs(page))], ["merged"]);
    assert.equal(await page.textContent("#filters-toggle"), "Filters (2)");

    const every = page.locator("[name=every]");
    await every.fill("0");
    await page.waitForFunction(() => document.getElementById("filters-error").textContent !== "");
    assert.equal(await every.getAttribute("aria-invalid"), "true");
    await shot("refused");
    const before = await page.locator("#today-event").textContent();
    await page.waitForFunction((before) => document.getElementById("today-event").textContent !== before, before);
    await every.fill("2");
    await page.waitForFunction(() => document.getElementById("filters-error").textContent === "");
    assert.equal(await every.getAttribute("aria-invalid"), null);

    await page.click("#pause");
    await page.getByRole("textbox", { name: "Languages" }).fill("No Such Language");
    await page.waitForFunction(() => location.hash.includes("languages="));
    await page.waitForFunction(() => document.querySelectorAll("#feed .row").length === 0);
    assert.ok(await page.locator("#feed-empty").isVisible());
    assert.match(await page.textContent("#feed-empty"), /^Paused/);
    assert.equal(await page.textContent("#feed-hint"), "paused, 0 new");
    await page.click("#pause");
    assert.match(await page.textContent("#feed-empty"), /^Waiting/);
    assert.equal(sockets.length, 1, "one connection for all of that");

    // Another screen that opens the address shows the same.
    const address = page.url();
    assert.ok(address.includes("languages=No+Such+Language"), address);
    await page.goto("about:blank");
    await page.goto(address.replace(/&languages=[^&]*/, ""));
    await page.waitForFunction(() => document.querySelectorAll("#feed .row").length > 1);
    assert.deepEqual([...new Set(await verbs(page))], ["merged"]);
    await page.click("#filters-toggle");
    await page.getByRole("button", { name: "Clear" }).click();
    await page.waitForFunction(() => document.querySelectorAll("#feed .verb").length > 5);
    await page.waitForFunction(() => new Set([...document.querySelectorAll("#feed .verb")].map((verb) => verb.textContent)).size > 1);
    assert.equal(new URL(page.url()).hash, "");

    // Wrong ones in the address do not keep the numbers away.
    await page.goto("about:blank");
    await page.goto(`${url}#every=0`);
    await page.waitForFunction(() => /\d/.test(document.getElementById("today-event").textContent));
    await page.locator("#filters-error:not(:empty)").waitFor({ state: "visible" });
    assert.equal(await page.getAttribute("#filters-toggle", "aria-expanded"), "true");
    // What the form does not have does not hold, and leaves the address.
    await page.goto("about:blank");
    await page.goto(`${url}#types=NoSuchEvent&types=PushEvent&nothing=1`);
    await page.waitForFunction(() => document.querySelectorAll("#feed .row").length > 1);
    assert.equal(new URL(page.url()).hash, "#types=PushEvent");
    assert.deepEqual([...new Set(await verbs(page))], ["pushed"]);
  },
};
