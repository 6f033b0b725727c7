/** Telemetry's parts: what a hostile collector can do, what an endpoint answers, what is counted. */
import { Buffer } from "node:buffer";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Exit, Fiber, Scope } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inboxMax } from "../../actors/audit/audit_inbox.ts";
import {
  isLoopback,
  readEndpoint,
  readHeaders,
  readListenPlace,
  readPairs,
} from "../../actors/config/telemetry_values.ts";
import type { NodeContext } from "../../actors/node/node_setup.ts";
import { showNode } from "../../actors/node/shown_node.ts";
import { emptyWatch, type TrainingWatch } from "../../actors/training/watch.ts";
import type { Durations, Sample } from "../../actors/telemetry/instruments.ts";
import { durationBounds, instruments } from "../../actors/telemetry/instruments.ts";
import { prometheusText } from "../../actors/telemetry/registry.ts";
import { samplesOf, seriesMax, unreadyReason } from "../../actors/telemetry/samples.ts";
import { pageLifeMs, scrapersMax, serveMetrics } from "../../actors/telemetry/scrape.ts";
import { type Collector, NotSent, sendMetrics } from "../../actors/telemetry/send_metrics.ts";
import { eventsMax, makeGateTally, makeLineTally } from "../../actors/telemetry/tallies.ts";
import type { ObservedNode } from "../../actors/telemetry/samples.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import type { CloseReason, Gate, GateEvent, GateInput, GatePhase } from "../../transport/port.ts";
import { bytesOf, protobufFields } from "../../transport/protocols/protobuf.ts";
import { withConnected } from "../../pki/member.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { keepAudit, noAudit } from "../../scripts/program/audit.ts";
import { makePorts } from "../../scripts/program/ports.ts";
import { exchange, metricsOf, type Posted, scrapeRequest, startCollector } from "../support/collector.ts";
import { identityOf } from "../support/fake_transport.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("telemetry's parts");

const collectorAt = (url: string, more: Partial<Collector> = {}): Collector => ({
  url: new URL(`${url}/v1/metrics`),
  protocol: "http/json",
  headers: { "x-token": "s3cret" },
  resource: { "service.name": "hypha-gateway", zone: "a" },
  startedAt: 1_000,
  timeoutMs: 20_000,
  ...more,
});
const some: readonly Sample[] = [
  { name: "hypha_peers", value: 3 },
  { name: "hypha_refusals_total", labels: { code: "internal" }, value: 2 },
];

/** How a sending ended: `sent`, or the reason. Whatever happens, it ends. */
async function outcomeOf(collector: Collector): Promise<string> {
  const exit = await Effect.runPromiseExit(sendMetrics(collector, some));
  if (Exit.isSuccess(exit)) return "sent";
  const error = exit.cause.reasons.map((reason) => reason._tag === "Fail" ? reason.error : undefined)[0];
  assert.instance(error, NotSent);
  assert.not.match(String(error), "s3cret");
  return String(error?.detail);
}

/** A server that says these bytes to whoever connects, and stays. */
function rawServer(said: string): Promise<{ readonly url: string; readonly server: Server }> {
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.write(said));
    }).listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      resolve({ url: `http://127.0.0.1:${port}`, server });
    });
  });
}

/** The fields of this number in all of these messages. */
const within = (messages: readonly Uint8Array[], number: number): readonly Buffer[] =>
  messages.flatMap((message) =>
    [...protobufFields(message)].filter(({ field }) => field === number).map((field) => Buffer.from(bytesOf(field)))
  );

