// A page left open for long: languages leave the race and come again, lists go on under a click, and the year turns.

/** Points of the chart in the colour of what was opened. */
const columns = (page) => page.evaluate(() => {
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--opened");
  const wanted = colour.match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  const canvas = document.querySelector("#year canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4) found += wanted.every((part, of) => data[at + of] === part);
  return found;
});

export default {
  async run({ page, url, ask, assert, shot }) {
    await page.goto(url);
    await page.waitForFunction(() => document.body.dataset.state === "open");
    await ask("begin");
    const lanes = (count) => page.waitForFunction((count) => document.querySelectorAll("#race li").length === count, count);
    await lanes(1);
    assert.equal(await page.textContent("#race-hint"), "pull request events of the last 60 s");
    await page.waitForFunction(() => document.getElementById("year-day").max === "1");
    await page.focus("#year-day");
    await page.keyboard.press("ArrowLeft");
    assert.match(await page.getAttribute("#year-day", "aria-valuetext"), /^30 December: 1 opened/);

    const first = page.locator("#top-repos a[href]").first();
    assert.equal(await first.textContent(), "owner/repo1");
    await first.focus();
    await ask("nothing for five minutes");
    await lanes(0);
    assert.ok(await page.locator("#race-empty").isVisible());
    await ask("go on");
    await lanes(1);
    assert.equal(await page.textContent("#race li .count"), "3");
    await page.waitForFunction(() => document.querySelector("#top-repos a").textContent === "owner/busy");
    assert.ok(await first.evaluate((link) => link === document.activeElement), "the focus stays in its row");

    await ask("new year");
    await page.waitForFunction(() => document.getElementById("year").getAttribute("aria-label").includes("of 2027, 1 in all"));
    assert.match(await page.textContent("#year-output"), /^3 January: 1 opened, 0 merged, 0 closed, by 1 developer$/);
    assert.ok(await columns(page) > 0, "its column is in the picture");
    await shot();
  },
};
