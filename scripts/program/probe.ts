/**
 * `probe`: asks a node whether it is healthy, with this node's own certificate and trust.
 *
 * @module
 */
import process from "node:process";
import { Effect, type FileSystem } from "effect";
import { readAddress } from "../../actors/config/addresses.ts";
import type { RoleConfig } from "../../actors/config/config.ts";
import { loadConfig } from "../../actors/config/load.ts";
import { makeGateFactory } from "../../actors/gate.ts";
import { loadIdentity } from "../../actors/load_identity.ts";
import { loadTrust } from "../../actors/load_trust.ts";
import { policyOf, transportInputOf } from "../../actors/node/inputs.ts";
import type { Ports } from "../../actors/ports.ts";
import { probeMachine, type ProbeOutcome } from "../../actors/probe.ts";
import { superviseRoot } from "../../actors/supervise.ts";
import type { Role } from "../../pki/certificate.ts";
import type { TransportInput } from "../../transport/port.ts";
import { transportLogic } from "../../transport/transport.ts";
import { ProgramFailed } from "./failure.ts";
import { type GivenFlags, surroundingsOf } from "./given_flags.ts";
import { makeLog, wantsColour, writeToStderr } from "./log.ts";
import { makePorts } from "./ports.ts";

/** What `probe` is told. */
export interface ProbeOptions {
  readonly role: Role;
  /** Path of the configuration file. */
  readonly config: string;
  readonly timeoutMs: number;
  /** A multiaddr, with or without `/p2p/…`. */
  readonly address: string;
  /** Keys of the configuration given as flags. */
  readonly flags: GivenFlags;
}

/** Longest that a probe may be told to wait: an hour. */
export const timeoutMsMax = 3_600_000;

/** Succeeds only where the node there answers that it is healthy. */
export function probe(options: ProbeOptions): Effect.Effect<void, ProgramFailed, FileSystem.FileSystem> {
  const { role, config: file, address, timeoutMs } = options;
  const fail = (said: string, exitCode: 1 | 2 = 1) => Effect.fail(new ProgramFailed({ exitCode, said }));
  return Effect.gen(function* () {
    if (timeoutMs < 1 || timeoutMs > timeoutMsMax) {
      return yield* fail(`--timeout is from 1 to ${timeoutMsMax} ms, not ${timeoutMs}`, 2);
    }
    const read = readAddress(address, "dial");
    if (typeof read === "string") {
      return yield* fail(
        `the address ${JSON.stringify(address)} ${read}; write for instance /ip4/192.0.2.1/tcp/4001`,
        2,
      );
    }
    const around = yield* surroundingsOf(options.flags, "probe");
    const config = yield* loadConfig(role, file, around);
    const log = makeLog(`hypha-${role}`, {
      level: "error",
      format: "text",
      colour: wantsColour(process.env),
      now: () => Date.now(),
      write: writeToStderr(),
    });
    const ports = makePorts(log.report);
    const transport = yield* transportOf(config, ports);
    const outcome = yield* Effect.promise(() => runProbe({ ports, transport, address, timeoutMs }));
    if (outcome.type !== "healthy") return yield* fail(`Cannot find ${address} healthy: ${reasonOf(outcome)}`);
    const named = /\/p2p\/([^/]+)$/.exec(address)?.[1] ?? outcome.peer;
    const rekeyed = named === outcome.peer ? "" : `, which has another key than ${named}`;
    const cell = outcome.cell === undefined ? "" : `, executors run at cell level ${JSON.stringify(outcome.cell)}`;
    process.stdout.write(`${address} is healthy (${outcome.peer}${rekeyed})${cell}\n`);
  }).pipe(
    Effect.mapError((error) =>
      error._tag === "ProgramFailed" ? error : new ProgramFailed({ exitCode: 1, said: error.message })
    ),
  );
}

/** A transport that listens nowhere and joins nothing. What the operator names is dialled, whatever range it is in. */
function transportOf(config: RoleConfig, ports: Ports) {
  return Effect.gen(function* () {
    const at = new Date(ports.now());
    const identity = yield* loadIdentity({ certPem: config.certPem, keyPem: config.keyPem, generation: 1, at });
    const { snapshot } = yield* loadTrust(config, { policy: policyOf(config), generation: 1, at });
    const input: TransportInput = {
      ...transportInputOf(config, { ports, identity, snapshot, makeGate: makeGateFactory({ ports }) }),
      listenAddresses: [],
      externalAddresses: [],
      gatewayAddresses: [],
      excludeCidr: [],
      relay: "off",
    };
    return input;
  });
}

interface ProbeRun {
  readonly ports: Ports;
  readonly transport: TransportInput;
  readonly address: string;
  readonly timeoutMs: number;
}

function runProbe({ ports, transport, address, timeoutMs }: ProbeRun): Promise<ProbeOutcome> {
  return new Promise((resolve, reject) => {
    superviseRoot(probeMachine, {
      id: "probe",
      input: { ports, logic: transportLogic, transport, address, timeoutMs },
      onError: reject,
      onSnapshot: ({ status, output }) => {
        if (status === "done" && output !== undefined) resolve(output);
      },
    });
  });
}

function reasonOf(outcome: Exclude<ProbeOutcome, { readonly type: "healthy" }>): string {
  switch (outcome.type) {
    case "unhealthy":
      return "it answers that it is not ready yet";
    case "refused":
      // libp2p's own words: it finds out once the certificate was seen.
      if (/dial self/i.test(outcome.refusal.message)) {
        return "that is this node itself, which libp2p does not dial. Probe it with the configuration of another node.";
      }
      return `${outcome.refusal.code}: ${outcome.refusal.message}. ${outcome.refusal.hint}`;
    case "unanswered":
      return `no answer (${outcome.error.code}): ${outcome.error.detail}. Check whether it is a node of this network, and its log.`;
    case "timed-out":
      return `${outcome.during} took more than ${outcome.timeoutMs} ms. Check the network between, or raise --timeout.`;
    case "failed":
      return outcome.error.message;
  }
}
