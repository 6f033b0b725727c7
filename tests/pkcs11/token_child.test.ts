/** The process of a token, with a package koffi that stands for a module and for the system: it prints the system's calls. */
import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const test = suite("token_child");
const isLinux = process.platform === "linux";
const isDeno = "Deno" in globalThis;

/** A token with one key of type Ed25519. A key's label that is a number is what the search for it returns. */
const koffi = `
const { writeSync } = require("node:fs");
const print = (text) => writeSync(1, text);
const number = (to, ...values) => {
  values.forEach((value, index) => to.writeBigUInt64LE(BigInt(value), index * 8));
  return 0;
};
const addressed = [];
let [label, isMade] = ["", false];
const attributes = {
  0x3: Buffer.from("ca"),
  0x100: Buffer.from("4000000000000000", "hex"),
  0x102: Buffer.of(1),
  0x180: Buffer.from("06032b6570", "hex"),
  0x181: Buffer.alloc(32, 7),
};
const functions = {
  C_GetSlotList: (hasToken, list, count) => number(list, 0) + number(count, 1),
  C_GetTokenInfo: (slot, info) => {
    info.write("acme".padEnd(32));
    return 0;
  },
  C_FindObjectsInit: (session, template, count) => {
    label = "";
    for (let at = 0; at < count; at++) {
      const type = Number(template.readBigUInt64LE(24 * at));
      const value = Buffer.from(addressed[Number(template.readBigUInt64LE(24 * at + 8))]);
      if (type === 0x3) label = value.toString();
      if (type === 0x102 && value.length > 1) label = "new";
    }
    if (label === "throws") throw new TypeError("not a number");
    return label.startsWith("0x") ? Number(label) : 0;
  },
  C_FindObjects: (session, list, most, count) =>
    label === "none" || (label === "new" && !isMade) ? 0 : number(list, 1) + number(count, 1),
  C_GetAttributeValue: (session, object, template) => {
    const value = attributes[Number(template.readBigUInt64LE(0))];
    addressed[Number(template.readBigUInt64LE(8))].set(value);
    template.writeBigUInt64LE(BigInt(value.length), 16);
    return 0;
  },
  C_GenerateKeyPair: () => {
    isMade = true;
    return 0;
  },
  C_Sign: (session, input, length, signature, told) => {
    print("module: a line without an end");
    signature.set(input.subarray(0, length));
    return number(told, 64);
  },
};
const system = (name) => (...args) => {
  print("\\n" + [name, ...args].join(" ") + "\\n");
  if (name !== "prctl" || !waitsForParentsEnd) return;
  waitsForParentsEnd = false;
  const parent = process.ppid;
  for (const end = Date.now() + 5_000; process.ppid === parent && Date.now() < end;);
};
module.exports = {
  load: (path) => {
    if (path === "/none.so") throw new Error("cannot open /none.so\\nsecond line\\nthird line");
    setInterval(() => {}, 1_000); // a module has threads of its own
    if (path === null) return { func: (text) => system(/int (\\w+)\\(/.exec(text)[1]) };
    return { func: () => (list) => path === "/refuses.so" ? 0x30 : 0 };
  },
  struct: () => "list",
  array: () => "pointers",
  proto: (text) => /C_\\w+/.exec(text)[0],
  decode: (pointer, type) => type === "list" ? { pointers: [] } : functions[type] ?? (() => 0),
  address: (value) => BigInt(addressed.push(value) - 1),
  sizeof: () => 8,
};
`;

const folders: string[] = [];
test.after(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

/** The files of the process, in a folder with this package. */
function childWith(program: string | undefined): string {
  const folder = mkdtempSync(join(tmpdir(), "token-child-"));
  folders.push(folder);
  for (const file of ["token_child.ts", "token_session.ts", "token_messages.ts", "cryptoki.ts"]) {
    copyFileSync(fileURLToPath(new URL(`../../actors/pkcs11/${file}`, import.meta.url)), join(folder, file));
  }
  if (program === undefined) return join(folder, "token_child.ts");
  const place = join(folder, "node_modules", "koffi");
  mkdirSync(place, { recursive: true });
  writeFileSync(join(folder, "package.json"), `{"dependencies": {"koffi": "3.3.4"}}`);
  writeFileSync(join(place, "package.json"), `{"name": "koffi", "version": "3.3.4", "main": "index.cjs"}`);
  writeFileSync(join(place, "index.cjs"), program);
  return join(folder, "token_child.ts");
}

interface Started {
  readonly child: ChildProcess;
  /** Writes questions, and gives the lines that are printed up to as many answers, or the end. */
  readonly ask: (...questions: readonly unknown[]) => Promise<readonly string[]>;
  /** Ends the input: the status that the process has in the end, or that it runs on. */
  readonly end: () => Promise<string>;
}

function start(file: string, through: readonly string[] = []): Started {
  const flags = isDeno ? ["run", "-q", "--no-check", "--allow-ffi", "--allow-read", "--allow-run"] : ["--no-warnings"];
  const [program = "", ...args] = [...through, process.execPath, ...flags, file];
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  let [output, isOver] = ["", false];
  let look = () => {};
  child.stdin.on("error", () => {});
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    look();
  });
  child.on("close", () => {
    isOver = true;
    look();
  });
  const ask = (...questions: readonly unknown[]) =>
    new Promise<readonly string[]>((resolve) => {
      look = () => {
        const lines = output.split("\n");
        if (lines.filter((line) => line.startsWith("@token")).length < questions.length && !isOver) return;
        if (lines.at(-1) !== "" && !isOver) return;
        output = "";
        resolve(lines.filter((line) => line !== ""));
      };
      for (const question of questions) child.stdin.write(`${JSON.stringify(question)}\n`);
      look();
    });
  const end = () =>
    new Promise<string>((resolve) => {
      const timer = setTimeout(() => {
        child.kill("SIGKILL");
        resolve("runs on");
      }, 20_000);
      child.on("close", (code, signal) => {
        clearTimeout(timer);
        resolve(`${code ?? signal}`);
      });
      child.stdin.end();
    });
  return { child, ask, end };
}

