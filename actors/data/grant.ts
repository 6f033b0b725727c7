/**
 * Grants: a scheduler's signed statement that one peer may read one slice for one job until a given time.
 *
 * Signing and checking are pure. `data/trusted_scheduler.ts` decides which schedulers a data node trusts.
 *
 * @module
 */
import { createPrivateKey, type KeyObject, sign } from "node:crypto";
import { Result } from "effect";
import { ed25519KeyOf } from "../../pki/peer_id.ts";
import { JobScope } from "../../pki/refusal.ts";
import { verifySignature } from "../../pki/signature.ts";
import type { NodeIdentity } from "../../transport/port.ts";
import type { Grant, Peer } from "../../transport/protocols/messages.ts";
import { signedBytesOf, type UnsignedGrant } from "../../transport/protocols/mod.ts";
import { msFromInstant } from "../runtime/instant.ts";
import type { Sign } from "../runtime/role.ts";

/** The signature algorithm of grants: the key is the PeerID's own. */
const ed25519 = "1.3.101.112";

/** A node's signer; undefined where its key is not Ed25519: then its PeerID does not contain the key for a verifier. */
export function signerOf({ keyPem, peer }: Pick<NodeIdentity, "keyPem" | "peer">): Sign | undefined {
  if (ed25519KeyOf(peer) === undefined) return undefined;
  const key: KeyObject = createPrivateKey(keyPem);
  return (bytes) => new Uint8Array(sign(null, bytes, key));
}

/** Signs a grant. */
export function signGrant(grant: UnsignedGrant, sign: Sign): Grant {
  return { ...grant, signature: sign(signedBytesOf(grant)) };
}

declare const proof: unique symbol;

/** Proof that a grant covers a pull. Only {@linkcode checkGrant} makes one. */
export interface GrantHolds {
  readonly [proof]: "GrantHolds";
  readonly grant: Grant;
}

/** A pull as the data node sees it. */
export interface PullAsked {
  readonly dataset: string;
  readonly index: number;
  /** The puller's PeerID, proved by its certificate. */
  readonly peer: Peer;
  /** The scheduler that the header names. */
  readonly scheduler: Peer;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * Checks that a grant covers a pull: same data set, index and peer, not expired, signed by the key of `scheduler`'s PeerID.
 *
 * Whether that scheduler may grant anything (its certificate, its revocation, its role) is left to the caller.
 */
export function checkGrant(grant: Grant, asked: PullAsked): Result.Result<GrantHolds, JobScope> {
  const refuse = (why: string) =>
    Result.fail(new JobScope({ job: grant.job, what: `slice ${asked.index} of ${asked.dataset.slice(0, 256)}`, why }));
  // Where certificates name no role, any member could sign a grant of its own.
  if (asked.scheduler === asked.peer) return refuse("a node grants nothing to itself");
  if (grant.peer !== asked.peer) return refuse(`the grant is for ${grant.peer}`);
  if (grant.dataset !== asked.dataset || grant.index !== asked.index) return refuse("the grant is for another slice");
  if (asked.now >= msFromInstant(grant.expires)) return refuse("the grant has expired");
  const key = ed25519KeyOf(asked.scheduler);
  const { signature } = grant;
  const signed = key !== undefined &&
    verifySignature({ data: signedBytesOf(grant), algorithm: ed25519, signature }, key);
  return signed ? Result.succeed({ grant } as GrantHolds) : refuse("the grant is not signed by that scheduler");
}
