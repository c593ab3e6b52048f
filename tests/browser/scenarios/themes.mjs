// Light and dark: as the system has it, or as the reader chose, which lasts. Nothing for axe to find in either.

const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

export default {
  context: { colorScheme: "light" },

  async run({ page, live, accessible, assert, shot }) {
    await live();
    await page.locator("#top-people li").nth(2).waitFor();
    const light = await ground(page);
    await accessible();
    await shot("light");
    await page.emulateMedia({ colorScheme: "dark" });
    await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
    const dark = await ground(page);
    assert.notEqual(light, dark);
    await accessible();
    await shot("dark");

    const button = page.locator("#theme");
    await button.click();
    assert.equal(await button.textContent(), "Theme: light");
    assert.equal(await ground(page), light);
    await page.reload();
    await page.waitForFunction(() => document.getElementById("theme").textContent === "Theme: light");
    assert.equal(await ground(page), light, "the choice lasts");
    await button.click();
    await button.click();
    assert.equal(await button.textContent(), "Theme: automatic");
    assert.equal(await ground(page), dark);

    // Type grows with the window, and the room for it beside the chart with the type.
    await page.locator("#year .u-over").waitFor({ state: "attached" });
    const room = await page.evaluate(() => parseFloat(document.querySelector("#year .u-over").style.left));
    await page.setViewportSize({ width: 3840, height: 2160 });
    await page.waitForFunction((room) => parseFloat(document.querySelector("#year .u-over").style.left) > 1.4 * room, room);
  },
};
