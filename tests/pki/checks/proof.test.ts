/**
 * Proofs are made by their checks and nowhere else: the types refuse a literal and a changed copy, and no source outside
 * `pki/checks/` asserts that something is a proof.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type AlgorithmAllowed,
  checkAlgorithm,
  checkIdentity,
  checkTlsVersion,
  checkValidity,
  checkWellFormed,
  findPaths,
  type NotRevoked,
  type PathsFound,
  type PeerIdentity,
  type RoleAllowed,
  type Tls13,
  type WellFormed,
  type WithinValidity,
} from "../../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { at, forge } from "../../support/forge.ts";

const test = suite("proofs");

const root = forge("root", { ca: true });
const wellFormed = Result.getOrThrow(checkWellFormed([forge("leaf", { issuer: root }).der]));
const { snapshot } = Result.getOrThrow(
  makeTrustSnapshot({ trustPem: root.pem, crlsPem: undefined, policy: defaultPolicy, generation: 1, at }),
);
const found = Result.getOrThrow(findPaths(wellFormed, snapshot));
const within = Result.getOrThrow(checkValidity(found, at));

/** What follows each comment must not compile: `deno check` and `tsc` fail where it does. */
export function forgeries(): readonly unknown[] {
  const { leaf, others } = wellFormed;
  // @ts-expect-error a literal with every field is no proof
  const formed: WellFormed = { leaf, others };
  // @ts-expect-error a proof without fields is none either
  const allowed: AlgorithmAllowed = {};
  // @ts-expect-error a literal with the right version is no proof
  const tls: Tls13 = { version: "TLSv1.3" };
  // @ts-expect-error a proof with other paths is no proof
  const paths: PathsFound = { ...found, paths: [] };
  // @ts-expect-error a proof with another time is no proof
  const later: WithinValidity = { ...within, at: new Date(0) };
  // @ts-expect-error the proof of one check is not that of another
  const swapped: PathsFound = within;
  // @ts-expect-error dates do not prove that nothing is revoked
  const clear: NotRevoked = { path: within.paths[0]!, expiresAt: at };
  // @ts-expect-error a role that was read is not a role that was allowed
  const role: RoleAllowed = { role: "worker" };
  // @ts-expect-error an identity of another role was not read from the certificate
  const identity: PeerIdentity = { ...Result.getOrThrow(checkIdentity(wellFormed)), role: "gateway" };
  return [formed, allowed, tls, paths, later, swapped, clear, role, identity];
}

test("a check takes the proof of the check before it, and nothing that looks like one", () => {
  assert.ok(Result.isSuccess(checkAlgorithm(wellFormed, defaultPolicy)));
  assert.ok(Result.isSuccess(checkTlsVersion("TLSv1.3")));
  // @ts-expect-error paths that nobody verified
  assert.throws(() => checkValidity({ paths: undefined }, at));
  assert.is(forgeries().length, 9);
});

const tree = fileURLToPath(new URL("../../../", import.meta.url));
const sources = ["pki", "transport", "actors", "scripts"].flatMap((room) =>
  (readdirSync(join(tree, room), { recursive: true }) as string[])
    .filter((path) => path.endsWith(".ts"))
    .map((path) => `${room}/${path.replaceAll("\\", "/")}`)
);
const proofNames =
  "WellFormed|AlgorithmAllowed|PathsFound|WithinValidity|NotRevoked|PeerIdentity|RoleAllowed|Tls13|Named";
/** It attacks a scheduler through the messages of its jobs: the attack plays the transport itself and needs no network. */
const exceptions = ["scripts/attack/cell/scheduler_attacks.ts"];

test("no source outside pki/checks/ asserts that something is a proof", () => {
  assert.ok(sources.length > 300, `${sources.length} sources`);
  const asserting = sources.filter((path) => {
    const text = readFileSync(join(tree, path), "utf8");
    if (!path.startsWith("pki/") && !text.includes("pki/")) return false;
    return new RegExp(`\\bas (?:unknown as )?(?:${proofNames})\\b(?! )`).test(text) ||
      new RegExp(`(?<!\\w)<(?:${proofNames})>[({]`).test(text);
  });
  const outside = asserting.filter((path) => !path.startsWith("pki/checks/") && !exceptions.includes(path));
  assert.equal(outside, []);
  assert.ok(asserting.filter((path) => path.startsWith("pki/checks/")).length >= 8, "the checks themselves do");
});

test("each file of pki/checks/ makes only the proofs that it declares", () => {
  for (const path of sources.filter((each) => each.startsWith("pki/checks/"))) {
    const text = readFileSync(join(tree, path), "utf8");
    for (const [, name] of text.matchAll(new RegExp(`\\bas unknown as (${proofNames})\\b`, "g"))) {
      assert.match(text, `export interface ${name} extends Proof<"${name}">`, path);
    }
  }
});

test.run();
