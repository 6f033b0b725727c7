/** Traces and lines of the log: sampling, queues, encodings, and spans from what gates, requests and actors do. */
import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { telemetrySamplers } from "../../actors/config/telemetry_values.ts";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import type { Collector } from "../../actors/telemetry/collector.ts";
import { timeChecks, traceHandshakes } from "../../actors/telemetry/handshake_spans.ts";
import { traceLines } from "../../actors/telemetry/line_spans.ts";
import { type LogRecord, logsData, recordLimits, tracesData } from "../../actors/telemetry/otlp.ts";
import { encodeLogs, encodeTraces } from "../../actors/telemetry/otlp_protobuf.ts";
import { makeRecorder } from "../../actors/telemetry/recorder.ts";
import { traceRequests } from "../../actors/telemetry/request_spans.ts";
import { makeSampler } from "../../actors/telemetry/sampler.ts";
import { senderMachine } from "../../actors/telemetry/sender.ts";
import { batchMax, queuedMax, SignalQueue } from "../../actors/telemetry/signal_queue.ts";
import { type Span, spans } from "../../actors/telemetry/span.ts";
import { verifyingChecks } from "../../actors/gate/gate_checks.ts";
import { pkiChecks } from "../../pki/checks/check_table.ts";
import { HandshakeTimeout } from "../../pki/refusal.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { type CaTelemetry, readTelemetry } from "../../scripts/ca/telemetry.ts";
import { makePorts } from "../../scripts/program/ports.ts";
import { formatTraceParent, parseTraceParent } from "../../transport/protocols/trace_context.ts";
import { startCollector } from "../support/collector.ts";
import { makeTestPki } from "../support/pki.ts";
import { readLogs, readTraces } from "../support/otlp_messages.ts";

const test = suite("traces");

/** A recorder whose spans are at hand, with a clock that moves a millisecond at each look. */
function recording(sampler = makeSampler("always_on")) {
  const queue = new SignalQueue<Span>();
  let at = 1_000;
  let count = 0;
  const uuid = () => `00000000-0000-4000-8000-${String(++count).padStart(12, "0")}`;
  const recorder = makeRecorder({ now: () => at++, uuid, sampler, queue });
  return { recorder, queue, spans: () => queue.batch() };
}

const named = (all: readonly Span[], name: string) => all.filter((span) => span.name === name);

test("each sampler keeps what OpenTelemetry's specification says", () => {
  const low = "0".repeat(18) + "00000000000001", high = "f".repeat(32);
  const kept = telemetrySamplers.map((kind) => {
    const sample = makeSampler(kind, 0.5);
    const cases: [string, boolean | undefined][] = [
      [low, undefined],
      [high, undefined],
      [high, true],
      [low, false],
    ];
    return cases.map(([id, parent]) => sample(id, parent) ? 1 : 0).join("");
  });
  assert.equal(Object.fromEntries(telemetrySamplers.map((kind, index) => [kind, kept[index]])), {
    always_on: "1111",
    always_off: "0000",
    traceidratio: "1001",
    parentbased_always_on: "1110",
    parentbased_always_off: "0010",
    parentbased_traceidratio: "1010",
  });
});

test("a ratio is honoured, and two nodes of one ratio keep the same traces", () => {
  for (const ratio of [0, 0.1, 0.5, 1]) {
    const [one, other] = ["traceidratio", "parentbased_traceidratio"].map((kind) => makeSampler(kind as never, ratio));
    const ids = Array.from({ length: 20_000 }, () => randomUUID().replaceAll("-", ""));
    const kept = ids.filter((id) => one!(id, undefined));
    assert.ok(Math.abs(kept.length / ids.length - ratio) < 0.015, `${kept.length} of ${ids.length} for ${ratio}`);
    assert.ok(kept.every((id) => other!(id, undefined)));
  }
});

