/**
 * Which peers may read a slice. Checked before any byte of it is sent.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { standsFor } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { JobScope } from "../../pki/refusal.ts";
import type { StreamProtocol, TransportError } from "../../transport/port.ts";
import type { GrantedPullHeader } from "../../transport/protocols/mod.ts";
import type { DataConfig } from "../config/config.ts";
import { isFramed } from "../files/stream_file.ts";
import { checkGrant } from "./grant.ts";
import type { FindIdentity } from "./trusted_scheduler.ts";

const refusal = (job: string, what: string, why: string) => new JobScope({ job, what, why });

/**
 * Why a peer may not pull any slice from a node of this configuration, as it does. The transport has decided by its role and the
 * operator's rules (act `slice.pull`).
 */
export function checkReader(
  { requireGrant }: Pick<DataConfig, "requireGrant">,
  { identity: { peer }, protocol }: { readonly identity: PeerIdentity; readonly protocol: StreamProtocol },
): JobScope | undefined {
  if (requireGrant === true && !isFramed(protocol)) {
    return refusal("-", "any slice", `${peer} shows no scheduler's grant, and this data node insists on one`);
  }
  return undefined;
}

/** The rules for grants. */
export interface GrantRules {
  readonly requireGrant: boolean;
  readonly findIdentity: FindIdentity;
  readonly now: () => number;
}

/**
 * Checks the grant of a pull over our protocol. A grant that is present must be valid, even where none is required. It fails where the
 * scheduler is not reached: then nothing is served, and the same pull may be served later.
 */
export function judgePull(
  header: GrantedPullHeader,
  peer: string,
  { requireGrant, findIdentity, now }: GrantRules,
): Effect.Effect<JobScope | undefined, TransportError> {
  const { dataset, index, scheduler, grant } = header;
  const what = `slice ${index} of ${dataset.slice(0, 256)}`;
  if (grant === undefined || scheduler === undefined) {
    return Effect.succeed(requireGrant ? refusal("-", what, "no scheduler's grant was shown") : undefined);
  }
  const checked = checkGrant(grant, { dataset, index, peer, scheduler, now: now() });
  if (Result.isFailure(checked)) return Effect.succeed(checked.failure);
  return Effect.map(findIdentity(scheduler), (identity) => {
    if (identity === undefined) return refusal(grant.job, what, `${scheduler}, which granted it, is not verified here`);
    if (!standsFor(identity.role, "scheduler")) {
      return refusal(grant.job, what, `${scheduler} is a ${identity.role}, and schedulers grant slices`);
    }
    return undefined;
  });
}
