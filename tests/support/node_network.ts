/**
 * A network of whole nodes in this process, over real transports on loopback: gateway, data node, workers, scheduler, each the
 * machine of `actors/node/node.ts` with its own certificate and files.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Actor } from "xstate";
import { type AuditSink, logAlone } from "../../actors/trust/audit.ts";
import { askHttps } from "../../actors/enrolment/ask_https.ts";
import { cellDefault, type CellSettings } from "../../actors/config/cell_config.ts";
import type { CommonConfig, ExecutorConfig, RoleConfig } from "../../actors/config/config.ts";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { type NodeExit, nodeMachine } from "../../actors/node/node.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { digitsEvaluator } from "../../scripts/executors/evaluator.ts";
import { makePorts } from "../../scripts/program/ports.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import { transportLogic } from "../../transport/libp2p/transport.ts";
import { whileAwake } from "./awake.ts";
import { makeTestPki, type TestFiles, type TestNode, type TestPki } from "./pki.ts";
import { patientHandshakeMs } from "./transports.ts";

/** A line of a node's log. */
export type Line = Report & { readonly at: number };

/** A running node. */
export interface RunningNode {
  readonly name: string;
  readonly certificate: TestNode;
  readonly files: TestFiles;
  readonly lines: Line[];
  readonly actor: Actor<typeof nodeMachine>;
  /** The fields of the first line of that event that fits, said already or within so many milliseconds of the time that this process gets. */
  said(
    event: string,
    fits?: (fields: Readonly<Record<string, unknown>>) => boolean,
    withinMs?: number,
  ): Promise<Readonly<Record<string, unknown>> & { readonly at: number }>;
  /** Takes leave; resolves with how it ended. */
  stop(): Promise<NodeExit>;
  /** How it ended by itself. */
  ended(withinMs: number): Promise<NodeExit>;
}

/** What all nodes of a network share. */
export interface NodeNetwork {
  readonly folder: string;
  readonly pki: TestPki;
  /** Path of the slices' directory, and of the held-out rows. */
  readonly slices: string;
  readonly heldOut: string;
  start(
    name: string,
    role: RoleConfig["role"],
    more?: Partial<Omit<RoleConfig, "role">>,
    audit?: AuditSink,
  ): Promise<RunningNode>;
  /** Puts another list in place of every node's, but for one. */
  publishCrls(crlsPem: string, but?: RunningNode): void;
  stop(): Promise<void>;
}

const digits = fileURLToPath(new URL("../fixtures/digits.csv", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));
const trainer = fileURLToPath(new URL("../../scripts/executors/train_digits.ts", import.meta.url));
const rowsPerSlice = 48;
const slicesOfTest = 12;

/**
 * A worker's executors: the real training, on the runtime of this test; on Deno by a path that is not its own, which it
 * would rewrite.
 */
export function executors(): readonly ExecutorConfig[] {
  const cmd = `${dirname(process.execPath)}/./${basename(process.execPath)}`;
  const runtime = "deno" in process.versions ? ["run", "-A", "--no-check"] : ["--no-warnings"];
  return [
    { class: "train", name: "diloco-transformer", runtime: "process", cmd, args: [...runtime, trainer] },
    { class: "aggregate", name: "parameter-server", runtime: "parameter-server", cmd: undefined, args: [] },
  ] as readonly ExecutorConfig[];
}

/** The strongest cell that this machine has, from which the executor's own source can be read. */
export function cell(): CellSettings {
  const parts = ["scripts", "actors", "transport", "pki", "node_modules", "package.json", "deno.json", "mod.ts"];
  return { ...cellDefault, allowUnconfined: true, readOnly: parts.map((part) => join(root, part)) };
}

