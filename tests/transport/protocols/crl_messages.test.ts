/** Bytes of messages about revocation lists, as docs/wire.md ("Extensions") has them, and their bounds. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CrlNotice, CrlRequest, CrlResponse } from "../../../transport/protocols/messages.ts";
import {
  crlInlineBytesMax,
  crlNoticesMax,
  crlNumberDigitsMax,
  crlPieceBytesMax,
  decodeMessage,
  encodeMessage,
} from "../../../transport/protocols/mod.ts";

const test = suite("messages about revocation lists");
const protocol = "/hypha-crl/1";
const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const ascii = (text: string) => hex(new TextEncoder().encode(text));
const issuer = "0123456789abcdef".repeat(4);
const sha256 = "fedcba9876543210".repeat(4);
const notice: CrlNotice = { issuer, scope: "all", number: "7", base: null, sha256, size: 300, updated: 1_764_000_000 };

const requestOf = (request: CrlRequest) => {
  const read = decodeMessage(protocol, "request", encodeMessage(protocol, "request", request));
  return read._tag === "Success" ? read.success : undefined;
};
const responseOf = (response: CrlResponse) => {
  const read = decodeMessage(protocol, "response", encodeMessage(protocol, "response", response));
  return read._tag === "Success" ? read.success : undefined;
};

test("requests and answers have these bytes, and are read back", () => {
  const announce = encodeMessage(protocol, "request", { Announce: [notice] });
  assert.is(
    hex(announce),
    `a168${ascii("Announce")}81a766${ascii("issuer")}7840${ascii(issuer)}65${ascii("scope")}63${ascii("all")}` +
      `66${ascii("number")}61${ascii("7")}64${ascii("base")}f666${ascii("sha256")}5820${sha256}` +
      `64${ascii("size")}19012c67${ascii("updated")}1a69248100`,
  );
  assert.equal(requestOf({ Announce: [notice] }), { Announce: [notice] });
  const delta = { ...notice, base: "5", bytes: Uint8Array.of(1, 2, 3) };
  assert.equal(requestOf({ Announce: [delta, notice] }), { Announce: [delta, notice] });
  const pull = { Pull: { sha256, offset: 262_144 } };
  assert.is(
    hex(encodeMessage(protocol, "request", pull)),
    `a164${ascii("Pull")}a266${ascii("sha256")}5820${sha256}66${ascii("offset")}1a00040000`,
  );
  assert.equal(requestOf(pull), pull);
  assert.is(
    hex(encodeMessage(protocol, "response", { Announced: ["have", "want"] })),
    `a169${ascii("Announced")}8264${ascii("have")}64${ascii("want")}`,
  );
  assert.equal(responseOf({ Announced: ["want"] }), { Announced: ["want"] });
  assert.equal(responseOf({ Piece: Uint8Array.of(9) }), { Piece: Uint8Array.of(9) });
  assert.equal(responseOf({ Piece: new Uint8Array(0) }), { Piece: new Uint8Array(0) });
});

test("the largest notice that is read has at most 300 bytes", () => {
  const most = "9".repeat(crlNumberDigitsMax);
  const scope = `users-r1fe-p${"0".repeat(32)}`;
  const largest = { issuer, scope, number: most, base: most, sha256, size: 2 ** 32, updated: 2 ** 33 };
  assert.equal(requestOf({ Announce: [largest] }), { Announce: [largest] });
  const bytes = encodeMessage(protocol, "request", { Announce: [largest] }).length;
  assert.ok(bytes <= 300, `${bytes} bytes`);
  assert.is(requestOf({ Announce: [{ ...largest, number: `${most}9` }] }), undefined);
});

test("what is no notice, no request and no answer is not read", () => {
  const wrong: Partial<CrlNotice>[] = [
    { issuer: issuer.toUpperCase() },
    { issuer: issuer.slice(2) },
    { scope: "../../etc" },
    { scope: "" },
    { number: "07" },
    { number: "-1" },
    { number: "" },
    { base: "x" },
    { bytes: new Uint8Array(crlInlineBytesMax + 1) },
  ];
  for (const fields of wrong) {
    assert.is(requestOf({ Announce: [{ ...notice, ...fields }] }), undefined, JSON.stringify(fields));
  }
  const short = { ...notice, sha256: sha256.slice(2) };
  assert.is(requestOf({ Announce: [short] }), undefined, "31 bytes of SHA-256");
  assert.is(requestOf({ Announce: [] }), undefined);
  assert.is.not(requestOf({ Announce: Array.from({ length: crlNoticesMax }, () => notice) }), undefined);
  assert.is(requestOf({ Announce: Array.from({ length: crlNoticesMax + 1 }, () => notice) }), undefined);
  const half = { ...notice, bytes: new Uint8Array(crlInlineBytesMax / 2) };
  assert.is.not(requestOf({ Announce: [half, half] }), undefined);
  assert.is(requestOf({ Announce: [half, half, { ...half, bytes: Uint8Array.of(1) }] }), undefined);
  assert.is.not(responseOf({ Piece: new Uint8Array(crlPieceBytesMax) }), undefined);
  assert.is(responseOf({ Piece: new Uint8Array(crlPieceBytesMax + 1) }), undefined);
  assert.is(responseOf({ Announced: Array.from({ length: crlNoticesMax + 1 }, () => "want" as const) }), undefined);
});

test.run();
