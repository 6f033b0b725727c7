/**
 * The process of a token: it alone loads the token's module and knows the PIN. A module that hangs or crashes takes this process with
 * it, and no other. Questions come on standard input, one at a time; it ends with its input.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { writeSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { Cryptoki, CryptokiError, type Koffi, loadKoffi } from "./cryptoki.ts";
import type { SignerProblem } from "./signer_error.ts";
import {
  answerMark,
  loginMark,
  type OpenToken,
  processAlarmSeconds,
  type TokenAnswer,
  type TokenRequest,
} from "./token_messages.ts";
import { TokenProblem, TokenSession } from "./token_session.ts";

/** Return values after which a new process may reach the token again (PKCS#11 3.0 §5.1). */
const lostValues: ReadonlySet<number> = new Set([0x30, 0x32, 0xb0, 0xb3, 0xe0, 0xe1, 0x101]);

let session: TokenSession | undefined;

async function open({ module, ...token }: OpenToken): Promise<void> {
  const koffi = await loadKoffi();
  if (koffi === undefined) throw new TokenProblem("package-missing", "the package koffi is not installed");
  guardProcess(koffi);
  session = new TokenSession(loadModule(koffi, module), token, reportLogin);
}

/** At once: a login that hangs lets no stream write. */
function reportLogin(): void {
  writeSync(1, `\n${loginMark}\n`);
}

function loadModule(koffi: Koffi, path: string): Cryptoki {
  try {
    return new Cryptoki(koffi, path);
  } catch (error) {
    const detail = (error as Error).message.split("\n", 1)[0]!;
    throw new TokenProblem(error instanceof CryptokiError ? "module-failed" : "module-missing", detail);
  }
}

let alarm: (seconds: number) => unknown = () => undefined;

/** The parent when this process began. */
const parent = process.ppid;
/** Options of prctl(2): which signal this process gets when its parent ends, and whether a crash leaves a core file. */
const [parentDeathSignal, dumpable] = [1, 4];
const kill = 9;

/**
 * A call that hangs keeps this process from seeing that its parent is gone. On Linux the kernel ends it together with the parent; elsewhere
 * SIGALRM does when the call has taken too long. On Linux a crash leaves no core file either, which would have the PIN.
 */
function guardProcess(koffi: Koffi): void {
  const library = koffi.load(null);
  alarm = library.func("unsigned int alarm(unsigned int seconds)");
  alarm(processAlarmSeconds);
  if (process.platform !== "linux") return;
  const prctl = library.func("int prctl(int option, unsigned long value)");
  prctl(parentDeathSignal, kill);
  prctl(dumpable, 0);
  if (process.ppid !== parent) process.exit(1); // it ended before
}

async function answer(request: OpenToken | TokenRequest): Promise<TokenAnswer> {
  try {
    alarm(processAlarmSeconds);
    if (request.op === "open") {
      await open(request);
      return { bytes: "" };
    }
    if (session === undefined) return { problem: "signer-unavailable", detail: "the token is not open" };
    return { bytes: carryOut(session, request).toString("base64") };
  } catch (error) {
    return { problem: problemOf(error), detail: (error as Error).message };
  } finally {
    alarm(0);
  }
}

function carryOut(token: TokenSession, request: TokenRequest): Buffer {
  switch (request.op) {
    case "find":
      return token.find(request.key);
    case "sign":
      return token.sign(request.key, Buffer.from(request.data, "base64"));
    case "generate":
      return token.generate(request.key, request.algorithm);
  }
}

function problemOf(error: unknown): SignerProblem {
  if (error instanceof TokenProblem) return error.problem;
  return error instanceof CryptokiError && lostValues.has(error.value) ? "signer-unavailable" : "module-failed";
}

// A service manager sends it to all processes of a unit, and the parent may still have to sign.
process.on("SIGTERM", () => {});

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const reply = await answer(JSON.parse(line) as OpenToken | TokenRequest);
  // A module may have left its last line without an end.
  process.stdout.write(`\n${answerMark}${JSON.stringify(reply)}\n`);
}
process.exit(0);