test("a context is read as W3C Trace Context writes it, and nothing else is", () => {
  const text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const context = parseTraceParent(text)!;
  assert.equal(context, { traceId: text.slice(3, 35), spanId: text.slice(36, 52), sampled: true });
  assert.is(formatTraceParent(context), text);
  assert.is(parseTraceParent(text.replace(/01$/, "02"))?.sampled, false, "only the lowest bit says that it is kept");
  const wrong = [
    text.replace(/^00/, "01"),
    text.replace(/^00/, "ff"),
    text.toUpperCase(),
    text.replace(/[0-9a-f]{32}/, "0".repeat(32)),
    text.replace(/b7ad6b7169203331/, "0".repeat(16)),
    `${text}0`,
    `${text}-extra`,
    text.slice(1),
    text.replace("0af7", "0ag7"),
    "",
    7,
    null,
    undefined,
  ];
  for (const each of wrong) assert.is(parseTraceParent(each), undefined, String(each));
});

test("a handshake is a span, its TLS part, checks and opening are children; a refused one ends with its code", async () => {
  const pki = await makeTestPki();
  const { recorder, spans: ended } = recording();
  const checks = timeChecks(pkiChecks, recorder.now);
  const ports = { now: () => Date.now(), report: () => {} };
  const makeGate = traceHandshakes(recorder, checks)(makeGateFactory({ ports, checks: checks.functions }));
  const gate = async (end: "established" | "revoked" | "timeout" | "unadmitted") => {
    const node = await pki.node(`node-${end}`);
    const crls = await pki.crls({ number: 1n, revoked: end === "revoked" ? [node] : [] });
    const at = new Date();
    const { snapshot } = Result.getOrThrow(makeTrustSnapshot({
      ...{ trustPem: pki.trustPem, crlsPem: Buffer.from(crls), policy: defaultPolicy, generation: 1, at },
    }));
    const made = makeGate({
      id: end,
      direction: "inbound",
      address: "/ip4/127.0.0.1/tcp/1",
      expectedPeer: undefined,
      admission: end === "unadmitted"
        ? Result.fail(new HandshakeTimeout({ state: "before", afterMs: 1 }))
        : Result.succeed(true),
      snapshot,
      own: { name: "own", notAfter: new Date(Date.now() + 1_000_000) },
      deadlineMs: 60_000,
    });
    made.send({ type: "connection.securing" });
    if (end === "timeout") {
      made.send({ type: "tls.failed", refusal: new HandshakeTimeout({ state: "tls", afterMs: 1 }) });
    } else made.send({ type: "tls.secured", version: "TLSv1.3", chain: node.chain });
    made.send({ type: "connection.opened" });
    made.stop();
  };
  await gate("established");
  const [open] = named(ended(), "handshake");
  assert.equal([open?.kind, open?.error, open?.parentSpanId], ["server", undefined, undefined]);
  assert.is(open?.attributes["hypha.peer.name"], "node-established");
  const children = ended().filter(({ parentSpanId }) => parentSpanId === open?.spanId);
  assert.equal(children.map(({ name }) => name), [
    "handshake.tls",
    ...verifyingChecks.map(() => "handshake.check"),
    "handshake.opening",
  ]);
  const order = named(children, "handshake.check").map(({ attributes }) => attributes["hypha.check"]);
  assert.equal(order, verifyingChecks.map(({ name }) => name));
  for (const { traceId, startMs, endMs } of children) {
    assert.is(traceId, open?.traceId);
    assert.ok(open!.startMs <= startMs && startMs <= endMs && endMs <= open!.endMs);
  }
  await gate("revoked");
  const refused = named(ended(), "handshake")[1];
  assert.equal([refused?.error, refused?.attributes["hypha.peer.name"]], ["certificate-revoked", "node-revoked"]);
  const last = ended().filter(({ parentSpanId }) => parentSpanId === refused?.spanId).at(-1);
  assert.equal([last?.attributes["hypha.check"], last?.error], ["revocation", "certificate-revoked"]);
  await gate("timeout");
  const silent = named(ended(), "handshake")[2];
  assert.is(silent?.error, "handshake-timeout");
  assert.equal(ended().filter(({ parentSpanId }) => parentSpanId === silent?.spanId), [], "no check of another gate");
  await gate("unadmitted");
  assert.is(named(ended(), "handshake").length, 3, "what admission refuses is counted, not traced");
});

