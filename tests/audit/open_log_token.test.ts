/** A log whose checkpoints a key in a token signs. */
import { Buffer } from "node:buffer";
import { copyFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { auditMachine } from "../../actors/audit/audit.ts";
import { AuditInbox } from "../../actors/audit/audit_inbox.ts";
import { AuditLog } from "../../actors/audit/audit_log.ts";
import { openLog } from "../../actors/audit/open_log.ts";
import { checkpointsPath, verifierKeyPath } from "../../actors/audit/segments.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { generatePkcs11Key, openPkcs11Signer } from "../../actors/pkcs11/pkcs11_signer.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { formatPem } from "../../pki/pem.ts";
import { certutilHere, opensslOk } from "../support/commands.ts";
import { needing } from "../support/prerequisites.ts";
import { openTestLog, writeCovered } from "../support/audit_logs.ts";
import { makeSoftToken, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("openLog() with a key in a token"), "softhsm2-util", "openssl");
const [at, node] = [new Date("2026-11-29T00:00:00Z"), "spiffe://acme.example/ca/ca-01"];

const dayMs = 86_400_000;

const verified = (dir: string) => verifyLog(dir, readVerifierKey(dir) as AuditKey) as VerifiedLog;

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

test("bug: a log whose token was away at a start was not opened: nothing was recorded", async () => {
  const [dir, pin] = [join(token.dir, "away"), join(token.dir, "pin-away")];
  const [tokens, removed] = [join(token.dir, "tokens"), join(token.dir, "removed")];
  copyFileSync(token.pinFile, pin);
  const key = token.uri("audit").replace(token.pinFile, pin);
  const open = async (uri = key) =>
    new AuditLog(dir, await openLog({ dir, node, key: uri }, at), { at, onWaiting: () => {} });
  const first = await open();
  await writeCovered(first, at);
  first.close();
  const absent = await open(key.replace("object=audit", "object=absent")).then(() => "opened", String);
  assert.match(absent, /key-missing/, "a key that the token does not have is not waited for");
  renameSync(tokens, removed);
  let log: AuditLog;
  try {
    log = await open();
    log.record({ type: "ca.alarm", outcome: "done" }, at);
    await log.write();
    assert.is.not(await log.cover(at).then(() => "covered", String), "covered");
    assert.equal([verified(dir).records, verified(dir).covered], [3, 1]);
  } finally {
    renameSync(removed, tokens);
  }
  const isCovered = () => log.cover(at).then(() => true, () => false);
  for (let looks = 0; looks < 100 && !(await isCovered()); looks++) await new Promise((wake) => setTimeout(wake, 200));
  assert.is(verified(dir).covered, 3);
  log.close();
});

/** Whether the token has no process left after this use of it. */
async function isGivenBack(name: string, use: (key: string) => Promise<void>): Promise<boolean> {
  const pin = join(token.dir, `pin-${name}`); // a file of its own: a process of its own
  copyFileSync(token.pinFile, pin);
  const key = token.uri("audit").replace(token.pinFile, pin);
  const holder = await openPkcs11Signer(key);
  await use(key);
  const pid = holder.pid()!;
  holder.end();
  for (let looks = 0; looks < 100 && isThere(pid); looks++) await new Promise((wake) => setTimeout(wake, 20));
  return !isThere(pid);
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("bug: a log that could not be opened kept its token's process, once more each minute", async () => {
  const dir = join(token.dir, "of-another-key");
  (await openTestLog(dir)).close();
  const isBack = await isGivenBack("refused", async (key) => {
    const error = await openLog({ dir, node, key }, at).then(() => "opened", String);
    assert.match(error, /is not of the key that signs its checkpoints/);
  });
  assert.ok(isBack);
});

test("bug: a log that was closed kept its token's process", async () => {
  const dir = join(token.dir, "closed");
  const open = async (key: string) =>
    new AuditLog(dir, await openLog({ dir, node, key }, at), { at, onWaiting: () => {} });
  assert.ok(await isGivenBack("closed", async (key) => (await open(key)).close()));
});

test("bug: a log that was closed while it was opened kept its token's process", async () => {
  const dir = join(token.dir, "opening");
  const isBack = await isGivenBack("opening", async (key) => {
    const ports = makePorts(() => {});
    const input = { ports, inbox: new AuditInbox(dir, Date.now), dir, node, keepMs: dayMs, key };
    const onError = (error: unknown) => {
      throw error;
    };
    const actor = superviseRoot(auditMachine, { id: "audit", input, onError });
    actor.send({ type: "audit.close" });
    assert.is(actor.getSnapshot().status, "done");
    await ports.dispose();
  });
  assert.ok(isBack);
});

test.run();
