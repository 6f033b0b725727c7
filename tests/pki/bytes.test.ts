import { suite } from "uvu";
import * as assert from "uvu/assert";
import { sameBytes, toHex } from "../../pki/bytes.ts";

const test = suite("sameBytes()");
const bytes = (...octets: number[]) => Uint8Array.from(octets);

test("octets are the same where each of them is, in whatever array", () => {
  const one = bytes(1, 2);
  assert.ok(sameBytes(one, one));
  assert.ok(sameBytes(one, bytes(1, 2)));
  assert.ok(sameBytes(bytes(), bytes()));
  assert.ok(sameBytes(bytes(0, 1, 2).subarray(1), one));
});

test("another octet, one more and one less are not the same", () => {
  for (const other of [bytes(1, 3), bytes(2, 2), bytes(1), bytes(1, 2, 0), bytes()]) {
    assert.not.ok(sameBytes(bytes(1, 2), other));
  }
});

test("hexadecimal has two lower-case digits for each octet of the view", () => {
  assert.is(toHex(bytes(0xff, 0x0a, 0xbc).subarray(1)), "0abc");
});

test.run();
