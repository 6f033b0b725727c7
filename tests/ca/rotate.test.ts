/** The rotation of the CA that issues: published, issuing, and the one before it out; its lists go on until then. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { answer } from "../../actors/ca/answer.ts";
import { type ConfiguredCas, configuredCas } from "../../actors/ca/authorities_fact.ts";
import { loadCaConfig } from "../../actors/ca/ca_config.ts";
import type { CaRefused } from "../../actors/ca/ca_refused.ts";
import type { CertificateAuthority } from "../../actors/ca/certificate_authority.ts";
import { certificatesWithSerial, lineOf } from "../../actors/ca/certificate_rows.ts";
import { crlOf, derOf } from "../../actors/ca/crl_rows.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { initCa } from "../../actors/ca/init_ca.ts";
import { openAuthority } from "../../actors/ca/open_authority.ts";
import { revokeByOperator } from "../../actors/ca/operator_acts.ts";
import { operatorStatus } from "../../actors/ca/operator_views.ts";
import { reenrol } from "../../actors/ca/reenrol.ts";
import { renewLists, revoke, revokeListed } from "../../actors/ca/revoke.ts";
import { rotate, type RotateRequest, RotationRefused } from "../../actors/ca/rotate.ts";
import { takeRootList } from "../../actors/ca/take_root_list.ts";
import { createToken } from "../../actors/ca/token_rows.ts";
import { generatePkcs11Key, openPkcs11Signer } from "../../actors/pkcs11/pkcs11_signer.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { certifyIntermediate, issueCrl, issueIntermediate, issueNode, issueRoot } from "../../pki/issue/mod.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { formatPem } from "../../pki/pem.ts";
import { parseSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { codeOf, testCsr } from "../support/authority.ts";
import { ordinaryUser } from "../support/ordinary_user.ts";
import { asRoot, needing } from "../support/prerequisites.ts";
import { makeSoftToken, type SoftToken } from "../support/soft_token.ts";

const test = suite("the rotation of the CA that issues");
const inToken = needing(suite("the rotation to a CA with a key in a token"), "softhsm2-util");
const address = "10.0.0.1";
const dayMs = 24 * 3_600_000;
let folder = "";
for (const each of [test, inToken]) {
  each.before.each(() => {
    folder = mkdtempSync(join(tmpdir(), "hypha-rotate-"));
  });
  each.after.each(() => rmSync(folder, { recursive: true }));
}
let token: SoftToken;
inToken.before(async () => {
  token = makeSoftToken();
  await generatePkcs11Key(token.uri("ca2"), "ed25519");
});
inToken.after(() => token.remove());
const file = (name: string) => join(folder, "ca", name);
const text = (name: string) => readFileSync(file(name), "utf8");
const at = new Date();

const make = () =>
  Effect.runPromise(
    initCa(
      { domain: "acme.example", url: "https://ca.acme.example", name: "ca-01", gateways: [], folder: file("") },
      at,
    )
      .pipe(Effect.provide(realServices)),
  );
const turn = (more: Partial<RotateRequest> = {}) =>
  Effect.runPromise(
    Effect.result(rotate({
      config: file("ca.toml"),
      next: undefined,
      isRevoked: () => Effect.succeed(false),
      permit: () => Effect.void,
      ...more,
    }))
      .pipe(Effect.provide(realServices)),
  );
const step = async (more: Partial<RotateRequest> = {}) =>
  Result.match(await turn(more), { onSuccess: ({ step }) => step, onFailure: ({ message }) => message });

async function running<A>(use: (ca: CertificateAuthority) => Promise<A>): Promise<A> {
  const ca = await Effect.runPromise(
    Effect.flatMap(loadCaConfig(file("ca.toml")), (each) => openAuthority(each, () => {})),
  );
  await Effect.runPromise(renewLists(ca, at));
  try {
    return await use(ca);
  } finally {
    ca.register.close();
  }
}

async function makeNext(): Promise<void> {
  const issuer = { certPem: text("root-cert.pem"), keyPem: text("root-key.pem") };
  const period = { notBefore: at, notAfter: new Date(+at + 700 * dayMs) };
  const next = await issueIntermediate({ commonName: "Issuing CA 2", issuer, ...period });
  writeFileSync(file("ca2-cert.pem"), next.certPem);
  writeFileSync(file("ca2-key.pem"), next.keyPem, { mode: 0o600 });
}

/** A next CA with its key in the token. */
async function nextInToken() {
  const uri = token.uri("ca2");
  const issuer = { certPem: text("root-cert.pem"), keyPem: text("root-key.pem") };
  const signer = await openPkcs11Signer(uri);
  const period = { notBefore: at, notAfter: new Date(+at + 700 * dayMs) };
  const { certPem } = await certifyIntermediate({ issuer, commonName: "Issuing CA 2", ...period }, signer);
  signer.end();
  return { certPem, uri };
}

