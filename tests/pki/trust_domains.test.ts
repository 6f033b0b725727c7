import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimulatedClock } from "xstate";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { checkRevocation, checkWellFormed, findPaths, verifyPath, type WithinValidity } from "../../pki/path.ts";
import { formatSpiffeBundle, parseSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import {
  defaultPolicy,
  type DomainInput,
  domainOf,
  domainsMax,
  makeTrustSnapshot,
  type Policy,
  type TrustInput,
  type TrustSnapshot,
} from "../../pki/trust.ts";
import { at, forge, type Forged, forgeListPem, later } from "../support/forge.ts";
import { gateInput } from "../support/gates.ts";

const test = suite("trust domains");

const home = forge("home", { ca: true });
const partner = forge("partner", { ca: true });
const rival = forge("rival", { ca: true });
const node = (issuer: Forged, ...san: string[]) => forge("node", { issuer, san });
const serial = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der)).serial;
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));

const partnerDomain: DomainInput = { name: "partner.example", trust: partner.pem };
const make = (domains: readonly DomainInput[], input: Partial<TrustInput> = {}) =>
  makeTrustSnapshot({ trustPem: home.pem, policy: defaultPolicy, generation: 1, at, domains, ...input });

function evaluate(
  leaf: Forged,
  domains: readonly DomainInput[] = [partnerDomain],
  input: Partial<TrustInput> = {},
): string {
  const { snapshot } = Result.getOrThrow(make(domains, input));
  const outcome = verifyPath([leaf.der], snapshot, { at });
  return Result.isSuccess(outcome) ? `accepted by ${outcome.success.domain ?? "home"}` : outcome.failure.code;
}

test("refuses names that are none: folders are named after domains, and the own bundle has a name of its own", () => {
  for (const name of ["../../etc", "@own", "", "A.example", "a/b", "a b", "x".repeat(256)]) {
    const made = make([{ ...partnerDomain, name }]);
    assert.ok(Result.isFailure(made), name);
    assert.match(made.failure.detail, "is not the name of a trust domain");
  }
  for (const name of ["..", "a-b_c.1", "x".repeat(255)]) {
    assert.ok(Result.isSuccess(make([{ ...partnerDomain, name }])), name);
  }
});

test("refuses an own name that is none, and shows a hundred characters of it; a domain with the own name, or one that is given twice", () => {
  const refused = (domains: readonly DomainInput[], ownName: string | undefined) => {
    const made = make(domains, ownName === undefined ? {} : { ownName });
    return Result.isFailure(made) ? made.failure.detail : undefined;
  };
  const long = `/${"y".repeat(200)}`;
  assert.equal([refused([], "a b"), refused([], long), refused([], "home.example")], [
    '"a b" is not the name of a trust domain',
    `"${long.slice(0, 100)}" is not the name of a trust domain`,
    undefined,
  ]);
  const { name } = partnerDomain;
  assert.equal([refused([partnerDomain], name), refused([partnerDomain], "home.example")], [
    "its name is this node's own trust_domain",
    undefined,
  ]);
  assert.is(refused([partnerDomain, partnerDomain], undefined), "its name is given twice");
});

test("a snapshot names the own domain where the configuration does, and other domains where there are any", () => {
  const alone = Result.getOrThrow(make([])).snapshot;
  assert.equal(["domains" in alone, "ownName" in alone], [false, false]);
  const { snapshot } = Result.getOrThrow(make([partnerDomain], { ownName: "home.example" }));
  assert.equal([snapshot.domains?.map(({ name }) => name), snapshot.ownName], [[partnerDomain.name], "home.example"]);
});

test("lets the node's own bundle claim any domain that is not another's", () => {
  assert.is(evaluate(node(home, "URI:spiffe://partner.example/worker/a")), "name-constraint");
  assert.is(evaluate(node(home, "URI:spiffe://home.example/worker/a")), "accepted by home");
  assert.is(evaluate(node(home)), "accepted by home");
});

test("lets a domain claim its own name, and no other", () => {
  assert.is(evaluate(node(partner, "URI:spiffe://partner.example/worker/a")), "accepted by partner.example");
  assert.is(evaluate(node(partner)), "accepted by partner.example");
  assert.is(evaluate(node(partner, "URI:spiffe://home.example/worker/a")), "name-constraint");
  assert.is(evaluate(node(partner, "URI:spiffe://partner.example.evil/worker/a")), "name-constraint");
  assert.is(evaluate(node(partner, "URI:https://partner.example/worker/a")), "name-constraint");
  const two = ["URI:spiffe://partner.example/worker/a", "URI:spiffe://home.example/worker/a"];
  assert.is(evaluate(node(partner, ...two)), "name-constraint");
});

