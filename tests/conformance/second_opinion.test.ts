/**
 * The same chains before our verifier and before `openssl verify`: the verdicts must agree, and where they do not the
 * row says why ours is the stricter one.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { derNull } from "../../pki/issue/der_writer.ts";
import { extendedKeyUsage, keyUsage, nameConstraints } from "../../pki/issue/extensions.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { at, forge, type Forged, forgeListPem, later } from "../support/forge.ts";
import { where } from "../support/prerequisites.ts";

const test = suite("verifyPath() beside OpenSSL");

const folder = mkdtempSync(join(tmpdir(), "hypha-opinion-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

interface Case {
  readonly chain: readonly Forged[];
  readonly anchors: readonly Forged[];
  readonly crlsPem?: string;
  /** The verdict of both. */
  readonly good: boolean;
  /** Why OpenSSL says the opposite. */
  readonly stricter?: string;
}

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const leaf = forge("leaf", { issuer: middle });
const serial = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der)).serial;
const critical = { oid: "1.2.3", critical: true, value: derNull };
const notCa = forge("nobody", { issuer: root, add: [keyUsage(["digitalSignature", "keyCertSign"])] });
const zero = forge("zero", { ca: 0, issuer: root });
const below = forge("below", { ca: true, issuer: zero });
const stranger = forge("stranger", { ca: true });
const namesake = forge("root", { ca: true });
const old = forge("old", { ca: true, issuer: root, notBefore: later(-9), notAfter: later(-2) });
const mute = forge("mute", { ca: true, issuer: root, add: [keyUsage(["cRLSign"])] });
const narrow = forge("narrow", {
  ca: true,
  issuer: root,
  add: [nameConstraints([{ tag: 2, content: new TextEncoder().encode("a.example") }])],
});
const crossed = forge("root", { ca: true, issuer: stranger, keyOf: root });
const lists = forgeListPem(root) + forgeListPem(middle);
const chain = [leaf, middle];

const cases: Record<string, Case> = {
  "leaf, intermediate, root": { chain, anchors: [root], good: true },
  "leaf alone under an anchored intermediate": { chain: [leaf], anchors: [middle], good: true },
  "an intermediate that is missing": { chain: [leaf], anchors: [root], good: false },
  "an unknown CA": { chain: [forge("node", { issuer: stranger }), stranger], anchors: [root], good: false },
  "a namesake of the root": { chain: [forge("node", { issuer: namesake })], anchors: [root], good: false },
  "a self-signed leaf": { chain: [forge("self")], anchors: [root], good: false },
  "an issuer that is no CA": { chain: [forge("node", { issuer: notCa }), notCa], anchors: [root], good: false },
  "a path that is too long": { chain: [forge("node", { issuer: below }), below, zero], anchors: [root], good: false },
  "a path just long enough": { chain: [forge("node", { issuer: zero }), zero], anchors: [root], good: true },
  "an expired intermediate": { chain: [forge("node", { issuer: old }), old], anchors: [root], good: false },
  "an issuer without keyCertSign": { chain: [forge("node", { issuer: mute }), mute], anchors: [root], good: false },
  "a leaf of tomorrow": { chain: [forge("node", { issuer: root, notBefore: later(1) })], anchors: [root], good: false },
  "an unknown critical extension": {
    chain: [forge("node", { issuer: root, add: [critical] })],
    anchors: [root],
    good: false,
  },
  "a name that is permitted": {
    chain: [forge("node", { issuer: narrow, san: ["DNS:x.a.example"] }), narrow],
    anchors: [root],
    good: true,
  },
  "a name that is not": {
    chain: [forge("node", { issuer: narrow, san: ["DNS:b.example"] }), narrow],
    anchors: [root],
    good: false,
  },
  "a cross-signature": { chain: [...chain, crossed], anchors: [stranger], good: true },
  "lists of both issuers": { chain, anchors: [root], crlsPem: lists, good: true },
  "a list that is missing": { chain, anchors: [root], crlsPem: forgeListPem(middle), good: false },
  "a revoked leaf": {
    chain,
    anchors: [root],
    crlsPem: forgeListPem(root) + forgeListPem(middle, { revoked: [serial(leaf)] }),
    good: false,
  },
  "a revoked intermediate": {
    chain,
    anchors: [root],
    crlsPem: forgeListPem(root, { revoked: [serial(middle)] }) + forgeListPem(middle),
    good: false,
  },
  "a list behind its next update and the grace": {
    chain,
    anchors: [root],
    crlsPem: forgeListPem(root) + forgeListPem(middle, { thisUpdate: later(-9), nextUpdate: later(-2) }),
    good: false,
  },
  "a list that a namesake signed": {
    chain,
    anchors: [root],
    crlsPem: forgeListPem(root) + forgeListPem(middle, { signer: stranger }),
    good: false,
  },
  "a leaf for servers only": {
    chain: [forge("node", { issuer: root, add: [extendedKeyUsage(["1.3.6.1.5.5.7.3.1"])] })],
    anchors: [root],
    good: false,
  },
  "a CA in place of a node": {
    chain: [forge("ca", { ca: true, issuer: root, add: [keyUsage(["digitalSignature", "keyCertSign"])] })],
    anchors: [root],
    good: false,
    stricter: "a CA's key does not speak for a node",
  },
};

for (const [name, given] of Object.entries(cases)) {
  test(`both evaluate ${name}`, async () => {
    const ours = evaluate(given);
    assert.is(ours, given.good, "ours");
    await where("openssl", () => {
      assert.is(ask(given), given.stricter === undefined ? given.good : !given.good, "OpenSSL");
    });
  });
}

function evaluate({ chain, anchors, crlsPem }: Case): boolean {
  const trustPem = anchors.map(({ pem }) => pem).join("");
  const made = Result.getOrThrow(makeTrustSnapshot({ trustPem, crlsPem, policy: defaultPolicy, generation: 1, at }));
  return Result.isSuccess(verifyPath(chain.map(({ der }) => der), made.snapshot, { at }));
}

/** `openssl verify`, for both purposes, with partial chains and every list checked. */
function ask({ chain, anchors, crlsPem }: Case): boolean {
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const [node, ...others] = chain.map(({ pem }) => pem);
  const usual = ["verify", "-no-CApath", "-no-CAstore", "-partial_chain", "-attime", String(at.getTime() / 1_000)];
  const trust = ["-CAfile", file("anchors.pem", anchors.map(({ pem }) => pem).join(""))];
  const untrusted = others.length === 0 ? [] : ["-untrusted", file("others.pem", others.join(""))];
  const revocation = crlsPem === undefined ? [] : ["-crl_check_all", "-CRLfile", file("crls.pem", crlsPem)];
  return ["sslclient", "sslserver"].every((purpose) => {
    try {
      const last = ["-purpose", purpose, file("leaf.pem", node!)];
      execFileSync("openssl", [...usual, ...trust, ...untrusted, ...revocation, ...last], { stdio: "pipe" });
      return true;
    } catch {
      return false;
    }
  });
}

test.run();