const body = (ca: CertificateAuthority, path: string, certificate?: Uint8Array) =>
  Effect.runPromise(Effect.map(
    answer(ca, {
      ...{ method: "GET", path, authorization: undefined, ifNoneMatch: undefined, body: new Uint8Array(), certificate },
      ...{ session: "new" as const, address },
    }, at),
    (answered) => String(answered.body),
  ));
const bundleOf = async (ca: CertificateAuthority) =>
  Result.getOrThrow(parseSpiffeBundle(await body(ca, "/bundle.json")));
const subjects = async (ca: CertificateAuthority) =>
  (await bundleOf(ca)).authorities.map(({ subject }) => subject.text.split(",")[0]);

async function node(ca: CertificateAuthority, name: string) {
  const token = await Effect.runPromise(createToken(ca, { role: "worker", name, replaces: "yes" }, at));
  const { der: csr, keyPem } = await testCsr();
  const leaf = await Effect.runPromise(enrol(ca, { token: token.text, csr, address }, at));
  return { leaf, keyPem, read: Result.getOrThrow(parseCertificate(leaf)) };
}

/** The root revokes a CA, offline. */
async function revokedByRoot(certPem: string): Promise<string> {
  const { serial } = Result.getOrThrow(parseCertificate(derIn(certPem)));
  const issuer = { certPem: text("root-cert.pem"), keyPem: text("root-key.pem") };
  const number = BigInt(Math.floor(+at / 1_000)) + 5n;
  const dates = { thisUpdate: new Date(+at - 1_000), nextUpdate: new Date(+at + 300 * dayMs) };
  writeFileSync(file("root-2.pem"), await issueCrl({ issuer, revoked: [{ serial, date: at }], number, ...dates }));
  return file("root-2.pem");
}
const derIn = (pem: string) =>
  Uint8Array.from(atob(pem.split("-----")[2]!.replace(/\s/g, "")), (each) => each.charCodeAt(0));

inToken("the next CA's key may be in a token: its URI stands in the configuration as it was given", async () => {
  await make();
  const { certPem, uri } = await nextInToken();
  writeFileSync(file("ca2-cert.pem"), certPem);
  assert.match(await step({ next: { cert: file("ca2-cert.pem"), key: uri.replace("ca2", "ca3") } }), /ca3/);
  assert.is(await step({ next: { cert: file("ca2-cert.pem"), key: uri } }), "published");
  assert.is((await Effect.runPromise(loadCaConfig(file("ca.toml")))).next?.keyPem, uri);
  assert.is(await step(), "issuing");
  assert.is((await Effect.runPromise(loadCaConfig(file("ca.toml")))).keyPem, uri);
});

