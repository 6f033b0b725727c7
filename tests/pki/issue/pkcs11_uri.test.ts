/** URIs of keys in tokens (RFC 7512). */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  isPkcs11Uri,
  parsePkcs11Uri,
  pkcs11UriCharactersMax,
  pkcs11ValueBytesMax,
} from "../../../pki/issue/pkcs11_uri.ts";

const test = suite("parsePkcs11Uri()");
const end = "?module-path=/usr/lib/m.so";

test("reads each attribute, decoded", () => {
  const text =
    "pkcs11:token=acme%20%C3%A4;serial=12ab;slot-id=7;object=ca;id=%00%FF;type=private?module-path=/usr/lib/m.so&pin-source=file:/etc/pin";
  assert.equal(Result.getOrThrow(parsePkcs11Uri(text)), {
    module: "/usr/lib/m.so",
    token: { label: "acme ä", serial: "12ab", slotId: 7 },
    object: "ca",
    id: "00ff",
    pin: { file: "/etc/pin" },
  });
});

const pins: [query: string, pin: unknown][] = [
  ["", undefined],
  ["&pin-value=12%263", { value: "12&3" }],
  ["&pin-source=file:///etc/pin", { file: "/etc/pin" }],
  ["&pin-source=/etc/pin", { file: "/etc/pin" }],
];
for (const [query, pin] of pins) {
  test(`reads the PIN of ${query === "" ? "none" : query}`, () => {
    assert.equal(Result.getOrThrow(parsePkcs11Uri(`pkcs11:token=a;object=b${end}${query}`)).pin, pin);
  });
}

const long = (octets: number) => `pkcs11:token=a;object=${"b".repeat(octets)}${end}`;
const refused: [name: string, text: string, problem: string][] = [
  ["another scheme", "file:/etc/key", "malformed"],
  ["a URI that is too long", `pkcs11:token=${"a".repeat(pkcs11UriCharactersMax)}`, "too-long"],
  ["a value that is too long", long(pkcs11ValueBytesMax + 1), "too-long"],
  ["an unknown attribute", `pkcs11:token=a;object=b;library-version=1${end}`, "unknown-attribute"],
  ["an attribute of the query in the path", "pkcs11:token=a;object=b;module-path=/m.so", "unknown-attribute"],
  ["a repeated attribute", `pkcs11:token=a;object=b;object=c${end}`, "repeated-attribute"],
  ["a second question mark", `pkcs11:token=a;object=b${end}?pin-value=1`, "malformed"],
  ["a part without a value", `pkcs11:token=a;object${end}`, "malformed"],
  ["an empty value", `pkcs11:token=a;object=${end}`, "malformed"],
  ["a trailing separator", `pkcs11:token=a;object=b;${end}`, "malformed"],
  ["half a percent sequence", `pkcs11:token=a;object=b%4${end}`, "malformed"],
  ["a blank", `pkcs11:token=a b;object=b${end}`, "malformed"],
  ["a control character", `pkcs11:token=a;object=b%00${end}`, "malformed"],
  ["text that is not UTF-8", `pkcs11:token=a;object=%FF${end}`, "malformed"],
  ["a slot that is not a number", `pkcs11:slot-id=x;object=b${end}`, "malformed"],
  ["no token", `pkcs11:object=b${end}`, "missing"],
  ["no key", `pkcs11:token=a${end}`, "missing"],
  ["no module", "pkcs11:token=a;object=b", "missing"],
  ["a relative module", "pkcs11:token=a;object=b?module-path=m.so", "not-allowed"],
  ["a public key", `pkcs11:token=a;object=b;type=public${end}`, "not-allowed"],
  ["two PINs", `pkcs11:token=a;object=b${end}&pin-value=1&pin-source=/p`, "not-allowed"],
  ["a program as the source of the PIN", `pkcs11:token=a;object=b${end}&pin-source=|pin`, "not-allowed"],
];
for (const [name, text, problem] of refused) {
  test(`refuses ${name}`, () => {
    const outcome = parsePkcs11Uri(text);
    assert.is(Result.isFailure(outcome) ? outcome.failure.problem : "accepted", problem);
  });
}

test("takes a value of the largest size", () => {
  assert.ok(Result.isSuccess(parsePkcs11Uri(long(pkcs11ValueBytesMax))));
});

test("no refusal shows a PIN", () => {
  for (
    const text of ["pin-value=12 34", "pin-value=1234&pin-source=/1234", "pin-value=1234&pin-value=1234", "x=1234"]
  ) {
    const outcome = parsePkcs11Uri(`pkcs11:token=a;object=b${end}&${text}`);
    assert.ok(Result.isFailure(outcome) && !outcome.failure.message.includes("34"), text);
  }
});

test("a path is no URI", () => {
  assert.equal(["pkcs11:a", "PKCS11:a", " pkcs11:a", "./pkcs11:a", "key.pem"].map(isPkcs11Uri), [
    true,
    true,
    true,
    false,
    false,
  ]);
});

test.run();
