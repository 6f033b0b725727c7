/**
 * The doctor on a node's own certificate under its own trust: what the node itself, and peers of the same trust, make of
 * its files.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Certificate, Role } from "../../../pki/certificate.ts";
import { verifyPath } from "../../../pki/path.ts";
import { makeTrustSnapshot, type Policy, type TrustMade } from "../../../pki/trust.ts";
import { loadIdentity } from "../../trust/load_identity.ts";
import { doubtful, type Finding, fine, wrong } from "./finding.ts";
import type { NodeFile } from "./node_file.ts";

/** The files, and their keys in the configuration. */
export interface OwnTrust {
  readonly config: string;
  readonly role: Role | null;
  readonly cert: NodeFile;
  readonly trust: NodeFile;
  readonly crls: NodeFile | undefined;
  /** Whether the configuration names a file of revocation lists, readable or not. */
  readonly namesLists: boolean;
  readonly policy: Policy;
  /** The node's own trust domain, where the configuration names it. */
  readonly ownName?: string | undefined;
  /** Whether the node gets its certificate from a `hypha-ca`. */
  readonly membership: boolean;
  readonly at: Date;
}

/** Findings of the bundle and of the lists have dates of their own; these are about both together. */
const coveredWarnings: ReadonlySet<string> = new Set([
  "no-lists-configured",
  "list-ends",
  "list-due",
  "list-overdue",
  "list-expired",
  "list-not-yet-valid",
  "anchor-expired",
]);

/** Verifies the node's chain with the function that its peers use, for the lists' word on revocation, too. */
export function examineOwnTrust(chain: readonly Certificate[], own: OwnTrust): readonly Finding[] {
  const { trust, crls, policy, ownName, at } = own;
  const made = makeTrustSnapshot({ trustPem: trust.text, crlsPem: crls?.bytes, policy, ownName, generation: 1, at });
  if (Result.isFailure(made)) {
    const { input, detail, hint } = made.failure;
    if (input === "crls_pem") return [wrong("verification", crls?.path ?? null, detail, hint)];
    return [wrong("verification", trust.path, detail, hint)];
  }
  return [...listFindings(own, made.success), ...verdict(chain, own, made.success)];
}

/** What is missing among the lists. A file that is configured and cannot be read has a finding already. */
function listFindings({ config, trust, namesLists }: OwnTrust, { warnings }: TrustMade): readonly Finding[] {
  const make = "make the list of each CA: hypha-certutil gen-crl --ca-cert CA-CERT.pem --ca-key CA-KEY.pem --out-crl";
  const unlisted = namesLists ? [] : [
    doubtful(
      "revocation",
      config,
      "crls_pem is not configured: revoked certificates are accepted",
      `${make} CRLS.pem; then set crls_pem`,
    ),
  ];
  const others = warnings.filter(({ code, level }) => level !== "debug" && !coveredWarnings.has(code));
  return [...unlisted, ...others.map(({ message }) => doubtful("trust", trust.path, message, `${make} CRLS.pem`))];
}

function verdict(
  chain: readonly Certificate[],
  { cert, role, crls, membership, at }: OwnTrust,
  { snapshot }: TrustMade,
): readonly Finding[] {
  const outcome = verifyPath(chain.map(({ der }) => der), snapshot, { at });
  if (Result.isFailure(outcome)) {
    const { code, message, hint } = outcome.failure;
    return [wrong("verification", cert.path, `${code}: ${message}`, hint)];
  }
  const { path, identity } = outcome.success;
  const way = path.map(({ subject }) => subject.text).join(" ← ");
  const unasked = crls === undefined ? " (revocation is not checked)" : "";
  const accepted = fine("verification", cert.path, `peers of the same trust accept it: ${way}${unasked}`);
  if (role === null || identity.role === undefined || identity.role === role) return [accepted];
  const detail =
    `it grants the role ${identity.role}, and the configuration is a ${role}'s: this node does not start (role-not-allowed)`;
  const mend = membership
    ? `hypha-ca token --role ${role} --replace at the CA, then join with it in an empty folder`
    : `hypha-certutil sign --role ${role} --domain DOMAIN --common-name NAME …`;
  return [accepted, wrong("certificate-role", cert.path, detail, mend)];
}

/**
 * Loads key and certificate with the function that the node starts with. What it refuses is a finding, unless another
 * finding names an error of these files already.
 */
export function examineLoading(
  { key, cert, at }: { readonly key: NodeFile; readonly cert: NodeFile; readonly at: Date },
  found: readonly Finding[],
): Effect.Effect<readonly Finding[], never, FileSystem> {
  const isKnown = found.some(({ level, file }) => level === "error" && (file === key.path || file === cert.path));
  if (isKnown) return Effect.succeed([]);
  const loading = loadIdentity({ certPem: cert.path, keyPem: key.path, generation: 1, at });
  return Effect.match(loading, {
    onSuccess: () => [],
    onFailure: ({ file, detail, mend }) => [wrong("start", file ?? null, detail, mend)],
  });
}
