/**
 * The CA as a member of its network, over libp2p. Loaded only where gateways are configured: libp2p takes 30 MB.
 *
 * @module
 */
import { type CaMemberInput, caMemberMachine } from "../../actors/ca/ca_member.ts";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { transportLogic } from "../../transport/libp2p/transport.ts";

/** What a member is started with. */
export interface MemberStart extends Pick<CaMemberInput, "ports" | "ca" | "own" | "stateDir"> {
  readonly onError: (error: unknown) => void;
}

/** Starts the member. */
export function startMember({ onError, ...input }: MemberStart): { stop(): unknown } {
  const { ports } = input;
  return superviseRoot(caMemberMachine, {
    id: "member",
    input: { ...input, transport: transportLogic, makeGate: makeGateFactory({ ports }) },
    onError,
  });
}
