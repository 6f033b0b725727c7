/**
 * What programs would show in their consoles: a gateway with any number of peers, a scheduler with a training, a CA.
 *
 * @module
 */
import { Schema } from "effect";
import { jsonRoute } from "../../actors/admin/json_route.ts";
import type { AdminRoutes } from "../../actors/admin/serve_admin.ts";
import type { MachineShape } from "../../actors/console/machine_shape.ts";
import type { FeedParts } from "../../actors/console/feed.ts";
import type { ShownNode, ShownPeer } from "../../actors/node/shown_node.ts";
import type { ShownStatus } from "../../actors/scheduler/status.ts";

/** Markup in names: shown as text, it does nothing. */
export const evilName = `<img src=x onerror="globalThis.attacked=1"><script>attacked=1</script>`;

const hourMs = 3_600_000;
const from = Date.now();
const at = (hours: number) => new Date(from + hours * hourMs).toISOString();

function peer(index: number): ShownPeer {
  const role = ["gateway", "worker", "worker", "scheduler", "worker", "data"][index % 6] ?? "worker";
  return {
    name: index === 4 ? evilName : `${role}-${String(index).padStart(2, "0")}`,
    role,
    peer: `12D3KooW${String(index).padStart(44, "x")}`,
    direction: index % 2 === 0 ? "inbound" : "outbound",
    relayed: index % 5 === 0,
    address: `/ip4/192.0.2.${index % 250}/tcp/4001`,
    since: at(-index / 10),
    serial: (0xab0000 + index).toString(16),
    notAfter: at(index === 7 ? 5 : 100 + index),
  };
}

/** A gateway. Of its peers, `worker-07` has the certificate that ends first, and every third has the newest list. */
export function gatewayParts(peersCount: number): FeedParts {
  const peers = Array.from({ length: peersCount }, (_, index) => peer(index));
  const states = ["has", "sent", "older"] as const;
  const shown: ShownNode = {
    role: "gateway",
    name: "gateway-01",
    peer: "12D3KooWgateway",
    version: "0.1.0",
    started: at(-30),
    state: "ready",
    machine: { running: "ready" },
    gates: { established: peers.length, securing: 1 },
    waitsFor: [],
    certificate: { serial: "aa01", notBefore: at(-30), notAfter: at(600), generation: 2 },
    renewal: { state: "resting", due: at(400), failures: 0, error: null },
    trust: {
      generation: 3,
      anchors: 1,
      lists: [{
        domain: null,
        issuer: "CN=acme.example CA",
        scope: "all",
        number: "42",
        thisUpdate: at(-0.2),
        nextUpdate: at(23),
        ageSeconds: 720,
        entries: 3,
      }],
    },
    gateways: [],
    connections: { open: peers.length, max: 2_000 },
    peers,
    audit: null,
    travels: [{
      issuer: "ab".repeat(32),
      issuerName: "CN=acme.example CA",
      scope: "all",
      kind: "complete",
      number: "42",
      peers: peers.map(({ peer }, index) => ({
        peer,
        state: states[index % 3] ?? "unknown",
        number: index % 3 === 2 ? "41" : index % 3 === 0 ? "42" : null,
      })),
    }],
    refusals: [{
      code: "certificate-revoked",
      count: 12,
      last: {
        at: at(-0.01),
        address: "/ip4/192.0.2.99/tcp/4001",
        name: "worker-99",
        message: `Cannot accept certificate of CN=${evilName}: revoked at ${at(-1)}`,
        hint: "Get a new token for the node from its CA: hypha-ca token",
      },
    }, {
      code: "certificate-expired",
      count: 1,
      last: { at: at(-3), address: null, name: "data-05", message: "Cannot accept certificate", hint: "Renew it" },
    }],
  };
  const refusalHistory = Array.from({ length: 120 }, (_, index) => ({
    at: from - (120 - index) * 15_000,
    count: index % 17 === 0 ? 3 : 0,
  }));
  return {
    kind: "node",
    acts: ["POST /drain", "POST /reload", "POST /renew", "POST /audit/search"],
    refusalHistory,
    ...shown,
  };
}

const training: ShownStatus = {
  id: "t-7f3a90c1",
  name: "digits",
  state: "running",
  reason: null,
  run: 1,
  round: 24,
  rounds: 40,
  keepsModel: true,
  loss: 0.31,
  members: [
    { name: "worker-01", part: "trainer", last: "trains round 25: 320 samples so far", at: at(0), loss: 0.3 },
    { name: evilName, part: "trainer", last: "sent its update of round 25", at: at(0), loss: 0.32 },
    { name: "worker-04", part: "aggregator", last: "waits for updates of round 25: 1 of 2 sent", at: null, loss: null },
  ],
  out: [{ name: "worker-02", part: "trainer", last: "its connection was closed", at: at(-0.1), loss: 0.9 }],
  losses: Array.from({ length: 24 }, (_, index) => ({ round: index + 1, loss: 2.3 * Math.exp(-index / 10) + 0.1 })),
  accuracy: 0.914,
  accuracyRound: 24,
  rejections: { "norm-too-large": 2 },
  bytes: { received: 1e6, sent: 1e6 },
  roundSeconds: 4.2,
  submitted: at(-1),
  since: at(-0.9),
  machine: { running: "training" },
};

