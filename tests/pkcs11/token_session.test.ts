/** Which token of a module's a session takes, when it presents the PIN, and what it makes of a module's refusals. */
import { Buffer } from "node:buffer";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Cryptoki, CryptokiError } from "../../actors/pkcs11/cryptoki.ts";
import { SignerError } from "../../actors/pkcs11/signer_error.ts";
import type { OpenToken } from "../../actors/pkcs11/token_messages.ts";
import { TokenProblem, TokenSession } from "../../actors/pkcs11/token_session.ts";
import type { PinSource } from "../../pki/issue/pkcs11_uri.ts";

const test = suite("TokenSession");
const notRecognized = 0xe1;

type Token = { readonly label: string; readonly serial?: string; readonly flags?: number };

/** A module with these tokens by slot; the slot of a number cannot be read, for that reason. */
function moduleOf(tokens: readonly (Token | number)[], login = (_pin: Buffer): void => {}) {
  const calls: string[] = [];
  const module = {
    call: (name: string, ...args: readonly unknown[]) => {
      if (name !== "C_Login") return void calls.push(`${name} ${args.join(" ")}`);
      const [session, user, pin, length] = args as [number, number, Buffer, number];
      calls.push(`${name} ${session} ${user} ${length}`);
      login(pin);
    },
    slots: () => tokens.map((_, slot) => slot),
    tokenInfo: (slot: number) => {
      const token = tokens[slot]!;
      if (typeof token === "number") throw new CryptokiError("C_GetTokenInfo", token);
      return { serial: "", flags: 0, ...token };
    },
    openSession: (slot: number, flags: number) => {
      calls.push(`slot ${slot} ${flags}`);
      return 70 + slot;
    },
  };
  return { calls, module: module as unknown as Cryptoki };
}

type Opened = { readonly token?: OpenToken["token"]; readonly pin?: PinSource | undefined };

function problemOf(module: Cryptoki, opened: Opened = {}): TokenProblem | undefined {
  try {
    const { token = { label: "acme" } } = opened;
    new TokenSession(module, { token, pin: "pin" in opened ? opened.pin : { value: "1234" } }, () => {});
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
  assert.equal(calls, ["C_Initialize ", "slot 1 6", "C_Login 71 1 4"]);
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
  assert.equal(calls, ["C_Initialize "]);
  const { hint } = new SignerError({ code: "pin-locked", key: "", detail: "" });
  assert.match(hint, /log in once with the right PIN, which resets the count: pkcs11-tool --module MODULE --login/);
});

for (const end of ["\n", "\r\n", ""]) {
  test(`the first line of the PIN's file is the PIN, up to 255 octets: it ends with ${JSON.stringify(end)}`, () => {
    const open = (length: number) =>
      problemOf(moduleOf([{ label: "acme" }]).module, { pin: pinFile("1".repeat(length) + end) })?.problem;
    assert.equal([open(1), open(255), open(256), open(1_000)], [
      undefined,
      undefined,
      "pin-unreadable",
      "pin-unreadable",
    ]);
  });
}

test("bug: the file of the PIN was read without a bound", () => {
  const problem = problemOf(moduleOf([{ label: "acme" }]).module, { pin: { file: "/dev/zero" } });
  assert.equal([problem?.problem, problem?.message], ["pin-unreadable", "the PIN has not 1 to 255 octets"]);
});

/** The PIN that a module gets. */
function presentedPin(pin: PinSource): string | undefined {
  let presented: string | undefined;
  const { module } = moduleOf([{ label: "acme" }], (bytes) => presented = bytes.toString("utf8"));
  return problemOf(module, { pin })?.problem ?? presented;
}

test("a PIN has 1 to 255 octets in UTF-8", () => {
  const problem = (value: string) => presentedPin({ value });
  assert.equal(["", "1", "é".repeat(127), "é".repeat(128)].map(problem), [
    "pin-unreadable",
    "1",
    "é".repeat(127),
    "pin-unreadable",
  ]);
});

test("the PIN's file may have more lines: the first is the PIN", () => {
  assert.is(presentedPin(pinFile("1234\n5678\n")), "1234");
  assert.is(presentedPin(pinFile("\n1234\n")), "pin-unreadable");
});

test("a PIN's file that is not there is named with its reason", () => {
  const problem = problemOf(moduleOf([{ label: "acme" }]).module, { pin: { file: join(folder, "none") } });
  assert.is(problem?.problem, "pin-unreadable");
  assert.match(problem?.message ?? "", /^pin-source: ENOENT/);
});

test("a PIN that arrives in pieces is put together", () => {
  const file = join(folder, "pin-pipe");
  execFileSync("mkfifo", [file]);
  spawn("sh", ["-c", `(printf 12; sleep 0.2; printf '34\\n') > ${file}`], { stdio: "ignore" });
  assert.is(presentedPin({ file }), "1234");
});

