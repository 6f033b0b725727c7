/** `[audit]` in a configuration: what is read, its defaults, and what is refused. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { auditFolder } from "../../actors/config/audit_schema.ts";
import { parseConfig } from "../../actors/config/load.ts";

const head = `cert_pem = "gw.pem"
key_pem = "gw.key"
trust_pem = "ca.pem"
listen_addresses = ["/ip4/0.0.0.0/tcp/4001"]
external_addresses = ["/dns4/gw.lab/tcp/4001"]
`;
const parse = (text: string, environment: Readonly<Record<string, string>> = {}) =>
  parseConfig("gateway", { file: "g.toml", text: head + text }, { environment, flags: {} });
const auditOf = (text: string, environment?: Readonly<Record<string, string>>) =>
  Result.getOrThrow(parse(text, environment)).audit;

const test = suite("[audit]");

test("is undefined where the file has no such table", () => assert.is(auditOf(""), undefined));

test("has defaults: a year, in the state directory", () => {
  const audit = auditOf("[audit]\n")!;
  assert.equal(audit, { dir: undefined, keepMs: 365 * 86_400_000, key: undefined });
  assert.is(auditFolder(audit, "state"), "state/audit");
});

test("is read from the file and from the environment", () => {
  const key = "pkcs11:token=acme;object=audit?module-path=/usr/lib/m.so";
  const table = `[audit]\ndir = "log"\nkeep = "24h"\nkey = "${key}"\n`;
  assert.equal(auditOf(table), { dir: "log", keepMs: 86_400_000, key });
  assert.is(auditFolder(auditOf("", { HYPHA_AUDIT__DIR: "log" })!, "state"), "log");
});

for (const [keep, complaint] of [["23h", "is less than 1d"], ["1y", "is no number"]] as const) {
  test(`refuses keep = "${keep}"`, () => {
    const read = parse(`[audit]\nkeep = "${keep}"\n`);
    assert.match(Result.isFailure(read) ? read.failure.message : "", complaint);
  });
}

test("refuses a key that is no URI of a key in a token, and does not show the PIN", () => {
  for (const key of ["audit.key", "pkcs11:token=acme;object=audit?pin-value=4321"]) {
    const read = parse(`[audit]\nkey = "${key}"\n`);
    const message = Result.isFailure(read) ? read.failure.message : "";
    assert.match(message, /audit\.key.*pkcs11:token=acme/);
    assert.not.match(message, /4321/);
  }
});

test.run();
