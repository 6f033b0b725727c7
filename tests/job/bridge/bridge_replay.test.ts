// The captured exchanges of an existing worker's job bridge, put to ours. Status, content type and `allow` must be the
// same in all of them, bodies too unless `bridge_differences.json` says why not.
import { readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBridge } from "../../../actors/job/bridge/bridge.ts";
import { jobLimits } from "../../../actors/job/limits.ts";
import { openWorkDirectory } from "../../../actors/files/contained_files.ts";
import { TransportError } from "../../../transport/port.ts";
import { decodePullHeader } from "../../../transport/protocols/mod.ts";
import type { ProgressRequest } from "../../../transport/protocols/messages.ts";
import { ask, type Asked } from "../../support/bridge_client.ts";
import {
  anything,
  eventually,
  fakeNetwork,
  holdOpen,
  openWeb,
  readAll,
  realPorts,
  runOf,
  streamPair,
  temporary,
  writeAll,
} from "../../support/job_world.ts";

interface Exchange {
  readonly name: string;
  readonly request: { method: string; path: string; headers: Record<string, string>; body?: string };
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}
const here = dirname(fileURLToPath(import.meta.url));
const vectors: { exchanges: Exchange[]; modes: string[]; file_modes: string[] } = JSON.parse(
  readFileSync(join(here, "../../vectors/wire/bridge.json"), "utf8"),
);
const { differences }: { differences: Record<string, { body: "differs" | "own-words"; why: string }> } = JSON.parse(
  readFileSync(join(here, "bridge_differences.json"), "utf8"),
);
const scheduler = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const job = "f4633ad1-6b37-4597-85a6-4e58a2117f5a";
const capturedPort = "127.0.0.1:14090";
const sizes: Record<string, number> = { "/model.bin": 18, "/dir/": 13, "/q.bin?a=1&b=2": 22 };

const test = suite("job bridge, captured exchanges");
const place = temporary();
const sent: Promise<{ text: string; outcome: string }>[] = [];
let handed = 0;
const network = fakeNetwork({
  request: (peer, protocol, message) => {
    if (peer !== scheduler) return Effect.fail(new TransportError({ code: "not-connected", detail: peer }));
    if (protocol === "/hypha-api/0.0.1") {
      return Effect.succeed({ Data: dataAnswer(message as { Data: { dataset: string } }) });
    }
    const { job_id, progress } = message as ProgressRequest;
    assert.is(job_id, job);
    return progressAnswer(progress);
  },
  openStream: (peer, protocol) => {
    if (peer !== scheduler) return Effect.fail(new TransportError({ code: "unsupported", detail: protocol }));
    const { near, far } = streamPair({ near: "me", far: peer }, protocol);
    if (protocol === "/hypha-tensor-stream/push") sent.push(runOf(readAll(far)));
    else Effect.runFork(servePull(far));
    return Effect.succeed(near);
  },
});
function dataAnswer({ Data: { dataset } }: { Data: { dataset: string } }) {
  if (dataset === "none") return "NotFound";
  if (dataset === "err") return { Error: "out of order" };
  return { Success: { data_provider: scheduler, index: handed++ } };
}
function progressAnswer(progress: ProgressRequest["progress"]): Effect.Effect<unknown, TransportError> {
  if (progress === "update") return Effect.succeed({ type: "Continue" });
  if (progress === "updated") return Effect.succeed({ type: "Done" });
  if (progress === "update-received") return Effect.succeed({ type: "Error" });
  if ("metrics" in progress) return Effect.succeed({ type: "Ok" });
  if (progress.status.batch_size === 32) return Effect.succeed({ type: "ScheduleUpdate", counter: 3 });
  return Effect.fail(new TransportError({ code: "no-answer", detail: "ended without a byte" }));
}
const servePull = (far: ReturnType<typeof streamPair>["far"]) =>
  Effect.gen(function* () {
    const chunk = yield* far.read;
    const header = chunk.type === "bytes" ? decodePullHeader(chunk.bytes) : undefined;
    assert.ok(header?._tag === "Success" && header.success?.header.dataset === "letters");
    // The puller half-closes after its header.
    assert.is((yield* far.read).type, "end");
    yield* writeAll(far, "x".repeat(31));
  });

const web = createServer((request, response) => {
  const size = sizes[request.url ?? ""];
  response.writeHead(size === undefined ? 404 : 200).end("y".repeat(size ?? 0));
});
let bridge: Awaited<ReturnType<typeof open>>;
let port = 0;
const open = () =>
  holdOpen(Effect.flatMap(openWorkDirectory(place.path), (directory) =>
    openBridge({
      directory,
      jobId: job,
      scheduler,
      scope: anything,
      network,
      limits: { ...jobLimits, keepaliveMs: 200, idleMs: 5_000 },
      report: realPorts().report,
      now: realPorts().now,
      random: Math.random,
      web: openWeb,
      count: { round: 1, samples: 0 },
    }, { value: "t", policy: "optional" })));
