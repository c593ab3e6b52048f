// The page left open: what it costs of a core, and whether its heap grows. Minutes come from the environment; `make bench` gives 30.

const MINUTES = Number(process.env.PULSEHUB_ENDURANCE_MINUTES ?? 30);
/** The first minute fills the lists. */
const WARM_UP_MS = 60_000;

export default {
  context: { viewport: { width: 1920, height: 1080 } },

  async run({ page, context, live, assert }) {
    await live();
    const devtools = await context.newCDPSession(page);
    const system = await context.browser().newBrowserCDPSession();
    await devtools.send("Performance.enable");
    const cpu = async () => {
      const { processInfo } = await system.send("SystemInfo.getProcessInfo");
      return processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0);
    };
    const heap = async () => {
      await devtools.send("HeapProfiler.collectGarbage");
      const { metrics } = await devtools.send("Performance.getMetrics");
      const of = (wanted) => metrics.find(({ name }) => name === wanted).value;
      return { bytes: of("JSHeapUsedSize"), nodes: of("Nodes"), listeners: of("JSEventListeners") };
    };
    const events = () => page.locator("#feed .row").count();
    await page.waitForTimeout(Math.min(WARM_UP_MS, MINUTES * 30_000));
    const before = await heap();
    const [cpuBefore, began] = [await cpu(), performance.now()];
    await page.waitForTimeout(MINUTES * 60_000);
    const share = (await cpu() - cpuBefore) / ((performance.now() - began) / 1_000);
    const after = await heap();
    assert.ok(await events() > 0);
    console.log(JSON.stringify({ minutes: MINUTES, core: share, before, after }));
  },
};
