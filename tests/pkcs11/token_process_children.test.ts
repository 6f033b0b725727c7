/** A token's process that hangs, crashes or vanishes costs a refusal, not the program. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generatePkcs11Key } from "../../actors/pkcs11/pkcs11_signer.ts";
import { SignerError } from "../../actors/pkcs11/signer_error.ts";
import { startTokenChild } from "../../actors/pkcs11/start_token_child.ts";
import { answerCharactersMax, loginMark } from "../../actors/pkcs11/token_messages.ts";
import { questionsWaitingMax, TokenProcess } from "../../actors/pkcs11/token_process.ts";
import { runAsOrdinary } from "../support/ordinary_user.ts";
import { asRoot, needing } from "../support/prerequisites.ts";
import { makeSoftToken, softModule, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("TokenProcess"), "softhsm2-util");
/** A process that works is waited for; those that hang have limits of their own. */
const timing = { answerMs: 20_000, startMs: 20_000, tryAgainMs: 100 };
const find = { op: "find", key: { object: "ca" } } as const;
const sign = { op: "sign", key: { object: "ca" }, data: "AAAA" } as const;

let token: SoftToken;
test.before(async () => {
  token = makeSoftToken();
  await generatePkcs11Key(token.uri("ca"), "ed25519");
});
test.after(() => token.remove());

/** A process, with the children that it started. */
function tokenProcess(start: (count: number) => ChildProcess = startTokenChild, pin = "1234", limits = timing) {
  const started: ChildProcess[] = [];
  const counted = () => {
    const child = start(started.length + 1);
    started.push(child);
    return child;
  };
  const open = { op: "open", module: softModule, token: { label: "acme" }, pin: { value: pin } } as const;
  return { started, token: new TokenProcess({ open, name: "pkcs11:token=acme", timing: limits, start: counted }) };
}

const codeOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(() => "done", (error) => error instanceof SignerError ? error.code : String(error));

/** A child process that runs a script of the shell. */
const shellProcess = (script: string) => () => spawn("sh", ["-c", script], { stdio: ["pipe", "pipe", "pipe"] });

/** Waits until something holds; not for ever, where a defect keeps it from that. */
async function waitFor(holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !holds() && Date.now() < end;) await setTimeout(5);
}

/** A token that hangs while it is tried again: its third process runs, and is not given up soon. */
async function triedAgain() {
  const limits = { answerMs: 100, startMs: 100, tryAgainMs: 50 };
  const hanging = tokenProcess(shellProcess("exec sleep 60"), "1234", limits);
  assert.is(await codeOf(hanging.token.ask(sign)), "signer-unavailable");
  Object.assign(limits, { startMs: 20_000 });
  await waitFor(() => hanging.started.length === 3);
  return { ...hanging, limits };
}

for (const signal of ["SIGSTOP", "SIGABRT"] as const) {
  test(`a process that got ${signal} is replaced, and the question answered`, async () => {
    const limits = { ...timing };
    const { token, started } = tokenProcess(
      (count) => {
        if (count > 1) Object.assign(limits, timing);
        return startTokenChild();
      },
      "1234",
      limits,
    );
    await token.ask(find);
    Object.assign(limits, { answerMs: 500 });
    process.kill(started[0]!.pid!, signal);
    assert.is((await token.ask(sign)).length, 64);
    assert.is(started.length, 2);
    assert.is(token.failure, undefined);
    token.end();
  });
}

test("bug: a service manager that stopped the program took the token from it before its last signature", async () => {
  const { token, started } = tokenProcess();
  await token.ask(find);
  process.kill(started[0]!.pid!, "SIGTERM"); // systemd sends it to every process of a unit
  await setTimeout(500);
  assert.is((await token.ask(sign)).length, 64);
  assert.is(started.length, 1);
  started[0]!.stdin!.end();
  await waitFor(() => started[0]!.exitCode !== null);
  assert.is(started[0]!.exitCode, 0, "it ends with its input");
  token.end();
});