test("a domain without a known CA accepts nobody, and keeps its name from the own bundle", () => {
  const unknown: DomainInput = { name: "partner.example", trust: undefined };
  for (const domain of [unknown, { ...unknown, crlsPem: forgeListPem(partner) }]) {
    assert.is(evaluate(node(home, "URI:spiffe://partner.example/worker/a"), [domain]), "name-constraint");
    assert.is(evaluate(node(partner, "URI:spiffe://partner.example/worker/a"), [domain]), "unknown-issuer");
    assert.is(evaluate(node(home), [domain]), "accepted by home");
    const { warnings } = Result.getOrThrow(make([domain]));
    assert.ok(warnings.some(({ code, subject }) => code === "no-anchors" && subject === "partner.example"));
  }
});

test("says which domain vouches, and nothing of domains where the own bundle does", () => {
  const verified = (leaf: Forged, ...domains: DomainInput[]) => {
    const { snapshot } = Result.getOrThrow(make(domains));
    const found = Result.getOrThrow(findPaths(Result.getOrThrow(checkWellFormed([leaf.der])), snapshot));
    const outcome = Result.getOrThrow(verifyPath([leaf.der], snapshot, { at }));
    return [found.domains, "domain" in outcome, outcome.domain];
  };
  const shared: DomainInput = { name: "home.example", trust: home.pem };
  assert.equal(verified(node(home), partnerDomain), [undefined, false, undefined]);
  assert.equal(verified(node(partner), partnerDomain), [["partner.example"], true, "partner.example"]);
  assert.equal(verified(node(home), shared), [[undefined, "home.example"], false, undefined]);
});

test("refuses a CA that no domain has", () => assert.is(evaluate(node(rival)), "unknown-issuer"));

test("takes a signature that was found wrong for one domain for wrong in the next", () => {
  const middle = forge("middle", { ca: true, issuer: home });
  const impostor = forge("middle", { ca: true, issuer: forge("nobody", { ca: true }) });
  const { snapshot } = Result.getOrThrow(make([{ name: "home.example", trust: home.pem }]));
  const evaluated = (issuer: Forged) => {
    const outcome = verifyPath([node(issuer).der, middle.der], snapshot, { at });
    return Result.isSuccess(outcome) ? outcome.success.signatureChecks : outcome.failure.code;
  };
  assert.is(evaluated(middle), 3, "the leaf's signature once, the one of the CA under each anchor");
  assert.is(evaluated(impostor), "bad-signature");
});

test("lets a domain claim its roles, and no other", () => {
  const workers: DomainInput = { ...partnerDomain, roles: ["worker"] };
  assert.is(evaluate(node(partner, "URI:spiffe://partner.example/worker/a"), [workers]), "accepted by partner.example");
  assert.is(evaluate(node(partner, "URI:spiffe://partner.example/gateway/a"), [workers]), "role-not-allowed");
  assert.is(evaluate(node(home, "URI:spiffe://home.example/gateway/a"), [workers]), "accepted by home");
  const claimed = (uri: string) => {
    const { snapshot } = Result.getOrThrow(make([workers]));
    const outcome = verifyPath([node(partner, uri).der], snapshot, { at });
    return Result.isFailure(outcome) && outcome.failure._tag === "RoleNotAllowed" && outcome.failure.role;
  };
  assert.is(claimed("URI:spiffe://partner.example/gateway/a"), "gateway");
  assert.is(claimed("URI:spiffe://partner.example"), "a node without a role");
  const both: DomainInput = { ...partnerDomain, roles: ["worker", "data"] };
  assert.is(evaluate(node(partner, "URI:spiffe://partner.example/data/a"), [both]), "accepted by partner.example");
  const beside = node(partner, "DNS:a.partner.example", "URI:spiffe://partner.example/worker/a");
  assert.is(evaluate(beside, [workers]), "accepted by partner.example", "a host name claims no domain");
});

test("evaluates revocation by the domain's own lists", () => {
  const leaf = node(partner, "URI:spiffe://partner.example/worker/a");
  const revoking: DomainInput = { ...partnerDomain, crlsPem: forgeListPem(partner, { revoked: [serial(leaf)] }) };
  assert.is(evaluate(leaf, [revoking]), "certificate-revoked");
  assert.is(evaluate(leaf, [partnerDomain], { crlsPem: forgeListPem(home) }), "accepted by partner.example");
  assert.is(evaluate(node(home), [partnerDomain], { crlsPem: forgeListPem(home) }), "accepted by home");
  assert.is(evaluate(node(home), [revoking]), "accepted by home");
});

