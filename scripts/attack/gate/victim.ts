/**
 * The node under attack, in a separate process: a whole transport with the network's gate and default limits.
 *
 * Reads lines `footprint`, `dial ADDRESS` or `stop` on standard input and answers with a line of JSON. Argument: a file with its setup.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { Result } from "effect";
import { setup } from "xstate";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { superviseRoot } from "../../../actors/runtime/supervise.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { defaultLimits } from "../../../transport/core/admission.ts";
import type { TransportAsk, TransportFact, TransportInput } from "../../../transport/port.ts";
import { transportLogic } from "../../../transport/libp2p/transport.ts";
import type { EndSetup } from "../../bench/gate/endpoint.ts";
import { countedGates, type GateCounts } from "../counted_gates.ts";
import { memoryAfterCollection, openSockets } from "../own_process.ts";

/** The lines of the victim about itself. */
export interface Footprint {
  /** Open sockets. */
  readonly fds: number;
  readonly heapBytes: number;
  /** Gates that live. */
  readonly actors: number;
  /** Refusals since its start, by code. */
  readonly refused: Readonly<Record<string, number>>;
  /** Peers that the gate accepted since its start, by certificate name. */
  readonly accepted: Readonly<Record<string, number>>;
  readonly unhandled: number;
  /** Its transport reported that it cannot continue. */
  readonly failed: number;
}

/** From the first byte to the verdict, in milliseconds: shorter than the default, so that attacks end sooner. */
const handshakeTimeoutMs = Number(process.argv[3] ?? 5_000);

/** The protocols that a member may request. The victim declines every request. */
const protocols = ["/hypha-health/0.0.1", "/hypha-api/0.0.1", "/hypha-progress/0.0.1"] as const;

const files: Omit<EndSetup, "way" | "listens"> = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"));
let [unhandled, failed] = [0, 0];
const refused: Record<string, number> = {};
process.on("unhandledRejection", (error) => {
  unhandled += 1;
  process.stderr.write(`unhandled: ${error instanceof Error ? error.stack : error}\n`);
});
process.on("uncaughtException", (error) => {
  unhandled += 1;
  process.stderr.write(`uncaught: ${error.stack}\n`);
});

const gates: GateCounts = { alive: 0, accepted: {} };
const makeGate = countedGates(makeGateFactory({ ports: { now: Date.now, report: () => {} } }), gates);

const input: TransportInput = {
  role: "gateway",
  identity: {
    ...files.identity,
    chain: files.chain.map((der) => Buffer.from(der, "base64")),
    generation: 1,
    notAfter: new Date(Date.now() + 86_400_000),
  },
  snapshot: Result.getOrThrow(makeTrustSnapshot({
    trustPem: files.trustPem,
    crlsPem: readFileSync(files.crlsPath, "latin1"),
    policy: defaultPolicy,
    generation: 1,
    at: new Date(),
  })).snapshot,
  makeGate,
  listenAddresses: ["/ip4/127.0.0.1/tcp/0"],
  externalAddresses: [],
  gatewayAddresses: [],
  excludeCidr: [],
  rotation: { drain: "expiry", drainMs: 60_000 },
  relay: "server",
  keyExchange: "classical", // the hostile TLS supports no other, in both directions
  handshakeTimeoutMs,
  limits: defaultLimits,
  now: Date.now,
  random: Math.random,
  uuid: randomUUID,
};

function note(fact: TransportFact): void {
  if (fact.type === "request.received") transport.send({ type: "decline", exchange: fact.exchange });
  if (fact.type === "peer.refused") refused[fact.refusal.code] = (refused[fact.refusal.code] ?? 0) + 1;
  if (fact.type === "transport.failed") failed += 1;
}

const say = (what: unknown) => process.stdout.write(`${JSON.stringify(what)}\n`);
const holder = superviseRoot(
  setup({
    types: { events: {} as TransportFact },
    actors: { transport: transportLogic },
    actions: { note: ({ event }) => note(event) },
  }).createMachine({
    invoke: { id: "transport", src: "transport", input: () => input },
    on: { "*": { actions: "note" } },
  }),
  {
    id: "victim",
    input: undefined,
    onError: (error: unknown) => {
      unhandled += 1;
      process.stderr.write(`actor: ${error}\n`);
    },
  },
);
const transport = holder.getSnapshot().children["transport"] as { send(ask: TransportAsk): void };
transport.send({
  type: "start",
  replyTo: {
    send: (answer) => {
      for (const protocol of protocols) transport.send({ type: "serve", protocol });
      say(answer);
    },
  },
});

for await (const line of createInterface({ input: process.stdin })) {
  if (line === "stop") break;
  if (line.startsWith("dial ")) {
    transport.send({
      type: "dial",
      id: line,
      target: { address: line.slice(5) },
      replyTo: { send: (answer) => say(answer.type === "dial.done" ? "let in" : answer.refusal.code) },
    });
    continue;
  }
  const { alive: actors, accepted } = gates;
  const { heapBytes } = memoryAfterCollection();
  const footprint: Footprint = { fds: openSockets(), heapBytes, actors, refused, accepted, unhandled, failed };
  say(footprint);
}
process.exit(0);