test("bug: a question that waited when the token was let go of started a process with the PIN", async () => {
  const { token, started } = tokenProcess(shellProcess("exec sleep 60"));
  const asked = [codeOf(token.ask(find)), codeOf(token.ask(sign))];
  await waitFor(() => started.length === 1);
  token.end();
  assert.equal(await Promise.all(asked), ["signer-unavailable", "signer-unavailable"]);
  assert.is(started.length, 1);
});

test("one that hangs twice is refused, then all others at once, until it is back", async () => {
  const hanging = shellProcess("exec sleep 60");
  const limits = { answerMs: 100, startMs: 100, tryAgainMs: 100 };
  let hangs = true;
  const { token, started } = tokenProcess(() => hangs ? hanging() : startTokenChild(), "1234", limits);
  const [first, second] = await Promise.all([codeOf(token.ask(sign)), codeOf(token.ask(sign))]);
  assert.equal([first, second], ["signer-unavailable", "signer-unavailable"]);
  assert.is(started.length, 2, "the second question starts no process");
  Object.assign(limits, { answerMs: 20_000, startMs: 20_000 });
  hangs = false;
  while (token.failure !== undefined) await setTimeout(20);
  assert.is((await token.ask(sign)).length, 64);
  assert.ok(started.slice(0, -1).every(({ killed, signalCode }) => killed || signalCode === "SIGKILL"));
  token.end();
});

test("bug: a question that came while a hanging token was tried again waited for the attempt's end", async () => {
  const { token } = await triedAgain();
  const refused = await Promise.race([codeOf(token.ask(sign)), setTimeout(100, "no answer")]);
  assert.is(refused, "signer-unavailable");
  token.end();
});

test("a token that is removed while it is used is signer-unavailable until it is there again", async () => {
  const { token: removed, started } = tokenProcess();
  await removed.ask(find);
  renameSync(join(token.dir, "tokens"), join(token.dir, "removed"));
  process.kill(started[0]!.pid!, "SIGKILL");
  assert.is(await codeOf(removed.ask(sign)), "signer-unavailable");
  renameSync(join(token.dir, "removed"), join(token.dir, "tokens"));
  while (removed.failure !== undefined) await setTimeout(20);
  assert.is((await removed.ask(sign)).length, 64);
  removed.end();
});

const works = `while read line; do echo '@token {"bytes": "AAAA"}'; done`;
const pinAway = `read line; echo '@token {"problem": "pin-unreadable", "detail": "pin-source: ESTALE"}'; sleep 60`;

test("bug: a token that failed was never tried again after one attempt found the PIN's file unreadable", async () => {
  const hangs = "exec sleep 60";
  const once = `for question in open find; do read line; echo '@token {"bytes": "AAAA"}'; done; ${hangs}`;
  const scripts = [once, hangs, pinAway];
  const limits = { ...timing, answerMs: 20_000 };
  const details: (string | undefined)[] = [];
  const { token, started } = tokenProcess(
    (count) => {
      details.push(token.failure?.detail);
      return shellProcess(scripts[count - 1] ?? works)();
    },
    "1234",
    limits,
  );
  await token.ask(find);
  Object.assign(limits, { answerMs: 100, startMs: 100 });
  assert.is(await codeOf(token.ask(sign)), "signer-unavailable");
  Object.assign(limits, { answerMs: 20_000 });
  await waitFor(() => token.failure === undefined);
  assert.is((await token.ask(sign)).length, 3);
  assert.equal(details.slice(0, 4), [undefined, undefined, "it did not answer within 200 ms", "pin-source: ESTALE"]);
  assert.ok(started.length >= 4);
  token.end();
});