/** Makes the folder, the PKI (unless one is given) and the data; starts nothing. */
export async function makeNodeNetwork(given?: TestPki): Promise<NodeNetwork> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-network-"));
  const pki = given ?? await makeTestPki();
  const crls = await pki.crls({ number: 1n });
  const rows = readFileSync(digits, "utf8").split("\n").filter((line) => line !== "");
  const slices = join(folder, "digits");
  mkdirSync(slices);
  const training = rows.filter((_, index) => index % 5 !== 0);
  for (let index = 0; index < slicesOfTest; index++) {
    const part = training.slice(index * rowsPerSlice, (index + 1) * rowsPerSlice);
    writeFileSync(join(slices, `slice-${String(index).padStart(2, "0")}.csv`), `${part.join("\n")}\n`);
  }
  const heldOut = join(folder, "held_out.csv");
  writeFileSync(heldOut, rows.filter((_, index) => index % 5 === 0).join("\n"));
  const nodes: RunningNode[] = [];
  return {
    folder,
    pki,
    slices,
    heldOut,
    async start(name, role, more = {}, audit = logAlone) {
      const certificate = await pki.node(name, { role });
      const files = await pki.write(join(folder, name), certificate, crls);
      const node = startNode(name, certificate, files, { ...commonOf(files), ...more, role } as RoleConfig, audit);
      nodes.push(node);
      return node;
    },
    publishCrls(crlsPem, but) {
      for (const node of nodes) if (node !== but) writeFileSync(node.files.crlsPath, crlsPem);
    },
    async stop() {
      for (const node of nodes.toReversed()) await node.stop();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function commonOf(files: TestFiles): CommonConfig {
  return {
    certPem: files.certPath,
    keyPem: files.keyPath,
    trustPem: files.trustPath,
    crlsPem: files.crlsPath,
    listenAddresses: ["/ip4/127.0.0.1/tcp/0"],
    externalAddresses: [],
    gatewayAddresses: [],
    excludeCidr: [],
    relayCircuit: true,
    handshakeTimeoutMs: patientHandshakeMs,
    keyExchange: "classical",
    requireRoles: true,
    leafAlgorithms: ["ed25519"],
    caAlgorithms: ["ed25519"],
    crlGraceHours: 24,
    limits: defaultLimits,
    drainTimeoutMs: 5_000,
    telemetry: {
      endpoint: undefined,
      attributes: undefined,
      headers: undefined,
      protocol: undefined,
      sampler: undefined,
      sampleRatio: undefined,
    },
  };
}

function startNode(
  name: string,
  certificate: TestNode,
  files: TestFiles,
  config: RoleConfig,
  audit: AuditSink,
): RunningNode {
  const lines: Line[] = [];
  const ports = makePorts((report) => void lines.push({ ...report, at: Date.now() }));
  const { promise, resolve } = Promise.withResolvers<NodeExit>();
  const actor = superviseRoot(nodeMachine, {
    id: name,
    input: {
      config,
      ports,
      transport: transportLogic,
      makeGate: makeGateFactory({ ports }),
      audit,
      evaluator: digitsEvaluator,
      ...(config.trustDomains === undefined ? {} : { askCa: askHttps }),
    },
    onError: (error) => resolve({ type: "failed", error: error as never }),
    onDone: () => resolve(actor.getSnapshot().output as NodeExit),
  });
  return {
    name,
    certificate,
    files,
    lines,
    actor,
    async said(event, fits = () => true, withinMs = 20_000) {
      const find = () => lines.find((candidate) => candidate.event === event && fits(candidate.fields ?? {}));
      await whileAwake(withinMs, () => find() !== undefined);
      const line = find();
      if (line === undefined) throw new Error(`${name} did not say ${event} within ${withinMs} ms\n${tail(lines)}`);
      return { ...line.fields, at: line.at };
    },
    async stop() {
      actor.send({ type: "drain", reason: "the test is over" });
      const exit = await promise;
      await ports.dispose();
      return exit;
    },
    async ended(withinMs) {
      const { promise: late, resolve: tooLate } = Promise.withResolvers<"late">();
      const timer = setTimeout(() => tooLate("late"), withinMs);
      const exit = await Promise.race([promise, late]);
      clearTimeout(timer);
      if (exit === "late") throw new Error(`${name} did not end within ${withinMs} ms\n${tail(lines)}`);
      return exit;
    },
  };
}

/** The end of a log, for the message of a test that failed. */
function tail(lines: readonly Line[]): string {
  return lines.slice(-25).map(({ at, level, event, message }) => `${at} ${level} ${event} ${message}`).join("\n");
}
