/**
 * Whether a server is a CA of a trust domain: its chain leads to a pinned root, and its certificate has role `ca`.
 *
 * A member of the domain, a host under another root and a partner's CA are refused: none of them may see a token.
 *
 * @module
 */
import { Result } from "effect";
import { verifyPath } from "../../pki/path.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { type EnrolmentRefused, enrolmentRefused, wantsList } from "./enrolment_refused.ts";

/** What the server is judged for. */
export interface CaTerms {
  readonly url: string;
  /** The trust domain whose CA it has to be; undefined: any, where the root alone says which domain it is. */
  readonly domain: string | undefined;
  readonly at: Date;
}

/**
 * Verifies a CA's chain.
 *
 * Does not look at host names: the role names the server.
 *
 * @param chain DER as the server sent it, leaf first.
 * @param snapshot The roots; other trust domains in it do not count.
 * @returns The trust domain that its certificate names; or the refusal.
 */
export function judgeCa(
  chain: readonly Uint8Array[],
  snapshot: TrustSnapshot,
  { url, domain, at }: CaTerms,
): Result.Result<string, EnrolmentRefused> {
  const refuse = (detail: string) => Result.fail(enrolmentRefused("ca-not-trusted", `${url}: ${detail}`));
  const { domains: _, ...own } = snapshot;
  const anchorsId = snapshot.ownAnchorsId ?? snapshot.anchorsId;
  // The role is checked below: a snapshot says which roles may be peers.
  const verified = verifyPath(chain, { ...own, anchorsId, policy: { ...own.policy, roles: "ignore" } }, { at });
  if (Result.isFailure(verified)) {
    const { code, message } = verified.failure;
    return wantsList(code) ? Result.fail(enrolmentRefused("lists-missing", message)) : refuse(message);
  }
  const { names } = verified.success.identity;
  const uris = names.filter((name) => name.startsWith("URI:"));
  const [, named] = /^URI:spiffe:\/\/([a-z0-9._-]{1,255})\/ca\/[A-Za-z0-9_-][A-Za-z0-9._-]*$/.exec(uris[0] ?? "") ?? [];
  if (uris.length !== 1 || named === undefined) {
    return refuse(`its certificate is of ${uris.join(", ") || "a node without a role"}, not of a CA`);
  }
  if (domain !== undefined && named !== domain) return refuse(`it is a CA of ${named}, not of ${domain}`);
  return Result.succeed(named);
}