test("evaluates algorithms by the domain's own policy", () => {
  const leaf = forge("node", { issuer: partner, algorithm: "p256" });
  const lenient = { ...defaultPolicy, leafAlgorithms: ["ed25519", "ecdsa-p256"] as const };
  assert.is(evaluate(leaf), "unsupported-key-algorithm");
  assert.is(evaluate(leaf, [{ ...partnerDomain, policy: lenient }]), "accepted by partner.example");
  const ours = forge("node", { issuer: home, algorithm: "p256" });
  assert.is(evaluate(ours, [{ ...partnerDomain, policy: lenient }]), "unsupported-key-algorithm");
});

test("changes anchorsId with a domain's CAs, its name and its roles", () => {
  const id = (domains: readonly DomainInput[]) => Result.getOrThrow(make(domains)).snapshot.anchorsId;
  const ids = [[], [partnerDomain], [{ ...partnerDomain, trust: rival.pem }], [{ ...partnerDomain, name: "x" }], [
    { ...partnerDomain, roles: ["worker" as const] },
  ]].map(id);
  assert.is(new Set(ids).size, ids.length);
  assert.is(id([partnerDomain]), id([{ ...partnerDomain }]));
});

test("tells whose list is forged, and by what it is refused", () => {
  const forged = forgeListPem(partner, { signer: rival });
  const outcome = make([{ ...partnerDomain, crlsPem: forged }]);
  assert.ok(Result.isFailure(outcome));
  const { domain, problem, refusal } = outcome.failure;
  assert.equal([domain, problem, refusal?.code], ["partner.example", "crl-signature", "crl-signature"]);
  const empty = make([{ ...partnerDomain, crlsPem: "" }]);
  assert.ok(Result.isFailure(empty) && empty.failure.domain === "partner.example");
  assert.is(empty.failure.refusal, undefined);
});

test("takes as many domains as are allowed and refuses one more", () => {
  const domains = (count: number) =>
    make(Array.from({ length: count }, (_, index) => ({ ...partnerDomain, name: `d${index}.example` })));
  assert.is(Result.getOrThrow(domains(domainsMax)).snapshot.domains?.length, domainsMax);
  const outcome = domains(domainsMax + 1);
  assert.is(Result.isFailure(outcome) && outcome.failure.problem, "too-many");
});

test("a domain that is not there trusts nobody and clears nobody", () => {
  const { snapshot } = Result.getOrThrow(make([partnerDomain]));
  const gone = domainOf(snapshot, "gone.example");
  assert.equal([gone.anchors, gone.revocation], [[], { lists: [] }]);
  const leaf = certificate(node(partner));
  const within = { paths: [[leaf, certificate(partner)]], domains: ["gone.example"], at } as unknown as WithinValidity;
  const outcome = checkRevocation(within, snapshot, at);
  assert.is(Result.isFailure(outcome) && outcome.failure.code, "revocation-unknown");
});

test("refuses a name twice, and tells whose file is at fault", () => {
  const twice = make([partnerDomain, partnerDomain]);
  assert.ok(Result.isFailure(twice) && twice.failure.message.includes("twice"));
  assert.equal([twice.failure.problem, twice.failure.domain], ["bundle", "partner.example"]);
  const broken = make([{ ...partnerDomain, crlsPem: "nothing" }]);
  assert.ok(Result.isFailure(broken));
  assert.equal([broken.failure.input, broken.failure.problem, broken.failure.domain], [
    "crls_pem",
    "empty",
    "partner.example",
  ]);
});

test("reads back the SPIFFE bundle that it writes, with every kind of key", () => {
  const cas = [
    partner,
    forge("p256", { ca: true, algorithm: "p256" }),
    forge("rsa", { ca: true, algorithm: "rsa-2048" }),
  ];
  const text = formatSpiffeBundle(cas.map(certificate), { sequence: 7, refreshHintSeconds: 300 });
  const bundle = Result.getOrThrow(parseSpiffeBundle(text));
  assert.equal(bundle.authorities.map(({ fingerprint }) => fingerprint), cas.map((ca) => certificate(ca).fingerprint));
  assert.equal([bundle.sequence, bundle.refreshHintSeconds], [7, 300]);
  assert.is(evaluate(node(partner), [{ ...partnerDomain, trust: text }]), "accepted by partner.example");
});

