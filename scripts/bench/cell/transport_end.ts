/**
 * A transport of this process, with an optional role: the parts of a node, without its gateways.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Result } from "effect";
import { type AnyActorLogic, setup } from "xstate";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { superviseRoot } from "../../../actors/runtime/supervise.ts";
import type { Role } from "../../../pki/certificate.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { defaultLimits } from "../../../transport/core/admission.ts";
import type { StartAnswer, TransportAsk, TransportInput, TransportLimits } from "../../../transport/port.ts";
import { transportLogic } from "../../../transport/libp2p/transport.ts";
import type { EndFiles } from "../gate/world.ts";

/** A running end. */
interface TransportEnd {
  readonly address: string;
  send(ask: TransportAsk): void;
  /** Asks, and gives the answer. */
  ask<Answer>(make: (replyTo: { send(answer: Answer): void }) => TransportAsk): Promise<Answer>;
  /** Starts the machine of a role, which receives the facts of the transport. */
  play(logic: AnyActorLogic, input: object): void;
  stop(): Promise<void>;
}

/** Starts one. By default one that listens is a data node, another a worker. */
export async function startTransportEnd(
  files: EndFiles,
  listens: boolean,
  as: Role = listens ? "data" : "worker",
  limits: TransportLimits = defaultLimits,
): Promise<TransportEnd> {
  let role: { send(event: unknown): void } | undefined;
  const machine = setup({ actors: { transport: transportLogic } }).createMachine({
    invoke: { id: "transport", src: "transport", input: () => ({ ...inputOf(files, listens, as), limits }) },
    on: { "*": { actions: ({ event }) => role?.send(event) } },
  });
  const onError = (error: unknown) => {
    throw error;
  };
  const parent = superviseRoot(machine, { id: "end", input: undefined, onError });
  const transport = parent.getSnapshot().children["transport"] as unknown as { send(ask: TransportAsk): void };
  const send = (ask: TransportAsk) => transport.send(ask);
  const ask: TransportEnd["ask"] = (make) => new Promise((resolve) => send(make({ send: resolve })));
  const started = await ask<StartAnswer>((replyTo) => ({ type: "start", replyTo }));
  if (started.type !== "listening") throw new Error(`an end did not start: ${started.error.message}`);
  return {
    address: started.addresses[0] ?? "",
    send,
    ask,
    play: (logic, input) => {
      role = superviseRoot(logic, { id: "role", input: { ...input, transport, self: files.identity.peer }, onError });
    },
    async stop() {
      await ask((replyTo) => ({ type: "drain", replyTo }));
      parent.stop();
    },
  };
}

function inputOf(
  { identity, chain, trustPem, crlsPath }: EndFiles,
  listens: boolean,
  role: Role,
): Omit<TransportInput, "limits"> {
  const made = makeTrustSnapshot({
    trustPem,
    crlsPem: readFileSync(crlsPath, "latin1"),
    policy: defaultPolicy,
    generation: 1,
    at: new Date(),
  });
  return {
    role,
    identity: {
      ...identity,
      chain: chain.map((der) => Buffer.from(der, "base64")),
      generation: 1,
      notAfter: new Date(Date.now() + 86_400_000),
    },
    snapshot: Result.getOrThrow(made).snapshot,
    makeGate: makeGateFactory({ ports: { now: Date.now, report: () => {} } }),
    listenAddresses: listens ? ["/ip4/127.0.0.1/tcp/0"] : [],
    externalAddresses: [],
    gatewayAddresses: [],
    excludeCidr: [],
    rotation: { drain: "expiry", drainMs: 60_000 },
    relay: "off",
    keyExchange: "classical",
    handshakeTimeoutMs: 5_000,
    now: Date.now,
    random: Math.random,
    uuid: randomUUID,
  };
}
