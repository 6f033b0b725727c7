import { Buffer } from "node:buffer";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { apartBytesMin, readCrls } from "../../actors/files/read_crls.ts";
import type { LoadError } from "../../actors/files/load_error.ts";
import { findRevocation } from "../../pki/crl.ts";
import type { LocatedCrl } from "../../pki/crl_reader.ts";
import { formatPem } from "../../pki/pem.ts";
import { type CrlSource, defaultPolicy, readAuthorities } from "../../pki/trust.ts";
import type { TrustError } from "../../pki/trust_error.ts";
import { forge, forgeList, type ForgeListOptions, forgeListPem } from "../support/forge.ts";

const test = suite("readCrls()");
const folder = await mkdtemp(join(tmpdir(), "hypha-lists-"));
test.after(() => rm(folder, { recursive: true, force: true }));

const root = forge("root", { ca: true });
const cas = Result.getOrThrow(readAuthorities(root.pem));
const serial = (index: number) => `40${index.toString(16).padStart(30, "0")}`;
const many: ForgeListOptions = { revoked: Array.from({ length: 12_000 }, (_, index) => serial(index)) };
let files = 0;

async function read(
  content: string | Uint8Array,
  bytesMax = 4_000_000,
): Promise<Result.Result<CrlSource, LoadError | TrustError>> {
  const path = join(folder, String(files++));
  await writeFile(path, content);
  const options = { path, what: "file of revocation lists", bytesMax, key: "crls_pem" };
  const effect = Effect.result(readCrls(options, { cas, policy: defaultPolicy }));
  return await Effect.runPromise(Effect.provide(effect, realServices));
}

const apart = (source: CrlSource): readonly LocatedCrl[] => {
  if (typeof source === "string" || source instanceof Uint8Array) throw new Error("it was read here");
  return source;
};

test("reads a small file here, as bytes", async () => {
  const source = Result.getOrThrow(await read(forgeListPem(root)));
  assert.instance(source, Uint8Array);
});

test("reads a large file in a thread of its own: PEM and DER, in shared memory, vouched for", async () => {
  const der = forgeList(root, many);
  assert.ok(der.length >= apartBytesMin);
  const pem = "# a comment\n" + forgeListPem(root, many);
  for (const [content, line] of [[pem, 2], [der, 1]] as const) {
    const [located, ...others] = apart(Result.getOrThrow(await read(content)));
    assert.equal([located!.line, others.length, located!.list.entryCount], [line, 0, 12_000]);
    assert.ok(located!.list.index.serials.buffer instanceof SharedArrayBuffer);
    assert.ok(located!.list.verifiedBy !== undefined && located!.list.tbs === undefined);
    for (const index of [0, 77, 11_999]) assert.ok(findRevocation(located!.list, serial(index)));
    assert.is(findRevocation(located!.list, serial(12_000)), undefined);
  }
});

test("keeps the bytes of a list whose issuer only peers will send", async () => {
  const [located] = apart(Result.getOrThrow(await read(forgeListPem(forge("middle", { ca: true }), many))));
  assert.ok(located!.list.tbs !== undefined && located!.list.verifiedBy === undefined);
});

test("reads two files at once", async () => {
  const pem = forgeListPem(root, many);
  const counts = (await Promise.all([read(pem), read(pem)])).map((each) => apart(Result.getOrThrow(each)).length);
  assert.equal(counts, [1, 1]);
});

test("tells what is wrong with a large file, and where", async () => {
  const pem = forgeListPem(root, many);
  const forged = forgeListPem(root, { ...many, signer: forge("root", { ca: true }) });
  const broken: [name: string, content: string | Uint8Array, problem: string, line: number | undefined][] = [
    ["a forged list", pem + forged, "crl-signature", pem.split("\n").length],
    ["noise", Buffer.alloc(apartBytesMin, 0x20), "empty", undefined],
    ["a list cut off", pem.slice(0, -40), "pem", 1],
    ["DER cut off", forgeList(root, many).subarray(0, -1), "crl", 1],
    ["a certificate", pem + formatPem("CERTIFICATE", root.der), "wrong-label", pem.split("\n").length],
  ];
  for (const [name, content, problem, line] of broken) {
    const outcome = await read(content);
    assert.ok(Result.isFailure(outcome), name);
    assert.equal([outcome.failure.problem, outcome.failure.line], [problem, line], name);
  }
});

test("refuses a file over the limit", async () => {
  const outcome = await read(forgeListPem(root, many), apartBytesMin);
  assert.is(Result.isFailure(outcome) && outcome.failure.problem, "too-large");
});

test.run();
