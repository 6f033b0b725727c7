import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { defaultPolicy } from "../../pki/trust.ts";
import { crlDueMs, readWarnings } from "../../pki/trust_warning.ts";
import { at, forge, forgeList } from "../support/forge.ts";

const test = suite("readWarnings()");

// What it says of bundles and lists stands in `trust.test.ts`.
test("a list is due a day before its next update", () => assert.is(crlDueMs, 86_400_000));

test("bug: a list of a CA that only peers show was verified under each CA of its name, each minute", () => {
  const issuer = forge("Root", { ca: true });
  const reader = new CrlReader({ cas: [] });
  reader.push(forgeList(issuer));
  const vouchedBy = markKey(Result.getOrThrow(parseCertificate(issuer.der)));
  const lists = Result.getOrThrow(reader.finish()).map(({ list }) => ({ ...list, vouchedBy }));
  let verified = 0;
  const anchors = Array.from({ length: 50 }, () => {
    const anchor = Result.getOrThrow(parseCertificate(forge("Root", { ca: true }).der));
    const { algorithm, ...rest } = anchor.publicKey;
    const counting = {
      ...rest,
      get algorithm() {
        verified += 1;
        return algorithm;
      },
    };
    return { ...anchor, publicKey: counting };
  });
  const revocation = { lists, requirement: "optional" } as const;
  const domain = { name: "partner.example", anchors, anchorsId: "", policy: defaultPolicy, revocation };
  const warnings = readWarnings({ ...domain, claims: domain.name }, { leaves: [], revoked: [], at });
  assert.equal([warnings.map(({ code }) => code), verified], [["list-unverified"], 0]);
});

test.run();
