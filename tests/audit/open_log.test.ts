/** A log whose checkpoints a key in a token signs. */
import { Buffer } from "node:buffer";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AuditLog } from "../../actors/audit/audit_log.ts";
import { openLog } from "../../actors/audit/open_log.ts";
import { checkpointsPath, verifierKeyPath } from "../../actors/audit/segments.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { generatePkcs11Key } from "../../actors/pkcs11/pkcs11_signer.ts";
import { formatPem } from "../../pki/pem.ts";
import { certutilHere, opensslOk } from "../support/commands.ts";
import { needing } from "../support/prerequisites.ts";
import { writeCovered } from "../support/audit_logs.ts";
import { makeSoftToken, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("openLog() with a key in a token"), "softhsm2-util", "openssl");
const [at, node] = [new Date("2026-11-29T00:00:00Z"), "spiffe://acme.example/ca/ca-01"];

let token: SoftToken;
test.before(() => void (token = makeSoftToken()));
test.after(() => token.remove());

test("its checkpoints verify with OpenSSL, and the log with its verifier key", async () => {
  const [dir, key] = [join(token.dir, "audit"), token.uri("audit")];
  writeFileSync(join(token.dir, "audit.pub"), formatPem("PUBLIC KEY", await generatePkcs11Key(key, "ed25519")));
  const log = new AuditLog(dir, await openLog({ dir, node, key }, at), { at, onWaiting: () => {} });
  log.record({ type: "ca.alarm", outcome: "done" }, at);
  await writeCovered(log, at);
  const { code, stdout, stderr } = await certutilHere(token.dir, "audit", "verify", dir, "--key", verifierKeyPath(dir));
  assert.is(code, 0, stdout + stderr);
  // A signed note: text, empty line, then name, key's identifier (4 octets) and signature.
  const [text = "", line = ""] = readFileSync(checkpointsPath(dir), "utf8").split("\n\n");
  writeFileSync(join(token.dir, "text"), `${text}\n`);
  writeFileSync(join(token.dir, "signature"), Buffer.from(line.split(" ").at(-1)!, "base64").subarray(4));
  const files = ["-inkey", "audit.pub", "-sigfile", "signature", "-in", "text"];
  assert.match(await opensslOk(token.dir, "pkeyutl", "-verify", "-pubin", "-rawin", ...files), /Verified Successfully/);
});

test("a wrong PIN is presented once, however often the log is opened", async () => {
  const pin = join(token.dir, "other-pin");
  const key = token.uri("audit").replace(token.pinFile, pin);
  const open = () =>
    openLog({ dir: join(token.dir, "other"), node, key }, at).then(() => "opened", (error) => {
      assert.instance(error, LogUnusable);
      return (error as LogUnusable).message;
    });
  writeFileSync(pin, "4321\n");
  assert.match(await open(), /\(pin-wrong\)/);
  writeFileSync(pin, "1234\n");
  assert.match(await open(), /\(pin-wrong\).*not tried again/);
});

test.run();
