/** Bytes of messages about trainings, as docs/wire.md ("Extensions") has them, and what is read of other nodes' messages. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeMessage, encodeMessage, membersReportedMax } from "../../../transport/protocols/mod.ts";
import { toCbor } from "../../../transport/protocols/schema.ts";
import { text, u32, uuid } from "../../../transport/protocols/scalars.ts";
import { externallyTagged, type Schema, struct } from "../../../transport/protocols/schema.ts";
import { traceContextOf, withTraceContext } from "../../../transport/protocols/traced_message.ts";
import type {
  AggregationRules,
  ProgressRequest,
  Receipt,
  TrainingRequest,
} from "../../../transport/protocols/messages.ts";

const test = suite("messages about trainings");
const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const id = "f4633ad1-6b37-4597-85a6-4e58a2117f5a";
const training = { id: "t-7f3a", run: 2 };

test("training stands after the other keys; without it the bytes are those of the existing network", () => {
  const plain = hex(encodeMessage("/hypha-progress/0.0.1", "request", { job_id: id, progress: "update" }));
  const ours = hex(encodeMessage("/hypha-progress/0.0.1", "request", { job_id: id, progress: "update", training }));
  assert.is(plain, "a2666a6f625f696450f4633ad16b37459785a64e58a2117f5a6870726f677265737366757064617465");
  assert.is(ours, `a3${plain.slice(2)}68747261696e696e67a262696466742d376633616372756e02`);
  const renewal = hex(encodeMessage("/hypha-api/0.0.1", "request", { RenewLease: { id } }));
  assert.is(renewal, "a16a52656e65774c65617365a162696450f4633ad16b37459785a64e58a2117f5a");
});

const requests: [TrainingRequest, string][] = [
  [{ Release: { lease: id } }, "a16752656c65617365a1656c6561736550f4633ad16b37459785a64e58a2117f5a"],
  [
    { End: { training: "t-7f3a", run: 2, job: null, reason: "done" } },
    "a163456e64a468747261696e696e6766742d376633616372756e02636a6f62f666726561736f6e64646f6e65",
  ],
  [
    { Notice: { job: id, code: "norm", detail: "14 times" } },
    "a1664e6f74696365a3636a6f6250f4633ad16b37459785a64e58a2117f5a64636f6465646e6f726d6664657461696c6831342074696d6573",
  ],
];
test("requests and the answer have these bytes, and are read back", () => {
  for (const [request, bytes] of requests) {
    const encoded = encodeMessage("/hypha-training/1", "request", request);
    assert.is(hex(encoded), bytes);
    const read = decodeMessage("/hypha-training/1", "request", encoded);
    assert.equal(read._tag === "Success" && read.success, request);
  }
  const answer = encodeMessage("/hypha-training/1", "response", { answer: "Unsupported" });
  assert.is(hex(answer), "6b556e737570706f72746564");
  const read = decodeMessage("/hypha-training/1", "response", answer);
  assert.equal(read._tag === "Success" && read.success, { answer: "Unsupported" });
  assert.is(decodeMessage("/hypha-training/1", "response", toCbor(text(), "Other", "exact"))._tag, "Failure");
});

test("a request may carry the context of a trace; a malformed one is ignored, and the request counts", () => {
  const context = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", sampled: true };
  const protocol = "/hypha-training/1";
  for (const [request, bytes] of requests) {
    const traced = withTraceContext(protocol, request, context);
    const encoded = encodeMessage(protocol, "request", traced as TrainingRequest);
    assert.ok(hex(encoded).length > bytes.length);
    const read = decodeMessage(protocol, "request", encoded);
    assert.ok(read._tag === "Success");
    if (read._tag === "Success") assert.equal(traceContextOf(protocol, read.success), context);
    assert.is(traceContextOf(protocol, request), undefined);
  }
  const release = (traceparent: unknown, schema: Schema<never>) =>
    toCbor(
      externallyTagged<object>({
        Release: struct<{ lease: string; traceparent: never }>({ lease: uuid, traceparent: schema }),
      }),
      { Release: { lease: id, traceparent } },
      "exact",
    );
  const wrong = [["x".repeat(5_000), text()], [7, u32], ["", text()]] as const;
  for (const [value, schema] of wrong) {
    const read = decodeMessage(protocol, "request", release(value, schema as never));
    assert.equal(read._tag === "Success" && read.success, { Release: { lease: id, traceparent: "" } });
    if (read._tag === "Success") assert.is(traceContextOf(protocol, read.success), undefined);
  }
  const plain = { RenewLease: { id } };
  assert.is(withTraceContext("/hypha-api/0.0.1", plain, context), plain, "other protocols carry none");
});

test("a request of a newer node is read as unknown, so that it gets an answer; a known one must be right", () => {
  const of = (name: string, fields: { a: number }) =>
    toCbor(externallyTagged<object>({ [name]: struct<{ a: number }>({ a: u32 }) }), { [name]: fields }, "exact");
  for (const bytes of [of("Output", { a: 1 }), toCbor(text(), "Hello", "exact")]) {
    const read = decodeMessage("/hypha-training/1", "request", bytes);
    assert.equal(read._tag === "Success" && read.success, { Unknown: {} });
  }
  assert.is(decodeMessage("/hypha-training/1", "request", of("Release", { a: 1 }))._tag, "Failure");
});

const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";

test("a change of the aggregator is read back, and bounded", () => {
  const change = (results: number) => ({
    Change: {
      training: "t-7f3a",
      run: 2,
      job: id,
      aggregator: peer,
      results: Array.from({ length: results }, () => peer),
      dispatch: 7,
    },
  });
  const read = (results: number) =>
    decodeMessage(
      "/hypha-training/1",
      "request",
      encodeMessage("/hypha-training/1", "request", change(results)),
    );
  const most = read(16);
  assert.equal(most._tag === "Success" && most.success, change(16));
  assert.is(read(17)._tag, "Failure");
});

test("a receipt stands last, beside what the existing network reads, and names a digest", () => {
  const sha256 = "0123456789abcdef".repeat(4);
  const of = (receipt: Receipt) =>
    encodeMessage("/hypha-progress/0.0.1", "request", { job_id: id, progress: "update-received", receipt });
  const bytes = hex(of({ round: 3, parameters: sha256 }));
  assert.match(bytes, "67726563656970" + "74a265726f756e64036a706172616d65746572737840");
  const read = (receipt: Receipt) => decodeMessage("/hypha-progress/0.0.1", "request", of(receipt));
  for (const receipt of [{ round: 3, parameters: sha256 }, { round: 3 }]) {
    const decoded = read(receipt);
    assert.equal(decoded._tag === "Success" && decoded.success.receipt, receipt);
  }
  for (const parameters of [sha256.slice(1), sha256.toUpperCase(), ""]) {
    assert.is(read({ round: 3, parameters })._tag, "Failure", parameters);
  }
});

test("rules of an aggregation stand last in its job; each may be missing, and wrong ones are refused", () => {
  const of = (aggregation: AggregationRules | undefined) => {
    const peers = { type: "peers" as const, peers: [peer], strategy: { type: "All" as const }, resource: null };
    const config = { updates: peers, results: peers, optimizer: { "learning-rate": 0.7, momentum: 0.9 } };
    const executor = { class: "aggregate" as const, descriptor: { name: "x" }, config };
    const spec = { job_id: id, executor, ...(aggregation === undefined ? {} : { aggregation }) };
    return encodeMessage("/hypha-api/0.0.1", "request", { DispatchJob: { id, spec } });
  };
  const read = (rules: AggregationRules) => {
    const decoded = decodeMessage("/hypha-api/0.0.1", "request", of(rules));
    return decoded._tag === "Success" && "DispatchJob" in decoded.success &&
      decoded.success.DispatchJob.spec.aggregation;
  };
  assert.not.match(hex(of(undefined)), "6b6167677265676174696f6e");
  const all: AggregationRules = {
    layout: "0".repeat(64),
    method: "trimmed-mean",
    trim: 0.25,
    clip_norm_ratio: 3,
    max_norm_ratio: 20,
    quorum: 0.5,
    deadline_s: 60,
    late: [peer],
  };
  for (const rules of [all, {}, { layout: all.layout ?? "" }]) assert.equal(read(rules), rules);
  assert.match(hex(of(all)), "6b6167677265676174696f6ea8666c61796f7574");
  const wrong: AggregationRules[] = [
    { layout: "x" },
    { trim: 0.5 },
    { trim: NaN },
    { clip_norm_ratio: 0.5 },
    { max_norm_ratio: NaN },
    { quorum: 0 },
    { quorum: 1.1 },
    { late: Array.from({ length: membersReportedMax + 1 }, () => peer) },
  ];
  for (const rules of wrong) assert.is(read(rules), false, JSON.stringify(rules).slice(0, 60));
});

test("a report is bounded", () => {
  const member = {
    peer: "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz",
    outcome: "counted" as const,
    norm: 0.5,
  };
  const of = (count: number, code = "norm"): ProgressRequest => ({
    job_id: id,
    progress: "updated",
    report: { round: 1, members: Array.from({ length: count }, () => ({ ...member, code })) },
  });
  const read = (request: ProgressRequest) =>
    decodeMessage("/hypha-progress/0.0.1", "request", encodeMessage("/hypha-progress/0.0.1", "request", request));
  const most = read(of(membersReportedMax));
  assert.equal(most._tag === "Success" && most.success.report?.members[0], { ...member, code: "norm" });
  assert.is(read(of(membersReportedMax + 1))._tag, "Failure");
  assert.is(read(of(1, "x".repeat(65)))._tag, "Failure");
});

test.run();
