/** What a CA has revoked is not forgotten: without its record and an earlier list, no list is made unless it is the first. */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certutilHere as certutil } from "../../support/commands.ts";

const test = suite("the sequence of revocation lists");
let world = "";
let dir = "";
const at = (name: string) => join(dir, name);
const ca = (name: string) => ["--ca-cert", `${name}.pem`, "--ca-key", `${name}.key`];
const out = (name: string) => ["--out-cert", `${name}.pem`, "--out-key", `${name}.key`];
const list = (file = "crls.pem") => ["--out-crl", file];
const revoke = (name: string) => ["revoke", ...ca("int"), "--cert", `${name}.pem`, ...list()];

async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.is(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout + stderr;
}

async function refused(why: RegExp | string, ...args: readonly string[]): Promise<void> {
  const before = await readdir(dir);
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.equal([code, stdout], [1, ""], `${args.join(" ")}: ${stdout}${stderr}`);
  assert.match(stderr, why);
  assert.equal(await readdir(dir), before);
}

interface Shown {
  readonly number: string;
  readonly revoked: number;
}

/** Number and entries of each list of a file. */
async function lists(file = "crls.pem"): Promise<readonly Shown[]> {
  const { blocks } = JSON.parse(await done("inspect", file, "--json"));
  return blocks.map(({ fields }: { fields: { number: string; entries: number } }) => (
    { number: fields.number, revoked: fields.entries }
  ));
}

test.before(async () => {
  world = dir = await mkdtemp(join(tmpdir(), "hypha-first-"));
  await done("gen-ca", ...out("root"), "--common-name", "Root");
  await done("gen-intermediate-ca", ...ca("root"), ...out("int"), "--common-name", "Intermediate");
  for (const name of ["a", "b", "c"]) await done("gen-cert", ...ca("int"), ...out(name), "--common-name", name);
});
test.before.each(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-list-"));
  await cp(world, dir, { recursive: true });
});
test.after.each(() => rm(dir, { recursive: true, force: true }));
test.after(() => rm(world, { recursive: true, force: true }));

test("begins with the CA: the first list of each needs no flag", async () => {
  assert.match(await done("gen-crl", ...ca("root"), ...list()), "list 1 of CN=Root: 0 revoked");
  assert.match(await done(...revoke("a")), "list 1 of CN=Intermediate: 1 revoked");
});

test("is refused where the record is lost, by gen-crl and by revoke", async () => {
  await done(...revoke("a"));
  await rm(at("int.pem.revoked.tsv"));
  await rm(at("crls.pem"));
  const why = /neither the CA's record int\.pem\.revoked\.tsv nor an earlier list .* --record.* --first/;
  await refused(why, "gen-crl", ...ca("int"), ...list());
  await refused(why, ...revoke("b"));
  assert.match(await done("gen-crl", "--first", ...ca("int"), ...list()), "list 1 of CN=Intermediate: 0 revoked");
});

test("goes on from a list of the CA where the record is lost", async () => {
  await done(...revoke("a"));
  await done(...revoke("b"));
  await rm(at("int.pem.revoked.tsv"));
  const said = await done("gen-crl", ...ca("int"), ...list());
  assert.match(said, "there was no record int.pem.revoked.tsv: made it from list 2 in crls.pem");
  assert.equal(await lists(), [{ number: "3", revoked: 2 }]);
});

test("never goes back: a record that is older than the list goes on from the list", async () => {
  await done(...revoke("a"));
  const old = await readFile(at("int.pem.revoked.tsv"), "utf8");
  await done(...revoke("b"));
  await done("gen-crl", ...ca("int"), ...list());
  await writeFile(at("int.pem.revoked.tsv"), old);
  assert.match(await done(...revoke("c")), "took 1 revocations over");
  assert.equal(await lists(), [{ number: "4", revoked: 3 }]);
  assert.match(await readFile(at("int.pem.revoked.tsv"), "utf8"), /^number\t4$/m);
});

