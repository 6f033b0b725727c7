/** A data node: its announcement, and pulls good and bad. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Effect } from "effect";
import type { DataConfig } from "../../actors/config/config.ts";
import { dataMachine, retireQuietMs } from "../../actors/data/data.ts";
import { pullsMax, pullsOfPeerMax, pullWaitMs, waitingOfPeerMax } from "../../actors/data/pulls.ts";
import { pieceBytes, readPullHeader } from "../../actors/data/serve_pull.ts";
import { sortStream } from "../../actors/scheduler/sort_stream.ts";
import { encodePullHeader } from "../../transport/protocols/mod.ts";
import type { StreamHandle } from "../../transport/port.ts";
import { failedWith, identityOf, makeFakeWorld, requestFrom, startIn } from "../support/fake_transport.ts";
import { eventually, readAll, streamPair, temporary } from "../support/job_world.ts";

const test = suite("data node");
const large = "x".repeat(3 * pieceBytes + 17);

async function start(
  { files = { "b.csv": "second", "a.csv": "first", "c.csv": large }, odd }: {
    readonly files?: Readonly<Record<string, string>>;
    /** Adds what a text and a name do not describe. */
    readonly odd?: (datasetPath: string) => void;
  } = {},
) {
  const folder = temporary();
  const datasetPath = join(folder.path, "digits");
  mkdirSync(join(datasetPath, "folder"), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(datasetPath, name), text);
  writeFileSync(join(datasetPath, ".hidden"), "no slice");
  odd?.(datasetPath);
  symlinkSync("/etc/passwd", join(datasetPath, "link.csv"));
  const world = makeFakeWorld();
  const actor = startIn(world, dataMachine, {
    config: { role: "data", datasetPath } as DataConfig,
    ports: world.ports,
    transport: world.transport,
    self: "data",
    members: [],
  });
  await eventually("the directory is scanned", () => actor.getSnapshot().value !== "scanning");
  let exchanges = 0;
  /** A peer opens a pull; the far end of it, or nothing where it was rejected. */
  const pull = (peer = "worker", protocol: StreamHandle["protocol"] = "/hypha-tensor-stream/pull") => {
    const exchange = `x-${++exchanges}`;
    actor.send({ type: "stream.received", exchange, peer, identity: identityOf(peer), protocol });
    const [accept] = world.take("stream.accept");
    if (accept === undefined) return undefined;
    const { near, far } = streamPair({ near: "data", far: peer }, protocol);
    accept.replyTo.send({ type: "stream.opened", id: exchange, stream: near });
    return far;
  };
  /** Pulls as a worker of ours does: header, half-close, everything to the end. */
  const fetched = (header: Uint8Array, halfClose = true) => {
    const far = pull();
    if (far === undefined) throw new Error("Cannot pull: it was rejected");
    const asked = halfClose ? Effect.andThen(far.write(header), far.end) : far.write(header);
    return Effect.runPromise(Effect.andThen(asked, readAll(far)));
  };
  const over = () => eventually("the pull is over", () => Object.keys(actor.getSnapshot().context.pulls).length === 0);
  return { world, actor, pull, fetched, over, datasetPath, remove: folder.remove };
}

test("announces its files as slices, sorted by name; folders, links and hidden files are none", async () => {
  const { world, actor, fetched, remove } = await start();
  assert.equal(world.take("serve").map(({ protocol }) => protocol), [
    "/hypha-tensor-stream/pull/2",
    "/hypha-tensor-stream/pull",
  ]);
  const ask = world.takeOne("record.put");
  assert.equal([ask.key, new TextDecoder().decode(ask.value)], ["digits", '{"num_slices":3}']);
  ask.replyTo.send({ type: "record.stored", id: ask.id });
  assert.equal(actor.getSnapshot().value, { serving: "stored" });
  const header = (index: number) => encodePullHeader({ dataset: "digits", index });
  assert.equal(await fetched(header(0)), { text: "first", outcome: "whole" });
  assert.equal(await fetched(header(1)), { text: "second", outcome: "whole" });
  assert.equal(await fetched(header(2)), { text: large, outcome: "whole" });
  remove();
});

test("bug: an empty file was announced as a slice, and every puller of it failed; the log names it", async () => {
  const { world, fetched, remove } = await start({ files: { "a.csv": "first", "b.csv": "", "c.csv": "third" } });
  const [announcement] = world.take("record.put");
  assert.is(new TextDecoder().decode(announcement?.value), '{"num_slices":2}');
  assert.equal(world.reported("slice.empty").map(({ files }) => files), [["b.csv"]]);
  assert.is((await fetched(encodePullHeader({ dataset: "digits", index: 1 }))).text, "third");
  remove();
  const empty = await start({ files: { "a.csv": "" } });
  assert.match(JSON.stringify(empty.actor.getSnapshot().output), "empty files");
  empty.remove();
});