const open = (module: string) => ({ op: "open", module, token: { label: "acme" }, pin: { value: "1234" } });
const find = (object: string) => ({ op: "find", key: { object } });
const answer = (bytes: Buffer) => `@token ${JSON.stringify({ bytes: bytes.toString("base64") })}`;
const refusal = (problem: string, detail: string) => `@token ${JSON.stringify({ problem, detail })}`;

const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.alloc(32, 7)]);
const data = Buffer.alloc(64, 9);
const known = childWith(`let waitsForParentsEnd = false;${koffi}`);

test("a token is opened, asked and left; the system ends a process that hangs in a call, and keeps no core of it", async () => {
  const { ask, child, end } = start(known);
  assert.equal(await ask(find("ca")), [refusal("signer-unavailable", "the token is not open")]);
  // PR_SET_PDEATHSIG with SIGKILL, and PR_SET_DUMPABLE: linux/prctl.h.
  const guarded = ["alarm 30", ...(isLinux ? ["prctl 1 9", "prctl 4 0"] : [])];
  assert.equal(await ask(open("/module.so")), [...guarded, "@login", "alarm 0", '@token {"bytes":""}']);
  assert.equal(await ask(find("ca")), ["alarm 30", "alarm 0", answer(spki)]);
  process.kill(child.pid!, "SIGTERM"); // meant for the program, which may still have to sign
  const sign = { op: "sign", key: { object: "ca" }, data: data.toString("base64") };
  const debug = "module: a line without an end";
  assert.equal(await ask(sign), ["alarm 30", debug, "alarm 0", answer(data)]);
  const generate = { op: "generate", key: { object: "new" }, algorithm: "ed25519" };
  assert.equal(await ask(generate), ["alarm 30", "alarm 0", answer(spki)]);
  assert.is(await end(), "0");
});

test("a process with a proven PIN does not report its login", async () => {
  const { ask, end } = start(known);
  assert.not.ok((await ask({ ...open("/module.so"), isPinProven: true })).includes("@login"));
  assert.is(await end(), "0");
});

// PKCS#11 3.0 §5.1: a new process may reach the token again after these.
const lost = [0x30, 0x32, 0xb0, 0xb3, 0xe0, 0xe1, 0x101];
const failed = [0x05, 0x31, 0x82, 0xb1, 0x102];

test("a refusal of the module is answered as a token that is lost, or as a module that failed", async () => {
  const { ask, end } = start(known);
  await ask(open("/module.so"));
  const answered = async (object: string) => (await ask(find(object))).at(-1);
  for (const value of [...lost, ...failed]) {
    const { problem, detail } = JSON.parse((await answered(`0x${value.toString(16)}`))!.slice("@token ".length));
    assert.is(problem, lost.includes(value) ? "signer-unavailable" : "module-failed", value.toString(16));
    assert.match(detail, "C_FindObjectsInit returned ");
  }
  assert.is(await answered("none"), refusal("key-missing", "the token has no such private key"));
  assert.is(await answered("throws"), refusal("module-failed", "not a number"));
  await end();
});

test("a module that is not there, or gives no functions, has one line of its own", async () => {
  const { ask, end } = start(known);
  assert.is((await ask(open("/none.so"))).at(-1), refusal("module-missing", "cannot open /none.so"));
  const failed = refusal("module-failed", "C_GetFunctionList returned CKR_DEVICE_ERROR");
  assert.is((await ask(open("/refuses.so"))).at(-1), failed);
  assert.is(await end(), "0");
});

test("without the package koffi the problem is package-missing", async () => {
  const { ask, end } = start(childWith(undefined));
  const missing = refusal("package-missing", "the package koffi is not installed");
  assert.equal(await ask(open("/module.so")), [missing]);
  assert.is(await end(), "0");
});

if (isLinux) {
  test("a process whose parent ended before the kernel was set to end both opens no token", async () => {
    const shell = ["sh", "-c", '"$@"; exit', "sh"]; // the shell stays its parent
    const { ask, child } = start(childWith(`let waitsForParentsEnd = true;${koffi}`), shell);
    child.stdout!.on("data", (text: string) => void (text.includes("prctl 1 9") && child.kill("SIGKILL")));
    const printed = await ask(open("/module.so"));
    child.stdin!.end();
    assert.ok(printed.includes("prctl 1 9"), printed.join());
    assert.not.ok(printed.some((line) => line.startsWith("@")), printed.join());
  });
}

test.run();