if (process.platform === "linux") {
  test("the PIN's file is closed again", () => {
    const open = () => readdirSync("/proc/self/fd").length;
    const pin = pinFile("1234\n");
    const before = open();
    for (let count = 0; count < 20; count++) presentedPin(pin);
    assert.ok(open() < before + 20);
  });
}

test("the copy of the PIN that the module gets is wiped after the login, whatever came of it", () => {
  for (const value of [0, 0xa0, 0x30]) {
    let given: Buffer | undefined;
    const { module } = moduleOf([{ label: "acme" }], (pin) => {
      given = pin;
      if (value !== 0) throw new CryptokiError("C_Login", value);
    });
    problemOf(module);
    assert.equal(given, Buffer.alloc(4));
  }
});

const several: readonly Token[] = [
  { label: "acme", serial: "1" },
  { label: "acme", serial: "2" },
  { label: "other", serial: "1" },
];
const chosen: [name: string, token: OpenToken["token"], expected: string][] = [
  ["label and serial", { label: "acme", serial: "2" }, "slot 1"],
  ["a label that one token has", { label: "other" }, "slot 2"],
  ["a label that two tokens have", { label: "acme" }, "token-missing"],
  ["a serial that one token has", { serial: "2" }, "slot 1"],
  ["a serial that two tokens have", { serial: "1" }, "token-missing"],
  ["a slot", { slotId: 2 }, "slot 2"],
  ["label and slot", { label: "acme", slotId: 0 }, "slot 0"],
  ["serial and slot", { serial: "1", slotId: 2 }, "slot 2"],
  ["another token's serial", { label: "other", serial: "2" }, "token-missing"],
  ["another token's slot", { label: "acme", slotId: 2 }, "token-missing"],
  ["the slot of a token with another serial", { serial: "2", slotId: 0 }, "token-missing"],
  ["a slot without a token", { slotId: 3 }, "token-missing"],
];
for (const [name, token, expected] of chosen) {
  test(`a token is chosen by ${name}: ${expected}`, () => {
    const { calls, module } = moduleOf(several);
    const problem = problemOf(module, { token })?.problem;
    assert.is(problem ?? calls.find((call) => call.startsWith("slot"))?.replace(/ 6$/, ""), expected);
  });
}

const messageOf = (tokens: readonly (Token | number)[]) => problemOf(moduleOf(tokens).module)?.message;

test("an error says which tokens are there", () => {
  const [two] = [{ label: "acme", serial: "1" }];
  assert.is(messageOf([two!, two!]), "several tokens have this name: add serial=");
  assert.is(messageOf([]), "the token is not present; no token is present");
  assert.is(messageOf([{ label: "a" }]), 'the token is not present; these tokens are present: "a"');
  assert.is(
    messageOf([{ label: "a" }, { label: "b" }]),
    'the token is not present; these tokens are present: "a", "b"',
  );
});

test("an error names at most eight tokens, and eight slots that cannot be read, the first ones", () => {
  const labels = Array.from({ length: 9 }, (_, index) => ({ label: `t${index}` }));
  const message = messageOf([...labels, ...Array.from({ length: 9 }, () => notRecognized)]) ?? "";
  assert.equal(message.match(/"t\d"/g), ['"t0"', '"t1"', '"t2"', '"t3"', '"t4"', '"t5"', '"t6"', '"t7"']);
  const slots = message.match(/slot \d+ cannot be read/g)?.map((text) => Number(text.split(" ")[1]));
  assert.equal(slots, [9, 10, 11, 12, 13, 14, 15, 16]);
});

test("a slot that is chosen and cannot be read is named", () => {
  const problem = problemOf(moduleOf([notRecognized, { label: "acme" }]).module, { token: { slotId: 0 } });
  assert.is(problem?.problem, "signer-unavailable");
  assert.match(problem?.message ?? "", /these tokens are present: "acme"; slot 0 cannot be read/);
});

test("two slots that cannot be read leave the token unknown too", () => {
  assert.is(problemOf(moduleOf([notRecognized, notRecognized]).module)?.problem, "signer-unavailable");
});

test("a module that fails in another way than by a return value is not taken for a token that cannot be read", () => {
  const { module } = moduleOf([{ label: "acme" }]);
  const tokenInfo = () => {
    throw new TypeError("koffi");
  };
  assert.throws(() => problemOf({ ...module, tokenInfo } as unknown as Cryptoki), /koffi/);
});

