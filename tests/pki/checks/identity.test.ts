/** What a leaf may claim in its URI: spellings that mean something else to somebody, and claims of another domain's. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isOwnCa, standsFor } from "../../../pki/member.ts";
import { verifyPath } from "../../../pki/path.ts";
import { defaultPolicy, type DomainInput, makeTrustSnapshot, type Policy } from "../../../pki/trust.ts";
import { at, forge, type Forged } from "../../support/forge.ts";

const test = suite("claims in a URI");

const home = forge("home", { ca: true });
const partner = forge("partner", { ca: true });

function evaluate(
  issuer: Forged,
  uris: readonly string[],
  domain: Partial<DomainInput> = {},
  policy: Policy = defaultPolicy,
) {
  const domains = [{ name: "partner.example", trust: partner.pem, ...domain }];
  const made = makeTrustSnapshot({ trustPem: home.pem, policy, generation: 1, at, domains });
  const leaf = forge("node", { issuer, san: uris.map((uri) => `URI:${uri}`) });
  const outcome = verifyPath([leaf.der], Result.getOrThrow(made).snapshot, { at });
  if (Result.isFailure(outcome)) return outcome.failure.code;
  const { identity } = outcome.success;
  return `${identity.role ?? "no role"} of ${identity.domain ?? "no domain"}`;
}

const spellings: [uri: string, home: string, partner: string][] = [
  ["spiffe://partner.example/worker/a", "name-constraint", "worker of partner.example"],
  ["spiffe://partner.example/worker/a/b", "name-constraint", "worker of partner.example"],
  ["SPIFFE://partner.example/worker/a", "name-constraint", "name-constraint"],
  ["spiffe://Partner.example/worker/a", "name-constraint", "name-constraint"],
  ["spiffe://partner.example:8443/worker/a", "name-constraint", "name-constraint"],
  ["spiffe://me@partner.example/worker/a", "name-constraint", "name-constraint"],
  ["spiffe://home.example@partner.example/worker/a", "name-constraint", "name-constraint"],
  ["spiffe://partner%2eexample/worker/a", "role-not-allowed", "name-constraint"],
  ["spiffe://partner.example./worker/a", "name-constraint", "name-constraint"],
  ["spiffe://partner.example", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/worker", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/worker/", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/worker/a/", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example//worker/a", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/worker%2fa/b", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/work%65r/a", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/Worker/a", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/worker/../gateway/a", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/worker/.", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/./worker/a", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/worker/a?x=1", "name-constraint", "role-not-allowed"],
  ["spiffe://partner.example/worker/a#x", "name-constraint", "role-not-allowed"],
  ["spiffe:/partner.example/worker/a", "role-not-allowed", "name-constraint"],
  ["spiffe://../worker/a", "role-not-allowed", "name-constraint"],
  ["https://partner.example/worker/a", "role-not-allowed", "name-constraint"],
];
for (const [uri, atHome, atPartner] of spellings) {
  test(`reads ${uri}`, () => {
    assert.is(evaluate(home, [uri]), atHome);
    assert.is(evaluate(partner, [uri]), atPartner);
  });
}

test("no policy of roles takes the certificate of an identity in hardware", () => {
  for (const roles of ["require", "optional", "ignore"] as const) {
    const policy: Policy = { ...defaultPolicy, roles };
    assert.is(evaluate(home, ["spiffe://home.example/identity/a"], {}, policy), "role-not-allowed", roles);
  }
});

test("takes no two URIs, not even twice the same", () => {
  const own = "spiffe://partner.example/worker/a";
  assert.is(evaluate(home, [own, own]), "name-constraint");
  const elsewhere = "spiffe://home.example/worker/a";
  assert.is(evaluate(home, [elsewhere, elsewhere]), "role-not-allowed");
  assert.is(evaluate(partner, [own, own]), "role-not-allowed");
  assert.is(evaluate(partner, [own, "spiffe://home.example/worker/a"]), "name-constraint");
});

test("a domain that has some roles only cannot leave the role out, and so be any", () => {
  const roles = { roles: ["worker"] } as const;
  assert.is(evaluate(partner, [], roles), "role-not-allowed");
  assert.is(evaluate(partner, ["spiffe://partner.example/worker/a"], roles), "worker of partner.example");
  assert.is(evaluate(partner, ["spiffe://partner.example/gateway/a"], roles), "role-not-allowed");
  assert.is(evaluate(partner, []), "no role of partner.example", "one that has all may");
  assert.is(evaluate(home, [], roles), "no role of no domain", "and so may the node's own bundle");
});

test("holds a domain's leaf to the domain's own policy of roles", () => {
  const strict: Policy = { ...defaultPolicy, roles: "require" };
  const gateways: Policy = { ...defaultPolicy, allowedRoles: ["gateway"] };
  const worker = ["spiffe://partner.example/worker/a"];
  assert.is(evaluate(partner, [], { policy: strict }), "role-not-allowed");
  assert.is(evaluate(home, [], { policy: strict }), "no role of no domain");
  assert.is(evaluate(partner, worker, { policy: gateways }), "role-not-allowed");
  assert.is(evaluate(partner, worker, { policy: defaultPolicy }, gateways), "worker of partner.example");
  assert.is(
    evaluate(home, ["spiffe://home.example/worker/a"], { policy: defaultPolicy }, gateways),
    "role-not-allowed",
  );
});

// ── Role ca ──

const claims = ["gateway", "scheduler", "worker", "data", "ca", undefined] as const;
const uriOf = (domain: string, role: string | undefined) =>
  role === undefined ? [] : [`URI:spiffe://${domain}/${role}/a`];

test("which roles may connect and which count as the domain's CA: roles, require_roles, domain, and what a partner may claim", () => {
  const cas: string[] = [];
  for (const role of claims) {
    for (const roles of ["require", "optional"] as const) {
      for (const ownName of ["home.example", undefined]) {
        for (const [issuer, domain] of [[home, "home.example"], [partner, "partner.example"]] as const) {
          for (const limits of [undefined, ["worker"], ["ca"]] as const) {
            const policy: Policy = { ...defaultPolicy, roles };
            const domains = [{ name: "partner.example", trust: partner.pem, ...(limits ? { roles: limits } : {}) }];
            const input = { trustPem: home.pem, policy, ownName, generation: 1, at, domains };
            const { snapshot } = Result.getOrThrow(makeTrustSnapshot(input));
            const leaf = forge("node", { issuer, san: uriOf(domain, role) });
            const outcome = verifyPath([leaf.der], snapshot, { at });
            const limited = issuer === partner && limits !== undefined;
            const may = limited ? limits.some((each) => each === role) : role !== undefined || roles === "optional";
            const which = `${role} of ${domain}, ${roles}, ${ownName}, ${limits}`;
            assert.is(Result.isSuccess(outcome), may, which);
            if (Result.isFailure(outcome)) continue;
            const { identity } = outcome.success;
            assert.is(isOwnCa(identity, snapshot), role === "ca" && issuer === home, which);
            assert.is(standsFor(identity.role, "ca"), role === "ca", which);
            if (isOwnCa(identity, snapshot)) cas.push(`${roles} ${ownName} ${limits}`);
          }
        }
      }
    }
  }
  assert.is(cas.length, 2 * 2 * 3, "the own CA always may");
});

test("a certificate of the own bundle that claims another domain is no CA of ours where the own name is set", () => {
  const { snapshot } = Result.getOrThrow(
    makeTrustSnapshot({ trustPem: home.pem, policy: defaultPolicy, ownName: "home.example", generation: 1, at }),
  );
  const leaf = forge("node", { issuer: home, san: uriOf("elsewhere.example", "ca") });
  assert.ok(Result.isFailure(verifyPath([leaf.der], snapshot, { at })));
  assert.not(isOwnCa({ role: "ca", domain: "elsewhere.example" }, snapshot));
  assert.not(isOwnCa({ role: "ca", domain: undefined }, snapshot));
});

test.run();
