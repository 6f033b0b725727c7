import { suite } from "uvu";
import * as assert from "uvu/assert";
import { refusalOfDialError } from "../../../transport/libp2p/dial_refusal.ts";
import { ConnectionClosed } from "../../../transport/libp2p/raw_connection.ts";

const test = suite("refusalOfDialError()");
const named = (name: string, message = "odd") => Object.assign(new Error(message), { name });

const cases: [name: string, error: unknown, code: string][] = [
  ["a deadline during the handshake", named("TimeoutError"), "handshake-timeout"],
  ["an abort during the handshake", named("AbortError"), "handshake-timeout"],
  ["a deadline before anything was connected", named("TimeoutError", "connect timed out"), "unreachable"],
  ["a reset", new Error("read ECONNRESET"), "hung-up"],
  ["a broken pipe", new Error("write EPIPE"), "hung-up"],
  ["a reset before libp2p looked", new Error("Could not determine remote address"), "hung-up"],
  ["a port that nothing listens on", new Error("connect ECONNREFUSED 127.0.0.1:1"), "unreachable"],
  ["no way there", new Error("connect EHOSTUNREACH 192.0.2.1:1"), "unreachable"],
  ["Deno's words for it", new Error("connection error: refused"), "unreachable"],
  ["something else than multistream-select", new Error("missing newline"), "protocol-mismatch"],
  ["no protocol in common", new Error("Protocol selection failed - could not negotiate /x"), "protocol-mismatch"],
  ["an end in between", new Error("Unexpected EOF - stream closed after reading 0/1 bytes"), "hung-up"],
  ["a connection that this node closed", new ConnectionClosed("refused"), "hung-up"],
  ["nothing to dial", named("NoValidAddressesError", "The dial request has no valid addresses"), "unreachable"],
  [
    "bug: a PeerID in the error whose letters spell a word of another refusal",
    named(
      "DialDeniedError",
      "The connection gater denied all addresses of 12D3KooWCqYXLKtdEofvA3Ls86HGAit7DDHCYgBtdP8VyuuZaPUgx",
    ),
    "unreachable",
  ],
  ["no error at all", "odd", "unreachable"],
];
for (const [name, error, code] of cases) {
  test(`${name}: ${code}`, () => assert.is(refusalOfDialError(error, 7).code, code));
}

test("of several addresses the last error counts", () => {
  const errors = [new Error("connect ECONNREFUSED"), new Error("read ECONNRESET")];
  assert.is(refusalOfDialError(new AggregateError(errors), 7).code, "hung-up");
  assert.is(refusalOfDialError(new AggregateError([], "connect ECONNREFUSED"), 7).code, "unreachable");
});

test("a timeout tells how long the dial took, and no detail is long", () => {
  const late = refusalOfDialError(named("TimeoutError"), 7);
  assert.is("afterMs" in late ? late.afterMs : undefined, 7);
  const long = refusalOfDialError(new Error("x".repeat(1_000)), 7);
  assert.is("detail" in long ? String(long.detail).length : 0, 200);
});

test.run();
