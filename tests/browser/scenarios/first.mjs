// The first numbers are on the screen within a second of the page's first byte, and all of the page is small.

const LIMIT_MS = 1_000;
const LIMIT_BYTES = 150 * 1024;
/** The machine may be busy with something else: one of so many visits has to be in time. */
const VISITS = 5;

export default {
  context: { viewport: { width: 1920, height: 1080 }, colorScheme: "dark" },

  async run({ page, context, live, url, assert, shot }) {
    await page.addInitScript(() => {
      const look = () => {
        const shown = document.getElementById("today-event")?.textContent;
        if (/\d/.test(shown ?? "")) window.firstNumber ??= performance.now();
        else requestAnimationFrame(look);
      };
      look();
    });
    const network = await context.newCDPSession(page);
    await network.send("Network.enable");
    let bytes = 0;
    network.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
    const taken = [];
    for (let visit = 0; visit < VISITS && !(taken.at(-1) <= LIMIT_MS); visit += 1) {
      // From scratch each time.
      await network.send("Network.clearBrowserCache");
      bytes = 0;
      await page.goto("about:blank");
      await page.goto(url);
      await page.waitForFunction(() => window.firstNumber);
      taken.push(await page.evaluate(() => window.firstNumber - performance.getEntriesByType("navigation")[0].responseStart));
    }
    await page.waitForLoadState("networkidle").catch(() => {});
    console.log(`first numbers after ${taken.map(Math.round).join(", ")} ms; ${bytes} bytes`);
    assert.ok(taken.at(-1) <= LIMIT_MS, `${taken} ms`);
    assert.ok(bytes > 10_000 && bytes <= LIMIT_BYTES, `${bytes} bytes`);

    // Known files are not asked for again.
    await live();
    const before = bytes;
    await page.reload();
    await page.waitForFunction(() => window.firstNumber);
    assert.ok(bytes - before < 10_000, `${bytes - before} bytes for a second visit`);
    // There for the picture: the lists are refreshed every few seconds.
    await page.locator("#top-people li").nth(2).waitFor();
    await page.locator("#race li").nth(5).waitFor();
    await shot("wall");
  },
};