test("a request has a span at each end; its context travels with ours, and one that names a run belongs to its trace", () => {
  const { recorder, spans: ended } = recording();
  const traces = traceRequests(recorder, () => "12D3KooWscheduler");
  const run = recorder.ofRun({ scheduler: "12D3KooWscheduler", training: "digits", run: 3 });
  const End = { training: "digits", run: 3, job: null, reason: "done" };
  const asked = traces.asked({ peer: "12D3KooWworker", protocol: "/hypha-training/1", message: { End } });
  assert.is(asked.context.traceId, run.traceId);
  asked.ended();
  const received = traces.received({
    identity: { peer: "12D3KooWscheduler", name: "scheduler" } as never,
    protocol: "/hypha-training/1",
    message: { End },
    context: asked.context,
  });
  received.ended("declined");
  const [client, server] = ended();
  assert.equal([client?.kind, client?.parentSpanId, client?.error], ["client", run.spanId, undefined]);
  assert.equal([server?.kind, server?.parentSpanId, server?.error], ["server", client?.spanId, "declined"]);
  assert.is(server?.attributes["hypha.message"], "End");
  const job = { id: "digits", run: 3 };
  const dispatch = { DispatchJob: { id: "x", spec: {}, training: job } } as never;
  assert.is(traces.asked({ peer: "p", protocol: "/hypha-api/0.0.1", message: dispatch }).context.traceId, run.traceId);
  const data = { Data: { dataset: "d", training: job } } as never;
  const identity = { peer: "12D3KooWworker", name: "worker" } as never;
  const asking = traces.received({ identity, protocol: "/hypha-api/0.0.1", message: data, context: undefined });
  assert.is(asking.context.traceId, run.traceId, "a worker asks its scheduler");
  const health = traces.asked({ peer: "p", protocol: "/hypha-health/0.0.1", message: {} });
  assert.is.not(health.context.traceId, run.traceId);
});

test("a request that is not kept says so to the other end", () => {
  const { recorder, spans: ended } = recording(makeSampler("parentbased_traceidratio", 0));
  const traces = traceRequests(recorder, () => undefined);
  const asked = traces.asked({ peer: "p", protocol: "/hypha-training/1", message: { Release: { lease: "l" } } });
  asked.ended();
  assert.equal([asked.context.sampled, ended().length], [false, 0]);
});

