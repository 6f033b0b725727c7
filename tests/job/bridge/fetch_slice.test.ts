/** Slices through the bridge, while their data node is away. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { weightsDataset } from "../../../actors/learning/model_references.ts";
import { type StreamHandle, TransportError } from "../../../transport/port.ts";
import { askJson } from "../../support/bridge_client.ts";
import { peer, withBridge } from "../../support/job_bridge.ts";
import { fakeNetwork, realPorts, streamPair, writeAll } from "../../support/job_world.ts";

const test = suite("fetching slices");

/** A scheduler that gives another slice for each request, and a data node of which each pull opens as `opened` says. */
function slices(opened: (tries: number) => Effect.Effect<StreamHandle, TransportError>) {
  const seen = { requests: 0, pulls: 0 };
  const network = fakeNetwork({
    request: () => Effect.sync(() => ({ Data: { Success: { data_provider: peer, index: seen.requests++ } } })),
    openStream: () => Effect.suspend(() => opened(++seen.pulls)),
  });
  const fetched = (socket: string) =>
    askJson(socket, "/resources/fetch", { type: "scheduler", peer, dataset: "digits" });
  return { network, seen, fetched };
}

/** A pull that is served; without text its stream breaks. */
function served(text?: string): Effect.Effect<StreamHandle> {
  return Effect.sync(() => {
    const { near, far } = streamPair({ near: "me", far: peer }, "/hypha-tensor-stream/pull");
    const serving = Effect.andThen(far.read, text === undefined ? far.abort("in a test") : writeAll(far, text));
    Effect.runFork(Effect.ignore(serving));
    return near;
  });
}
const failed = (code: TransportError["code"]) => Effect.fail(new TransportError({ code, detail: "in a test" }));

test("bug: a data node that was away for some seconds ended each trainer; its slice is pulled until it is back", async () => {
  const codes = ["not-connected", "unsupported", "timed-out"] as const;
  const { network, seen, fetched } = slices((tries) => {
    const code = codes[tries - 1];
    return code === undefined ? served(tries === 4 ? undefined : "slice") : failed(code);
  });
  await withBridge({ network, random: () => 0 }, async ({ socket, path }) => {
    const { status, body } = await fetched(socket);
    assert.equal([status, body], [200, '[{"path":"artifacts/0","size":5}]']);
    assert.equal(seen, { requests: 1, pulls: 5 }, "the same slice each time");
    assert.is(readFileSync(join(path, "artifacts/0"), "utf8"), "slice");
  });
});

test("after some minutes the scheduler is requested again: grants end, and another data node may have the slices", async () => {
  let at = 0;
  const { network, seen, fetched } = slices((tries) => tries < 4 ? failed("not-connected") : served("slice"));
  await withBridge({ network, random: () => 0, now: () => at += 100_000 }, async ({ socket }) => {
    const { status, body } = await fetched(socket);
    assert.is(status, 200);
    assert.ok(seen.requests > 1 && seen.requests < 4, `${seen.requests} requests`);
    assert.is(JSON.parse(body)[0].path, `artifacts/${seen.requests - 1}`);
  });
});

test("a data node that stays away fails the fetch, which says once that it waits; one that refuses fails it at once", async () => {
  const { report, reports } = realPorts();
  const gone = slices(() => failed("not-connected"));
  await withBridge({ network: gone.network, random: () => 0, report, limits: { awayMs: 300 } }, async ({ socket }) => {
    const { status, body } = await gone.fetched(socket);
    assert.equal([status, JSON.parse(body).error], [500, "connector_error"]);
    assert.ok(gone.seen.pulls > 1);
    assert.is(reports.filter(({ event }) => event === "job.fetch.away").length, 1);
  });
  const strict = slices(() => failed("not-authorized"));
  await withBridge({ network: strict.network }, async ({ socket }) => {
    assert.equal([(await strict.fetched(socket)).status, strict.seen.pulls], [500, 1]);
  });
});

test("bug: while the lost aggregator had no successor, the parameters had no provider, and each trainer that still loaded ended", async () => {
  const { report, reports } = realPorts();
  const training = { id: "3e1f6f0c-6b37-4597-85a6-4e58a2117f5a", scheduler: peer, run: 1 };
  const dataset = weightsDataset(training.id);
  let requests = 0;
  const given = { Success: { data_provider: peer, index: 0 } };
  const network = (answer: () => typeof given | "NotFound") => ({
    ...fakeNetwork({
      request: () => Effect.sync(() => ({ Data: answer() })),
      openStream: () => served("weights"),
    }),
    training,
  });
  const fetched = (socket: string) => askJson(socket, "/resources/fetch", { type: "scheduler", peer, dataset });
  const late = network(() => ++requests < 3 ? "NotFound" : given);
  await withBridge({ network: late, random: () => 0, report }, async ({ socket }) => {
    const { status, body } = await fetched(socket);
    assert.equal([status, body, requests], [200, '[{"path":"artifacts/0","size":7}]', 3]);
    assert.equal(reports.map(({ event }) => event), ["job.fetch.away"], "reported once");
  });
  const never = network(() => "NotFound");
  await withBridge({ network: never, random: () => 0, limits: { awayMs: 300 } }, async ({ socket }) => {
    const { status, body } = await fetched(socket);
    assert.equal([status, JSON.parse(body).error], [500, "connector_error"]);
  });
});

test.run();
