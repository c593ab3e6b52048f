// What the page makes of a stream that refuses, loses and changes: it asks for what holds, says what is missing, keeps counting.

export default {
  async run({ page, live, assert, url }) {
    // Waits are as short as they get.
    await page.addInitScript(() => (Math.random = () => 0));
    const connections = [];
    let refuseSince = false;
    await page.routeWebSocket(/\/stream$/, (socket) => {
      const server = socket.connectToServer();
      const connection = { socket, asked: [] };
      connections.push(connection);
      socket.onMessage((text) => {
        const message = JSON.parse(text);
        connection.asked.push(message);
        if (refuseSince && message.since) {
          const error = { code: "invalid_subscription", field: "since", message: "later than now" };
          socket.send(JSON.stringify({ type: "error", id: message.id, error }));
        } else {
          server.send(text);
        }
      });
    });
    const now = () => connections.at(-1);
    const say = (message) => now().socket.send(JSON.stringify(message));
    /** Breaks the connection, and waits until the next one has answered. */
    const again = async () => {
      const before = connections.length;
      await now().socket.close();
      while (connections.length === before) await page.waitForTimeout(20);
      await page.waitForFunction(() => document.body.dataset.state === "open");
    };
    await live();
    await page.evaluate(() => {
      window.gaps = [];
      new MutationObserver(() => {
        const gap = document.querySelector("#feed .gap .repo")?.textContent;
        if (gap && gap !== window.gaps.at(-1)) window.gaps.push(gap);
      }).observe(document.getElementById("feed"), { childList: true });
    });
    const gaps = (count) => page.waitForFunction((count) => window.gaps.length >= count, count);

    say({ type: "gap", reason: "slow", since: "1.0", until: null, lost: 1512 });
    await gaps(1);
    await page.waitForFunction(() => !document.querySelector("#feed .gap"), null, { polling: 100 });
    assert.equal(await page.textContent("#feed-hint"), "", "it is gone with its neighbours");

    // Filters that are refused are forgotten: the good ones hold, also at the next connection.
    await page.click("#filters-toggle");
    await page.getByRole("checkbox", { name: "Pull requests" }).check();
    await page.waitForFunction(() => location.hash === "#types=PullRequestEvent");
    await page.locator("[name=every]").fill("0");
    await page.locator("#filters-error:not(:empty)").waitFor();
    assert.equal(now().asked.at(-1).every, 0);
    await again();
    const [asked] = now().asked;
    assert.deepEqual([asked.types, asked.every], [["PullRequestEvent"], undefined]);
    assert.ok(asked.since, "it goes on where it was");
    assert.notEqual(await page.textContent("#filters-error"), "", "what the form says is still wrong");

    // A difference that does not fit: a snapshot is asked for, of what holds, and numbers go on.
    say({ type: "difference", of: "counts", from: -1, seq: 0, data: {} });
    const before = await page.textContent("#today-event");
    await page.waitForFunction((before) => document.getElementById("today-event").textContent !== before, before);
    assert.deepEqual(now().asked.map(({ types, every }) => [types, every]), [asked, asked].map(({ types }) => [types, undefined]));

    // A cursor that the server does not take is dropped, the filters stay.
    refuseSince = true;
    await again();
    const [refused, taken] = now().asked;
    assert.ok(refused.since && !taken.since && taken.id !== refused.id);
    assert.deepEqual(taken.types, ["PullRequestEvent"]);
    await gaps(2);
    assert.deepEqual(await page.evaluate(() => window.gaps), ["up to 1,512 events are missing here", "events may be missing here"]);
    refuseSince = false;

    // Another version is served now.
    const version = await page.evaluate(() => document.querySelector("script[src*=main]").getAttribute("src").split("/")[1]);
    await again();
    await page.evaluate(() => (window.same = true));
    await page.waitForTimeout(500);
    assert.ok(await page.evaluate(() => window.same), "the same version is not loaded again");
    await page.route((address) => address.pathname === new URL(url).pathname, async (route) => {
      if (route.request().resourceType() !== "fetch") return route.continue();
      const response = await route.fetch();
      await route.fulfill({ response, body: (await response.text()).replaceAll(version, "0123456789abcdef") });
    });
    await now().socket.close();
    // While it loads it has no body yet.
    await page.waitForFunction(() => !window.same && document.body?.dataset.state === "open");
  },
};
