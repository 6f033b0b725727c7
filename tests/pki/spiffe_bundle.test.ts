import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { bundleCharactersMax, bundleKeysMax, formatSpiffeBundle, parseSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { forge } from "../support/forge.ts";

const test = suite("parseSpiffeBundle()");
const ca = forge("CA", { ca: true });
const authority = Result.getOrThrow(parseCertificate(ca.der));
const [key] = JSON.parse(formatSpiffeBundle([authority])).keys as Record<string, unknown>[];
const read = (x5c: unknown) => {
  const outcome = parseSpiffeBundle(JSON.stringify({ keys: [{ ...key, x5c }] }));
  return Result.isSuccess(outcome) ? outcome.success.authorities.length : outcome.failure.detail;
};

test("a key has exactly one certificate, as text", () => {
  const text = Buffer.from(ca.der).toString("base64");
  assert.is(read([text]), 1);
  for (const odd of [undefined, null, text, [], [text, text], [42], [null], [[text]], { 0: text, length: 1 }]) {
    assert.is(read(odd), "key 0 does not have exactly one certificate in x5c");
  }
});

test("the limits are 16 Mi characters and 1,000 keys", () => {
  assert.equal([bundleCharactersMax, bundleKeysMax], [16_777_216, 1_000]);
});

test.run();
