/**
 * The schema of what a node trusts: other trust domains, and the keys of policy that each domain may have.
 *
 * @module
 */
import { Schema } from "effect";
import { trustDomainNamePattern } from "../../pki/trust_domain_name.ts";
import { crlGraceHoursDefault, keyAlgorithmsDefault } from "./defaults.ts";
import { flag, list, note, oneOf, optional, path } from "./notes.ts";
import { tomlOf } from "./settings.ts";

const algorithm = oneOf(["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa"], '"ed25519"', "");
/** A list of key algorithms. */
export const algorithms = (of: string) =>
  note(Schema.Array(algorithm).check(Schema.isMinLength(1), Schema.isMaxLength(4)), {
    expected: 'a list of "ed25519", "ecdsa-p256", "ecdsa-p384", "rsa" (2048 bits or more), not empty',
    example: tomlOf(keyAlgorithmsDefault),
    description: `Key algorithms allowed in certificates of ${of}.`,
  });

/** How long a list counts after its next update. */
export const crlGraceHours = note(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 8_760 })), {
  expected: "a number from 0 to 8760",
  example: tomlOf(crlGraceHoursDefault),
  description: "How long a revocation list counts after its next update was due.",
});

/** The name of a trust domain. */
export const domainName = (description: string, example: string) =>
  note(Schema.String.check(Schema.isPattern(trustDomainNamePattern)), {
    expected: "a trust domain: lower-case letters, digits, dots, hyphens",
    example,
    description,
  });

/** One of `[[trust_domains]]`. */
export const trustDomain = Schema.Struct({
  name: domainName("Name of the domain, as in spiffe://NAME/….", '"partner.example"'),
  trust_pem: optional(path("Its CA certificates; or name its bundle.", '"certs/partner-ca.pem"')),
  bundle: optional(path("Its SPIFFE bundle (JSON), in place of trust_pem.", '"certs/partner-bundle.json"')),
  crls_pem: optional(path("Revocation lists of its CAs.", '"certs/partner-crls.pem"')),
  roles: optional(
    list(oneOf(["gateway", "scheduler", "worker", "data"], '"worker"', ""), {
      expected: 'a list of "gateway", "scheduler", "worker", "data"',
      example: '["worker"]',
      description: "Roles that its certificates may claim; all of them where this is not set.",
    }),
  ),
  require_roles: optional(
    flag("true", "The same key of the node, for certificates of this domain; the node's where this is not set."),
  ),
  leaf_algorithms: optional(algorithms("its nodes")),
  ca_algorithms: optional(algorithms("its CAs")),
  crl_grace_hours: optional(crlGraceHours),
}).check(
  Schema.makeFilter((domain: { readonly trust_pem?: string; readonly bundle?: string }) =>
    (domain.trust_pem === undefined) === (domain.bundle === undefined)
      ? "exactly one of trust_pem and bundle is wanted"
      : undefined
  ),
);
