/** A CA is made from nothing, or from the folder of hypha-certutil that has it. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { systemError } from "effect/PlatformError";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadCaConfig } from "../../actors/ca/ca_config.ts";
import { crlOf } from "../../actors/ca/crl_rows.ts";
import { initCa, type InitRequest } from "../../actors/ca/init_ca.ts";
import { openAuthority } from "../../actors/ca/open_authority.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { certutilHere } from "../support/commands.ts";

const test = suite("making a CA");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "hypha-init-"));
});
test.after.each(() => rmSync(folder, { recursive: true }));

const at = new Date();
const make = (more: Partial<InitRequest> = {}) => {
  const usual = { domain: "acme.example", url: "https://ca.acme.example", name: "ca-01", gateways: [] };
  return initCa({ ...usual, folder: join(folder, "ca"), ...more }, at).pipe(Effect.provide(realServices));
};
const detailOf = (more: Partial<InitRequest>) =>
  Effect.runPromise(Effect.match(make(more), { onSuccess: () => "made", onFailure: ({ detail }) => detail }));

test("what it makes can be opened, with the root's list for thirteen months", async () => {
  const { config, rootListEnds } = await Effect.runPromise(make());
  assert.ok(rootListEnds! > new Date(+at + 390 * 86_400_000));
  const ca = await Effect.runPromise(Effect.flatMap(loadCaConfig(config), (each) => openAuthority(each, () => {})));
  assert.equal(ca.intermediates.map(({ subject }) => subject.text), ["CN=Issuing CA, O=acme.example"]);
  const list = Result.getOrThrow(ca.register.read((rows) => crlOf(rows, ca.anchorId, "complete")));
  assert.is(list?.next_update, +rootListEnds!);
  ca.register.close();
});

const wrong: [what: string, more: Partial<InitRequest>, detail: RegExp][] = [
  ["a domain that is none", { domain: "Acme Inc" }, /trust domain/],
  ["a URL with a path", { url: "https://ca.acme.example/est" }, /https:/],
  ["a name with a slash", { name: "a/b" }, /name/],
];
for (const [what, more, detail] of wrong) {
  test(`refuses ${what}, and makes no folder`, async () => {
    assert.match(await detailOf(more), detail);
    assert.is(statSync(join(folder, "ca"), { throwIfNoEntry: false }), undefined);
  });
}

const root = ["--ca-cert", "root.pem", "--ca-key", "root.key"];
const int = ["--ca-cert", "int.pem", "--ca-key", "int.key"];
const filesOf = (name: string) => ["--out-cert", `${name}.pem`, "--out-key", `${name}.key`];

/** A folder in which `hypha-certutil` has made a root, and how more is made there. */
async function oldCa() {
  const from = join(folder, "old");
  mkdirSync(from);
  const run = async (...args: readonly string[]) => {
    const { code, stderr } = await certutilHere(from, ...args);
    assert.is(code, 0, stderr);
  };
  const issue = async () => {
    await run("gen-intermediate-ca", ...root, "--common-name", "CA", ...filesOf("int"));
    const leaf = ["--common-name", "a", "--role", "worker", "--domain", "acme.example"];
    await run("gen-cert", ...int, ...leaf, ...filesOf("a"));
    await run("revoke", ...int, "--cert", "a.pem", "--out-crl", "crls.pem");
    await run("gen-crl", ...root, "--out-crl", "crls.pem");
  };
  await run("gen-ca", "--common-name", "Root", ...filesOf("root"));
  return { from, run, issue };
}

test("takes over the CA of a folder of hypha-certutil", async () => {
  const { from, run, issue } = await oldCa();
  assert.match(await detailOf({ from }), /no CA below a root/);
  await issue();
  const made = await Effect.runPromise(make({ from }));
  assert.equal([made.rootKey, made.imported?.certificates, made.imported?.revocations], [undefined, 1, 1]);
  const ca = await Effect.runPromise(
    Effect.flatMap(loadCaConfig(made.config), (each) => openAuthority(each, () => {})),
  );
  assert.is(ca.issuer.certificate.subject.text, "CN=CA");
  const rows = Result.getOrThrow(ca.register.read((all) => ({
    root: crlOf(all, ca.anchorId, "complete"),
    own: crlOf(all, ca.issuerId, "complete"),
  })));
  assert.ok(rows.root !== undefined && rows.own?.number === made.imported?.number);
  assert.is(readFileSync(join(folder, "ca", "ca-key.pem"), "utf8"), readFileSync(join(from, "int.key"), "utf8"));
  ca.register.close();
  rmSync(join(folder, "ca"), { recursive: true });
  await run("gen-intermediate-ca", ...root, "--common-name", "Second", ...filesOf("second"));
  assert.match(await detailOf({ from }), /two CAs/);
});

for (const isNew of [true, false]) {
  test(`bug: an init that met a bad record could not be repeated (${isNew ? "new" : "empty"} folder)`, async () => {
    const { from, issue } = await oldCa();
    await issue();
    const [record, ca] = [join(from, "int.pem.issued.tsv"), join(folder, "ca")];
    const good = readFileSync(record, "utf8");
    if (!isNew) mkdirSync(ca);
    writeFileSync(record, `${good}4f31\t2026\n`);
    assert.match(await detailOf({ from }), /is not an issued certificate/);
    assert.equal(statSync(ca, { throwIfNoEntry: false })?.isDirectory(), isNew ? undefined : true);
    writeFileSync(record, good);
    assert.is(await detailOf({ from }), "made");
  });

  test(`bug: an init whose files could not be written could not be repeated (${isNew ? "new" : "empty"} folder)`, async () => {
    const ca = join(folder, "ca");
    if (!isNew) mkdirSync(ca);
    assert.match(await unwritten(() => {}), /ca\.toml/);
    assert.equal(statSync(ca, { throwIfNoEntry: false })?.isDirectory(), isNew ? undefined : true);
    assert.match(await unwritten(() => writeFileSync(join(ca, "notes"), "theirs")), /ca\.toml/);
    assert.equal(readdirSync(ca), ["notes"], "another program's file");
    assert.match(await detailOf({}), /is not empty/);
    assert.equal(readdirSync(ca), ["notes"]);
    rmSync(join(ca, "notes"));
    assert.is(await detailOf({}), "made");
  });
}

/** What an init fails with whose configuration cannot be moved into place. */
function unwritten(meanwhile: () => void): Promise<string> {
  const odd = Effect.map(FileSystem, (real): FileSystem => ({
    ...real,
    link: (from, to) => {
      if (!to.endsWith("ca.toml")) return real.link(from, to);
      meanwhile();
      return Effect.fail(systemError({ _tag: "NotFound", module: "FileSystem", method: "link", pathOrDescriptor: to }));
    },
  }));
  const usual = { domain: "acme.example", url: "https://ca.acme.example", name: "ca-01", gateways: [] };
  const making = initCa({ ...usual, folder: join(folder, "ca") }, at);
  return Effect.runPromise(
    Effect.flip(Effect.flatMap(odd, (files) => Effect.provideService(making, FileSystem, files))).pipe(
      Effect.map(({ message }) => message),
      Effect.provide(realServices),
    ),
  );
}

test.run();