test("bug: a name that is not UTF-8 kept the node from starting, and a file that cannot be read was announced", async () => {
  const odd = (datasetPath: string) => {
    // Deno changes bytes of a path that are not UTF-8.
    assert.is(spawnSync("sh", ["-c", `printf second > "$1/b-$(printf '\\377')"`, "sh", datasetPath]).status, 0);
    chmodSync(join(datasetPath, "c.csv"), 0);
  };
  const { world, fetched, remove } = await start({
    files: { "a.csv": "first", "c.csv": "third", "d.csv": "last" },
    odd,
  });
  // Root reads every file.
  const unreadable = process.getuid?.() === 0 ? ["b-\ufffd"] : ["b-\ufffd", "c.csv"];
  assert.equal(world.reported("slice.unreadable").map(({ files }) => files), [unreadable]);
  const [announcement] = world.take("record.put");
  assert.is(new TextDecoder().decode(announcement?.value), `{"num_slices":${4 - unreadable.length}}`);
  const index = 3 - unreadable.length;
  assert.is((await fetched(encodePullHeader({ dataset: "digits", index }))).text, "last");
  remove();
});

test("a puller that leaves its side open gets the bytes and the end too", async () => {
  const { fetched, remove } = await start();
  assert.equal(await fetched(encodePullHeader({ dataset: "digits", index: 0 }), false), {
    text: "first",
    outcome: "whole",
  });
  remove();
});

test("retiring: announces no more and serves pulls, until none came for a while", async () => {
  const { world, actor, fetched, over, remove } = await start();
  const put = world.takeOne("record.put");
  put.replyTo.send({ type: "record.stored", id: put.id });
  actor.send({ type: "role.retire", withinMs: 600_000 });
  world.pass(retireQuietMs - 100);
  assert.equal(await fetched(encodePullHeader({ dataset: "digits", index: 0 })), { text: "first", outcome: "whole" });
  await over();
  actor.send({ type: "rejoined" });
  world.pass(retireQuietMs - 100);
  assert.is(actor.getSnapshot().status, "active");
  world.pass(200);
  assert.equal(actor.getSnapshot().output, { type: "drained" });
  assert.equal(world.take("record.put"), []);
  remove();
});

test("another data set, and an index equal to or over the count: the stream ends without a byte", async () => {
  const { world, actor, fetched, over, remove } = await start();
  for (
    const header of [{ dataset: "none", index: 0 }, { dataset: "digits", index: 3 }, { dataset: "digits", index: 4 }]
  ) {
    assert.equal(await fetched(encodePullHeader(header)), { text: "", outcome: "whole" });
  }
  await over();
  assert.is(world.reported("slice.refused").length, 1);
  assert.is(actor.getSnapshot().status, "active");
  remove();
});

test("a header that is none resets the stream; the node lives on", async () => {
  const { world, fetched, over, remove } = await start();
  const headerOf = (text: string, length = text.length) => {
    const bytes = new Uint8Array(8 + text.length);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
    bytes.set(new TextEncoder().encode(text), 8);
    return bytes;
  };
  const bad = [headerOf("not json"), headerOf('{"dataset":"digits","index":0.5}'), headerOf("{}"), Uint8Array.of(1, 2)];
  for (const header of [...bad, headerOf("", 1_048_576)]) {
    assert.equal(await fetched(header), { text: "", outcome: "broken" });
  }
  await over();
  assert.is(world.reported("slice.refused").length, 1);
  assert.equal((await fetched(encodePullHeader({ dataset: "digits", index: 0 }))).text, "first");
  remove();
});

test("bug: each pull of a slice that is not here was a line; a member's are reported once a minute, with their number", async () => {
  const { world, fetched, over, remove } = await start();
  const header = encodePullHeader({ dataset: "digits", index: 99 });
  for (let nth = 0; nth < 50; nth++) await fetched(header);
  await fetched(Uint8Array.of(1, 2));
  await over();
  world.pass(60_000);
  await fetched(header);
  await over();
  assert.equal(world.reported("slice.refused").map(({ type, untold }) => [type, untold]), [
    ["unknown", 0],
    ["malformed", 0],
    ["unknown", 49],
  ]);
  remove();
});

