/** The lists that a CA's member announces: of each CA whose lists are made here. */
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keyHash } from "../../actors/ca/certificate_authority.ts";
import { readMemberLists } from "../../actors/ca/member_lists.ts";
import { renewLists } from "../../actors/ca/revoke.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { heldCrls } from "../../pki/held_crls.ts";
import { fileSigner, issueIntermediate, issuerWith } from "../../pki/issue/mod.ts";
import { start, testAuthority } from "../support/authority.ts";

const test = suite("readMemberLists()");

test("bug: the lists of a retired CA were not announced: what was revoked below it stayed in force on nodes", async () => {
  const world = await testAuthority();
  const period = { notBefore: new Date(+start - 1_000), notAfter: new Date(+start + 86_400_000 * 90) };
  const made = await issueIntermediate({ commonName: "Former CA", issuer: world.root, ...period });
  const certificate = Result.getOrThrow(parseCertificate(made.der));
  const retired = {
    issuer: issuerWith(made.certPem, fileSigner(made.keyPem)),
    issuerId: keyHash(certificate.publicKey.spki),
    keyFailure: () => undefined,
    intermediates: [certificate],
  };
  const ca = { ...world.ca, retired: [retired] };
  await Effect.runPromise(renewLists(ca, start));
  const reading = readMemberLists({ ca, stateDir: join(world.folder, "node"), before: undefined, at: start });
  const { snapshot } = await Effect.runPromise(Effect.provide(reading, realServices));
  const announced = heldCrls(snapshot).held.map(({ key }) => key);
  assert.equal(announced.toSorted(), [ca.issuerId, retired.issuerId].toSorted());
  world.close();
});

test.run();
