// Runs one scenario in Chromium: `node run.mjs SCENARIO URL`. Ends with 0 where it holds.
//
// Whatever the scenario: nothing is written to the console as an error, and no other host is asked for anything.
// PULSEHUB_BROWSER_MODULES is the folder of `scripts/services/browser fetch`, PULSEHUB_SCREENSHOTS the one for screenshots.

import { createRequire } from "node:module";
import { existsSync, mkdirSync } from "node:fs";
import { createInterface } from "node:readline";
import assert from "node:assert/strict";

const [name, url] = process.argv.slice(2);
const modules = createRequire(`${process.env.PULSEHUB_BROWSER_MODULES}/`);
const { chromium } = modules("playwright-core");
const scenario = (await import(`./scenarios/${name}.mjs`)).default;
const screenshots = process.env.PULSEHUB_SCREENSHOTS ?? "target/screenshots";
mkdirSync(screenshots, { recursive: true });

const browser = await chromium.launch({
  // The one that `scripts/ensure` found or installed.
  executablePath: process.env.PATH.split(":").map((folder) => `${folder}/chromium`).find(existsSync),
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...scenario.context });
context.setDefaultTimeout(30_000);
const page = await context.newPage();
const complaints = [];
const expected = scenario.expected ?? [];
page.on("console", (message) => {
  const text = message.text();
  const complains = ["error", "warning"].includes(message.type()) && !expected.some((known) => known.test(text));
  if (complains) complaints.push(`${message.type()}: ${text}`);
});
page.on("pageerror", (error) => complaints.push(error.stack));
const asked = (address) => {
  if (!["data:", "blob:"].includes(new URL(address).protocol) && new URL(address).host !== new URL(url).host) {
    complaints.push(`asked another host: ${address}`);
  }
};
page.on("request", (request) => asked(request.url()));
page.on("websocket", (socket) => asked(socket.url()));

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tools = {
  page,
  context,
  url,
  assert,
  /** Writes a screenshot. */
  shot: (suffix, options) => page.screenshot({ path: `${screenshots}/${name}${suffix ? `-${suffix}` : ""}.png`, ...options }),
  /** Tells whoever started this, and waits for the answer, one line. */
  async ask(text) {
    console.log(text);
    return (await lines.next()).value;
  },
  /** Waits until the numbers are there and events come. */
  async live() {
    await page.goto(url);
    await page.waitForFunction(() => /\d/.test(document.getElementById("today-event").textContent));
    await page.locator("#feed .row").first().waitFor();
  },
  /** Asserts that axe finds nothing. */
  async accessible() {
    // Through the debugger, which the page's policy does not concern.
    await page.evaluate(modules("axe-core").source);
    const { violations, passes } = await page.evaluate(() => window.axe.run());
    const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("\n")}`);
    assert.deepEqual(told, []);
    assert.ok(passes.length > 20, "axe found nothing to look at");
  },
};

try {
  await scenario.run(tools);
  assert.deepEqual(complaints, []);
} catch (error) {
  console.error(error.stack);
  complaints.forEach((complaint) => console.error(complaint));
  await page.screenshot({ path: `${screenshots}/${name}-failed.png` }).catch(() => {});
  process.exitCode = 1;
}
await browser.close();
process.exit();
