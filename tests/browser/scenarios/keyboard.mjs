// Everything can be reached and used with the keyboard alone, and one sees where one is.

export default {
  async run({ page, live, assert, shot }) {
    await live();
    const focused = () => page.evaluate(() => {
      const element = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      return { name: element.id || element.name || element.className, visible: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 };
    });
    /** Tabs until `name` has the focus; says where it came by. */
    const reach = async (name) => {
      const passed = [];
      for (let presses = 0; presses < 40; presses += 1) {
        await page.keyboard.press("Tab");
        const { name: here, visible } = await focused();
        assert.ok(visible, `the focus cannot be seen on ${here}`);
        passed.push(here);
        if (here === name) return passed;
      }
      throw new Error(`${name} cannot be reached: ${passed}`);
    };
    assert.deepEqual(await reach("skip"), ["skip"], "it comes first");
    await reach("theme");
    await page.keyboard.press("Enter");
    assert.equal(await page.textContent("#theme"), "Theme: light");
    await reach("filters-toggle");
    await page.keyboard.press("Enter");
    await reach("types");
    await page.keyboard.press("Space");
    await page.waitForFunction(() => location.hash === "#types=PullRequestEvent");
    await reach("repos");
    await page.keyboard.type("sample-org/*");
    await page.waitForFunction(() => location.hash.includes("repos=sample-org"));
    await page.waitForFunction(() => document.querySelectorAll("#feed .row").length > 2);
    await reach("feed-scroll");
    await page.keyboard.press("Shift+Tab");
    await page.locator("#pause").focus();
    await page.keyboard.press("Space");
    assert.equal(await page.getAttribute("#pause", "aria-pressed"), "true");
    const first = await page.locator("#feed .row").first().textContent();
    await page.waitForFunction(() => /paused, [1-9]/.test(document.getElementById("feed-hint").textContent));
    assert.equal(await page.locator("#feed .row").first().textContent(), first, "it stands still");
    await page.keyboard.press("Space");
    await page.waitForFunction((first) => document.querySelector("#feed .row").textContent !== first, first);
    await reach("year-day");
    await page.keyboard.press("ArrowLeft");
    assert.match(await page.getAttribute("#year-day", "aria-valuetext"), /opened, .* merged, .* closed, by .* developers/);
    assert.equal(await page.getAttribute("#year-output", "aria-live"), "off", "nobody wants to hear every change of it");
    await shot();
  },
};