test("is not the first where a list was made before, whatever is asked", async () => {
  await done(...revoke("a"));
  const why = /it is not the CA's first, which has made list 1 before. Leave --first out/;
  await refused(why, "gen-crl", "--first", ...ca("int"), ...list());
  await refused(why, "gen-crl", "--first", ...ca("int"), ...list("other.pem"));
  await rm(at("int.pem.revoked.tsv"));
  await refused(why, "gen-crl", "--first", ...ca("int"), ...list());
});

test("does not go on from a delta whose complete list is lost", async () => {
  await done(...revoke("a"));
  await done(...revoke("b"), "--delta");
  const [base, delta] = (await readFile(at("crls.pem"), "utf8")).split(/(?=-----BEGIN)/);
  await writeFile(at("crls.pem"), delta!);
  await rm(at("int.pem.revoked.tsv"));
  const why = /the newest list in it is a delta on list 1, which is neither in it nor in the CA's record/;
  await refused(why, "gen-crl", ...ca("int"), ...list());
  await writeFile(at("crls.pem"), base! + delta!);
  await done("gen-crl", ...ca("int"), ...list());
  assert.equal(await lists(), [{ number: "3", revoked: 2 }]);
});

test("goes on from a list in DER", async () => {
  await done(...revoke("a"));
  const [, base64 = ""] = /-----BEGIN X509 CRL-----([\s\S]*)-----END/.exec(await readFile(at("crls.pem"), "utf8")) ??
    [];
  await writeFile(at("crls.pem"), Uint8Array.from(atob(base64.replaceAll("\n", "")), (octet) => octet.charCodeAt(0)));
  await rm(at("int.pem.revoked.tsv"));
  assert.match(await done(...revoke("b")), "crls.pem was in DER, and is in PEM now");
  assert.equal(await lists(), [{ number: "2", revoked: 2 }]);
});

test("of a new CA does not begin over the record of another", async () => {
  await done(...revoke("a"));
  await rm(at("int.pem"));
  await rm(at("int.key"));
  const again = ["gen-intermediate-ca", ...ca("root"), ...out("int"), "--common-name", "Intermediate 2"];
  await refused(
    /it is another CA's, with 1 revocations up to list 1\. Move it away first.*: mv int\.pem\.rev/,
    ...again,
  );
  await refused(/it is another CA's/, ...again, "--force");
  await rm(at("int.pem.revoked.tsv"));
  await done(...again);
  await rm(at("crls.pem"));
  assert.match(await done("gen-crl", ...ca("int"), ...list()), "list 1 of CN=Intermediate 2: 0 revoked");
});

test("bug: a CA that was renewed with its own key lost its revocations", async () => {
  await done(...revoke("a"));
  const before = await readFile(at("int.pem.revoked.tsv"), "utf8");
  const again = (file: string, ...more: readonly string[]) =>
    done("gen-intermediate-ca", ...ca("root"), "--key", "int.key", "--common-name", "I", "--out-cert", file, ...more);
  await again("int.pem", "--force");
  assert.is(await readFile(at("int.pem.revoked.tsv"), "utf8"), before);
  await rm(at("crls.pem"));
  assert.match(await done("gen-crl", ...ca("int"), ...list()), "list 2 of CN=I: 1 revoked");
  await done("gen-crl", ...ca("root"), ...list("root.crl"));
  await done("gen-ca", "--key", "root.key", "--common-name", "Root", "--out-cert", "root.pem", "--force");
  assert.match(await done("gen-crl", ...ca("root"), ...list("root.crl")), "list 2 of CN=Root: 0 revoked");
});

test("bug: a certificate of another name for a CA's key began an empty record, and the next list forgot", async () => {
  await done(...revoke("a"));
  const again = ["gen-intermediate-ca", ...ca("root"), "--key", "int.key", "--common-name", "Intermediate"];
  await done(...again, "--out-cert", "int-2027.pem");
  const next = ["gen-crl", "--ca-cert", "int-2027.pem", "--ca-key", "int.key", ...list("new.pem")];
  await refused(/neither the CA's record int-2027\.pem\.revoked\.tsv nor an earlier list/, ...next);
  assert.match(await done(...next, "--record", "int.pem.revoked.tsv"), "list 2 of CN=Intermediate: 1 revoked");
});

test.run();