test("metrics are written as JSON or as protobuf, once each", async () => {
  const collector = await startCollector();
  assert.is(await outcomeOf(collectorAt(collector.url)), "sent");
  assert.is(await outcomeOf(collectorAt(collector.url, { protocol: "http/protobuf" })), "sent");
  const [json, protobuf] = collector.posts;
  const points = metricsOf(json as Posted).get("hypha_refusals_total")?.sum?.dataPoints;
  assert.equal(points?.map(({ startTimeUnixNano }) => startTimeUnixNano), ["1000000000"], "since the node's start");
  assert.is(collector.posts.length, 2);
  assert.equal([json?.headers["content-type"], protobuf?.headers["content-type"]], [
    "application/json",
    "application/x-protobuf",
  ]);
  assert.is(protobuf?.headers["x-token"], "s3cret");
  const bytes = protobuf?.body ?? Buffer.alloc(0);
  // opentelemetry/proto/metrics/v1: resource_metrics 1, scope_metrics 2, metrics 2, name 1, unit 3.
  const metrics = within(within(within([bytes], 1), 2), 2);
  assert.equal(within(metrics, 1).map((name) => name.toString()), some.map(({ name }) => name));
  assert.equal(within(metrics, 3).map((unit) => unit.toString()), ["1", "1"]);
  for (const text of ["hypha-gateway", "internal"]) assert.ok(bytes.includes(text), text);
  await collector.close();
});

test("a hostile collector is left alone: errors, silence, redirects, rubbish, an answer without end", async () => {
  const other = await startCollector();
  const failing = await startCollector((_, response) => void response.writeHead(503).end("x".repeat(100)));
  const astray = await startCollector((_, response) =>
    void response.writeHead(307, { location: `${other.url}/v1/metrics` }).end()
  );
  const mute = await startCollector(() => {});
  const endless = await startCollector((_, response) => {
    response.writeHead(200);
    const more = () => {
      if (response.destroyed) return;
      response.write("x".repeat(65_536), () => setTimeout(more, 1));
    };
    response.on("error", () => {});
    more();
  });
  const rubbish = await rawServer("\x00\xff no HTTP at all\r\n\r\n");
  const heads = await rawServer(`HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(50_000)}`);
  const outcomes = await Promise.all([
    outcomeOf(collectorAt(failing.url)),
    outcomeOf(collectorAt(astray.url)),
    outcomeOf(collectorAt(mute.url, { timeoutMs: 300 })),
    outcomeOf(collectorAt(endless.url)),
    outcomeOf(collectorAt(rubbish.url, { timeoutMs: 2_000 })),
    outcomeOf(collectorAt(heads.url, { timeoutMs: 2_000 })),
    outcomeOf(collectorAt("http://127.0.0.1:1")),
  ]);
  assert.is(outcomes[0], "it answers 503");
  assert.match(outcomes[1] ?? "", /^it answers (307|0)$/);
  assert.is(outcomes[2], "no answer within 300 ms");
  assert.is(outcomes[3], "sent", "the answer's body is nobody's business");
  for (const outcome of outcomes.slice(4)) assert.ok(outcome !== "sent" && outcome.length <= 200, outcome);
  assert.equal(other.posts, [], "a redirect would carry the token to somebody else");
  rubbish.server.close();
  heads.server.close();
  for (const each of [other, failing, astray, mute, endless]) await each.close();
});

test("a sending that is interrupted lets go of its connection", async () => {
  const mute = await startCollector(() => {});
  const fiber = Effect.runFork(sendMetrics(collectorAt(mute.url, { timeoutMs: 60_000 }), some));
  await mute.waitFor(() => true, 5_000);
  const before = Date.now();
  await Effect.runPromise(Fiber.interrupt(fiber));
  assert.ok(Date.now() - before < 5_000);
  await mute.close();
});

/** An endpoint, for as long as `use` takes. */
async function withEndpoint(
  options: Partial<Parameters<typeof serveMetrics>[0]>,
  use: (port: number) => Promise<void>,
): Promise<void> {
  const scope = await Effect.runPromise(Scope.make());
  const served = serveMetrics({
    place: { host: "127.0.0.1", port: 0 },
    page: () => "hypha_peers 1\n",
    unready: () => undefined,
    now: () => 0,
    ...options,
  });
  const port = await Effect.runPromise(Scope.provide(served, scope));
  try {
    await use(port);
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void));
  }
  await exchange(port, scrapeRequest).then(() => assert.unreachable("it is closed"), () => {});
}

const statusOf = (answer: string) => Number(answer.split(" ")[1]);