// PKCS#11 3.0, table 6: all flags of a token but the three that decide.
const [loginRequired, finalTry, locked] = [0x4, 0x20_000, 0x40_000];
const otherFlags = 0x1f_ffff & ~(loginRequired | finalTry | locked);
const flagCases: [name: string, flags: number, withoutPin: string, withPin: string][] = [
  ["no flag", 0, "opened", "logged in"],
  ["flags that do not matter", otherFlags, "opened", "logged in"],
  ["CKF_LOGIN_REQUIRED", loginRequired, "pin-missing", "logged in"],
  ["CKF_USER_PIN_FINAL_TRY", finalTry, "pin-locked", "pin-locked"],
  ["CKF_USER_PIN_LOCKED", locked, "pin-locked", "pin-locked"],
  ["all flags", 0x1f_ffff, "pin-locked", "pin-locked"],
];
for (const [name, flags, withoutPin, withPin] of flagCases) {
  test(`a token with ${name}: ${withoutPin} without a PIN, ${withPin} with one`, () => {
    const outcome = (pin: PinSource | undefined) => {
      const { calls, module } = moduleOf([{ label: "acme", flags }]);
      const problem = problemOf(module, { pin })?.problem;
      if (problem !== undefined) {
        assert.equal(calls, ["C_Initialize "]);
        return problem;
      }
      return calls.at(-1) === "C_Login 70 1 4" ? "logged in" : calls.at(-1) === "slot 0 6" ? "opened" : calls.at(-1);
    };
    assert.equal([outcome(undefined), outcome({ value: "1234" })], [withoutPin, withPin]);
  });
}

test("a login is not reported where no PIN is presented", () => {
  const { module } = moduleOf([{ label: "acme" }]);
  new TokenSession(module, { token: { label: "acme" }, pin: undefined }, () => assert.unreachable());
});

const wrongPin = [0xa0, 0xa1, 0xa2, 0xa3];
// Values about the session, the token and the user, as they were before the call: PKCS#11 3.0, §5.1.
const beforeThePin = [0xb1, 0xb3, 0xb8, 0xe0, 0xe1, 0x102, 0x103, 0x104, 0x105, 0x190];

/** What a session makes of a login that failed. */
function afterLogin(failure: Error, isPinProven: boolean): string {
  const { module } = moduleOf([{ label: "acme" }], () => {
    throw failure;
  });
  const open = { token: { label: "acme" }, pin: { value: "1234" }, isPinProven };
  const error = thrownBy(() => new TokenSession(module, open, () => {}));
  if (error === undefined) return "logged in";
  return error instanceof TokenProblem ? error.problem : error === failure ? "passed on" : String(error);
}

test("each return value of C_Login means one thing: the PIN was wrong, is locked, was not presented, or may have been", () => {
  for (let value = 1; value <= 0x201; value++) {
    const expected = (isPinProven: boolean) => {
      if (value === 0x100) return "logged in";
      if (value === 0xa4) return "pin-locked";
      if (wrongPin.includes(value)) return "pin-wrong";
      return isPinProven || beforeThePin.includes(value) ? "passed on" : "login-failed";
    };
    const failure = new CryptokiError("C_Login", value);
    for (const isPinProven of [false, true]) {
      assert.is(afterLogin(failure, isPinProven), expected(isPinProven), `0x${value.toString(16)} ${isPinProven}`);
    }
  }
});

test("a login that fails in another way than by a return value may have presented the PIN", () => {
  assert.is(afterLogin(new TypeError("koffi"), false), "login-failed");
  assert.is(afterLogin(new TypeError("koffi"), true), "passed on");
});

/** A session whose token has one key of type Ed25519, and what its calls return instead of CKR_OK, one after the other. */
function sessionOf(returned: Record<string, number[]>, isPinProven = false) {
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
  return { calls, returned, session: new TokenSession(module, open, () => calls.push("login is reported")) };
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

test("a return value of C_Sign about the data, the key or its mechanism is the key's; any other is the token's", () => {
  const ofTheKey = [0x20, 0x21, 0x62, 0x63, 0x68, 0x70, 0x71, 0x200];
  const { session, returned } = sessionOf({ C_Sign: [] });
  for (let value = 1; value <= 0x202; value++) {
    returned["C_Sign"] = [value];
    const error = thrownBy(() => session.sign({ object: "ca" }, Uint8Array.of(1)));
    assert.is(error instanceof TokenProblem, ofTheKey.includes(value), `0x${value.toString(16)}`);
  }
});

test("a return value of C_GenerateKeyPair leads to the second form of the parameters, or ends the attempt", () => {
  const ofTheKind = [0x05, 0x13, 0x70, 0xd1, 0x130, 0x140];
  for (let value = 1; value <= 0x142; value++) {
    const { calls, session } = sessionOf({ C_GenerateKeyPair: [value, value] });
    const error = thrownBy(() => session.generate({ object: "ca" }, "ed25519"));
    const tried = calls.filter((each) => each === "C_GenerateKeyPair").length;
    const isOfTheKind = ofTheKind.includes(value);
    assert.equal([error instanceof TokenProblem, tried], [isOfTheKind, isOfTheKind ? 2 : 1], `0x${value.toString(16)}`);
  }
});

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