for (const at of ["data node", "scheduler"] as const) {
  test(`bug: a ${at} copied all that it had of a pull's header for each byte that came`, async () => {
    const header = encodePullHeader({ dataset: "d".repeat(500_000), index: 0 });
    const beginsAt = header.length - 5_000;
    const chunks = [
      header.subarray(0, beginsAt),
      ...Array.from({ length: 5_000 }, (_, nth) => header.subarray(beginsAt + nth, beginsAt + nth + 1)),
    ];
    const { near } = streamPair({ near: "data", far: "worker" }, "/hypha-tensor-stream/pull");
    const stream: StreamHandle = {
      ...near,
      read: Effect.sync(() => ({ type: "bytes", bytes: chunks.shift() ?? new Uint8Array(0) })),
    };
    let copiedBytes = 0;
    const { set } = Uint8Array.prototype;
    Uint8Array.prototype.set = function (source: ArrayLike<number>, offset?: number) {
      copiedBytes += source.length;
      set.call(this, source, offset);
    };
    try {
      if (at === "scheduler") await Effect.runPromise(sortStream("exchange", stream));
      else assert.type(await Effect.runPromise(readPullHeader(stream)), "object");
    } finally {
      Uint8Array.prototype.set = set;
    }
    assert.is(chunks.length, 0);
    assert.ok(copiedBytes < 5 * header.length, `${copiedBytes} bytes were copied`);
  });
}

test("a file that is gone breaks that pull alone", async () => {
  const { world, fetched, over, actor, remove } = await start();
  remove();
  assert.equal(await fetched(encodePullHeader({ dataset: "digits", index: 0 })), { text: "", outcome: "broken" });
  await over();
  assert.equal(world.reported("slice.refused").map(({ type, index, file }) => [type, index, file]), [
    ["broken", 0, "a.csv"],
  ]);
  assert.is(actor.getSnapshot().status, "active");
});

test("bug: a slice that became shorter while it was sent passed for the whole one; no line named it behind a broken pull", async () => {
  const many = "x".repeat(16 * pieceBytes);
  const { world, pull, over, datasetPath, remove } = await start({
    files: { "a.csv": "a", "b.csv": many, "c.csv": many },
  });
  /** Reads the first piece of a slice; the others do not fit into the stream's buffer. */
  const begin = async (index: number) => {
    const far = pull();
    if (far === undefined) throw new Error("Cannot pull: it was rejected");
    const header = encodePullHeader({ dataset: "digits", index });
    await Effect.runPromise(Effect.andThen(Effect.andThen(far.write(header), far.end), far.read));
    return far;
  };
  await Effect.runPromise((await begin(1)).abort("not wanted"));
  await over();
  for (const [index, name] of [[1, "b.csv"], [2, "c.csv"]] as const) {
    const far = await begin(index);
    truncateSync(join(datasetPath, name), 7);
    assert.is((await Effect.runPromise(readAll(far))).outcome, "broken", name);
    await over();
  }
  assert.equal(world.reported("slice.refused").map(({ type, index, file }) => [type, index, file]), [
    ["broken", 1, "b.csv"],
    ["shortened", 1, "b.csv"],
    ["shortened", 2, "c.csv"],
  ]);
  remove();
});

test("pulls over the bound are rejected, as are pushes", async () => {
  const { world, pull, remove } = await start();
  for (let index = 0; index < pullsMax; index++) assert.ok(pull(`worker-${index}`) !== undefined);
  assert.is(pull(), undefined);
  world.pass(pullWaitMs);
  assert.is(world.take("stream.reject").length, 1);
  assert.is(pull("worker", "/hypha-tensor-stream/push"), undefined);
  assert.is(world.take("stream.reject").length, 1);
  remove();
});

test("bug: one worker took all places with pulls of a slice that does not exist, and the log did not say so", async () => {
  const { world, actor, pull, remove } = await start();
  const header = encodePullHeader({ dataset: "digits", index: 99 });
  const opened = Array.from({ length: pullsMax }, () => pull("hostile")).filter((far) => far !== undefined);
  assert.is(opened.length, pullsOfPeerMax);
  assert.is(world.take("stream.reject").length, pullsMax - pullsOfPeerMax - waitingOfPeerMax);
  for (const far of opened) await Effect.runPromise(Effect.andThen(far.write(header), readAll(far)));
  const written = () => Object.values(actor.getSnapshot().context.pulls).filter(({ isWritten }) => isWritten);
  await eventually("the pulls wait for their puller's end", () => written().length === pullsOfPeerMax);
  assert.is(pull("hostile"), undefined, "it keeps its places until it ends its side");
  world.pass(pullWaitMs);
  for (let index = 0; index < pullsMax; index++) assert.ok(pull(`worker-${index}`) !== undefined, `worker ${index}`);
  assert.equal(world.reported("slice.busy").map(({ peer }) => peer), ["hostile"]);
  for (let index = 0; index < 3; index++) assert.is(pull(`late-${index}`), undefined);
  world.pass(pullWaitMs);
  assert.equal(world.reported("slice.busy").map(({ peer }) => peer), ["hostile", "late-0"]);
  remove();
});