test("the endpoint serves GET of three paths and nothing else", () =>
  withEndpoint({}, async (port) => {
    const cases: [request: string, status: number][] = [
      [scrapeRequest, 200],
      ["GET /metrics?x=1 HTTP/1.0\r\n\r\n", 200],
      ["GET / HTTP/1.1\r\n\r\n", 404],
      ["GET /healthz HTTP/1.1\r\n\r\n", 200],
      ["HEAD /readyz HTTP/1.1\r\n\r\n", 405],
      ["GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", 404],
      ["POST /metrics HTTP/1.1\r\ncontent-length: 9\r\n\r\n", 405],
      [`GET /metrics HTTP/1.1\r\nx: ${"y".repeat(8_100)}\r\n\r\n`, 200],
      [`GET /metrics HTTP/1.1\r\nx: ${"y".repeat(8_300)}\r\n\r\n`, 431],
      [`GET /${"y".repeat(8_300)} HTTP/1.1\r\n\r\n`, 431],
      ["y".repeat(8_300), 400],
      ["POST /metrics HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n", 405],
      ["GET /metrics HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 200],
      ["\x16\x03\x01\x02\x00\r\n\r\n", 400],
      ["GET /metrics HTTP/2.0\r\n\r\n", 400],
    ];
    for (const [request, status] of cases) {
      assert.is(statusOf(await exchange(port, request)), status, request.slice(0, 40));
    }
  }));

test("a node that is not ready says why; it is healthy as long as it answers", async () => {
  const why: (string | undefined)[] = ["joining", undefined];
  const unready = () => why.shift();
  const page = () => {
    throw new Error("no page");
  };
  await withEndpoint({ unready, page }, async (port) => {
    const get = (path: string) => exchange(port, `GET ${path} HTTP/1.1\r\n\r\n`);
    const answers = [await get("/readyz"), await get("/readyz"), await get("/healthz"), await get("/metrics")];
    const read = answers.map((answer) => [statusOf(answer), answer.split("\r\n\r\n")[1]]);
    assert.equal(read, [[503, "not ready: joining\n"], [200, "ready\n"], [200, "ok\n"], [500, ""]]);
  });
});

test("an answer has the headers of a metrics page alone, and one request ends the connection", () =>
  withEndpoint({}, async (port) => {
    const head = [
      "HTTP/1.1 200 OK",
      "content-type: text/plain; version=0.0.4; charset=utf-8",
      "content-length: 14",
      "x-content-type-options: nosniff",
      "connection: close",
      "",
      "hypha_peers 1\n",
    ].join("\r\n");
    assert.is(await exchange(port, `${scrapeRequest}${scrapeRequest}`), head);
    assert.match(
      await exchange(port, "DELETE /metrics HTTP/1.1\r\n\r\n"),
      /^HTTP\/1.1 405 Method Not Allowed\r\n[^]*allow: GET/,
    );
  }));

test("a connection without a request holds a place until the deadline, or until newer ones need it", () =>
  withEndpoint({ timeoutMs: 1_500 }, async (port) => {
    let closed = 0;
    const silent = Array.from({ length: 3 * scrapersMax }, async () => {
      const answer = await exchange(port, "GET /metrics").catch(() => "");
      closed += 1;
      return answer;
    });
    while (closed < 2 * scrapersMax) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.is(closed, 2 * scrapersMax, "as many as there are places stay");
    assert.equal([...new Set(await Promise.all(silent))], [""]);
    assert.is(statusOf(await exchange(port, scrapeRequest)), 200);
  }));

test("bug: sixteen silent connections kept the endpoint from all others", () =>
  withEndpoint({}, async (port) => {
    const silent = new Set<Socket>();
    let isOver = false;
    const stayConnected = (connected: () => void) => {
      const socket = connect(port, "127.0.0.1", connected);
      silent.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        silent.delete(socket);
        if (!isOver) stayConnected(() => {});
      });
    };
    await Promise.all(Array.from({ length: scrapersMax }, () => new Promise<void>(stayConnected)));
    const statuses: number[] = [];
    for (let index = 0; index < 20; index++) {
      statuses.push(statusOf(await exchange(port, scrapeRequest).catch(() => "")));
    }
    isOver = true;
    for (const socket of silent) socket.destroy();
    assert.equal(statuses, Array.from({ length: 20 }, () => 200));
  }));

