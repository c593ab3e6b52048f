// The real front end's logic, as it runs at live.ossinsight.io: it takes the first message once, sends its params only then, and
// parses and adds up every frame without a catch. Prints what it has when it is told that all was sent.

const PATHS = [
  "event.id", "event.payload.action", "event.payload.pull_request.number", "event.repo.name", "event.actor.login",
  "event.payload.pull_request.merged", "event.payload.pull_request.base.repo.language",
  "event.payload.pull_request.additions", "event.payload.pull_request.deletions",
  "payload.devDay", "payload.devYear", "payload.repoYear",
];

/** Runs in the browser. */
function client({ address, paths }) {
  const total = (map) => Object.values(map).reduce((sum, value) => sum + parseInt(value), 0);
  const state = (window.client = { counts: null, frames: [], first: null });
  const socket = new WebSocket(`${address}/sampling`);
  const onFirst = ({ data }) => {
    const first = (state.first = JSON.parse(data));
    state.counts = {
      events: total(first.eventMap), opened: total(first.openMap), merged: total(first.mergeMap),
      developersToday: total(first.devMap), developers: parseInt(first.sumMap.dev), repositories: parseInt(first.sumMap.repo),
      additions: parseInt(first.sumMap.additions), deletions: parseInt(first.sumMap.deletions), closed: 0,
    };
    socket.send(JSON.stringify({ samplingRate: 1, filter: paths, eventType: "PullRequestEvent", returnType: "list" }));
    socket.addEventListener("message", onEvent);
  };
  const onEvent = ({ data }) => {
    const [, action, number, , , merged, , additions, deletions, devDay, devYear, repoYear] = JSON.parse(data);
    state.frames.push(data);
    const kind = action === "closed" ? (merged ? "merged" : "closed") : action;
    const { counts } = state;
    counts.events += 1;
    if (kind === "opened") counts.opened += 1;
    if (kind === "closed") counts.closed += 1;
    if (kind === "merged") {
      counts.merged += 1;
      counts.additions += parseInt(additions);
      counts.deletions += parseInt(deletions);
    }
    counts.developersToday += parseInt(devDay);
    counts.developers += parseInt(devYear);
    counts.repositories += parseInt(repoYear);
    counts.number = parseInt(number);
  };
  // The first message arrives once the socket is open, and only then somebody listens to the others.
  socket.addEventListener("message", onFirst, { once: true });
}

const languages = ({ address }) => {
  const state = (window.languages = { map: {}, frames: 0 });
  const socket = new WebSocket(`${address}/language/watch`);
  const onDifference = ({ data }) => {
    const { additions, deletions } = JSON.parse(data);
    state.frames += 1;
    for (const name of Object.keys(additions)) state.map[name] = (state.map[name] ?? 0) + parseInt(additions[name]);
    for (const name of Object.keys(deletions)) state.map[name] = (state.map[name] ?? 0) - parseInt(deletions[name]);
  };
  const onFirst = ({ data }) => {
    Object.assign(state.map, JSON.parse(data).languageMap);
    socket.send("{}");
    socket.addEventListener("message", onDifference);
  };
  socket.addEventListener("message", onFirst, { once: true });
};

export default {
  async run({ page, url, ask, assert }) {
    const address = url.replace(/^http/, "ws").replace(/\/$/, "");
    await page.evaluate(client, { address, paths: PATHS });
    await page.evaluate(languages, { address });
    await page.waitForFunction(() => window.client.counts);
    const last = await ask("connected");
    await page.waitForFunction((last) => window.client.frames.some((frame) => JSON.parse(frame)[0] === last), last);
    const { counts, frames, first } = await page.evaluate(() => window.client);
    // Differences come once a second or so: asked until both have all.
    let map;
    for (let look = 0; ; look += 1) {
      const latest = JSON.parse(await ask("languages"));
      ({ map } = await page.evaluate(() => window.languages));
      const present = Object.fromEntries(Object.entries(map).filter(([, count]) => count !== 0));
      try {
        assert.deepEqual(present, latest);
        break;
      } catch (error) {
        if (look === 30) throw error;
        await page.waitForTimeout(500);
      }
    }
    assert.ok(Object.keys(map).length > 3, Object.keys(map));
    for (const [name, count] of Object.entries({ ...counts, ...map })) assert.ok(Number.isInteger(count), `${name}: ${count}`);
    console.log(JSON.stringify({ counts, frames, first }));
  },
};
