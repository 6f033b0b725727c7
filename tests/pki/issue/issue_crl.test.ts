import { Buffer } from "node:buffer";
import { performance } from "node:perf_hooks";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { findRevocation, isSignedBy, parseCrl, type RevocationList } from "../../../pki/crl.ts";
import { parseCertificate } from "../../../pki/certificate.ts";
import { issueCrl, type RevocationReason, revocationReasons } from "../../../pki/issue/mod.ts";
import { revokedEntries } from "../../../pki/issue/revoked_entries.ts";
import { parsePem } from "../../../pki/pem.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("issuing revocation lists");
const thisUpdate = new Date("2026-11-01T00:00:00Z");
const nextUpdate = new Date("2026-12-01T00:00:00Z");
const date = new Date("2026-10-31T12:00:00Z");
const pki = await makeTestPki({ at: thisUpdate });
const base = { issuer: pki.intermediate, revoked: [], number: 7n, thisUpdate, nextUpdate };

function read(pem: string): RevocationList {
  const [block, ...others] = Result.getOrThrow(parsePem(pem));
  assert.is(others.length, 0);
  assert.is(block!.label, "X509 CRL");
  return Result.getOrThrow(parseCrl(block!.der));
}

async function problem(issuing: Promise<unknown>): Promise<string> {
  try {
    await issuing;
    return "issued";
  } catch (error) {
    return (error as { problem?: string }).problem ?? String(error);
  }
}

test("makes an empty list", async () => {
  const list = read(await issueCrl(base));
  const issuer = Result.getOrThrow(parseCertificate(pki.intermediate.der));
  assert.is(list.issuer.text, issuer.subject.text);
  assert.is(list.authorityKeyId, issuer.subjectKeyId);
  assert.is(list.number, "7");
  assert.equal([list.thisUpdate, list.nextUpdate], [thisUpdate, nextUpdate]);
  assert.is(list.entryCount, 0);
  assert.ok(isSignedBy(list, issuer));
  assert.not.ok(isSignedBy(list, Result.getOrThrow(parseCertificate(pki.root.der))));
});

test("writes every reason, and reads it back", async () => {
  const reasons = Object.keys(revocationReasons) as RevocationReason[];
  const revoked = reasons.map((reason, index) => ({ serial: `0${index + 1}`, date, reason }));
  const list = read(await issueCrl({ ...base, revoked }));
  assert.equal(Result.getOrThrow(revokedEntries(list)), revoked);
  assert.is(findRevocation(list, "02")?.reason, reasons[1]);
});

test("the reasons have the numbers of RFC 5280 §5.3.1, and the one without a reason is left out", async () => {
  assert.equal(Object.entries(revocationReasons).map(([reason, code]) => `${code} ${reason}`), [
    "0 unspecified",
    "1 keyCompromise",
    "2 cACompromise",
    "3 affiliationChanged",
    "4 superseded",
    "5 cessationOfOperation",
    "6 certificateHold",
    "9 privilegeWithdrawn",
    "10 aACompromise",
  ]);
  const reasonOid = Buffer.from("0603551d15", "hex");
  const writes = async (reason: RevocationReason | undefined) => {
    const [block] = Result.getOrThrow(parsePem(await issueCrl({ ...base, revoked: [{ serial: "01", date, reason }] })));
    return Buffer.from(block!.der).includes(reasonOid);
  };
  assert.equal([await writes(undefined), await writes("unspecified"), await writes("superseded")], [
    false,
    false,
    true,
  ]);
});

test("reading entries back, bytes that are none are refused and a programmer's mistake goes through", () => {
  const entries = (bytes: unknown) => revokedEntries({ entries: bytes } as unknown as RevocationList);
  assert.ok(Result.isFailure(entries(Uint8Array.of(4, 0))));
  assert.equal(Result.getOrThrow(entries(new Uint8Array(0))), []);
  const broken = {
    length: 2,
    get 0(): number {
      throw new TypeError("mistake");
    },
  };
  assert.throws(() => entries(broken), /mistake/);
});

test("takes serials as certificates and openssl write them", async () => {
  const serials = ["00ff", "AB:CD:EF", "7f", "7edcba98765432100123456789abcdef01234567"];
  const list = read(await issueCrl({ ...base, revoked: serials.map((serial) => ({ serial, date })) }));
  assert.ok(findRevocation(list, "00ff"));
  assert.ok(findRevocation(list, "00abcdef"));
  assert.ok(findRevocation(list, "7f"));
  assert.ok(findRevocation(list, "7edcba98765432100123456789abcdef01234567"));
  assert.not.ok(findRevocation(list, "abcdef"));
});

test("refuses what no list can hold", async () => {
  for (const serial of ["", "0", "xyz", "-1", "8".repeat(40), "7".repeat(41)]) {
    assert.is(await problem(issueCrl({ ...base, revoked: [{ serial, date }] })), "serial");
  }
  assert.is(await problem(issueCrl({ ...base, revoked: [{ serial: "7".repeat(40), date }] })), "issued");
  assert.is(await problem(issueCrl({ ...base, nextUpdate: thisUpdate })), "crl");
  assert.is(await problem(issueCrl({ ...base, nextUpdate: new Date(thisUpdate.getTime() + 1_000) })), "issued");
});

test("takes time linear in its entries", async () => {
  const make = async (count: number) => {
    const revoked = Array.from({ length: count }, (_, index) => ({ serial: (index + 1).toString(16), date }));
    const start = performance.now();
    const pem = await issueCrl({ ...base, revoked });
    return { list: read(pem), ms: performance.now() - start };
  };
  const small = await make(5_000);
  const large = await make(50_000);
  assert.is(large.list.entryCount, 50_000);
  assert.ok(findRevocation(large.list, "00c350"));
  assert.not.ok(findRevocation(large.list, "00c351"));
  // Ten times the entries; a quadratic writer would take a hundred times as long.
  assert.ok(large.ms < 40 * Math.max(small.ms, 5), `5,000 entries ${small.ms} ms, 50,000 ${large.ms} ms`);
});

test.run();