test("a page is made once a second at most, and one that cannot be made is an error, not an end", async () => {
  let now = 5_000;
  let made = 0;
  const page = () => {
    made += 1;
    if (made === 3) throw new Error("boom");
    return `page ${made}\n`;
  };
  await withEndpoint({ page, now: () => now }, async (port) => {
    const ask = async () => (await exchange(port, scrapeRequest)).split("\r\n\r\n")[1];
    assert.equal([await ask(), await ask()], ["page 1\n", "page 1\n"]);
    now += pageLifeMs;
    assert.is(await ask(), "page 2\n");
    now += pageLifeMs;
    assert.is(await ask(), "");
    assert.is(await ask(), "page 4\n");
    now -= 60_000;
    assert.is(await ask(), "page 5\n", "a clock that goes back does not freeze the page");
  });
});

/** A gate that says what a test wants it to. */
function fakeGates(phase: GatePhase = "admitting") {
  const listeners: ((said: GateEvent) => void)[] = [];
  const gate = { phase, listen: (listener: (said: GateEvent) => void) => (listeners.push(listener), () => {}) };
  const say = (type: GateEvent["type"], reason: CloseReason["type"] = "expired") =>
    listeners.forEach((listener) => listener({ type, reason: { type: reason } } as GateEvent));
  return { make: () => gate as unknown as Gate, say };
}

test("gates are counted from birth to end, by who dialled", () => {
  let now = 1_000;
  const tally = makeGateTally({ now: () => now });
  const born = (direction: GateInput["direction"], phase?: GatePhase) => {
    const { make, say } = fakeGates(phase);
    tally.meter(make)({ direction } as GateInput);
    return say;
  };
  const counts = (direction: GateInput["direction"] = "inbound") => {
    const { pending, open, accepted } = tally.counts[direction];
    return [pending, open, accepted];
  };
  born("inbound", "refused");
  assert.equal(counts(), [0, 0, 0], "refused at its birth");
  const [first, second, third] = [born("inbound"), born("inbound"), born("inbound")];
  born("outbound");
  assert.equal([counts(), counts("outbound")], [[3, 0, 0], [1, 0, 0]]);
  now += 30;
  first("gate.verified");
  first("gate.established");
  first("gate.established");
  second("gate.refused");
  third("gate.closed");
  assert.equal(counts(), [0, 1, 1]);
  first("gate.closed", "trust.changed");
  first("gate.closed", "trust.changed");
  assert.equal(counts(), [0, 0, 1]);
  assert.equal(tally.closed, { "by-us": 0, "by-them": 0, lost: 0, "trust.changed": 1, expired: 0 });
  now += 100;
  const late = born("inbound");
  now -= 10_000;
  late("gate.established");
  const durations: Durations = tally.counts.inbound.durations;
  assert.equal([durations.min, durations.max, durations.sum], [0, 0.03, 0.03], "a clock that goes back is no duration");
  assert.is(durations.counts[durationBounds.findIndex((bound) => 0.03 <= bound)], 1);
});

test("lines are counted by level and event, of a bounded number of events", () => {
  const said: string[] = [];
  const tally = makeLineTally();
  const report = tally.meter(({ event }) => void said.push(event));
  for (let index = 0; index < eventsMax + 50; index++) report({ level: "warn", event: `event.${index}`, message: "" });
  report({ level: "warn", event: "event.0", message: "" });
  report({ level: "debug", event: "quiet", message: "" });
  const rows = [...tally.counts];
  assert.is(said.length, eventsMax + 52, "all are said");
  assert.is(rows.length, eventsMax + 1);
  assert.is(rows.find(({ event }) => event === "event.0")?.count, 2);
  assert.is(rows.find(({ event }) => event === "other")?.count, 50);
});