test("bug: a token that was open was shown as usable while the PIN for its next process could not be read", async () => {
  const once = `for question in open find; do read line; echo '@token {"bytes": "AAAA"}'; done; read line; exit 1`;
  const scripts = [once, pinAway, pinAway, works];
  const limits = { ...timing, answerMs: 20_000 };
  const { token } = tokenProcess((count) => shellProcess(scripts[count - 1] ?? works)(), "1234", limits);
  await token.ask(find);
  assert.is(await codeOf(token.ask(sign)), "signer-unavailable");
  assert.is(token.failure?.detail, "pin-source: ESTALE");
  await waitFor(() => token.failure === undefined);
  assert.is((await token.ask(sign)).length, 3);
  token.end();
});

test("bug: a token that was let go of while it was tried again got a process with the PIN all the same", async () => {
  const { token, started, limits } = await triedAgain();
  token.end();
  await waitFor(() => started.every(({ signalCode }) => signalCode === "SIGKILL"));
  await setTimeout(4 * limits.tryAgainMs);
  assert.equal(started.map(({ signalCode }) => signalCode), ["SIGKILL", "SIGKILL", "SIGKILL"]);
  // The next holder's question is another beginning.
  Object.assign(limits, { startMs: 100 });
  assert.is(await codeOf(token.ask(sign)), "signer-unavailable");
  assert.is(started.length, 5);
  token.end();
});

test("where no process can be started the problem is the one that the start names, for good", async () => {
  const { token, started } = tokenProcess(() => {
    throw new SignerError({ code: "not-supported-here", key: "", detail: "no koffi in here" });
  });
  assert.is(await codeOf(token.ask(find)), "not-supported-here");
  await setTimeout(2 * timing.tryAgainMs);
  assert.is(token.failure?.code, "not-supported-here");
  assert.is(started.length, 0);
});

test("a wrong PIN is presented once", async () => {
  const { token, started } = tokenProcess(startTokenChild, "4321");
  for (let asked = 0; asked < 3; asked++) assert.is(await codeOf(token.ask(find)), "pin-wrong");
  await setTimeout(3 * timing.tryAgainMs);
  assert.is(started.length, 1);
  token.end();
});

const logins: [name: string, script: string][] = [
  ["did not end", `read line; echo '${loginMark}'; exec sleep 60`],
  ["ended the process", `read line; echo '${loginMark}'; exit 3`],
  ["failed", `read line; echo '${loginMark}'; echo '@token {"problem": "login-failed", "detail": ""}'; sleep 60`],
];
for (const [name, script] of logins) {
  test(`bug: after a login that ${name} the same PIN was presented again and again`, async () => {
    const limits = { ...timing, answerMs: 500, startMs: 500 };
    const { token, started } = tokenProcess(shellProcess(script), "5555", limits);
    for (let asked = 0; asked < 3; asked++) assert.is(await codeOf(token.ask(find)), "login-failed");
    await setTimeout(3 * timing.tryAgainMs);
    assert.is(started.length, 1);
    assert.ok(token.isFinal);
    token.end();
  });
}

test("a login that fails after the PIN has logged in is tried again", async () => {
  const unproven = `echo '${loginMark}'; exit 3`;
  const crash = `read line; case "$line" in *'"isPinProven":true'*) exit 3;; esac; ${unproven}`;
  for (const scripts of [[works], [crash, crash, works]]) {
    const { token } = tokenProcess((count) => shellProcess(scripts[count - 1] ?? works)(), "6666");
    const isFirst = scripts[0] === works;
    assert.is(await codeOf(token.ask(find)), isFirst ? "done" : "signer-unavailable");
    await waitFor(() => token.failure === undefined);
    assert.is((await token.ask(find)).length, 3);
    token.end();
  }
});

test("the process reports a login with a PIN that is not proven, before its answer", async () => {
  const open = { op: "open", module: softModule, token: { label: "acme" }, pin: { value: "1234" } };
  const printed = async (isPinProven: boolean) => {
    const child = startTokenChild();
    let output = "";
    child.stdout!.setEncoding("utf8").on("data", (text: string) => output += text);
    child.stdin!.end(`${JSON.stringify({ ...open, isPinProven })}\n`);
    await once(child, "close");
    return output.split("\n").filter((line) => line !== "");
  };
  const answer = '@token {"bytes":""}';
  assert.equal([await printed(false), await printed(true)], [[loginMark, answer], [answer]]);
});