test("a run of a training is a span, its rounds and its jobs at workers are children", () => {
  const scheduler = recording(), worker = recording();
  const at = traceLines(scheduler.recorder, () => "12D3KooWscheduler");
  const say = (event: string, fields: Record<string, unknown>) =>
    at.line({ level: "info", event, message: "", fields: { training: "digits", ...fields } });
  say("round.finished", { round: 0 });
  say("run.began", { run: 3 });
  say("job.dispatched", { task: "t", job: "j" });
  say("update.rejected", { code: "norm" });
  say("round.finished", { round: 1, trainers: 2 });
  say("round.finished", { round: 2, trainers: 2 });
  say("training.done", {});
  const [first, second, training] = scheduler.spans();
  assert.equal([first, second].map((round) => round?.attributes["hypha.round"]), [1, 2]);
  assert.equal([first, second].map((round) => round?.attributes["hypha.updates.rejected"]), [1, 0]);
  assert.ok(first!.startMs > training!.startMs, "the search for workers is no part of the first round");
  assert.is(second?.startMs, first?.endMs);
  assert.equal([first?.parentSpanId, second?.traceId], [training?.spanId, training?.traceId]);
  assert.equal(training?.attributes, {
    ...{ "hypha.training": "digits", "hypha.run": 3 },
    ...{ "hypha.rounds": 2, "hypha.outcome": "done" },
  });

  const jobs = traceLines(worker.recorder, () => "12D3KooWworker");
  const line = (event: string, fields: Record<string, unknown>) =>
    jobs.line({ level: "info", event, message: "", fields });
  const of = { peer: "12D3KooWscheduler", name: "scheduler", class: "train", lease: "l", training: "digits", run: 3 };
  line("job.dispatched", { ...of, task: "t1", job: "j1" });
  line("job.started", { task: "t1" });
  line("job.ended", { task: "t1", outcome: "failed", reason: "/home/someone/.hypha/job/x" });
  line("job.dispatched", { ...of, task: "t2", job: "j2" });
  jobs.end();
  const [preparing, failed, interrupted] = worker.spans();
  assert.equal([preparing?.name, preparing?.parentSpanId], ["job.preparing", failed?.spanId]);
  assert.equal([failed?.traceId, failed?.parentSpanId], [training?.traceId, training?.spanId]);
  assert.equal([failed?.error, interrupted?.attributes["hypha.outcome"]], ["failed", "interrupted"]);
  assert.not.match(JSON.stringify(worker.spans()), "/home/", "a reason may name paths");
});

const example: readonly Span[] = [{
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  parentSpanId: "00f067aa0ba902b7",
  name: "handshake",
  kind: "server",
  startMs: 1_790_000_000_000.25,
  endMs: 1_790_000_000_001,
  attributes: { text: "ü".repeat(300), yes: true, count: -1, part: 0.5, nothing: undefined },
  error: "certificate-revoked",
}, {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203332",
  parentSpanId: undefined,
  name: "round",
  kind: "internal",
  startMs: 2,
  endMs: 1,
  attributes: { long: "x".repeat(20_000) },
  error: undefined,
}];
const circle: Record<string, unknown> = {};
circle["self"] = circle;
const lines: readonly LogRecord[] = [
  {
    timeMs: 1_790_000_000_000,
    level: "warn",
    event: "peer.refused",
    message: "m".repeat(9_000),
    fields: { a: { b: 1n } },
  },
  { timeMs: 5, level: "info", event: "node.ready", message: "ready", fields: { circle, at: 1.5 } },
];

test("protobuf and JSON say the same, as the definitions of OTLP number the fields", () => {
  const resource = { "service.name": "hypha-gateway" };
  const data = tracesData(resource, example), logs = logsData(resource, lines);
  assert.equal(readTraces(encodeTraces(data)), JSON.parse(JSON.stringify(data)));
  assert.equal(readLogs(encodeLogs(logs)), JSON.parse(JSON.stringify(logs)));
  const [refused, round] = data.resourceSpans[0]!.scopeSpans[0]!.spans;
  assert.is(refused?.startTimeUnixNano, "1790000000000250000");
  assert.equal(refused?.status, { code: 2 });
  assert.is(round?.endTimeUnixNano, round?.startTimeUnixNano, "a clock that goes back ends no span before its start");
  const [first, second] = logs.resourceLogs[0]!.scopeLogs[0]!.logRecords;
  assert.equal([first?.severityNumber, first?.eventName], [13, "peer.refused"]);
  assert.equal(first?.body, { stringValue: "m".repeat(recordLimits.bodyCharacters) });
  assert.equal(second?.attributes[0]?.value, { stringValue: "[unreadable]" });
});