test("bug: a node's last new events counted as other: the source has more events than had a row", () => {
  const events = new Set<string>();
  for (const folder of ["actors", "scripts", "transport"]) {
    for (
      const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))
    ) {
      const source = readFileSync(`${folder}/${name}`, "utf8");
      for (const [line] of source.matchAll(/\bevent\b.*/g)) {
        for (const [, event = ""] of line.matchAll(/"([a-z-]+(?:\.[a-z-]+)+)"/g)) events.add(event);
      }
    }
  }
  assert.ok(events.size > 100, `${events.size} events`);
  const tally = makeLineTally();
  const report = tally.meter(() => {});
  for (const event of events) {
    for (const level of ["info", "warn", "error"] as const) report({ level, event, message: "" });
  }
  assert.is([...tally.counts].filter(({ event }) => event === "other").length, 0);
});

test("of an issuer's lists the newest counts, of several issuers each its own; anchors are the soonest to expire", async () => {
  const pki = await makeTestPki();
  const at = Date.now();
  const hours = (count: number) => new Date(Math.floor(at / 1_000) * 1_000 + count * 3_600_000);
  const old = await pki.crls({ number: 1n, thisUpdate: hours(-48), nextUpdate: hours(-24) });
  const fresh = await pki.crl(pki.intermediate, {
    number: 2n,
    thisUpdate: hours(-1),
    nextUpdate: hours(24),
    revoked: ["01"],
  });
  const made = makeTrustSnapshot({
    trustPem: pki.trustPem,
    crlsPem: Buffer.from(old + fresh),
    policy: defaultPolicy,
    generation: 7,
    at: new Date(at),
  });
  assert.is(made._tag, "Success");
  if (made._tag !== "Success") return;
  const { snapshot } = made.success;
  const [anchor] = snapshot.anchors;
  assert.ok(anchor !== undefined);
  const many = Array.from({ length: seriesMax + 9 }, (_, index) => ({
    ...anchor,
    fingerprint: String(index),
    serial: String(index),
    subject: { ...anchor.subject, text: `CN=${"x".repeat(5_000)}` },
    period: { notBefore: hours(-1), notAfter: hours(1_000 - index) },
  }));
  // Another CA with the texts of the one that ends soonest, issued again.
  const later = { notBefore: hours(-1), notAfter: hours(1_000.5 - seriesMax - 8) };
  many.push({ ...many.at(-1)!, fingerprint: "renewed", period: later });
  const node: ObservedNode = {
    getSnapshot: () => ({
      value: { running: { joining: "waiting" } },
      children: {},
      context: {
        config: { role: "gateway", limits: defaultLimits },
        snapshot: { ...snapshot, anchors: many },
        identity: undefined,
        members: [],
        identityCount: 0,
        previousIdentities: [],
        isReady: false,
        refusalLog: { getSnapshot: () => ({ context: { counts: {}, sink: { failures: 0 } } }) },
      } as never,
    }),
  };
  assert.equal([unreadyReason(node), unreadyReason(undefined)], ["joining", "starting"]);
  const [gates, lines] = [makeGateTally({ now: () => at }), makeLineTally()];
  const samples = samplesOf({ node, gates, lines, lostRecords: 0, version: "1", now: at });
  const of = (name: string) => samples.filter((sample) => sample.name === name);
  const left = new Map(
    of("hypha_crl_remaining_seconds").map(({ labels, value }) => [labels?.["issuer"] ?? "", value as number]),
  );
  const [root, intermediate] = [anchor.issuer.text, pki.intermediate].map((each) =>
    typeof each === "string" ? each : [...left.keys()].find((issuer) => issuer.includes("Intermediate")) ?? ""
  );
  assert.is(left.size, 2);
  assert.ok((left.get(root ?? "") ?? 0) < -86_000, "overdue is negative");
  assert.ok((left.get(intermediate ?? "") ?? 0) > 86_000, "the newer list counts");
  const entries = of("hypha_crl_entries").map(({ value }) => value);
  assert.equal(entries.toSorted(), [0, 1]);
  const ends = of("hypha_trust_anchor_expire_time_seconds");
  assert.is(ends.length, seriesMax);
  assert.is(ends[0]?.value, hours(1_000 - seriesMax - 8).getTime() / 1_000);
  assert.is(new Set(ends.map(({ labels }) => labels?.["serial"])).size, seriesMax, "bug: one series had two values");
  assert.ok(ends.every(({ labels }) => (labels?.["subject"]?.length ?? 0) <= 200));
  assert.is(of("hypha_trust_anchors")[0]?.value, many.length);
});

