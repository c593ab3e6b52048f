// Names with markup, marks of direction, control characters and 100 KB of text are text, and nothing around them moves.

export default {
  async run({ page, url, ask, assert, shot }) {
    await page.goto(url);
    await page.waitForFunction(() => document.body.dataset.state === "open");
    const names = JSON.parse(await ask("pour"));
    await page.waitForFunction((count) => document.querySelectorAll("#feed .row").length >= count, names.length);
    const shown = await page.locator("#feed .repo").allTextContents();
    assert.ok(shown.some((name) => name.includes("<script>")), shown);
    assert.ok(shown.some((name) => name.includes("<img src=x onerror=")), shown);
    for (const name of shown) {
      assert.ok(name.length <= 140, `${name.length} characters`);
      assert.doesNotMatch(name, /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/);
    }
    // What was written by the page itself, and nothing else.
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    assert.equal(await page.locator("main script, main img, main iframe, main b, main style").count(), 0);
    const links = await page.locator("#feed a[href]").evaluateAll((links) => links.map((link) => link.href));
    assert.ok(links.every((link) => /^https:\/\/github\.com\/[\w.-]+\/[\w.-]+$/.test(link)), links);
    const rows = await page.locator("#feed .row").evaluateAll((rows) => rows.map((row) => [row.offsetHeight, row.offsetWidth, row.parentElement.offsetWidth]));
    assert.ok(rows.every(([height, width, room]) => height < 60 && width <= room), rows);
    await page.waitForFunction(() => document.querySelectorAll("#top-repos li").length > 2);
    assert.equal(await page.locator("#top-repos script, #top-people script, #race script, #race b").count(), 0);
    // Languages and events that are called as what every object has.
    await page.waitForFunction(() => document.querySelectorAll("#race li").length === 4);
    const lanes = await page.locator("#race li").evaluateAll((lanes) => lanes.map((lane) => [lane.querySelector(".name").textContent, lane.querySelector(".count").textContent]));
    for (const name of ["constructor", "__proto__"]) assert.ok(lanes.some(([lane, count]) => lane === name && count === "1"), lanes);
    assert.ok(lanes.some(([lane]) => lane.includes("<b>")), lanes);
    assert.ok((await page.locator("#feed .verb").allTextContents()).includes("constructor"));
    // All of them count, whatever they are called.
    await page.waitForFunction((count) => document.getElementById("today-open").textContent === String(count), names.length + 1);
    assert.match(await page.textContent("#year-output"), new RegExp(`^15 June: ${names.length + 1} opened`), "one today on the page");
    await shot();
  },
};
