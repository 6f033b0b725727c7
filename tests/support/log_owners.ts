/**
 * Nodes of one organisation that keep audit logs, and the signed states that they show.
 *
 * @module
 */
import { Result } from "effect";
import type { MemberRole } from "../../pki/certificate.ts";
import { type PeerIdentity, verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import type { NodeIdentity } from "../../transport/node_identity.ts";
import type { AuditResponse } from "../../transport/protocols/messages.ts";
import { originOf } from "../../actors/audit/checkpoint.ts";
import { bindKey } from "../../actors/audit/key_binding.ts";
import { keyOf, organisationOf } from "../../actors/simulation/authority.ts";
import { KeptLog } from "../../actors/simulation/kept_log.ts";
import { startsAt } from "../../actors/simulation/simulation.ts";
import { makeIdentity } from "../../actors/trust/make_identity.ts";
import { headMessage, type OpenedHead } from "../../actors/witness/held_head.ts";

const seed = "log owners";
const dayMs = 86_400_000;
const period = { from: new Date(startsAt - dayMs), to: new Date(startsAt + 3_650 * dayMs) };

/** A node with a log. */
export interface LogOwner {
  readonly origin: string;
  readonly identity: NodeIdentity;
  readonly peer: PeerIdentity;
  /** An empty log; its key is drawn from the node's name. */
  readonly log: KeptLog;
}

/** The trust of the organisation that {@linkcode logOwner} makes nodes of. */
export async function ownersTrust(): Promise<TrustSnapshot> {
  const { trustPem } = await organisationOf(seed, period);
  const made = makeTrustSnapshot({ trustPem, policy: defaultPolicy, generation: 1, at: new Date(startsAt) });
  return Result.getOrThrow(made).snapshot;
}

/** Makes a node of the organisation. Without a role its certificate names no SPIFFE ID. */
export async function logOwner(name: string, role?: MemberRole): Promise<LogOwner> {
  const authority = await organisationOf(seed, period);
  const lasting = { notBefore: period.from, notAfter: new Date(startsAt + 365 * dayMs) };
  const { chainPem: certPem, keyPem } = await authority.node(name, role === undefined ? lasting : { role, ...lasting });
  const identity = Result.getOrThrow(makeIdentity({ certPem, keyPem }, { at: new Date(startsAt) }));
  const { identity: peer } = Result.getOrThrow(
    verifyPath(identity.chain, await ownersTrust(), { at: new Date(startsAt) }),
  );
  const origin = originOf(`spiffe://sim.hypha/${role ?? "none"}/${name}`);
  return { origin, identity, peer, log: new KeptLog(origin, keyOf(seed, `audit/${name}`)) };
}

/** Appends records until the log has so many, and signs its state. */
export function growTo(log: KeptLog, records: number, what = "record"): KeptLog {
  while (log.size < records) log.append(`${what} ${log.size}`);
  log.cover();
  return log;
}

/** The newest signed state of a log, its key bound to a node's certificate. */
export function stateOf(log: KeptLog, { identity }: Pick<LogOwner, "identity">): OpenedHead {
  const { key, ...head } = log.newest()!;
  return { ...head, binding: bindKey(identity, key)! };
}

/** A node's answer to a witness: its newest state, and the proof that leads from the earlier state to it, or to another one. */
export async function proofOf(
  log: KeptLog,
  { owner, old, to = log.size }: { readonly owner: LogOwner; readonly old: number; readonly to?: number },
): Promise<AuditResponse> {
  return { Proof: { head: headMessage(stateOf(log, owner)), path: await log.prove({ old, size: to }) } };
}