/** A node that is ready, with these children. */
function observed(
  role: string,
  children: Readonly<Record<string, unknown>>,
  identities: Pick<NodeContext, "identityCount" | "previousIdentities"> = { identityCount: 1, previousIdentities: [] },
): ObservedNode {
  return {
    getSnapshot: () => ({
      value: "ready",
      children,
      context: {
        ...identities,
        config: { role, limits: defaultLimits, gatewayAddresses: [] },
        snapshot: undefined,
        identity: undefined,
        members: withConnected(withConnected([], identityOf("p", "scheduler")), identityOf("p", "worker")),
        linked: [],
        isReady: true,
        refusalLog: {
          getSnapshot: () => ({ context: { counts: { internal: 4 }, lasts: new Map(), sink: { failures: 2 } } }),
        },
      } as never,
    }),
  };
}

test("a worker's leases and jobs are those of its book, its cells those that it found", () => {
  const book = { offers: { o: {} }, leases: { a: {}, b: {} }, jobs: { j: {} } };
  const [gates, lines] = [makeGateTally({ now: () => 0 }), makeLineTally()];
  const read = (node: ObservedNode) => {
    const samples = samplesOf({ node, gates, lines, lostRecords: 0, version: "1", now: 0 });
    return (name: string) => samples.find((sample) => sample.name === name)?.value;
  };
  const cell = { level: "full", user: "per-job" };
  const busyWorker = observed("worker", { role: { getSnapshot: () => ({ context: { book, cell } }) } });
  const told = samplesOf({ node: busyWorker, gates, lines, lostRecords: 0, version: "1", now: 0 });
  assert.equal(told.find(({ name }) => name === "hypha_cell_info")?.labels, { level: "full", confined: "true" });
  const busy = read(busyWorker);
  assert.equal([busy("hypha_leases"), busy("hypha_jobs"), busy("hypha_peers"), busy("hypha_node_ready")], [2, 1, 1, 1]);
  assert.is(busy("hypha_audit_failures_total"), 2);
  const idle = read(observed("worker", {}));
  assert.equal([idle("hypha_leases"), idle("hypha_jobs"), idle("hypha_cell_info")], [0, 0, undefined]);
  assert.is(read(observed("gateway", {}))("hypha_leases"), undefined);
  const member = { part: "trainer", last: "", at: 0, loss: 2 } as const;
  const watch: TrainingWatch = {
    ...emptyWatch,
    round: 3,
    roundSeconds: 1.5,
    losses: [{ round: 2, loss: 4 }, { round: 3, loss: 2 }],
    members: { a: { ...member, is: "in" }, b: { ...member, is: "out" }, c: { ...member, is: "in" } },
    rejections: { norm: 2 },
    bytes: { received: 5, sent: 7 },
  };
  const children = { "journal/t-1": { getSnapshot: () => ({ context: { watch } }) } };
  const role = { getSnapshot: () => ({ context: { running: ["t-1"] }, children }) };
  const scheduler = samplesOf({
    node: observed("scheduler", { role }),
    gates,
    lines,
    lostRecords: 0,
    version: "1",
    now: 0,
  });
  const trained = scheduler.filter(({ name }) => name.startsWith("hypha_training_"));
  assert.ok(trained.every(({ labels }) => labels?.["training"] === "t-1"));
  assert.equal(
    trained.map(({ name, labels, value }) => [name.slice(15), ...Object.values(labels ?? {}).slice(1), value]),
    [
      ["round", 3],
      ["loss", 2],
      ["members", "in", 2],
      ["members", "out", 1],
      ["updates_rejected_total", "norm", 2],
      ["round_seconds", 1.5],
      ["bytes_total", "received", 5],
      ["bytes_total", "sent", 7],
    ],
  );
  assert.is(read(observed("scheduler", {}))("hypha_training_round"), undefined);
});

