/** The lists of a node that joins again: what its state directory has from an earlier membership, and what the CA serves. */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { askHttps } from "../../actors/enrolment/ask_https.ts";
import { fetchLists } from "../../actors/enrolment/fetch_lists.ts";
import { keptPath } from "../../actors/files/state_directory.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { ownDomain } from "../../pki/crl_marks.ts";
import { parsePem } from "../../pki/pem.ts";
import { makeListWorld, type TestList } from "../support/crl_members.ts";

const test = suite("lists of a node that joins");
const world = await makeListWorld();
const stateDir = mkdtempSync(join(tmpdir(), "hypha-join-lists-"));
const { certPem, keyPem } = await world.pki.selfSigned("anybody");
let served = new Uint8Array();
const server = createServer({ cert: certPem, key: keyPem }, (_, response) => void response.end(served));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
test.after(async () => {
  server.close();
  rmSync(stateDir, { recursive: true });
  await world.stop();
});

const ca = Result.getOrThrow(parseCertificate(Result.getOrThrow(parsePem(world.pki.intermediate.certPem))[0]!.der));
const revoked = (serial: string) => [{ serial, date: new Date(1_700_000_000_000) }];
const pathOf = ({ notice: { issuer: key, scope, base } }: TestList) =>
  keptPath(stateDir, { domain: ownDomain, key, scope, kind: base === null ? "complete" : "delta" });
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

function keep(...lists: readonly TestList[]): void {
  rmSync(join(stateDir, "crls"), { recursive: true, force: true });
  for (const list of lists) {
    mkdirSync(dirname(pathOf(list)), { recursive: true });
    writeFileSync(pathOf(list), list.der);
  }
}

async function join_(list: TestList): Promise<string> {
  served = Uint8Array.from(list.der);
  const fetching = fetchLists([ca], { chain: [ca], ask: askHttps, url, stateDir });
  assert.equal(await Effect.runPromise(Effect.provide(fetching, realServices)), []);
  return hashOf(readFileSync(pathOf(list)));
}

test("a newer list takes the place of the one that is there, an older one does not", async () => {
  const [second, third, fourth] = [await world.list(2n), await world.list(3n), await world.list(4n)];
  keep(third);
  assert.is(await join_(second), third.notice.sha256);
  assert.is(await join_(fourth), fourth.notice.sha256);
});

test("bug: of a CA that contradicts itself, the list that a joining node was served replaced the one with its number", async () => {
  const held = await world.list(3n, { revoked: revoked("51") });
  keep(held);
  assert.is(await join_(await world.list(3n, { revoked: revoked("52") })), held.notice.sha256);
});

test("bug: a complete list with the number of a delta replaced the delta's base when a node joined again (seeds 70304717, 70005027)", async () => {
  const [base, delta] = [
    await world.list(3n, { revoked: revoked("51") }),
    await world.list(5n, { base: 3n, revoked: revoked("53") }),
  ];
  keep(base, delta);
  const other = await world.list(5n, { revoked: revoked("52") });
  assert.is(await join_(other), base.notice.sha256);
  keep(delta);
  assert.is(await join_(other), other.notice.sha256, "the base was lost");
});

test.run();
