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
import { isThere } from "../../actors/files/is_there.ts";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { loadIdentity } from "../../actors/trust/load_identity.ts";
import { loadTrust } from "../../actors/trust/load_trust.ts";
import { policyOf, transportInputOf, trustPathsOf } from "../../actors/node/inputs.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { probeMachine, type ProbeOutcome } from "../../actors/node/probe.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import type { Role } from "../../pki/certificate.ts";
import type { TransportInput } from "../../transport/port.ts";
import { transportLogic } from "../../transport/libp2p/transport.ts";
import { ProgramFailed } from "./failure.ts";
import { describeReport, formatReport, type ProbeReport, reportOf, reportUnasked } from "./probe_report.ts";
import { type GivenFlags, surroundingsOf } from "./given_flags.ts";
import { makeLog, wantsColour, writeToStderr } from "./log.ts";
import { makePorts } from "./ports.ts";

/** The options of `probe`. */
interface ProbeOptions {
  readonly role: Role;
  /** Path of the configuration file. */
  readonly config: string;
  readonly timeoutMs: number;
  /** A multiaddr, with or without `/p2p/…`; one through a relay ends with the node's own PeerID. */
  readonly address: string;
  /** One line for people, or one object ({@linkcode ProbeReport}) on standard output. */
  readonly format: "text" | "json";
  /** Keys of the configuration given as flags. */
  readonly flags: GivenFlags;
}

/** The longest timeout of a probe: an hour. */
const timeoutMsMax = 3_600_000;

/** Succeeds only where the node there answers that it is healthy. */
export function probe(options: ProbeOptions): Effect.Effect<void, ProgramFailed, FileSystem.FileSystem> {
  const { address, format } = options;
  return Effect.gen(function* () {
    const report = yield* ask(options).pipe(Effect.catch((unasked) => Effect.succeed(unasked)));
    const { ok, code } = report;
    if (format === "json" || ok) process.stdout.write(`${formatReport(report, format)}\n`);
    if (ok) return;
    const notice = format === "json" ? undefined : describeReport({ ...report, address });
    yield* Effect.fail(new ProgramFailed({ exitCode: code === "usage" ? 2 : 1, notice }));
  });
}

function ask(options: ProbeOptions): Effect.Effect<ProbeReport, ProbeReport, FileSystem.FileSystem> {
  const { role, config: file, address, timeoutMs } = options;
  const wrong = complaintOf(options);
  if (wrong !== undefined) return Effect.fail(reportUnasked(address, { code: "usage", reason: wrong }));
  return Effect.gen(function* () {
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
    const transport = yield* transportOf(config, { ports, address });
    const outcome = yield* Effect.promise(() => runProbe({ ports, transport, address, timeoutMs }));
    return reportOf(address, outcome, transport.identity.name);
  }).pipe(
    Effect.mapError((error) => reportUnasked(address, { code: "configuration", reason: error.message })),
  );
}

/** Describes the error in the command line. */
function complaintOf({ address, timeoutMs }: ProbeOptions): string | undefined {
  if (timeoutMs < 1 || timeoutMs > timeoutMsMax) return `--timeout is from 1 to ${timeoutMsMax} ms, not ${timeoutMs}`;
  const written = JSON.stringify(address);
  if (isRelayed(address) && !/\/p2p-circuit\/p2p\/[^/]+$/.test(address)) {
    return `the address ${written} names a relay, and no node behind it; append /p2p/ and the node's PeerID (its log's node.ready line has it)`;
  }
  const read = readAddress(address, "dial");
  if (typeof read !== "string") return undefined;
  return `the address ${written} ${read}; write for instance /ip4/192.0.2.1/tcp/4001`;
}

const isRelayed = (address: string): boolean => address.includes("/p2p-circuit");

/** The state directory of a node whose lists the network brings; one that is not there yet is not made. */
function learnedIn({ membership, stateDir }: RoleConfig) {
  return Effect.gen(function* () {
    if (membership === undefined || stateDir === undefined) return undefined;
    return (yield* Effect.orElseSucceed(isThere(stateDir), () => false)) ? stateDir : undefined;
  });
}

/**
 * A transport that does not listen and joins no network. It uses a relay where the address leads through one. It dials the
 * operator's address in any range.
 */
function transportOf(config: RoleConfig, { ports, address }: Pick<ProbeRun, "ports" | "address">) {
  return Effect.gen(function* () {
    const at = new Date(ports.now());
    const identity = yield* loadIdentity({ certPem: config.certPem, keyPem: config.keyPem, generation: 1, at });
    const terms = { policy: policyOf(config), generation: 1, at, stateDir: yield* learnedIn(config) };
    const { snapshot } = yield* loadTrust(trustPathsOf(config), terms);
    const input: TransportInput = {
      ...transportInputOf(config, { ports, identity, snapshot, makeGate: makeGateFactory({ ports }) }),
      listenAddresses: [],
      externalAddresses: [],
      gatewayAddresses: [],
      excludeCidr: [],
      relay: isRelayed(address) ? "client" : "off",
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
