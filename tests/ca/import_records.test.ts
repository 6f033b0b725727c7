/** A CA that hypha-certutil kept goes on with the register: what it issued is renewed, what it revoked stays revoked. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CertificateAuthority, makeAuthority } from "../../actors/ca/certificate_authority.ts";
import { certificateOf } from "../../actors/ca/certificate_rows.ts";
import { crlOf, derOf as crlDerOf } from "../../actors/ca/crl_rows.ts";
import { type CaRecords, importRecords, readRecords } from "../../actors/ca/import_records.ts";
import { reenrol } from "../../actors/ca/reenrol.ts";
import { Register } from "../../actors/ca/register.ts";
import { revoke } from "../../actors/ca/revoke.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { fileSigner } from "../../pki/issue/mod.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { parsePem } from "../../pki/pem.ts";
import { testCsr } from "../support/authority.ts";
import { certutilHere } from "../support/commands.ts";

const test = suite("importing the records of hypha-certutil");
const folder = mkdtempSync(join(tmpdir(), "hypha-import-"));
const at = new Date();
const text = (name: string) => readFileSync(join(folder, name), "utf8");
const derOf = (name: string) => Uint8Array.from(Result.getOrThrow(parsePem(text(name)))[0]!.der);
const serialOf = (name: string) => Result.getOrThrow(parseCertificate(derOf(name))).serial;

async function run(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await certutilHere(folder, ...args);
  assert.is(code, 0, stderr);
}

const ca = ["--ca-cert", "int.pem", "--ca-key", "int.key"];
const files = (name: string) => ["--out-cert", `${name}.pem`, "--out-key", `${name}.key`];

test.before(async () => {
  await run("gen-ca", "--common-name", "Root", ...files("root"));
  const root = ["--ca-cert", "root.pem", "--ca-key", "root.key"];
  await run("gen-intermediate-ca", ...root, "--common-name", "CA", ...files("int"));
  const named = (name: string) => ["--common-name", name, "--role", "worker", "--domain", "acme.example"];
  for (const name of ["kept", "gone"]) await run("gen-cert", ...ca, ...named(name), ...files(name));
  await run("gen-cert", ...ca, "--common-name", "plain", ...files("plain"));
  await run("revoke", ...ca, "--cert", "gone.pem", "--reason", "keyCompromise", "--out-crl", "crl.pem");
});
test.after(() => rmSync(folder, { recursive: true }));

let count = 0;
function authority(): CertificateAuthority {
  return Result.getOrThrow(makeAuthority({
    register: Result.getOrThrow(Register.create(join(folder, `ca-${++count}.db`))),
    signer: fileSigner(text("int.key")),
    chain: [derOf("int.pem"), derOf("root.pem")],
    domain: "acme.example",
    url: "https://ca.acme.example",
    lifetimeMs: () => 3_600_000,
    renewAfterExpiryMs: 0,
    retiredIssuers: [],
    gateways: [],
    approvedRoles: [],
    onAlarm: () => {},
  }));
}
const record = (name: string, changed = text(name)) => ({ file: name, text: changed });
const revoked = () => record("int.pem.revoked.tsv");
const issued = () => record("int.pem.issued.tsv");
const imported = (ca: CertificateAuthority, records: CaRecords) =>
  Effect.flatMap(Effect.fromResult(readRecords(records, ca.issuer)), (read) => importRecords(ca, read, at));
const outcomeOf = (ca: CertificateAuthority, records: CaRecords) =>
  Effect.runPromise(Effect.match(imported(ca, records), {
    onSuccess: ({ certificates, revocations }) => `${certificates} ${revocations}`,
    onFailure: (error) => "detail" in error ? error.detail : String(error),
  }));

test("its certificates are renewed and revoked here, and its revocations stay in a list with a higher number", async () => {
  assert.ok(existsSync(join(folder, "int.pem.issued.tsv")));
  const own = authority();
  const last = Result.getOrThrow(parseCrl(Result.getOrThrow(parsePem(text("crl.pem")))[0]!.der)).number ?? "0";
  const { certificates, revocations, number } = await Effect.runPromise(
    imported(own, { revoked: revoked(), issued: issued() }),
  );
  assert.equal([certificates, revocations], [3, 1]);
  assert.ok(BigInt(number) > BigInt(last));
  const row = Result.getOrThrow(own.register.read((rows) => crlOf(rows, own.issuerId, "complete")))!;
  const serials = () => {
    const der = Result.getOrThrow(
      own.register.read((rows) => crlDerOf(rows, crlOf(rows, own.issuerId, "complete")!)),
    );
    return Result.getOrThrow(revokedEntries(Result.getOrThrow(parseCrl(der)))).map(({ serial }) => serial);
  };
  assert.is(row.number, number);
  assert.equal(serials(), [serialOf("gone.pem")]);
  const renew = async (name: string) => {
    const { der: csr } = await testCsr(name, text(`${name}.key`));
    return Effect.runPromise(
      Effect.match(reenrol(own, { certificate: derOf(`${name}.pem`), csr, address: "::1" }, at), {
        onSuccess: (der) => Result.getOrThrow(parseCertificate(der)).subject.text,
        onFailure: (error) => "code" in error ? error.code : error.problem,
      }),
    );
  };
  assert.is(await renew("kept"), "CN=kept");
  assert.is(await renew("plain"), "CN=plain");
  assert.is(await renew("gone"), "certificate-revoked");
  await Effect.runPromise(revoke(own, { name: "kept" }, "unspecified", at));
  assert.is(serials().length, 3, "the imported certificate and its successor");
  const { fingerprint } = Result.getOrThrow(parseCertificate(derOf("kept.pem")));
  const kept = Result.getOrThrow(own.register.read((rows) => certificateOf(rows, fingerprint)));
  assert.is(kept?.identity, "spiffe://acme.example/worker/kept");
  own.register.close();
});

test("a CA that issued nothing is imported by its revocations alone", async () => {
  const own = authority();
  assert.is(await outcomeOf(own, { revoked: revoked(), issued: undefined }), "0 1");
  assert.is(await outcomeOf(own, { revoked: revoked(), issued: issued() }), "the register is in use already");
  own.register.close();
});

const wrong: [what: string, records: () => CaRecords, detail: RegExp][] = [
  ["another CA's record", () => ({ revoked: record("root.pem.revoked.tsv"), issued: issued() }), /another CA/],
  ["a record without its number", () => ({
    revoked: record("int.pem.revoked.tsv", text("int.pem.revoked.tsv").replace(/^number.*\n/m, "")),
    issued: issued(),
  }), /number/],
  [
    "a torn line",
    () => ({ revoked: revoked(), issued: record("int.pem.issued.tsv", `${issued().text}4f31\t2026`) }),
    /line 5/,
  ],
];
for (const [what, records, detail] of wrong) {
  test(`${what} enters nothing`, async () => {
    const own = authority();
    assert.match(await outcomeOf(own, records()), detail);
    assert.is(Result.getOrThrow(own.register.read((rows) => rows.all("SELECT 1 FROM certificates").length)), 0);
    assert.is(Result.getOrThrow(own.register.read((rows) => rows.all("SELECT 1 FROM revocations").length)), 0);
    own.register.close();
  });
}

test.run();
