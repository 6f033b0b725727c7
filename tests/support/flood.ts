/**
 * A member in a process of its own that floods a transport here.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { scriptCommand } from "../../scripts/check/runtimes.ts";
import { crlPieceBytesMax } from "../../transport/protocols/mod.ts";
import type { AuditRequest, AuditResponse, Message, MessageProtocol } from "../../transport/protocols/messages.ts";
import type { MemberCosts } from "../../transport/core/member_costs.ts";
import { makeTransport } from "../../transport/core/transport.ts";
import type { WorkLimits } from "../../transport/core/work_budget.ts";
import { realClock } from "../../transport/libp2p/real_clock.ts";
import { Libp2pWire } from "../../transport/libp2p/wire.ts";
import type { TestPki } from "./pki.ts";
import { identityOf, startTransport, type TestTransport, type TestTransportOptions } from "./transports.ts";

/** A member that floods. */
export interface Flooder {
  readonly peer: string;
  /** Does so much of a kind, to a peer behind the transport where one is named; over when it is answered. */
  flood(kind: string, count: number, to?: string): Promise<void>;
  stop(): void;
}

const piece = new Uint8Array(crlPieceBytesMax);

/** Options of a transport that is flooded. */
export interface FloodedOptions extends TestTransportOptions {
  readonly workLimits?: WorkLimits;
  /** Answers requests about audit logs. */
  readonly answerAudit?: (request: AuditRequest) => Promise<AuditResponse>;
}

/** A transport that answers health, jobs and progress, and subscribes to nothing, with what its members cost it. */
export async function flooded(
  { workLimits, answerAudit, ...options }: FloodedOptions,
): Promise<{ readonly transport: TestTransport; readonly costs: MemberCosts }> {
  let costs: MemberCosts | undefined;
  const logic = makeTransport({
    makeWire: (input, clock) => new Libp2pWire(input, clock),
    clock: (input) => realClock(input.now),
    ...(workLimits === undefined ? {} : { workLimits }),
    watch: {
      session: (session) => costs = session.costs,
      fact: (fact) => {
        if (fact.type !== "request.received") return;
        const respond = (message: Message) => transport.send({ type: "respond", exchange: fact.exchange, message });
        if (fact.protocol === "/hypha-audit/1") return void answerAudit?.(fact.message as AuditRequest).then(respond);
        if (fact.protocol === "/hypha-api/0.0.1") return respond({ DispatchJob: "Failed" });
        if (fact.protocol === "/hypha-progress/0.0.1") return respond({ type: "Ok" });
        respond(fact.protocol === "/hypha-crl/1" ? { Piece: piece } : { healthy: true });
      },
    },
  });
  const transport: TestTransport = await startTransport({ ...options, logic });
  const served: MessageProtocol[] = [
    "/hypha-health/0.0.1",
    "/hypha-api/0.0.1",
    "/hypha-progress/0.0.1",
    "/hypha-crl/1",
  ];
  if (answerAudit !== undefined) served.push("/hypha-audit/1");
  for (const protocol of served) transport.send({ type: "serve", protocol });
  if (costs === undefined) throw new Error("Cannot see the session");
  return { transport, costs };
}

/** Starts a member in a process of this runtime, connected to an address. */
export async function startFlooder(pki: TestPki, name: string, address: string): Promise<Flooder> {
  const { der, ...node } = await pki.node(name);
  const script = fileURLToPath(new URL("./flood_child.ts", import.meta.url));
  const [command, ...before] = scriptCommand("Deno" in globalThis ? "deno" : "node");
  const child = spawn(command, [...before, script], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const chain = node.chain.map((certificate) => Buffer.from(certificate).toString("hex"));
  child.stdin.write(`${JSON.stringify({ trustPem: pki.trustPem, node: { ...node, chain }, address })}\n`);
  const said = async (expected: string) => {
    const { value } = await lines.next();
    if (value !== expected) throw new Error(`Cannot flood: the child said ${value}`);
  };
  await said("connected");
  return {
    peer: identityOf({ der, ...node }).peer,
    flood: async (kind, count, to) => {
      child.stdin.write(`${JSON.stringify({ kind, count, to })}\n`);
      await said(`${kind} over`);
    },
    stop: () => child.kill(),
  };
}
