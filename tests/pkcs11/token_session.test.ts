/** Which token of a module's a session takes, when it presents the PIN, and what it makes of a module's refusals. */
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Cryptoki, CryptokiError } from "../../actors/pkcs11/cryptoki.ts";
import { SignerError } from "../../actors/pkcs11/signer_error.ts";
import { TokenProblem, TokenSession } from "../../actors/pkcs11/token_session.ts";
import type { PinSource } from "../../pki/issue/pkcs11_uri.ts";

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

function problemOf(module: Cryptoki, pin: PinSource = { value: "1234" }): TokenProblem | undefined {
  try {
    new TokenSession(module, { token: { label: "acme" }, pin }, () => {});
    return undefined;
  } catch (error) {
    if (error instanceof TokenProblem) return error;
    throw error;
  }
}

const folder = mkdtempSync(join(tmpdir(), "pin-"));
test.after(() => rmSync(folder, { recursive: true }));

function pinFile(text: string): PinSource {
  const file = join(folder, "pin");
  writeFileSync(file, text);
  return { file };
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

for (const end of ["\n", "\r\n", ""]) {
  test(`the first line of the PIN's file is the PIN, up to 255 octets: it ends with ${JSON.stringify(end)}`, () => {
    const open = (length: number) =>
      problemOf(moduleOf([{ label: "acme" }]).module, pinFile("1".repeat(length) + end))?.problem;
    assert.equal([open(1), open(255), open(256), open(1_000)], [
      undefined,
      undefined,
      "pin-unreadable",
      "pin-unreadable",
    ]);
  });
}

test("bug: the file of the PIN was read without a bound", () => {
  const problem = problemOf(moduleOf([{ label: "acme" }]).module, { file: "/dev/zero" });
  assert.equal([problem?.problem, problem?.message], ["pin-unreadable", "the PIN has not 1 to 255 octets"]);
});

/** A session whose token has one key of type Ed25519, and what its calls return instead of CKR_OK, one after the other. */
function sessionOf(returned: Readonly<Record<string, number[]>>, isPinProven = false) {
  const calls: string[] = [];
  const call = (name: string) => {
    calls.push(name);
    const value = returned[name]?.shift() ?? 0;
    if (value !== 0) throw new CryptokiError(name, value);
  };
  const params = Buffer.from("06032b6570", "hex");
  const attributes: Readonly<Record<number, Buffer>> = {
    0x2: Buffer.of(1),
    0x100: Buffer.from(new BigUint64Array([0x40n]).buffer),
    0x180: params,
    0x181: Buffer.alloc(32),
  };
  const module = {
    ...moduleOf([{ label: "acme" }]).module,
    call,
    find: () => calls.includes("C_GenerateKeyPair") || returned["C_Sign"] !== undefined ? [1] : [],
    attribute: (_session: number, _object: number, type: number) => attributes[type],
    template: () => ({ bytes: Buffer.alloc(0), release: () => {} }),
    mechanism: () => Buffer.alloc(24),
    sign: () => {
      call("C_Sign");
      return Buffer.alloc(64);
    },
  } as unknown as Cryptoki;
  const open = { token: { label: "acme" }, pin: { value: "1234" }, isPinProven };
  return { calls, session: new TokenSession(module, open, () => calls.push("login is reported")) };
}

function thrownBy(act: () => unknown): Error | undefined {
  try {
    return void act();
  } catch (error) {
    return error as Error;
  }
}

for (const value of [0x05, 0x06, 0x30, 0x32]) {
  const { message } = new CryptokiError("C_Login", value);
  test(`bug: ${message} counted as passing, and the same PIN was presented again`, () => {
    const problem = thrownBy(() => sessionOf({ C_Login: [value] }));
    assert.ok(problem instanceof TokenProblem, String(problem));
    assert.equal([problem.problem, problem.message], ["login-failed", message]);
    assert.instance(
      thrownBy(() => sessionOf({ C_Login: [value] }, true)),
      CryptokiError,
      "the PIN has logged in before",
    );
  });
}

for (const value of [0xb3, 0xe0, 0x104]) {
  test(`${new CryptokiError("C_Login", value).message}: no PIN was presented`, () => {
    assert.instance(thrownBy(() => sessionOf({ C_Login: [value] })), CryptokiError);
  });
}

test("a login is reported before it begins, where the PIN is not proven", () => {
  const alreadyLoggedIn = 0x100;
  const login = (isPinProven: boolean) => sessionOf({ C_Login: [alreadyLoggedIn] }, isPinProven).calls.slice(1);
  assert.equal(login(false), ["login is reported", "C_Login"]);
  assert.equal(login(true), ["C_Login"]);
});

const refusals: [name: string, value: number][] = [["CKR_DATA_LEN_RANGE", 0x21], [
  "CKR_KEY_FUNCTION_NOT_PERMITTED",
  0x68,
]];
for (const [name, value] of refusals) {
  test(`bug: ${name} of C_Sign counted as a token that failed`, () => {
    const { session } = sessionOf({ C_Sign: [value] });
    const problem = thrownBy(() => session.sign({ object: "ca" }, new Uint8Array(5_000)));
    assert.ok(problem instanceof TokenProblem, String(problem));
    assert.is(problem.problem, "signing-refused");
    assert.is(problem.message, `C_Sign returned ${name} for 5000 octets`);
    assert.is(session.sign({ object: "ca" }, Uint8Array.of(1)).length, 64);
  });
}

test("a token that is lost while it signs stays one that is lost", () => {
  const { session } = sessionOf({ C_Sign: [0x30] });
  assert.instance(thrownBy(() => session.sign({ object: "ca" }, Uint8Array.of(1))), CryptokiError);
});

const [deviceError, writeProtected, templateInconsistent, generalError] = [0x30, 0xe2, 0xd1, 0x05];
for (const value of [deviceError, writeProtected]) {
  test(`bug: a key was requested a second time after ${new CryptokiError("C_GenerateKeyPair", value).message}`, () => {
    const { calls, session } = sessionOf({ C_GenerateKeyPair: [value] });
    const error = thrownBy(() => session.generate({ object: "ca" }, "ed25519"));
    assert.ok(error instanceof CryptokiError, String(error));
    assert.is(error.value, value);
    assert.is(calls.filter((each) => each === "C_GenerateKeyPair").length, 1);
  });
}

for (const value of [0x13, 0x70, templateInconsistent, 0x130, 0x140, generalError]) {
  const { message } = new CryptokiError("C_GenerateKeyPair", value);
  test(`the second form of the parameters is tried after ${message}`, () => {
    const { session } = sessionOf({ C_GenerateKeyPair: [value] });
    assert.is(session.generate({ object: "ca" }, "ed25519").length, 44);
    const none = sessionOf({ C_GenerateKeyPair: [value, value] }).session;
    const problem = thrownBy(() => none.generate({ object: "ca" }, "ed25519"));
    assert.ok(problem instanceof TokenProblem, String(problem));
    assert.is(problem.problem, "key-unsupported");
    assert.match(problem.message, message);
  });
}

test.run();
