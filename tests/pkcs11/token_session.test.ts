/** Which token of a module's a session takes, and when it presents the PIN. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Cryptoki, CryptokiError } from "../../actors/pkcs11/cryptoki.ts";
import { SignerError } from "../../actors/pkcs11/signer_error.ts";
import { TokenProblem, TokenSession } from "../../actors/pkcs11/token_session.ts";

const test = suite("TokenSession");
const notRecognized = 0xe1;

/** A module with these tokens by slot; the slot of a number cannot be read, for that reason. */
function moduleOf(tokens: readonly ({ readonly label: string; readonly flags?: number } | number)[]) {
  const calls: string[] = [];
  const module = {
    call: (name: string) => void calls.push(name),
    slots: () => tokens.map((_, slot) => slot),
    tokenInfo: (slot: number) => {
      const token = tokens[slot]!;
      if (typeof token === "number") throw new CryptokiError("C_GetTokenInfo", token);
      return { serial: "", flags: 0, ...token };
    },
    openSession: (slot: number) => calls.push(`slot ${slot}`),
  };
  return { calls, module: module as unknown as Cryptoki };
}

function problemOf(module: Cryptoki): TokenProblem | undefined {
  try {
    new TokenSession(module, { token: { label: "acme" }, pin: { value: "1234" } });
    return undefined;
  } catch (error) {
    if (error instanceof TokenProblem) return error;
    throw error;
  }
}

test("bug: a token that cannot be read hid the right one", () => {
  const { calls, module } = moduleOf([notRecognized, { label: "acme" }]);
  assert.is(problemOf(module), undefined);
  assert.equal(calls, ["C_Initialize", "slot 1", "C_Login"]);
});

test("names the slots that cannot be read where no token matches: the right one may be there", () => {
  const problem = problemOf(moduleOf([notRecognized, { label: "other" }]).module);
  assert.is(problem?.problem, "signer-unavailable");
  assert.match(problem?.message ?? "", /"other"; slot 0 cannot be read \(C_GetTokenInfo returned CKR_TOKEN_NOT_REC/);
  assert.is(problemOf(moduleOf([{ label: "other" }]).module)?.problem, "token-missing");
});

test("bug: where one try was left, the remedy was the security officer's PIN alone", () => {
  const { calls, module } = moduleOf([{ label: "acme", flags: 0x20_000 }]);
  const problem = problemOf(module);
  assert.is(problem?.problem, "pin-locked");
  assert.equal(calls, ["C_Initialize"]);
  const { hint } = new SignerError({ code: "pin-locked", key: "", detail: "" });
  assert.match(hint, /log in once with the right PIN, which resets the count: pkcs11-tool --module MODULE --login/);
});

test.run();
