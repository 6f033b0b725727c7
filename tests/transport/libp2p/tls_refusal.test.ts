import { suite } from "uvu";
import * as assert from "uvu/assert";
import { refusalOfTlsError } from "../../../transport/libp2p/tls_refusal.ts";

const test = suite("refusalOfTlsError()");

const detailOf = (error: unknown) => (refusalOfTlsError(error) as { readonly detail?: string }).detail;
const withCode = (code: unknown, message: string) => Object.assign(new Error(message), { code });

test("says an error's code, then its words", () => {
  assert.is(detailOf(withCode("ECONNRESET", "read")), "ECONNRESET: read");
  assert.is(detailOf(new Error("odd")), "odd");
  assert.is(detailOf(withCode(7, "odd")), "odd");
});

test("says what is thrown and is no error, as it stands", () => {
  assert.is(detailOf("odd"), "odd");
  assert.is(detailOf({ code: "ODD", toString: () => "thing" }), "ODD: thing");
  assert.is(detailOf({ message: "not said", toString: () => "thing" }), "thing");
});

test("keeps 200 characters, from the first on", () => {
  const text = `${"a".repeat(199)}bc`;
  assert.is(detailOf(new Error(text)), `${"a".repeat(199)}b`);
});

const codes: [error: unknown, code: string][] = [
  [withCode("ERR_SSL_EXCESSIVE_MESSAGE_SIZE", "excessive message size"), "tls-failed"],
  [withCode("ERR_SSL_UNSUPPORTED_PROTOCOL", "unsupported protocol"), "tls-version"],
  [new Error("received fatal alert: ProtocolVersion, incompatible: Tls12NotOffered"), "tls-version"],
  [withCode("ERR_SSL_WRONG_VERSION_NUMBER", "wrong version number"), "protocol-mismatch"],
  [withCode("ERR_SSL_NO_APPLICATION_PROTOCOL", "peer doesn't support any known protocol"), "protocol-mismatch"],
  [withCode("ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "received fatal alert"), "protocol-mismatch"],
  [new Error("received corrupt message of type InvalidContentType"), "protocol-mismatch"],
  [withCode("ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE", "peer did not return a certificate"), "no-certificate"],
  [new Error("peer sent no certificates: NoCertificatesPresented"), "no-certificate"],
  [withCode("ECONNRESET", "socket hang up"), "hung-up"],
  [new Error("tls handshake eof: UnexpectedEof"), "hung-up"],
  [new Error("something new"), "tls-failed"],
];
for (const [error, code] of codes) {
  test(`"${String(error)}" is ${code}`, () => assert.is(refusalOfTlsError(error).code, code));
}

test.run();
