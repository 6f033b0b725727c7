/**
 * The schema of what a node trusts: other trust domains, and the keys of policy that each domain may have.
 *
 * @module
 */
import { Schema } from "effect";
import { trustDomainNamePattern } from "../../pki/trust_domain_name.ts";
import { crlGraceHoursDefault, keyAlgorithmsDefault } from "./defaults.ts";
import { flag, list, note, oneOf, optional, path, readable } from "./notes.ts";
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

/** In their one form: `hypha-certutil` prints it. */
const bundlePinPattern = /^sha256:[0-9a-f]{64}$/;
/** Longest URL of a bundle, in characters. */
const urlCharactersMax = 2_048;

/** One of `[[trust_domains]]`. */
export const trustDomain = Schema.Struct({
  name: domainName("Name of the domain, as in spiffe://NAME/….", '"partner.example"'),
  trust_pem: optional(path("Its CA certificates; or name its bundle.", '"certs/partner-ca.pem"')),
  bundle: optional(path("Its SPIFFE bundle (JSON), in place of trust_pem.", '"certs/partner-bundle.json"')),
  bundle_url: optional(
    readable(readBundleUrl, {
      expected: "an https URL with a path",
      example: '"https://ca.partner.example:8443/bundle.json"',
      description: "Where its CA serves its SPIFFE bundle, in place of a file. Kept in state_dir.",
    }),
  ),
  bundle_pin: optional(
    note(Schema.String.check(Schema.isPattern(bundlePinPattern)), {
      expected: '"sha256:" and 64 hexadecimal digits, as hypha-certutil bundle prints it',
      example: `"sha256:${"0".repeat(64)}"`,
      description: "With bundle_url: SHA-256 of the public key of the domain's root.",
    }),
  ),
  profile: optional(
    oneOf(
      ["https_ca", "https_web"],
      '"https_web"',
      "With bundle_url, who vouches for the server: the domain's CA, or the roots of the web and the server's host name.",
    ),
  ),
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
  Schema.makeFilter((domain: TrustPlaces) => complainAbout(domain)),
);

interface TrustPlaces {
  readonly trust_pem?: string;
  readonly bundle?: string;
  readonly bundle_url?: string;
  readonly bundle_pin?: string;
  readonly profile?: string;
}

function complainAbout({ trust_pem, bundle, bundle_url, bundle_pin, profile }: TrustPlaces): string | undefined {
  if ([trust_pem, bundle, bundle_url].filter((place) => place !== undefined).length !== 1) {
    return "exactly one of trust_pem, bundle and bundle_url is wanted";
  }
  if (bundle_url !== undefined && bundle_pin === undefined && profile !== "https_web") {
    return "bundle_url wants bundle_pin, which says whose bundle is taken";
  }
  if (bundle_url === undefined && profile !== undefined) return "profile goes with bundle_url only";
  return bundle_url === undefined && bundle_pin !== undefined ? "bundle_pin goes with bundle_url only" : undefined;
}

/** Reads the URL of a bundle; a string is the complaint. */
function readBundleUrl(text: string): URL | string {
  const url = URL.parse(text);
  if (url === null || url.protocol !== "https:") return "does not begin with https:// and a host";
  if (text.length > urlCharactersMax) return `has more than ${urlCharactersMax} characters`;
  if (url.username !== "" || url.password !== "" || url.hash !== "") return "has a user, a password or a fragment";
  if (url.pathname.startsWith("//")) return "has a path that begins with //";
  return url.href === text ? url : `is not in the form ${url.href}`;
}
