/** Names of problems that come from another process. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isSignerProblem, SignerError } from "../../actors/pkcs11/signer_error.ts";

const test = suite("isSignerProblem()");

test("knows the problems that have a remedy, and no other text", () => {
  for (const text of ["uri", "pin-wrong", "signer-unavailable"]) assert.ok(isSignerProblem(text), text);
  for (const text of ["", "x", "toString", "pin-wrong "]) assert.not.ok(isSignerProblem(text), text);
});

test("an error says which key, what problem, and what to do", () => {
  const error = new SignerError({ code: "key-ambiguous", key: "pkcs11:object=ca", detail: "two" });
  assert.is(error.message, "Cannot use key pkcs11:object=ca (key-ambiguous): two. Name the key by id= too.");
});

test.run();