test("a queue is bounded and counts what it drops; a collector that is away costs one line", async () => {
  const queue = new SignalQueue<Span>();
  for (let index = 0; index < queuedMax + 7; index++) queue.push(example[1]!);
  assert.equal([queue.size, queue.dropped, queue.batch().length], [queuedMax, 7, batchMax]);
  const events: string[] = [];
  const ports = makePorts(({ event }) => void events.push(event));
  let answer = 503;
  const receiver = await startCollector((_, response) => void response.writeHead(answer).end());
  const collector: Collector = {
    url: new URL(`${receiver.url}/base/v1/metrics`),
    protocol: "http/protobuf",
    headers: { "x-token": "s3cret" },
    resource: { "service.name": "hypha-worker" },
    startedAt: 0,
  };
  const start = () => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const input = { ports, collector, outgoing: { signal: "traces", queue } } as const;
    return { actor: superviseRoot(senderMachine, { id: "sender", input, onError: reject, onDone: resolve }), promise };
  };
  const sender = start();
  sender.actor.send({ type: "sender.batch" });
  await receiver.waitFor(({ path }) => path === "/base/v1/traces");
  while (sender.actor.getSnapshot().context.failures === 0) await new Promise((wake) => setTimeout(wake, 5));
  sender.actor.send({ type: "sender.batch" });
  assert.equal([queue.size, events], [queuedMax, ["telemetry.unsent"]], "nothing is lost, and it is not tried at once");
  answer = 400;
  sender.actor.send({ type: "sender.leave" });
  await sender.promise;
  assert.equal([receiver.posts.length, queue.size], [2, queuedMax]);
  const refused = start();
  refused.actor.send({ type: "sender.batch" });
  while (queue.size === queuedMax) await new Promise((wake) => setTimeout(wake, 5));
  assert.is(queue.dropped, 7 + batchMax, "what the collector never takes is dropped");
  answer = 200;
  refused.actor.send({ type: "sender.leave" });
  await refused.promise;
  assert.is(queue.size, 0, "the last export takes all that waits");
  const sizes = receiver.posts.slice(3).map(({ body }) =>
    readTraces(body).resourceSpans[0]?.scopeSpans[0]?.spans.length
  );
  assert.equal(sizes, [batchMax, batchMax, batchMax]);
  assert.is(receiver.posts[0]?.headers["x-token"], "s3cret");
  await receiver.close();
  await ports.dispose();
});

test("a CA reads OpenTelemetry's variables, and says which of them is wrong", () => {
  const read = (environment: Readonly<Record<string, string>>) => {
    const outcome = readTelemetry(environment);
    return Result.isFailure(outcome) ? outcome.failure : outcome.success;
  };
  const cases: [name: string, value: string, problem: RegExp][] = [
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", /http/],
    ["OTEL_EXPORTER_OTLP_HEADERS", "s3cret", /key=value/],
    ["OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", /http\/protobuf/],
    ["OTEL_TRACES_SAMPLER", "xray", /always_on/],
    ["OTEL_TRACES_SAMPLER_ARG", "2", /0 to 1/],
    ["OTEL_LOGS_EXPORTER", "console", /otlp/],
  ];
  for (const [name, value, problem] of cases) {
    const said = String(read({ [name]: value }));
    assert.ok(said.startsWith(`${name}: its value `) && problem.test(said), said);
    assert.not.match(said, "s3cret");
  }
  const good = {
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318",
    OTEL_TRACES_SAMPLER_ARG: "0.5",
    OTEL_LOGS_EXPORTER: "",
  };
  const { endpoint, sampleRatio, logs } = read(good) as CaTelemetry;
  assert.equal([endpoint, sampleRatio, logs], ["http://127.0.0.1:4318", 0.5, undefined]);
});

test("docs/telemetry.md lists every span with its attributes", () => {
  const page = readFileSync(new URL("../../docs/telemetry.md", import.meta.url), "utf8");
  const rows = page.split("\n").filter((line) => /^\| `[a-z.]+` +\|/.test(line)).map((line) =>
    line.split("|").slice(1, -1).map((part) => part.trim())
  );
  const expected = Object.entries(spans).map(([name, { attributes, description }]) => [
    `\`${name}\``,
    attributes.map((each) => `\`${each}\``).join(", ") || "—",
    description,
  ]);
  assert.equal(rows, expected);
});

test.run();