test.before(async () => {
  await new Promise<void>((listening) => web.listen(0, "127.0.0.1", listening));
  port = (web.address() as AddressInfo).port;
  bridge = await open();
  await runOf(Effect.scoped(Effect.gen(function* () {
    const directory = yield* openWorkDirectory(place.path);
    for (const name of ["update.bin", "big.bin"]) {
      const file = yield* directory.create(name);
      yield* file.write(new TextEncoder().encode(name));
      yield* file.commit;
    }
  })));
});
test.after(async () => {
  await bridge.close();
  await new Promise((closed) => web.close(closed));
  place.remove();
});

const done = new Set<string>();
const same = (expected: Exchange, got: Asked) => {
  done.add(expected.name);
  assert.is(got.status, expected.status, `status: ${got.body}`);
  for (const header of ["content-type", "allow", "cache-control", "transfer-encoding"]) {
    assert.is(got.headers[header], expected.headers[header], header);
  }
  const difference = differences[expected.name];
  if (difference === undefined) {
    assert.is(got.body, expected.body);
    assert.is(got.headers["content-length"], expected.headers["content-length"], "content-length");
  } else if (difference.body === "own-words" && expected.headers["content-type"] === "application/json") {
    const { error, detail, ...rest } = JSON.parse(got.body);
    assert.is(error, JSON.parse(expected.body).error);
    assert.type(detail, "string");
    assert.equal(rest, {});
  }
  assert.is(
    got.headers["content-length"] ?? "chunked",
    difference === undefined
      ? expected.headers["content-length"] ?? "chunked"
      : String(new TextEncoder().encode(got.body).length),
  );
};
const here14090 = (body: string | undefined) => body?.replaceAll(capturedPort, `127.0.0.1:${port}`);

for (const exchange of vectors.exchanges) {
  if (exchange.name.startsWith("receive") && exchange.status === 200) continue;
  test(`${exchange.name}: ${exchange.request.method} ${exchange.request.path} is ${exchange.status}`, async () => {
    const { method, path, headers, body } = exchange.request;
    same(exchange, await ask(bridge.value.socketPath, { method, path, headers, body: here14090(body) }));
  });
}

test("receive, and receive-second-while-first: events, keep-alive, and a second one that ends at once", async () => {
  const [first, second] = ["receive", "receive-second-while-first"].map((name) =>
    vectors.exchanges.find((exchange) => exchange.name === name) as Exchange
  ) as [Exchange, Exchange];
  const { path, headers, body = "" } = first.request;
  let got = "";
  let finish = () => {};
  const receiving = ask(bridge.value.socketPath, {
    method: "POST",
    path,
    headers,
    body: body.replace("<peer>", scheduler),
    onBody: (text, close) => {
      got += text;
      finish = close;
    },
  });
  await eventually("a receive", () => network.receives.length === 1);
  same(second, await ask(bridge.value.socketPath, second.request));
  for (let file = 0; file < 2; file++) {
    const { near, far } = streamPair({ near: "me", far: scheduler });
    network.receives[0]?.push(near);
    await runOf(writeAll(far, "twelve bytes"));
  }
  await eventually("a keep-alive", () => got.includes("keepalive"));
  finish();
  const { status, headers: answered } = await receiving;
  same(first, { status, headers: answered, body: got.slice(0, first.body.length) });
  await eventually("the end of the receive", () => network.receives.length === 0);
});

test("every exchange was replayed, every difference is one", () => {
  assert.is(vectors.exchanges.length, 43);
  assert.equal(vectors.exchanges.map(({ name }) => name).filter((name) => !done.has(name)), []);
  assert.equal(Object.keys(differences).filter((name) => !done.has(name)), []);
});

test("files stand as captured, with the captured modes (directories 0700), and were sent whole", async () => {
  assert.equal(vectors.modes, ["{WORK_DIR} 755 directory", "{WORK_DIR}/bridge.sock 600 socket"]);
  assert.is(statSync(bridge.value.socketPath).mode & 0o777, 0o600);
  for (const line of vectors.file_modes) {
    const [name = "", mode, size, ...type] = line.split(" ");
    const stats = statSync(join(place.path, name));
    if (type.join(" ") === "directory") assert.is(stats.mode & 0o777, 0o700, line);
    else assert.equal([(stats.mode & 0o777).toString(8), String(stats.size)], [mode, size], line);
  }
  assert.equal((await Promise.all(sent)).map(({ text, outcome }) => [text, outcome]), [
    ["update.bin", "whole"],
    ["big.bin", "whole"],
  ]);
});

test.run();