/** Whether a process runs; one that ended and whose parent has not looked at it yet does not. */
function isRunning(pid: string): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** Whether a token's process loaded koffi: from then on an ordinary user cannot read its memory's map. */
function hasKoffi(pid: string): boolean {
  try {
    return /koffi/.test(readFileSync(`/proc/${pid}/maps`, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EACCES") return true;
    throw error;
  }
}

asRoot(needing(test, "setpriv"))("bug: a module that crashed left a core file with the PIN", async () => {
  const file = fileURLToPath(new URL("../support/token_core_child.ts", import.meta.url));
  // The system gives the files of a process that has no core to root.
  assert.is((await runAsOrdinary(file)).trim(), "before: 65534, open: 0");
});

if (process.platform === "linux") {
  test("bug: one whose module hangs outlived a parent that was killed, by half a minute", async () => {
    const fifo = join(token.dir, "fifo");
    execFileSync("mkfifo", [fifo]); // opening it without a writer never returns
    const parentFile = fileURLToPath(new URL("../support/token_parent_child.ts", import.meta.url));
    const args = "Deno" in globalThis ? ["run", "-A", "-q", "--no-check"] : ["--no-warnings"];
    const parent = spawn(process.execPath, [...args, parentFile, fifo], { stdio: ["ignore", "pipe", "inherit"] });
    const pid = await new Promise<string>((resolve) => parent.stdout.once("data", (line) => resolve(`${line}`.trim())));
    await waitFor(() => hasKoffi(pid));
    await setTimeout(300);
    assert.ok(isRunning(pid), "it hangs");
    parent.kill("SIGKILL");
    await waitFor(() => !isRunning(pid));
    const outlived = isRunning(pid);
    if (outlived) process.kill(Number(pid), "SIGKILL");
    assert.not.ok(outlived);
  });
}

if (process.platform === "linux") {
  test("bug: one that hangs was not killed on Deno with the fewest permissions", async () => {
    const fifo = join(token.dir, "other-fifo");
    execFileSync("mkfifo", [fifo]); // opening it without a writer never returns
    const file = fileURLToPath(new URL("../support/token_end_child.ts", import.meta.url));
    const fewest = ["run", "-q", "--no-check", "--no-prompt", "--ignore-env", "--allow-env=HYPHA_*", "--allow-read"];
    const args = "Deno" in globalThis ? [...fewest, `--allow-run=${process.execPath}`] : ["--no-warnings"];
    const program = spawn(process.execPath, [...args, file, fifo], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    program.stdout.setEncoding("utf8").on("data", (text: string) => output += text);
    await waitFor(() => output.includes("given up"));
    const pids = output.split("\n").filter((line) => /^\d+$/.test(line));
    await waitFor(() => !pids.some(isRunning));
    const left = pids.filter(isRunning);
    program.kill("SIGKILL");
    assert.equal([pids.length, left], [2, []]);
  });
}

test("without the package koffi the error names it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "no-koffi-"));
  const files = ["token_child.ts", "token_session.ts", "token_messages.ts", "cryptoki.ts"];
  for (const file of files) {
    copyFileSync(fileURLToPath(new URL(`../../actors/pkcs11/${file}`, import.meta.url)), join(folder, file));
  }
  const args = "Deno" in globalThis ? ["run", "-q", "--no-check", "--allow-ffi", "--allow-read"] : ["--no-warnings"];
  const { token } = tokenProcess(() => spawn(process.execPath, [...args, join(folder, "token_child.ts")]));
  const error = await token.ask(find).then(() => undefined, (cause) => cause as SignerError);
  assert.is(error?.code, "package-missing");
  assert.match(error?.message ?? "", /npm install koffi; npm install -g koffi where/); // bug: after an installation with -g it was not found
  token.end();
  rmSync(folder, { recursive: true });
});

const answers: [name: string, script: string][] = [
  ["is no JSON", "read line; echo '@token {'; sleep 60"],
  ["is of another shape", `read line; echo '@token {"bytes": 1}'; sleep 60`],
  ["names an unknown problem", `read line; echo '@token {"problem": "x", "detail": ""}'; sleep 60`],
  ["is without end", `read line; head -c ${answerCharactersMax + 1} /dev/zero; sleep 60`],
  ["never comes", "exit 3"],
];
for (const [name, script] of answers) {
  test(`an answer that ${name} is signer-unavailable`, async () => {
    const { token, started } = tokenProcess(shellProcess(script), "1234", { ...timing, tryAgainMs: 60_000 });
    assert.is(await codeOf(token.ask(find)), "signer-unavailable");
    assert.is(started.length, 2);
    token.end();
  });
}

test("a program that does not exist is signer-unavailable", async () => {
  const { token } = tokenProcess(() => spawn("/none/program"), "1234", { ...timing, tryAgainMs: 60_000 });
  assert.is(await codeOf(token.ask(find)), "signer-unavailable");
  token.end();
});

test("lines of the module between the answers are passed over", async () => {
  const script = `while read line; do echo "module: debug"; echo '@token {"bytes": "AAAA"}'; done`;
  const { token } = tokenProcess(shellProcess(script));
  assert.is((await token.ask(find)).length, 3);
  token.end();
});

test("bug: an answer after a line that the module had not ended was lost", async () => {
  const args = "Deno" in globalThis ? ["run", "-A", "-q", "--no-check"] : ["--no-warnings"];
  const child = fileURLToPath(new URL("../../actors/pkcs11/token_child.ts", import.meta.url));
  const { token } = tokenProcess(() =>
    spawn("sh", ["-c", `printf 'module: debug'; exec "$@"`, "sh", process.execPath, ...args, child])
  );
  assert.ok((await token.ask(find)).length > 0);
  token.end();
});

test("bug: a question that the token refused took the token from all others", async () => {
  const refuses = `echo '@token {"problem": "signing-refused", "detail": "C_Sign returned CKR_DATA_LEN_RANGE"}'`;
  const script =
    `while read line; do case "$line" in *sign*) ${refuses};; *) echo '@token {"bytes": "AAAA"}';; esac; done`;
  const { token, started } = tokenProcess(shellProcess(script));
  assert.is(await codeOf(token.ask(sign)), "signing-refused");
  assert.is(token.failure, undefined);
  assert.is((await token.ask(find)).length, 3);
  assert.is(started.length, 1);
  token.end();
});

const generate = { op: "generate", key: { object: "slow" }, algorithm: "ed25519" } as const;

test("bug: a key whose making took longer than a signature was requested twice", async () => {
  const script =
    `while read line; do case "$line" in *generate*) sleep 1;; esac; echo '@token {"bytes": "AAAA"}'; done`;
  const { token, started } = tokenProcess(shellProcess(script), "1234", { ...timing, answerMs: 500 });
  assert.is((await token.ask(generate)).length, 3);
  assert.is(started.length, 1);
  token.end();
});

test("bug: a key was made twice where the process ended in between", async () => {
  const script = `read line; echo '@token {"bytes": "AAAA"}'; read line; exit 3`;
  const { token, started } = tokenProcess(shellProcess(script), "1234", { ...timing, tryAgainMs: 60_000 });
  assert.is(await codeOf(token.ask(generate)), "signer-unavailable");
  assert.is(started.length, 1);
  token.end();
});

test("questions over the limit are refused at once", async () => {
  const { token, started } = tokenProcess(shellProcess("exec sleep 60"), "1234", {
    ...timing,
    startMs: 0,
    answerMs: 300,
  });
  const waiting = Array.from({ length: questionsWaitingMax }, () => codeOf(token.ask(find)));
  assert.is(await codeOf(token.ask(find)), "signer-unavailable");
  assert.is(started.length <= 1, true);
  await Promise.all(waiting);
  token.end();
});

test.run();
