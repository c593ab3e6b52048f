// On a phone everything is in one column, nothing has to be scrolled sideways, and nothing moves for those who don't like it.

export default {
  context: { viewport: { width: 360, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, reducedMotion: "reduce" },

  async run({ page, live, accessible, assert, shot }) {
    await live();
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(widths[0] <= widths[1], `${widths} wide`);
    const cut = await page.evaluate(() =>
      [...document.querySelectorAll(".numbers dd, .hero .value, .facts dd, .panel h2, button")]
        .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 || element.scrollWidth > element.clientWidth + 1)
        .map((element) => element.outerHTML));
    assert.deepEqual(cut, []);
    await page.locator("#filters-toggle").tap();
    await page.locator("[name=repos]").waitFor();
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= widths[1]);
    await accessible();
    await page.locator("#filters-toggle").tap();
    // Lanes change places every second or so while few pull requests are there.
    for (let look = 0; look < 30; look += 1) {
      assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
      await page.waitForTimeout(100);
    }
    await shot("", { fullPage: true });
  },
};
