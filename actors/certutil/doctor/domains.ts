/**
 * The files of a node's other trust domains: can they be used, and what will go wrong with them?
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { makeTrustSnapshot, type Policy } from "../../../pki/trust.ts";
import { isThere } from "../../files/is_there.ts";
import type { DomainPaths } from "../../trust/load_trust.ts";
import { doubtful, type Finding, fine, wrong } from "./finding.ts";
import { readNodeFile } from "./node_file.ts";

const mends = {
  fetch: "start the node, which fetches it from bundle_url, and look for bundle.refused in its log",
  trust: "hypha-certutil bundle --out BUNDLE.pem INTERMEDIATE-CERT.pem ROOT-CERT.pem",
  crls: "fetch the newest lists from that organisation",
  configure: "fetch the lists from that organisation, and set crls_pem in its [[trust_domains]] entry",
};
const unlisted = "it has no crls_pem, so that its revoked certificates are accepted";

/** Examines them as the node loads them. */
export const examineDomains = Effect.fnUntraced(
  function* (domains: readonly DomainPaths[], { policy, at }: { readonly policy: Policy; readonly at: Date }) {
    const findings: Finding[] = [];
    for (const domain of domains) findings.push(...yield* examineDomain(domain, domain.policy ?? policy, at));
    return findings as readonly Finding[];
  },
);

function examineDomain(
  { name, trust, crlsPem, fetched }: DomainPaths,
  policy: Policy,
  at: Date,
): Effect.Effect<readonly Finding[], never, FileSystem> {
  return Effect.gen(function* () {
    const what = `of trust domain ${name}`;
    if (fetched === true && !(yield* Effect.orElseSucceed(isThere(trust), () => true))) {
      return [
        doubtful("trust-domain", trust, `${name}: its bundle was not fetched yet: its peers are refused`, mends.fetch),
      ];
    }
    const bundle = yield* readNodeFile(trust, { key: "trust_pem", what: `trust bundle ${what}`, mend: mends.trust });
    if (!("text" in bundle)) return [bundle];
    const lists = crlsPem === undefined
      ? undefined
      : yield* readNodeFile(crlsPem, { key: "crls_pem", what: `revocation lists ${what}`, mend: mends.crls });
    if (lists !== undefined && !("text" in lists)) return [lists];
    const made = makeTrustSnapshot({ trustPem: bundle.text, crlsPem: lists?.bytes, policy, generation: 1, at });
    if (Result.isFailure(made)) {
      const { input, detail, hint } = made.failure;
      return [wrong("trust-domain", input === "crls_pem" ? lists?.path ?? null : trust, `${name}: ${detail}`, hint)];
    }
    const warnings = made.success.warnings.filter(({ level }) => level !== "debug");
    const isUnlisted = warnings.some(({ code }) => code === "no-lists-configured");
    const anchors = made.success.snapshot.anchors.map(({ subject }) => subject.text).join(", ");
    return [
      fine("trust-domain", trust, `${name}: ${anchors}`),
      ...(isUnlisted ? [doubtful("trust-domain", null, `${name}: ${unlisted}`, mends.configure)] : []),
      ...warnings
        .filter(({ code }) => code !== "no-lists-configured")
        .map(({ message }) => doubtful("trust-domain", trust, `${name}: ${message}`, mends.crls)),
    ];
  });
}