test("from one CA to the next, in three steps", async () => {
  await make();
  writeFileSync(file("ca.toml"), `${text("ca.toml")}# a comment\n`);
  const old = await running(async (ca) => ({
    id: ca.issuerId,
    sequence: (await bundleOf(ca)).sequence!,
    ...await node(ca, "w-1"),
  }));
  assert.match(await step(), /nothing has begun/);
  await makeNext();
  const next = { cert: file("ca2-cert.pem"), key: file("ca2-key.pem") };
  assert.is(await step({ next }), "published");
  assert.match(await step({ next }), /under way/);
  await running(async (ca) => {
    assert.equal(await subjects(ca), ["CN=Root CA", "CN=Issuing CA", "CN=Issuing CA 2"]);
    assert.ok((await bundleOf(ca)).sequence! > old.sequence);
    assert.is((await node(ca, "w-2")).read.issuer.text.split(",")[0], "CN=Issuing CA");
  });
  assert.is(await step(), "issuing");
  assert.match(text("ca.toml"), /# a comment/);
  await running(async (ca) => {
    assert.is(ca.issuer.certificate.subject.text, "CN=Issuing CA 2");
    const network = JSON.parse(await body(ca, "/.well-known/hypha/network", old.leaf)) as { retired_issuers: string[] };
    assert.equal(network.retired_issuers, [old.id]);
    const csr = (await testCsr("w-1", old.keyPem)).der;
    const renewed = await Effect.runPromise(reenrol(ca, { certificate: old.leaf, csr, address }, at));
    assert.is(Result.getOrThrow(parseCertificate(renewed)).issuer.text, "CN=Issuing CA 2");
    const { unlisted } = await Effect.runPromise(revoke(ca, { name: "w-1" }, "unspecified", at));
    assert.equal(unlisted, []);
    const listed = (issuer: string) => {
      const der = ca.register.read((rows) => derOf(rows, crlOf(rows, issuer, "complete")!));
      return Result.getOrThrow(revokedEntries(Result.getOrThrow(parseCrl(Result.getOrThrow(der))))).length;
    };
    assert.equal([listed(old.id), listed(ca.issuerId)], [1, 1], "each CA's list has its own certificate");
    const status = await Effect.runPromise(operatorStatus(ca, at));
    assert.equal(status.issuers.map(({ state, certificates }) => [state, certificates]), [["issuing", 1], [
      "retired",
      2,
    ]]);
  });
  assert.match(await step(), /is not revoked/);
  const list = await revokedByRoot(text("ca-cert.pem"));
  await running(async (ca) => {
    assert.is((await Effect.runPromise(takeRootList(ca, list, at))).length, 1);
    assert.equal(await subjects(ca), ["CN=Root CA", "CN=Issuing CA 2"], "a revoked CA is not published");
    const status = await Effect.runPromise(operatorStatus(ca, at));
    assert.equal(status.issuers.map(({ revoked }) => revoked), [false, true]);
  });
  assert.is(await step({ isRevoked: (id) => Effect.succeed(id === old.id) }), "removed");
  await running(async (ca) => {
    assert.equal([ca.retired.length, await subjects(ca)], [0, ["CN=Root CA", "CN=Issuing CA 2"]]);
    await node(ca, "w-3");
  });
});

test("a list of the root is taken only with its signature, in force, whole and above the last one", async () => {
  await make();
  await running(async (ca) => {
    const issuer = { certPem: text("root-cert.pem"), keyPem: text("root-key.pem") };
    const number = BigInt(Math.floor(+at / 1_000)) + 5n;
    const dates = { thisUpdate: new Date(+at - 1_000), nextUpdate: new Date(+at + 300 * dayMs) };
    const take = async (more: object) => {
      writeFileSync(file("list.pem"), await issueCrl({ issuer, revoked: [], number, ...dates, ...more }));
      return codeOf(takeRootList(ca, file("list.pem"), at));
    };
    const own = { certPem: text("ca-cert.pem"), keyPem: text("ca-key.pem") };
    assert.is(await take({ issuer: own }), "list-not-allowed");
    assert.is(await take({ number: 5n }), "list-not-allowed");
    assert.is(await take({ base: 3n }), "list-not-allowed");
    assert.is(await take({ nextUpdate: at }), "list-not-allowed");
    assert.is(await take({ thisUpdate: new Date(+at + 60_000) }), "list-not-allowed");
    assert.is(await codeOf(takeRootList(ca, file("ca.toml"), at)), "list-not-allowed");
    assert.is(await take({}), "done");
    const again = codeOf(takeRootList(ca, file("list.pem"), at));
    assert.is(await again, "done", "the same list");
    assert.is(await take({ number, nextUpdate: new Date(+at + 200 * dayMs) }), "list-not-allowed");
  });
});

test("cacerts has the certificate of a new root by the old one", async () => {
  await make();
  const period = { notBefore: at, notAfter: new Date(+at + 700 * dayMs) };
  const old = await issueRoot({ commonName: "Old Root", ...period });
  const root = { certPem: text("root-cert.pem"), keyPem: text("root-key.pem") };
  const link = await issueIntermediate({
    commonName: "Root CA",
    organization: "acme.example",
    ...{ issuer: old, keyPem: root.keyPem, pathLength: "unlimited", ...period },
  });
  writeFileSync(file("link.pem"), link.certPem);
  const config = text("ca.toml");
  writeFileSync(file("ca.toml"), config.replace("[ca]", '[ca]\nnew_with_old_pem = "link.pem"'));
  await running(async (ca) => {
    const sent = Uint8Array.from(atob(await body(ca, "/.well-known/est/cacerts")), (each) => each.charCodeAt(0));
    const hex = (bytes: Uint8Array) => [...bytes].map((each) => each.toString(16).padStart(2, "0")).join("");
    assert.ok(hex(sent).includes(hex(link.der)));
  });
  writeFileSync(file("link.pem"), formatPem("CERTIFICATE", derIn(old.certPem)));
  const opened = Effect.flatMap(loadCaConfig(file("ca.toml")), (each) => openAuthority(each, () => {}));
  const failed = await Effect.runPromise(Effect.result(opened));
  assert.ok(Result.isFailure(failed) && /not a certificate about the root/.test(failed.failure.message));
});

test("bug: a rotation opened the configuration to all, and put a file in the place of a link to it", async () => {
  await make();
  await makeNext();
  const mode = () => statSync(file("ca.toml")).mode & 0o777;
  chmodSync(file("ca.toml"), 0o600);
  assert.is(await step({ next: { cert: file("ca2-cert.pem"), key: file("ca2-key.pem") } }), "published");
  assert.is(mode(), 0o600);
  chmodSync(file("ca.toml"), 0o640);
  renameSync(file("ca.toml"), file("real.toml"));
  symlinkSync("real.toml", file("ca.toml"));
  const before = process.umask(0o077);
  try {
    assert.is(await step(), "issuing");
  } finally {
    process.umask(before);
  }
  assert.ok(lstatSync(file("ca.toml")).isSymbolicLink());
  assert.is(mode(), 0o640);
});

/** Owner, group and mode of a file in the CA's folder. */
function accessOf(name: string): readonly number[] {
  const { uid, gid, mode } = statSync(file(name));
  return [uid, gid, mode & 0o777];
}

asRoot(test)("bug: a rotation by root closed the configuration to the CA's user", async () => {
  await make();
  await makeNext();
  chmodSync(file("ca.toml"), 0o640);
  chownSync(file("ca.toml"), 0, ordinaryUser);
  const before = process.umask(0o077);
  try {
    assert.is(await step({ next: { cert: file("ca2-cert.pem"), key: file("ca2-key.pem") } }), "published");
    const [, chain = ""] = /next_chain_pem = "(.*)"/.exec(text("ca.toml")) ?? [];
    assert.equal(["ca.toml", chain].map(accessOf), Array(2).fill([0, ordinaryUser, 0o640]));
    chmodSync(file("ca.toml"), 0o600);
    chownSync(file("ca.toml"), ordinaryUser, ordinaryUser);
    assert.is(await step(), "issuing");
    assert.equal(accessOf("ca.toml"), [ordinaryUser, ordinaryUser, 0o600]);
  } finally {
    process.umask(before);
  }
});

asRoot(inToken)("bug: a PIN in root's configuration closed it to the CA's user", async () => {
  await make();
  const { certPem, uri } = await nextInToken();
  writeFileSync(file("ca2-cert.pem"), certPem);
  chmodSync(file("ca.toml"), 0o640);
  chownSync(file("ca.toml"), 0, ordinaryUser);
  const key = uri.replace(/&pin-source=.*/, "&pin-value=1234");
  assert.is(await step({ next: { cert: file("ca2-cert.pem"), key } }), "published");
  assert.equal(accessOf("ca.toml"), [0, ordinaryUser, 0o640]);
});

inToken("bug: a configuration that got a PIN with its next key stayed open to all", async () => {
  await make();
  const { certPem, uri } = await nextInToken();
  writeFileSync(file("ca2-cert.pem"), certPem);
  chmodSync(file("ca.toml"), 0o644);
  const key = uri.replace(/&pin-source=.*/, "&pin-value=1234");
  assert.is(await step({ next: { cert: file("ca2-cert.pem"), key } }), "published");
  assert.is(statSync(file("ca.toml")).mode & 0o777, 0o600);
});

test("bug: a certificate or a key that no CA starts with was published, and there was no way back", async () => {
  await make();
  await makeNext();
  const before = text("ca.toml");
  const { certPem, keyPem } = await issueRoot({
    commonName: "Other Root",
    notBefore: at,
    notAfter: new Date(+at + dayMs),
  });
  const period = { notBefore: at, notAfter: new Date(+at + dayMs) };
  const foreign = await issueIntermediate({ commonName: "CA 3", issuer: { certPem, keyPem }, ...period });
  const issuer = { certPem: text("root-cert.pem"), keyPem: text("root-key.pem") };
  const leaf = await issueNode({ issuer, commonName: "w-1", san: ["URI:spiffe://acme.example/worker/w-1"], ...period });
  for (const [name, made] of Object.entries({ foreign, leaf })) {
    writeFileSync(file(`${name}-cert.pem`), made.certPem);
    writeFileSync(file(`${name}-key.pem`), made.keyPem, { mode: 0o600 });
  }
  writeFileSync(file("open-key.pem"), text("ca2-key.pem"), { mode: 0o644 });
  const next = (cert: string, key: string) =>
    step({ next: { cert: file(`${cert}-cert.pem`), key: file(`${key}-key.pem`) } });
  assert.match(await next("foreign", "foreign"), /foreign-cert\.pem: .*is not signed by CN=Root CA/);
  assert.match(await next("leaf", "leaf"), /leaf-cert\.pem: .*is not a CA/);
  assert.match(await next("ca2", "foreign"), /the CA's key is not the key of the CA's certificate/);
  assert.match(await next("ca2", "open"), /open-key\.pem: others can read it/);
  assert.match(await next("ca2", "none"), /none-key\.pem: ENOENT/);
  assert.is(text("ca.toml"), before);
  assert.is(await next("ca2", "ca2"), "published");
  chmodSync(file("ca2-key.pem"), 0o644);
  assert.match(await step(), /ca2-key\.pem: others can read it/, "before it issues");
});

test("bug: a name with certificates of a retired CA whose token was gone kept those of the CA that issues, too", async () => {
  await make();
  await makeNext();
  const tokens = async (ca: CertificateAuthority) =>
    (await Effect.runPromise(createToken(ca, { role: "worker", name: "w-1", replaces: "yes" }, at))).text;
  const old = await running((ca) => node(ca, "w-1"));
  assert.is(await step({ next: { cert: file("ca2-cert.pem"), key: file("ca2-key.pem") } }), "published");
  assert.is(await step(), "issuing");
  await running(async (ca) => {
    const [own, unused] = [await node(ca, "w-1"), await tokens(ca)];
    let isAway = true;
    const { issuer, ...rest } = ca.retired[0]!;
    const { certificate, key } = issuer;
    const sign = (bytes: Uint8Array) => isAway ? Promise.reject(new Error("token removed")) : key.sign(bytes);
    const rotated = { ...ca, retired: [{ ...rest, issuer: { ...issuer, key: { ...key, sign } } }] };
    const act = () =>
      Effect.runPromise(Effect.result(revokeByOperator(rotated, [{ name: "w-1" }], "keyCompromise", at)));
    const failed = await act();
    assert.ok(Result.isFailure(failed) && failed.failure._tag === "CaRefused");
    assert.is(failed.failure.code, "signer-unavailable");
    const { serial } = old.read;
    const subject = certificate.subject.text;
    assert.is(
      failed.failure.detail,
      `the lists of ${subject} cannot be signed: token removed. Not revoked: ${serial}; revoked: ${own.read.serial}. ` +
        "What was not revoked is not renewed: repeat the command when the key can sign again",
    );
    const listed = (issuer: string) => {
      const der = ca.register.read((rows) => derOf(rows, crlOf(rows, issuer, "complete")!));
      return Result.getOrThrow(revokedEntries(Result.getOrThrow(parseCrl(Result.getOrThrow(der))))).map((each) =>
        each.serial
      );
    };
    assert.equal([listed(ca.issuerId), listed(ca.retired[0]!.issuerId)], [[own.read.serial], []]);
    const csr = (await testCsr()).der;
    assert.is(await codeOf(enrol(ca, { token: unused, csr, address }, at)), "token-unknown");
    isAway = false;
    assert.ok(Result.isSuccess(await act()), "what is left is revoked when the token is back");
    assert.equal(listed(ca.retired[0]!.issuerId), [serial]);
  });
});

type Node = Awaited<ReturnType<typeof node>>;

/** Renews a certificate, by default for its own key. */
const renewalOf = async (ca: CertificateAuthority, { leaf, keyPem }: Node, key: string | undefined = keyPem) =>
  Effect.runPromise(
    Effect.result(reenrol(ca, { certificate: leaf, csr: (await testCsr("w-1", key)).der, address }, at)),
  );

/**
 * A CA after a rotation, with a certificate of `w-1` that it issued before, and renewed `renewals` times, and an unused token; the token of the
 * retired CA is away until `back`.
 */
async function withRetiredAway(act: (away: Awaited<ReturnType<typeof awayIn>>) => Promise<void>, renewals = 0) {
  await make();
  await makeNext();
  const old = await running(async (ca) => {
    const first = await node(ca, "w-1");
    for (let leaf = first.leaf, left = renewals; left > 0; left--) {
      leaf = Result.getOrThrow(await renewalOf(ca, { ...first, leaf })) as Uint8Array<ArrayBuffer>;
    }
    return first;
  });
  assert.is(await step({ next: { cert: file("ca2-cert.pem"), key: file("ca2-key.pem") } }), "published");
  assert.is(await step(), "issuing");
  await running(async (ca) => act(await awayIn(ca, old)));
}

async function awayIn(ca: CertificateAuthority, { leaf, keyPem, read }: Node) {
  let isAway = true;
  let tries = 0;
  const { issuer, ...rest } = ca.retired[0]!;
  const sign = (bytes: Uint8Array) => {
    tries += 1;
    return isAway ? Promise.reject(new Error("token removed")) : issuer.key.sign(bytes);
  };
  const token = await Effect.runPromise(createToken(ca, { role: "worker", name: "w-1", replaces: "yes" }, at));
  const csr = (await testCsr("w-1", keyPem)).der;
  return {
    leaf,
    keyPem,
    ca: { ...ca, retired: [{ ...rest, issuer: { ...issuer, key: { ...issuer.key, sign } } }] },
    serial: read.serial,
    renewed: () => codeOf(reenrol(ca, { certificate: leaf, csr, address }, at)),
    enrolled: async () => codeOf(enrol(ca, { token: token.text, csr: (await testCsr()).der, address }, at)),
    locks: () =>
      Result.getOrThrow(
        ca.register.read((rows) => rows.all<{ reason: string }>("SELECT reason FROM locked_identities")),
      ).map(
        ({ reason }) => reason,
      ),
    tries: () => tries,
    back: () => void (isAway = false),
  };
}

test("bug: a certificate that could not be revoked while its CA's token was away was renewed, or got with a token, below the CA that issues", () =>
  withRetiredAway(async ({ ca, renewed, enrolled, locks, back }) => {
    const act = () => codeOf(revoke(ca, { name: "w-1" }, "keyCompromise", at));
    assert.equal([await act(), await renewed(), await enrolled()], [
      "signer-unavailable",
      "name-locked",
      "token-unknown",
    ]);
    back();
    assert.equal([await act(), await renewed(), locks()], ["done", "certificate-revoked", []]);
  }));

test("bug: the same by its serial", () =>
  withRetiredAway(async ({ ca, serial, renewed, locks, back }) => {
    const act = () => codeOf(revoke(ca, { serial }, "keyCompromise", at));
    assert.equal([await act(), await renewed()], ["signer-unavailable", "name-locked"]);
    assert.equal(locks(), [`revocation-unsigned ${serial}`]);
    back();
    assert.equal([await act(), await renewed(), locks()], ["done", "certificate-revoked", []]);
  }));

test("a revoked serial does not end the lock of a name that is to be revoked as a whole", () =>
  withRetiredAway(async ({ ca, serial, locks, back }) => {
    await codeOf(revoke(ca, { serial }, "unspecified", at));
    await codeOf(revoke(ca, { name: "w-1" }, "unspecified", at));
    back();
    assert.is(await codeOf(revoke(ca, { serial }, "unspecified", at)), "done");
    assert.equal(locks(), ["revocation-unsigned"]);
  }));

test("bug: renewals that an unsigned revocation of two serials had stopped were stopped when both were revoked", () =>
  withRetiredAway(async ({ ca, serial, locks, back }) => {
    const act = (each: string) => codeOf(revoke(ca, { serial: each }, "keyCompromise", at));
    const [, second] = Result.getOrThrow(ca.register.read((rows) => {
      const [first] = certificatesWithSerial(rows, serial);
      return lineOf(rows, first!.fingerprint);
    }));
    assert.equal([await act(second!.serial), await act(serial)], ["signer-unavailable", "signer-unavailable"]);
    assert.equal(locks(), [`revocation-unsigned ${second!.serial} ${serial}`]);
    back();
    assert.equal([await act(second!.serial), locks()], ["done", [`revocation-unsigned ${serial}`]]);
    assert.equal([await act(serial), locks()], ["done", []]);
  }, 1));

test("bug: an unsigned revocation of a replaced certificate stopped the node that had replaced it", () =>
  withRetiredAway(async ({ ca, serial, locks }) => {
    const good = await node(ca, "w-1");
    const acts = [
      () => codeOf(revoke(ca, { serial }, "unspecified", at)),
      () => {
        const certificates = [{ issuer: ca.retired[0]!.issuerId, serial }];
        const listed = { certificates, identities: [], reason: "unspecified", finish: () => {} } as const;
        return codeOf(ca.inTurn(revokeListed(ca, listed, at)));
      },
    ];
    for (const act of acts) assert.equal([await act(), locks()], ["signer-unavailable", []]);
    assert.ok(Result.isSuccess(await renewalOf(ca, good)));
  }));

test("bug: the end of an unsigned revocation ended the lock of a fork that was found meanwhile", () =>
  withRetiredAway(async ({ ca, serial, leaf, keyPem, locks, back }) => {
    const whole = () => codeOf(revoke(ca, { name: "w-1" }, "unspecified", at));
    assert.is(await codeOf(revoke(ca, { serial }, "unspecified", at)), "signer-unavailable");
    const old = { leaf, keyPem } as Node;
    const other = (await testCsr()).keyPem;
    const forked = await renewalOf(ca, old, other);
    assert.ok(Result.isFailure(forked) && (forked.failure as CaRefused).code === "renewal-forked");
    assert.equal(locks(), ["renewal-forked"]);
    back();
    assert.equal([await whole(), locks()], ["done", ["renewal-forked"]]);
  }, 1));

for (const whole of [true, false]) {
  test(`bug: the same where the revocation of ${whole ? "the name" : "the serial"} was approved`, () =>
    withRetiredAway(async ({ ca, serial, renewed, enrolled, locks, back }) => {
      let isFinished = false;
      const act = () => {
        const certificates = [{ issuer: ca.retired[0]!.issuerId, serial }];
        const identities = whole ? [`spiffe://${ca.domain}/worker/w-1`] : [];
        const finish = () => void (isFinished = true);
        return codeOf(ca.inTurn(revokeListed(ca, { certificates, identities, reason: "keyCompromise", finish }, at)));
      };
      assert.equal([await act(), isFinished, await renewed()], ["signer-unavailable", false, "name-locked"]);
      assert.is(await act(), "signer-unavailable", "each minute");
      if (whole) assert.is(await enrolled(), "token-unknown");
      back();
      assert.equal([await act(), isFinished, await renewed(), locks()], ["done", true, "certificate-revoked", []]);
    }, 1));
}

test("a key that cannot sign is tried once for a command, and the refusal names all that is left and how to go on", () =>
  withRetiredAway(async ({ ca, serial, tries }) => {
    const acted = await Effect.runPromise(
      Effect.result(revokeByOperator(ca, [{ name: "w-1" }, { serial }], "keyCompromise", at)),
    );
    assert.ok(Result.isFailure(acted));
    const { text } = ca.retired[0]!.issuer.certificate.subject;
    assert.is(
      acted.failure.detail,
      `the lists of ${text} cannot be signed: token removed. Not revoked: ${serial}. What was not revoked is not renewed: ` +
        `repeat the command when the key can sign again; not, or not wholly, revoked as well: ${serial}`,
    );
    assert.is(tries(), 1);
  }));

test("bug: for the CAs that a configuration has, no approval could be requested once it had a next or a retired one", async () => {
  await make();
  await makeNext();
  const asked: (ConfiguredCas | "revoked?")[] = [];
  const recorded: Partial<RotateRequest> = {
    permit: (cas) => {
      asked.push(cas);
      return Effect.fail(new RotationRefused({ detail: "it waits" }));
    },
    isRevoked: () => {
      asked.push("revoked?");
      return Effect.succeed(true);
    },
  };
  const first = async () => {
    assert.match(await step(recorded), /it waits/);
    return asked.splice(0);
  };
  assert.is(await step({ next: { cert: file("ca2-cert.pem"), key: file("ca2-key.pem") } }), "published");
  const configured = () => running((ca) => Promise.resolve(configuredCas(ca)));
  assert.equal(await first(), [await configured()], "with a next one");
  assert.is(await step(), "issuing");
  assert.equal(await first(), [await configured()], "with a retired one");
});

test("bug: what was wrong with another file was said of the chain of the CA that issues", async () => {
  await make();
  await makeNext();
  const config = text("ca.toml");
  const period = { notBefore: at, notAfter: new Date(+at + dayMs) };
  const other = await issueRoot({ commonName: "Other Root", ...period });
  writeFileSync(file("other.pem"), other.certPem);
  const failure = async (line: string) => {
    writeFileSync(file("ca.toml"), config.replace("[ca]", `[ca]\n${line}`));
    const opened = Effect.flatMap(loadCaConfig(file("ca.toml")), (each) => openAuthority(each, () => {}));
    return (await Effect.runPromise(Effect.flip(opened))).message;
  };
  assert.match(await failure('new_with_old_pem = "other.pem"'), /other\.pem: /);
  assert.match(await failure('next_chain_pem = "other.pem"\nnext_key_pem = "ca2-key.pem"'), /other\.pem: /);
  writeFileSync(file("retired.pem"), text("ca2-cert.pem") + text("root-cert.pem"));
  const retired = '[[ca.retired]]\nchain_pem = "retired.pem"\nkey_pem = "ca-key.pem"';
  writeFileSync(file("ca.toml"), `${config}\n${retired}\n`);
  const opened = Effect.flatMap(loadCaConfig(file("ca.toml")), (each) => openAuthority(each, () => {}));
  assert.match((await Effect.runPromise(Effect.flip(opened))).message, /retired\.pem: .*not the key/);
});

test.run();
inToken.run();