test("bug: records that the audit log lost were not counted", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hypha-lost-"));
  const file = join(folder, "file");
  writeFileSync(file, "no folder");
  const events: string[] = [];
  const ports = makePorts(({ event }) => void events.push(event));
  const audit = keepAudit({ dir: join(file, "audit"), keepMs: 1_000, now: () => 0 });
  await audit.begin(() => "gateway-01", ports);
  const [from, to] = ["1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z"];
  for (let index = 0; index < inboxMax + 3; index++) {
    audit.sink.record({ type: "refusal.summary", from, to, host: "10.0.0.1", counts: { internal: 1 } });
  }
  const [gates, lines] = [makeGateTally(ports), makeLineTally()];
  const node = observed("gateway", {});
  const samples = samplesOf({ node, gates, lines, lostRecords: audit.lost(), version: "1", now: 0 });
  await audit.end(ports);
  await ports.dispose();
  rmSync(folder, { recursive: true });
  assert.is(events[0], "audit.unwritten", "the line with the reason");
  const ofSink = 2;
  assert.is(samples.find(({ name }) => name === "hypha_audit_failures_total")?.value, ofSink + 3);
  assert.is(noAudit.lost(), 0);
});

test("bug: after a change of the node's key no lease, job and training was counted or shown", () => {
  const [gates, lines] = [makeGateTally({ now: () => 0 }), makeLineTally()];
  const bookOf = (leases: object, jobs: object) => ({ getSnapshot: () => ({ context: { book: { leases, jobs } } }) });
  const lease = { id: "l", peer: "p", resources: {}, endsAt: 0, over: false };
  const job = { taskId: "j", leaseId: "l", scheduler: "p" };
  const journal = { getSnapshot: () => ({ context: { watch: emptyWatch } }) };
  const scheduler = {
    getSnapshot: () => ({ context: { running: ["t-1"] }, children: { "journal/t-1": journal } }),
  };
  const counted = (node: ObservedNode) => {
    const samples = samplesOf({ node, gates, lines, lostRecords: 0, version: "1", now: 0 });
    return ["hypha_leases", "hypha_jobs", "hypha_training_round"].map((name) =>
      samples.find((sample) => sample.name === name)?.value
    );
  };
  const shown = (node: ObservedNode) => {
    const { leases = [], jobs = [] } = showNode(node.getSnapshot() as never, {
      ...{ version: "1", startedAt: 0, now: 0, open: [], gates: {} },
    });
    return [leases.length, jobs.length];
  };
  const active = { identityCount: 3, previousIdentities: [] };
  const worker = observed("worker", { "role/3": bookOf({ l: lease }, { j: job }) }, active);
  assert.equal([counted(worker), shown(worker)], [[1, 1, undefined], [1, 1]]);
  const transport = {} as never;
  const previous = {
    identityCount: 3,
    previousIdentities: [
      { id: "identity/1", roleId: "role", transport },
      { id: "identity/2", roleId: undefined, transport },
    ],
  };
  const both = { role: bookOf({ l: lease }, { j: job }), "role/3": bookOf({ m: lease }, { k: job }) };
  assert.equal([counted(observed("worker", both, previous)), shown(observed("worker", both, previous))], [
    [2, 2, undefined],
    [2, 2],
  ]);
  assert.equal(counted(observed("worker", { role: both.role }, previous)).slice(0, 2), [1, 1]);
  assert.is(counted(observed("scheduler", { "role/3": scheduler }, active))[2], 0);
  assert.is(counted(observed("scheduler", { role: scheduler }, previous))[2], 0);
});

test("a label cannot forge a line of the page", () => {
  const labels = { name: 'a"} 1\nhypha_peers 99\\' };
  const page = prometheusText([{ name: "hypha_certificate_expire_time_seconds", labels, value: 1 }]);
  assert.equal(page.split("\n").filter((line) => line.startsWith("hypha_peers")), []);
});