const key = JSON.parse(formatSpiffeBundle([certificate(partner)])).keys[0] as Record<string, unknown>;
const bundles: [name: string, text: string, problem: string | undefined][] = [
  [
    "a key for tokens beside it",
    JSON.stringify({ keys: [{ ...key, use: "jwt-svid", x5c: undefined }, key] }),
    undefined,
  ],
  ["no JSON", "{", "not JSON"],
  ["a list", "[]", "JSON object"],
  ["no keys", "{}", "no list of keys"],
  [
    "two certificates for a key",
    JSON.stringify({ keys: [{ ...key, x5c: [...key["x5c"] as string[], "AA=="] }] }),
    "exactly one",
  ],
  ["no certificate", JSON.stringify({ keys: [{ ...key, x5c: [] }] }), "exactly one"],
  ["a certificate that is none", JSON.stringify({ keys: [{ ...key, x5c: ["AAAA"] }] }), "Cannot parse certificate"],
  ["what is no base64", JSON.stringify({ keys: [{ ...key, x5c: ["A-_A"] }] }), "base64"],
  ["another key than the certificate's", JSON.stringify({ keys: [{ ...key, x: "AAAA" }] }), "not the key"],
  [
    "a leaf",
    JSON.stringify({ keys: [{ ...key, x5c: [Buffer.from(node(partner).der).toString("base64")] }] }),
    "not a CA's",
  ],
  ["a sequence that is no number", JSON.stringify({ keys: [key], spiffe_sequence: "1" }), "spiffe_sequence"],
  ["a negative refresh hint", JSON.stringify({ keys: [key], spiffe_refresh_hint: -1 }), "spiffe_refresh_hint"],
];
for (const [name, text, problem] of bundles) {
  test(`${problem === undefined ? "takes" : "refuses"} a bundle with ${name}`, () => {
    const outcome = parseSpiffeBundle(text);
    if (problem === undefined) return void assert.is(Result.getOrThrow(outcome).authorities.length, 1);
    assert.ok(Result.isFailure(outcome), "it was taken");
    assert.ok(outcome.failure.message.includes(problem), outcome.failure.message);
  });
}

/** For each field of a policy: a stricter value, the code that it gives, and when that shows. */
const stricter: { readonly [Field in keyof Policy]-?: readonly [Policy[Field], code: string, at?: Date] } = {
  leafAlgorithms: [["rsa"], "unsupported-key-algorithm"],
  caAlgorithms: [["rsa"], "unsupported-key-algorithm"],
  crlGraceMs: [0, "crl-expired", later(30.5)],
  roles: ["require", "role-not-allowed"],
  allowedRoles: [["gateway"], "role-not-allowed"],
  purposes: [["1.3.6.1.5.5.7.3.4"], "extended-key-usage"],
  profile: ["rfc5280", "malformed-certificate"],
  webPki: ["require", "malformed-certificate"],
};

/** What `verifyPath` and a gate make of a leaf; they must agree. */
function verdictOf(leaf: Forged, snapshot: TrustSnapshot, time: Date): string {
  const outcome = verifyPath([leaf.der], snapshot, { at: time });
  const verdict = Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
  const ports = { now: () => time.getTime(), report: () => {} };
  const gate = makeGateFactory({ ports, clock: new SimulatedClock() })(gateInput(snapshot));
  gate.send({ type: "connection.securing" });
  gate.send({ type: "tls.secured", version: "TLSv1.3", chain: [leaf.der] });
  assert.is(gate.refusal?.code ?? "accepted", verdict, "the gate and verifyPath");
  return verdict;
}

for (const [field, [value, code, time = at]] of Object.entries(stricter)) {
  test(`the policy of one trust domain does not apply to another: ${field}`, () => {
    const strict: Policy = { ...defaultPolicy, [field]: value };
    // A leaf without a role, but where the role itself is what is refused.
    const claim = (domain: string) => field === "allowedRoles" ? [`URI:spiffe://${domain}/worker/a`] : [];
    const ours = node(home, ...claim("home.example"));
    const theirs = node(partner, ...claim("partner.example"));
    const under = (own: Policy, other: Policy) => {
      const crls = (ca: Forged) => field === "crlGraceMs" ? { crlsPem: forgeListPem(ca) } : {};
      const made = make([{ ...partnerDomain, policy: other, ...crls(partner) }], { policy: own, ...crls(home) });
      const { snapshot } = Result.getOrThrow(made);
      return [verdictOf(ours, snapshot, time), verdictOf(theirs, snapshot, time)];
    };
    assert.equal(under(defaultPolicy, defaultPolicy), ["accepted", "accepted"]);
    assert.equal(under(strict, defaultPolicy), [code, "accepted"], "the node's own");
    assert.equal(under(defaultPolicy, strict), ["accepted", code], "the partner's");
  });
}

test.run();