/** A scheduler whose aggregator rejected two updates of `worker-03`. */
export function schedulerParts(): FeedParts {
  const { members, ...line } = training;
  const trainings = [{ ...line, members: members.length }];
  const acts = ["POST /trainings/cancel", "POST /trainings/resume", "POST /drain", "POST /audit/search"];
  return { ...gatewayParts(6), role: "scheduler", name: "scheduler-01", acts, trainings };
}

/** A CA; `worker-03` has the certificate that ends first. */
export const caParts: FeedParts = {
  kind: "ca",
  acts: ["POST /ca/revoke", "POST /ca/decide"],
  domain: "acme.example",
  url: "https://ca.acme.example:8443",
  problem: null,
  next_start: null,
  issuer_ends: at(9_000),
  issuers: [{
    id: "ab",
    subject: "CN=acme.example CA",
    ends: at(9_000),
    state: "issuing",
    certificates: 5,
    revoked: false,
  }],
  certificates: 5,
  gap: null,
  crl: { number: "42", next_update: at(20) },
  root_list: "in force",
  root_list_ends: at(2_000),
  root_list_days: 83,
  lapsed: [],
  locked: [],
  unsigned_serials: [],
};

const caNodes = ["worker-03", "gateway-01", "scheduler-01", "data-01", evilName].map((name, index) => ({
  identity: `spiffe://acme.example/${name === evilName ? "worker" : name.split("-")[0]}/${name}`,
  serial: (0xcc00 + index).toString(16),
  not_after: at(40 + index * 10),
}));
const request = { id: "r-1", identity: "spiffe://acme.example/worker/worker-09", key: "cd".repeat(32) };
/** A request that one of two approvers has approved. */
const waits = {
  ...{ id: "00112233aabbccdd", operation: "revoke-many", state: "open" },
  ...{ approvers: ["alice"], threshold: 2, expires: at(20) },
};

/** A CA's answers to a revocation: of `gateway-01` there are warnings, that of `scheduler-01` waits for approvals. */
const revocations: Readonly<Record<string, unknown>> = {
  cc00: { revoked: [{ identity: "worker-03", serial: "cc00" }], unlisted: [], number: "43" },
  cc01: {
    revoked: [{ identity: "gateway-01", serial: "cc01" }],
    unlisted: [{ identity: "gateway-01", serial: "dd01" }],
    number: "43",
    gap: { from: "2026-07-01T00:00:00.000Z", to: "2026-07-02T00:00:00.000Z" },
  },
  cc02: { waits },
};

/** Routes that note in `asked` what reaches them, and answer as programs would. */
export function recordingRoutes(
  asked: [route: string, body: unknown][],
  machines: readonly MachineShape[] = [],
): AdminRoutes {
  const answers: Readonly<Record<string, unknown>> = {
    "POST /drain": { withinMs: 5_000 },
    "POST /reload": {},
    "POST /renew": {},
    "POST /trainings/status": training,
    "POST /trainings/logs": {
      events: [
        { at: at(-0.5), event: "update.rejected", name: "worker-03", fields: { round: 9, code: "norm-too-large" } },
        { at: at(-0.4), event: "round.finished", fields: { round: 10 } },
        { at: at(-0.3), event: "update.rejected", name: "worker-03", fields: { round: 12, code: "norm-too-large" } },
      ],
    },
    "POST /trainings/cancel": {},
    "POST /trainings/resume": {},
    "POST /ca/nodes": { nodes: caNodes },
    "POST /ca/requests": {
      requests: [{ ...request, address: "192.0.2.9", asked: at(-0.1), expires: at(20) }],
      approvals: [{ ...waits, asked: at(-0.1) }],
    },
    "POST /ca/revoke": ({ serial = "" }: Readonly<Record<string, string>>) => revocations[serial],
    "POST /ca/decide": {},
    "POST /machines": { machines },
    "POST /audit/search": {
      records: [{
        ...{ v: 1, seq: 7, ts: new Date(from).toISOString(), node: "gateway-01", prev: "" },
        ...{ type: "refusal", outcome: "certificate-revoked", peer: evilName, detail: { address: "192.0.2.99" } },
      }],
    },
  };
  return Object.fromEntries(
    Object.entries(answers).map(([route, body]) => [
      route,
      jsonRoute({ summary: route, body: Schema.Record(Schema.String, Schema.Unknown) }, (given) => {
        asked.push([route, given]);
        return { status: 200, body: typeof body === "function" ? body(given) : body };
      }),
    ]),
  );
}