test("bug: a pull that found no place was rejected at once; it waits for the next one", async () => {
  const { world, actor, pull, remove } = await start();
  const opened = Array.from({ length: pullsOfPeerMax }, () => pull());
  assert.is(pull(), undefined);
  world.pass(pullWaitMs - 100);
  assert.equal(world.take("stream.reject"), []);
  const [first] = opened;
  if (first === undefined) throw new Error("Cannot pull");
  const header = encodePullHeader({ dataset: "digits", index: 0 });
  await Effect.runPromise(Effect.andThen(Effect.andThen(first.write(header), first.end), readAll(first)));
  await eventually("the next pull has the place", () => world.take("stream.accept").length === 1);
  world.pass(pullWaitMs);
  assert.equal(world.take("stream.reject"), []);
  assert.is(pull(), undefined);
  actor.send({ type: "role.drain" });
  assert.is(world.take("stream.reject").length, 1, "a pull that waits is rejected when the node drains");
  remove();
});

test("a gateway that joins while an announcement is under way gets it too", async () => {
  const { world, actor, remove } = await start();
  const first = world.takeOne("record.put");
  actor.send({ type: "rejoined" });
  const second = world.takeOne("record.put");
  first.replyTo.send({ type: "record.stored", id: first.id });
  assert.equal(actor.getSnapshot().value, { serving: "storing" });
  second.replyTo.send({ type: "record.stored", id: second.id });
  assert.equal(actor.getSnapshot().value, { serving: "stored" });
  remove();
});

test("an announcement that was not stored is repeated, and one that was is renewed, also after a rejoin", async () => {
  const { world, actor, remove } = await start();
  const first = world.takeOne("record.put");
  first.replyTo.send({ type: "record.failed", id: first.id, error: failedWith("timed-out") });
  assert.is(world.reported("dataset.unannounced").length, 1);
  world.pass(190);
  const second = world.takeOne("record.put");
  first.replyTo.send({ type: "record.stored", id: first.id });
  assert.equal(actor.getSnapshot().value, { serving: "storing" }, "a late answer is not this one's");
  second.replyTo.send({ type: "record.stored", id: second.id });
  assert.is(world.reported("dataset.announced").length, 1);
  actor.send({ type: "rejoined" });
  const third = world.takeOne("record.put");
  third.replyTo.send({ type: "record.stored", id: third.id });
  world.pass(599_990);
  assert.is(world.take("record.put").length, 0);
  world.pass(10);
  assert.is(world.take("record.put").length, 1);
  world.pass(15_010);
  assert.equal(actor.getSnapshot().value, { serving: "retrying" }, "an answer that never comes is not waited for");
  remove();
});

test("draining lets pulls under way end, and takes no new one", async () => {
  const { world, actor, pull, remove } = await start();
  const far = pull();
  actor.send({ type: "role.drain" });
  assert.is(actor.getSnapshot().value, "draining");
  assert.is(pull(), undefined);
  assert.is(world.take("unserve").length, 2);
  if (far === undefined) throw new Error("Cannot pull");
  const header = encodePullHeader({ dataset: "digits", index: 0 });
  const text = await Effect.runPromise(Effect.andThen(Effect.andThen(far.write(header), far.end), readAll(far)));
  assert.is(text.text, "first");
  await eventually("it is drained", () => actor.getSnapshot().status === "done");
  assert.equal(actor.getSnapshot().output, { type: "drained" });
  remove();
});

test("requests are declined; a directory that is missing or empty fails with its name", async () => {
  const { world, actor, remove } = await start();
  actor.send(requestFrom("s", "/hypha-api/0.0.1", { Data: { dataset: "digits" } }));
  assert.is(world.take("decline").length, 1);
  actor.send({ type: "dht.ready" });
  actor.send({ type: "role.drain" });
  remove();
  const empty = await start({ files: {} });
  const output = empty.actor.getSnapshot().output;
  assert.ok(output?.type === "failed");
  assert.match(output.reason, "digits");
  empty.remove();
});

test.run();