const readers: [name: string, read: (text: string) => unknown, text: string, expected: unknown][] = [
  ["an endpoint", (text) => String(readEndpoint(text)), "http://c:4318", "http://c:4318/v1/metrics"],
  ["an endpoint below a path", (text) => String(readEndpoint(text)), "https://c/otlp/", "https://c/otlp/v1/metrics"],
  ["no endpoint", readEndpoint, "collector:4318", "begins with neither http:// nor https://"],
  ["no URL", readEndpoint, "4318", "is no URL"],
  ["a credential", readEndpoint, "http://u:p@c", "carries a credential; put it into telemetry_headers"],
  ["a query", readEndpoint, "http://c/?a=b", "has something behind its path"],
  ["pairs", readPairs, " a=b , c=d%2Ce=f,", { a: "b", c: "d,e=f" }],
  ["no pair", readPairs, "a=b,cd", "has no key=value in place 2"],
  ["a bad escape", readPairs, "a=%zz", "is badly percent-encoded in place 1"],
  ["too many pairs", readPairs, Array.from({ length: 65 }, (_, n) => `a${n}=b`).join(","), "has more than 64 pairs"],
  ["headers", readHeaders, "authorization=Bearer%20x", { authorization: "Bearer x" }],
  ["no header's name", readHeaders, "a b=c", "has no header's name in place 1"],
  ["a header that would forge another", readHeaders, "a=b%0d%0ac: d", "has no header's value in place 1"],
  ["a port alone", readListenPlace, "9464", { host: "127.0.0.1", port: 9_464 }],
  ["a place", readListenPlace, "0.0.0.0:1", { host: "0.0.0.0", port: 1 }],
  ["an IPv6 place", readListenPlace, "[::1]:65535", { host: "::1", port: 65_535 }],
  ["a host", readListenPlace, "localhost:1", "names a host instead of an IP address"],
  ["a port too high", readListenPlace, "65536", "does not end in a port from 0 to 65535"],
  ["no port", readListenPlace, "127.0.0.1", "does not end in a port from 0 to 65535"],
];
for (const [name, read, text, expected] of readers) {
  test(`reads ${name}`, () => assert.equal(read(text), expected));
}

test("docs/telemetry.md has every metric as it is, and alerts on none that is not", () => {
  const page = readFileSync(new URL("../../docs/telemetry.md", import.meta.url), "utf8");
  const cells = (line: string) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim());
  const rows = page.split("\n").filter((line) => line.startsWith("| `hypha_")).map(cells)
    .filter((row) => row.length === 5);
  const expected = Object.entries(instruments).map(([name, { kind, unit, labels, description }]) => [
    `\`${name}\``,
    kind,
    unit === "1" ? "—" : unit,
    labels.map((label) => `\`${label}\``).join(", ") || "—",
    description,
  ]);
  assert.equal(rows, expected);
  const named = [...page.matchAll(/hypha_[a-z_]+[a-z]/g)].map(([name]) => name.replace(/_bucket$/, ""));
  assert.equal(named.filter((name) => !Object.hasOwn(instruments, name)), []);
  const events = [...page.matchAll(/\b(?:telemetry|trust|audit|peers)\.[a-z]+/g)].map(([event]) => event)
    .filter((event) => event !== "trust.changed"); // why a connection was closed
  const source = [
    "audit/audit",
    "telemetry/telemetry",
    "trust/trust_store",
    "trust/trust_reports",
    "trust/audit",
    "trust/refusal_log",
    "witness/witness_actions",
  ]
    .map((name) => readFileSync(new URL(`../../actors/${name}.ts`, import.meta.url), "utf8")).join("");
  for (const event of events) assert.ok(source.includes(`event: "${event}"`), event);
});

test("loopback is what nobody else reaches", () => {
  const places = ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1"].map((host) => ({ host, port: 1 }));
  assert.equal(places.map(isLoopback), [true, true, true, false, false, false]);
});

test.run();
