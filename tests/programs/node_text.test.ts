/** A node's status as lines for people. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fitted } from "../../scripts/program/text_blocks.ts";
import { columnsOf } from "../../scripts/program/watch_status.ts";
import { askAdmin } from "../../actors/admin/ask_admin.ts";
import type { ShownNode } from "../../actors/node/shown_node.ts";
import type { Role } from "../../pki/certificate.ts";
import { nodeServices } from "../../scripts/program/node_services.ts";
import { nodeText } from "../../scripts/program/node_text.ts";
import { type Operated, serveOperator } from "../../scripts/program/operator.ts";
import { defaultLimits } from "../../transport/core/admission.ts";

const test = suite("a node for people");
const now = Date.parse("2026-01-02T00:00:00Z");
const at = (seconds: number) => new Date(now + seconds * 1_000).toISOString();

const shown: ShownNode = {
  role: "worker",
  name: "worker-01",
  peer: "12D3KooWx",
  version: "1.0.0",
  started: at(-60),
  state: "joining",
  machine: "ready",
  gates: {},
  waitsFor: ["a gateway"],
  certificate: { serial: "0a", notBefore: at(-60), notAfter: at(3_600), generation: 1 },
  renewal: { state: "waiting", due: at(-5), failures: 2, error: "the CA is away" },
  trust: {
    generation: 3,
    anchors: 2,
    lists: [{
      domain: null,
      issuer: "CN=CA",
      scope: "all",
      number: "7",
      thisUpdate: at(-600),
      nextUpdate: at(-10),
      ageSeconds: 600,
      entries: 4,
    }],
  },
  gateways: [{ address: "/ip4/127.0.0.1/tcp/1", linked: false }],
  connections: { open: 1, max: 100 },
  peers: [{
    name: "evil\x1b[2J",
    role: null,
    peer: "12D3KooWy",
    direction: "inbound",
    relayed: true,
    address: "/ip4/127.0.0.1/tcp/2/p2p/R/p2p-circuit",
    since: at(-7),
    serial: "0a",
    notAfter: at(900),
  }],
  audit: {
    logs: 4,
    forked: [{
      origin: "acme/audit/ca/ca-01",
      problem: "split",
      records: [7, 8],
      from: "gateway-01 12D3KooWg",
      at: at(-20),
    }],
  },
  travels: [],
  refusals: [{
    code: "unknown-issuer",
    count: 3,
    last: { at: at(-9), address: "/ip4/127.0.0.1/tcp/9", name: null, message: "No path", hint: "" },
  }],
  leases: [{ id: "l-1", scheduler: "12D3KooWz", resources: {}, ends: at(30) }],
  jobs: [],
};

test("all of it is said, and what a peer chose is escaped", () => {
  const text = nodeText(shown, { now, columns: 200, colour: false });
  assert.equal(text.split("\n"), [
    "worker-01 (worker): joining, waits for a gateway, version 1.0.0, started 60 s ago",
    "PeerID 12D3KooWx",
    "certificate 0a: ends 2026-01-02T01:00:00.000Z, in 60 min, soon",
    "renewal: waiting, due 2026-01-01T23:59:55.000Z, 2 attempts failed: the CA is away",
    "trust: generation 3, 2 anchors",
    "revocation lists:",
    "  CN=CA    all  number 7  4 revoked  10 min old  next overdue for 10 s",
    "gateways:",
    "  not linked  /ip4/127.0.0.1/tcp/1",
    "peers (1 of at most 100 connections):",
    "  evil\\u001b[2J  any role  inbound  relayed  since 7 s  /ip4/127.0.0.1/tcp/2/p2p/R/p2p-circuit  12D3KooWy",
    "audit logs that were rewritten or are kept twice:",
    "  acme/audit/ca/ca-01  split  7 and 8 records  2026-01-01T23:59:40.000Z",
    "refusals since the start:",
    "  unknown-issuer  3  9 s ago  /ip4/127.0.0.1/tcp/9: No path",
    "leases:",
    "  l-1  12D3KooWz  ends in 30 s, soon",
    "jobs: none",
  ]);
});

test("no line is wider than the terminal, colours aside, and a node without anything is shown too", () => {
  const narrow = nodeText(shown, { now, columns: 40, colour: true }).split("\n");
  // deno-lint-ignore no-control-regex
  for (const line of narrow) assert.ok(line.replace(/\x1b\[\d+m/g, "").length <= 40, line);
  const bare: ShownNode = {
    ...shown,
    name: null,
    peer: null,
    certificate: null,
    renewal: null,
    trust: null,
    gateways: [],
    peers: [],
    audit: null,
    refusals: [],
  };
  const text = nodeText({ ...bare, trainings: [] }, { now, columns: 120, colour: false });
  assert.match(text, /^no certificate \(worker\)/);
  assert.match(text, "renewal: by hand");
  assert.match(text, "hypha-scheduler submit FILE");
});

test("bug: while a scheduler could not answer, its status said that there were no trainings", async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "hypha-status-"));
  chmodSync(stateDir, 0o700);
  const config = { role: "scheduler", stateDir, gatewayAddresses: [], limits: defaultLimits };
  const refusalLog = { getSnapshot: () => ({ context: { counts: {}, lasts: new Map() } }) };
  const context = { config, identityCount: 1, previousIdentities: [], linked: [], refusalLog };
  const operated = {
    node: { actor: { getSnapshot: () => ({ value: "ready", context, children: {} }), send: () => {} }, drain: () => 0 },
    connections: { list: () => [], gates: () => ({}) },
  } as unknown as Operated;
  const ports = { now: () => now, report: () => {} } as never;
  const { body } = await Effect.runPromise(Effect.provide(
    Effect.scoped(Effect.andThen(
      serveOperator(config as never, { log: {} as never, ports, operated }),
      askAdmin(join(stateDir, "admin.sock"), "GET /status"),
    )),
    nodeServices,
  ));
  rmSync(stateDir, { recursive: true });
  const lines = nodeText(body as ShownNode, { now, columns: 200, colour: false }).split("\n");
  assert.equal(lines.slice(lines.indexOf("trainings:")), ["trainings:", "  not known: the scheduler is not ready"]);
});

test("bug: two schedulers of one [scheduler.job] wrote one folder of models: the second only warned", async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "hypha-status-"));
  chmodSync(stateDir, 0o700);
  const operated = { node: undefined, connections: {} } as unknown as Operated;
  const ports = { now: () => now, report: () => {} } as never;
  const serve = (role: Role) =>
    serveOperator({ role, stateDir, job: {} } as never, { log: {} as never, ports, operated });
  const outcomes = await Effect.runPromise(Effect.provide(
    Effect.scoped(
      Effect.andThen(
        serve("scheduler"),
        Effect.all([Effect.result(serve("scheduler")), Effect.result(serve("worker"))]),
      ),
    ),
    nodeServices,
  ));
  rmSync(stateDir, { recursive: true });
  assert.equal(outcomes.map((each) => Result.isFailure(each) ? each.failure.detail : "goes on"), [
    "another process serves it",
    "goes on",
  ]);
});

test("bug: lines of a terminal without a size lost their last character, and what another program reads was cut", () => {
  const line = "x".repeat(100);
  const shownIn = (output: Parameters<typeof columnsOf>[0], text: string) =>
    fitted([text], { now: 0, columns: columnsOf(output), colour: false });
  assert.is(shownIn({ isTTY: true, columns: 0 }, line), line);
  assert.is(shownIn({ isTTY: true }, line), line);
  assert.is(shownIn({ isTTY: true, columns: 80 }, line), `${line.slice(0, 79)}…`);
  assert.is(shownIn({}, line.repeat(5)), line.repeat(5));
});

test.run();
