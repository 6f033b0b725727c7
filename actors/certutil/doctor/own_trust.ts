/**
 * The doctor on a node's own certificate under its own trust: what the node itself, and peers of the same trust, make of
 * its files.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Certificate, Role } from "../../../pki/certificate.ts";
import { ownDomain } from "../../../pki/crl_marks.ts";
import { verifyPath } from "../../../pki/path.ts";
import { makeTrustSnapshot, type Policy, type TrustMade } from "../../../pki/trust.ts";
import { nounOf } from "../../config/other_role.ts";
import { wantsList } from "../../enrolment/enrolment_refused.ts";
import { readMarks } from "../../files/state_directory.ts";
import { loadIdentity } from "../../trust/load_identity.ts";
import { loadLearned } from "../../trust/load_trust.ts";
import { joinAgain } from "./certificates.ts";
import { doubtful, type Finding, fine, wrong } from "./finding.ts";
import { fetched } from "./learned_lists.ts";
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
  /** Whether lists are required without such a file. */
  readonly requiresLists?: boolean;
  /** Where lists are kept; undefined where the configuration cannot be read. */
  readonly stateDir?: string | undefined;
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

/** Verifies the node's chain with the function that its peers use, with the lists of the state directory, too. Changes no file. */
export function examineOwnTrust(
  chain: readonly Certificate[],
  own: OwnTrust,
): Effect.Effect<readonly Finding[], never, FileSystem> {
  const { trust, crls, policy, ownName, requiresLists, at } = own;
  return Effect.map(readKept(own), (kept) => {
    const made = makeTrustSnapshot({
      ...{ trustPem: trust.text, crlsPem: crls?.bytes, policy, ownName, generation: 1, at, rollback: "report" },
      crls: requiresLists ? "required" : "optional",
      ...kept,
    });
    if (Result.isFailure(made)) {
      const { input, detail, hint } = made.failure;
      if (input === "crls_pem") return [wrong("verification", crls?.path ?? null, detail, hint)];
      return [wrong("verification", trust.path, detail, hint)];
    }
    return [...listFindings(own, made.success), ...verdict(chain, own, made.success)];
  });
}

/** Marks and lists of the state directory. A bundle that cannot be read has none: the snapshot reports it. */
const readKept = Effect.fnUntraced(function* ({ trust, crls, policy, stateDir, at }: OwnTrust) {
  if (stateDir === undefined) return {};
  const { marks: crlMarks } = yield* readMarks(stateDir);
  const read = {
    bundles: new Map([[trust.path, trust.text]]),
    lists: new Map(crls === undefined ? [] : [[crls.path, crls.bytes]]),
  };
  const paths = { trustPem: trust.path, crlsPem: crls?.path };
  const loading = loadLearned(paths, { policy, generation: 1, at, stateDir, crlMarks }, read);
  const files = yield* Effect.match(loading, { onSuccess: (found) => [...found.files.values()], onFailure: () => [] });
  return { crlMarks, learned: new Map([[ownDomain, files.flatMap(({ lists }) => lists)]]) };
});

const usesLists = ({ snapshot: { revocation } }: TrustMade) => revocation !== undefined && revocation.lists.length > 0;

/** What is missing among the lists. A file that is configured and cannot be read has a finding already. */
function listFindings(
  { config, trust, crls, namesLists, requiresLists }: OwnTrust,
  made: TrustMade,
): readonly Finding[] {
  const make = "make the list of each CA: hypha-certutil gen-crl --ca-cert CA-CERT.pem --ca-key CA-KEY.pem --out-crl";
  const unlisted = namesLists || usesLists(made) ? [] : [
    doubtful(
      "revocation",
      config,
      "crls_pem is not configured: revoked certificates are accepted",
      `${make} CRLS.pem; then set crls_pem`,
    ),
  ];
  const mend = requiresLists ? fetched : `${make} CRLS.pem`;
  const others = made.warnings.filter(({ code, level }) => level !== "debug" && !coveredWarnings.has(code));
  const placeOf = (code: string) => code === "crl-rollback" ? crls?.path ?? trust.path : trust.path;
  return [...unlisted, ...others.map(({ code, message }) => doubtful("trust", placeOf(code), message, mend))];
}

function verdict(
  chain: readonly Certificate[],
  { cert, role, crls, membership, at }: OwnTrust,
  made: TrustMade,
): readonly Finding[] {
  const outcome = verifyPath(chain.map(({ der }) => der), made.snapshot, { at });
  if (Result.isFailure(outcome)) {
    const { code, message, hint } = outcome.failure;
    const detail = `${code}: ${message}`;
    // A list that is missing is fetched after the start.
    if (crls === undefined && wantsList(code)) return [doubtful("verification", cert.path, detail, fetched)];
    const mend = membership && code === "certificate-revoked" ? joinAgain : hint;
    return [wrong("verification", cert.path, detail, mend)];
  }
  const { path, identity } = outcome.success;
  const way = path.map(({ subject }) => subject.text).join(" ← ");
  const unasked = usesLists(made) ? "" : " (revocation is not checked)";
  const accepted = fine("verification", cert.path, `peers of the same trust accept it: ${way}${unasked}`);
  if (role === null || identity.role === undefined || identity.role === role) return [accepted];
  const detail = `it grants the role ${identity.role}, and the configuration is a ${
    nounOf(role)
  }'s: this node does not start (role-not-allowed)`;
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
