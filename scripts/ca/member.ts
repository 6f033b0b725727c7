/**
 * The CA as a member of its network, over libp2p. Loaded only where gateways are configured: libp2p takes 30 MB.
 *
 * @module
 */
import { type CaMemberInput, caMemberMachine, witnessedLogs } from "../../actors/ca/ca_member.ts";
import type { WitnessedLog } from "../../actors/audit/witnessed_log.ts";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { headFiles, headPath, witnessFolder } from "../../actors/witness/head_files.ts";
import { type KnownFork, knownForks } from "../../actors/witness/known_forks.ts";
import { transportLogic } from "../../transport/libp2p/transport.ts";

/** What a member is started with. */
export interface MemberStart extends Pick<CaMemberInput, "ports" | "ca" | "own" | "stateDir"> {
  /** The CA's audit log. */
  readonly log: WitnessedLog | undefined;
  readonly onError: (error: unknown) => void;
}

/** A member that runs. */
export interface RunningMember {
  readonly stop: () => unknown;
  /** The forks of audit logs that its witness knows. */
  readonly forks: () => readonly KnownFork[];
}

/** Starts the member. */
export function startMember({ onError, log, ...input }: MemberStart): RunningMember {
  const { ports, stateDir } = input;
  const folder = witnessFolder(stateDir);
  const witness = { log, heads: headFiles(folder) };
  const actor = superviseRoot(caMemberMachine, {
    id: "member",
    input: { ...input, witness, transport: transportLogic, makeGate: makeGateFactory({ ports }) },
    onError,
  });
  return {
    stop: () => actor.stop(),
    forks: () => knownForks(witnessedLogs(actor), (origin) => headPath(folder, origin)),
  };
}
