/**
 * A token's process as its users see it, in time that a test moves: which question starts, ends or replaces the process, what it is told,
 * how long it may take, and what an answer means. Real processes, also of SoftHSM, are in `token_process_children.test.ts`.
 */
import { Buffer } from "node:buffer";
import type { ChildProcess } from "node:child_process";
import { EventEmitter } from "node:events";
import { PassThrough } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SignerError, type SignerProblem } from "../../actors/pkcs11/signer_error.ts";
import type { OpenToken, TokenRequest } from "../../actors/pkcs11/token_messages.ts";
import { TokenProcess, type TokenTerms } from "../../actors/pkcs11/token_process.ts";

const test = suite("questions to a TokenProcess");
const find = { op: "find", key: { object: "ca" } } as const;
const sign = { op: "sign", key: { object: "ca" }, data: "AAAA" } as const;
const generate = { op: "generate", key: { object: "new" }, algorithm: "ed25519" } as const;
const loginMark = "@login";
const done = { bytes: "AAAA" };

/** A pipe of a process, and whether it keeps this process from ending. */
class Pipe extends PassThrough {
  isRef = true;
  ref() {
    this.isRef = true;
  }
  unref() {
    this.isRef = false;
  }
}

/** A process that does what the test says. It does not end by being killed: a test says when. */
class PlayedChild extends EventEmitter {
  readonly pid: number;
  readonly stdin = new Pipe();
  readonly stdout = new Pipe();
  readonly stderr = new Pipe();
  readonly signals: unknown[] = [];
  readonly questions: (OpenToken | TokenRequest)[] = [];
  isRef = true;

  constructor(pid: number) {
    super();
    this.pid = pid;
    this.stdin.setEncoding("utf8").on("data", (text: string) => {
      for (const line of text.trimEnd().split("\n")) this.questions.push(JSON.parse(line));
    });
  }
  ref() {
    this.isRef = true;
  }
  unref() {
    this.isRef = false;
  }
  kill(signal: unknown) {
    this.signals.push(signal);
    return true;
  }

  /** Which of the process and its pipes keep this process from ending. */
  get refs(): boolean[] {
    return [this, this.stdin, this.stdout, this.stderr].map(({ isRef }) => isRef);
  }
  print(text: string): Promise<void> {
    this.stdout.write(text);
    return settled();
  }
  answer(answer: unknown): Promise<void> {
    return this.print(`\n@token ${JSON.stringify(answer)}\n`);
  }
  exit(code: number | null, signal: string | null = null): Promise<void> {
    this.emit("exit", code, signal);
    return settled();
  }
}

/** Deno's process of a program that may not run, or is not there. */
class DeniedChild extends EventEmitter {
  ref(): never {
    throw new TypeError("Cannot read properties of undefined (reading 'ref')");
  }
  unref(): never {
    throw new TypeError("Cannot read properties of undefined (reading 'unref')");
  }
  kill() {
    return false;
  }
}

/** Waits until everything has happened that needs no time. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 6; turn++) await setImmediate();
}

interface Timer {
  readonly due: number;
  readonly run: () => void;
  isRef: boolean;
  unref(): Timer;
}

class World {
  now = 0;
  timers: Timer[] = [];
  readonly children: PlayedChild[] = [];

  /** How long each timer still waits. */
  get waits(): number[] {
    return this.timers.map(({ due }) => due - this.now);
  }

  readonly setTimeout = (run: () => void, ms: number): Timer => {
    const timer: Timer = {
      due: this.now + ms,
      run,
      isRef: true,
      unref() {
        timer.isRef = false;
        return timer;
      },
    };
    this.timers.push(timer);
    return timer;
  };
  readonly clearTimeout = (timer: Timer | undefined): void => {
    this.timers = this.timers.filter((each) => each !== timer);
  };

  /** Lets time pass. What follows from the timers has not happened yet. */
  run(ms: number): void {
    this.now += ms;
    const due = this.timers.filter((timer) => timer.due <= this.now);
    this.timers = this.timers.filter((timer) => timer.due > this.now);
    for (const timer of due) timer.run();
  }
  pass(ms: number): Promise<void> {
    this.run(ms);
    return settled();
  }

  /** A token's process; every one has a PIN of its own. */
  token(terms: Partial<TokenTerms> = {}): TokenProcess {
    const open = openWith(`pin ${pins++}`);
    const start = () => {
      const child = new PlayedChild(1_000 + this.children.length);
      this.children.push(child);
      return child as unknown as ChildProcess;
    };
    return new TokenProcess({ open, name: "pkcs11:token=acme", start, ...terms });
  }

  get child(): PlayedChild {
    return this.children.at(-1)!;
  }

  /** A token that is open, and has answered a question. */
  async opened(terms: Partial<TokenTerms> = {}): Promise<TokenProcess> {
    const token = this.token(terms);
    const asked = ask(token, find);
    await settled();
    await this.child.answer({ bytes: "" });
    await this.child.answer(done);
    assert.is(asked.outcome, "AAAA");
    return token;
  }

  /** A token that failed. It was open before; its second process did not open in time. */
  async failed(): Promise<TokenProcess> {
    const token = await this.opened();
    ask(token, sign);
    await settled();
    await this.child.exit(3);
    await this.pass(10_000);
    assert.is(token.failure?.detail, "it did not answer within 10000 ms");
    return token;
  }
}

let pins = 0;
const openWith = (pin: string): OpenToken => ({
  op: "open",
  module: "/m.so",
  token: { label: "acme" },
  pin: { value: pin },
});

/** Asks, and keeps what comes of it. */
function ask(token: TokenProcess, request: TokenRequest): { outcome: string | undefined; error?: SignerError } {
  const asked: { outcome: string | undefined; error?: SignerError } = { outcome: undefined };
  token.ask(request).then(
    (bytes) => asked.outcome = bytes.toString("base64"),
    (error) => {
      if (!(error instanceof SignerError)) return asked.outcome = String(error);
      asked.outcome = `${error.code}: ${error.detail}`;
      asked.error = error;
    },
  );
  return asked;
}

function played(name: string, act: (world: World) => Promise<void>): void {
  test(name, async () => {
    const world = new World();
    const { setTimeout, clearTimeout } = globalThis;
    Object.assign(globalThis, { setTimeout: world.setTimeout, clearTimeout: world.clearTimeout });
    try {
      await act(world);
    } finally {
      Object.assign(globalThis, { setTimeout, clearTimeout });
    }
  });
}

played("the first question starts a process and opens the token, others use it, one after the other", async (world) => {
  const token = world.token({ open: openWith("first") });
  assert.is(token.pid, undefined);
  const [first, second] = [ask(token, find), ask(token, sign)];
  await settled();
  const { child } = world;
  assert.is(token.pid, 1_000);
  assert.equal(child.questions, [{ ...openWith("first"), isPinProven: false }]);
  await child.answer({ bytes: "" });
  assert.equal(child.questions.slice(1), [find]);
  await child.answer({ bytes: "AQID" });
  assert.equal([first.outcome, second.outcome], ["AQID", undefined]);
  assert.equal(child.questions.slice(2), [sign]);
  await child.answer(done);
  assert.is(second.outcome, "AAAA");
  assert.equal([world.children.length, child.signals, world.waits], [1, [], []]);
});

played("a PIN is proven by a login in this program, for the same token and the same PIN", async (world) => {
  await world.opened({ open: openWith("proven") });
  const isProven = async (pin: string) => {
    ask(world.token({ open: openWith(pin) }), find);
    await settled();
    return (world.child.questions[0] as OpenToken).isPinProven;
  };
  assert.equal([await isProven("proven"), await isProven("other")], [true, false]);
});

played("the time for an answer: 10 s to open, 5 s to find and sign, 25 s to make a key", async (world) => {
  const token = world.token();
  ask(token, find);
  await settled();
  assert.equal(world.waits, [10_000]);
  await world.child.answer({ bytes: "" });
  for (const [request, ms] of [[find, 5_000], [sign, 5_000], [generate, 25_000]] as const) {
    if (request !== find) ask(token, request);
    await settled();
    assert.equal(world.waits, [ms], request.op);
    await world.child.answer(done);
    assert.equal(world.waits, []);
  }
});

played("other limits may be given", async (world) => {
  const token = await world.opened({ timing: { answerMs: 300, startMs: 1_000, tryAgainMs: 20 } });
  const asked = ask(token, sign);
  await settled();
  assert.equal(world.waits, [300]);
  await world.pass(300);
  assert.equal(world.waits, [1_300]);
  await world.pass(1_300);
  assert.is(asked.outcome, "signer-unavailable: it did not answer within 1300 ms");
  assert.equal(world.waits, [20]);
});

played("a process that does not answer in time is killed, and the question asked of a second one", async (world) => {
  const token = await world.opened();
  const first = world.child;
  const asked = ask(token, sign);
  await settled();
  await world.pass(4_999);
  assert.equal([world.children.length, first.signals], [1, []]);
  await world.pass(1);
  assert.equal([world.children.length, first.signals], [2, ["SIGKILL"]]);
  assert.ok([first.stdin, first.stdout, first.stderr].every(({ destroyed }) => destroyed));
  await first.exit(null, "SIGKILL");
  await world.child.answer({ bytes: "" });
  assert.equal(world.child.questions.slice(1), [sign]);
  await world.child.answer(done);
  assert.is(asked.outcome, "AAAA");
  assert.equal([token.failure, token.pid, world.waits], [undefined, 1_001, []]);
});

played("a process that ended between two questions is replaced", async (world) => {
  const token = await world.opened();
  await world.child.exit(0);
  const asked = ask(token, sign);
  await settled();
  assert.is(world.children.length, 2);
  await world.child.answer({ bytes: "" });
  await world.child.answer(done);
  assert.is(asked.outcome, "AAAA");
});

played("a process that ended as soon as it was open is replaced at once", async (world) => {
  const token = world.token();
  const asked = ask(token, sign);
  await settled();
  const first = world.child;
  first.stdout.once("data", () => first.emit("exit", 3, null));
  await first.answer({ bytes: "" });
  assert.equal([first.questions.length, world.children.length], [1, 2]);
  await world.child.answer({ bytes: "" });
  await world.child.answer(done);
  assert.is(asked.outcome, "AAAA");
});

played("the first event that ended a process is the reason", async (world) => {
  const token = world.token();
  const asked = ask(token, generate);
  await settled();
  const { child } = world;
  child.stdout.once("data", () => {
    child.emit("exit", 3, null);
    child.emit("error", new Error("later"));
  });
  await child.answer({ bytes: "" });
  assert.is(asked.outcome, "signer-unavailable: its process ended with 3");
});

played(
  "where the second process fails too all questions are refused at once, until an attempt succeeds",
  async (world) => {
    const token = await world.opened();
    const [asked, queued] = [ask(token, sign), ask(token, sign)];
    await settled();
    await world.child.exit(null, "SIGSEGV");
    const second = world.child;
    assert.is(token.pid, 1_001);
    await second.exit(3);
    assert.equal([asked.outcome, queued.outcome], Array(2).fill("signer-unavailable: its process ended with 3"));
    assert.equal([token.pid, token.isFinal, world.children.length], [undefined, false, 2]);
    assert.is(token.failure?.code, "signer-unavailable");
    assert.equal(world.timers.map(({ isRef }) => isRef), [false], "an attempt keeps no program from ending");
    const refused = ask(token, sign);
    await world.pass(4_999);
    assert.is(refused.outcome, "signer-unavailable: its process ended with 3");
    assert.is(world.children.length, 2);

    await world.pass(1);
    assert.is(world.children.length, 3);
    const meanwhile = ask(token, sign);
    await settled();
    assert.is(meanwhile.outcome, "signer-unavailable: its process ended with 3", "it does not wait for the attempt");
    await world.child.answer({ bytes: "" });
    assert.equal([token.failure, world.waits], [undefined, []]);
    const answered = ask(token, sign);
    await settled();
    await world.child.answer(done);
    assert.equal([answered.outcome, world.children.length], ["AAAA", 3]);
  },
);

played("an attempt that fails is followed by another, whatever it met", async (world) => {
  const token = world.token();
  ask(token, find);
  await settled();
  await world.child.exit(1);
  await world.child.exit(2);
  const details = [token.failure?.detail];
  for (const problem of ["token-missing", "module-failed", "key-missing"]) {
    await world.pass(5_000);
    await world.child.answer({ problem, detail: problem });
    assert.equal(world.child.signals, ["SIGKILL"]);
    details.push(token.failure?.detail);
    assert.is(token.failure?.code, "signer-unavailable");
  }
  assert.equal(details, ["its process ended with 2", "token-missing", "module-failed", "key-missing"]);
  await world.pass(5_000);
  await world.child.answer({ bytes: "" });
  assert.is(token.failure, undefined);
});

const finals: SignerProblem[] = [
  "pin-wrong",
  "pin-locked",
  "login-failed",
  "package-missing",
  "not-permitted",
  "not-supported-here",
];
for (const problem of finals) {
  played(`${problem} is final: no process is started again, nor after the token was let go of`, async (world) => {
    const token = world.token();
    const asked = ask(token, find);
    await settled();
    await world.child.answer({ problem, detail: "why" });
    assert.is(asked.outcome, `${problem}: why`);
    assert.equal(world.child.signals, ["SIGKILL"]);
    assert.equal([token.isFinal, token.failure?.code], [true, problem]);
    token.end();
    const again = ask(token, find);
    await world.pass(60_000);
    assert.is(again.outcome, `${problem}: why`);
    assert.is(world.children.length, 1);
  });
}

const passing: SignerProblem[] = ["token-missing", "module-failed", "module-missing", "pin-missing", "pin-unreadable"];
for (const problem of passing) {
  const fails = async (world: World, token: TokenProcess) => {
    const asked = ask(token, find);
    await settled();
    await world.child.answer({ problem, detail: "why" });
    return asked.outcome;
  };
  played(`${problem} at the first start is a mistake of the configuration, and named`, async (world) => {
    const token = world.token();
    assert.is(await fails(world, token), `${problem}: why`);
    assert.equal([token.failure, token.isFinal, world.waits], [undefined, false, []]);
    assert.is(await fails(world, token), `${problem}: why`, "the next question is another first start");
    assert.is(world.children.length, 2);
  });
  played(`${problem} of a token that may be away, or was open, is waited for`, async (world) => {
    const away = world.token({ mayBeAway: true });
    const open = await world.opened();
    await world.child.exit(0);
    for (const token of [away, open]) {
      assert.is(await fails(world, token), "signer-unavailable: why");
      assert.is(token.failure?.code, "signer-unavailable");
    }
    assert.equal(world.waits, [5_000, 5_000]);
  });
}

for (const problem of ["key-missing", "key-ambiguous", "key-exists", "key-unsupported", "signing-refused"] as const) {
  played(`${problem} concerns its own question`, async (world) => {
    const token = await world.opened();
    const asked = ask(token, sign);
    await settled();
    await world.child.answer({ problem, detail: "why" });
    assert.is(asked.outcome, `${problem}: why`);
    assert.equal([token.failure, world.child.signals, world.waits, world.children.length], [undefined, [], [], 1]);
    const next = ask(token, sign);
    await settled();
    await world.child.answer(done);
    assert.is(next.outcome, "AAAA");
  });
}

played("bug: the list of a million entries had as little time as a certificate", async (world) => {
  const token = await world.opened();
  for (const [bytes, limitMs] of [[1_048_575, 5_000], [1_048_576, 5_200], [53 * 1_048_576, 15_600]] as const) {
    const asked = ask(token, { ...sign, data: Buffer.alloc(bytes).toString("base64") });
    await settled();
    assert.equal(world.waits, [limitMs]);
    await world.child.answer(done);
    assert.is(asked.outcome, "AAAA");
  }
});

played("a key is requested once, whatever the token's process did", async (world) => {
  const token = await world.opened();
  const asked = ask(token, generate);
  await settled();
  await world.pass(25_000);
  assert.is(asked.outcome, "signer-unavailable: it did not answer within 25000 ms");
  assert.is(world.children.length, 1);
});

played("256 questions may wait, and as many come after as were answered", async (world) => {
  const token = world.token();
  const asked = Array.from({ length: 256 }, () => ask(token, find));
  const [over] = [ask(token, find)];
  await settled();
  assert.is(over!.outcome, "signer-unavailable: 256 questions wait");
  assert.is(asked.findIndex(({ outcome }) => outcome !== undefined), -1);
  assert.is(token.failure, undefined);
  await world.child.answer({ bytes: "" });
  for (let count = 0; count < 3; count++) await world.child.answer(done);
  const more = Array.from({ length: 4 }, () => ask(token, find));
  await settled();
  assert.equal(more.map(({ outcome }) => outcome), [
    undefined,
    undefined,
    undefined,
    "signer-unavailable: 256 questions wait",
  ]);
  assert.is(asked.filter(({ outcome }) => outcome === "AAAA").length, 3);
});

played("a question that is refused counts as waiting no more", async (world) => {
  const token = await world.opened();
  for (let count = 0; count < 300; count++) {
    const asked = ask(token, sign);
    await settled();
    await world.child.answer({ problem: "key-missing", detail: "" });
    assert.is(asked.outcome, "key-missing: ");
  }
});

played("a token that is let go of has no process; its next question starts one", async (world) => {
  const token = await world.opened();
  token.end();
  assert.equal([world.child.signals, token.pid], [["SIGKILL"], undefined]);
  const asked = ask(token, sign);
  await settled();
  await world.child.answer({ bytes: "" });
  await world.child.answer(done);
  assert.equal([asked.outcome, world.children.length], ["AAAA", 2]);
});

played("a question whose token is let go of before its turn starts no process", async (world) => {
  const token = world.token();
  const asked = ask(token, sign);
  token.end();
  await settled();
  assert.is(asked.outcome, "signer-unavailable: it was let go of");
  assert.equal([world.children.length, token.failure], [0, undefined]);
});

played("a question that was asked when the token was let go of is not asked again", async (world) => {
  const token = await world.opened();
  const [asked, queued] = [ask(token, sign), ask(token, sign)];
  await settled();
  token.end();
  await world.child.exit(null, "SIGKILL");
  assert.equal([asked.outcome, queued.outcome], Array(2).fill("signer-unavailable: its process ended with SIGKILL"));
  assert.equal([world.children.length, world.waits], [1, []]);
  const next = ask(token, sign);
  await settled();
  assert.equal([next.outcome, world.children.length], [undefined, 2], "it is another beginning");
});

played("a token that failed is not tried again after it was let go of", async (world) => {
  const token = await world.failed();
  token.end();
  assert.equal(world.waits, []);
  assert.is(token.failure?.code, "signer-unavailable");
});

played("nor where it is let go of as its time comes", async (world) => {
  const token = await world.failed();
  world.run(5_000);
  token.end();
  await settled();
  assert.equal([world.children.length, world.waits], [2, []]);
});

played(
  "nor where it is let go of during an attempt; a question that comes waits for the attempt's end",
  async (world) => {
    const token = await world.failed();
    await world.pass(5_000);
    const { child } = world;
    token.end();
    assert.equal(child.signals, ["SIGKILL"]);
    ask(token, sign);
    await settled();
    assert.is(world.children.length, 3, "one process at a time");
    token.end();
    await child.exit(null, "SIGKILL");
    assert.equal([world.children.length, world.waits], [3, []]);
  },
);

played("between questions the process keeps its parent from ending in no way", async (world) => {
  const token = world.token();
  ask(token, find);
  await settled();
  const { child } = world;
  assert.equal(child.refs, [true, true, true, true]);
  await child.answer({ bytes: "" });
  assert.equal(child.refs, [true, true, true, true]);
  await child.answer(done);
  assert.equal(child.refs, [false, false, false, false]);
  ask(token, sign);
  await settled();
  assert.equal(child.refs, [true, true, true, true]);
  await world.pass(5_000);
  assert.equal(child.refs, [false, false, false, false]);
});

const exits: [name: string, errors: string, code: number | null, signal: string | null, detail: string][] = [
  ["a code", "", 3, null, "its process ended with 3"],
  ["a signal", "", null, "SIGSEGV", "its process ended with SIGSEGV"],
  ["blank errors", " \n\n", 3, null, "its process ended with 3"],
  ["errors", "first\nlast one\n\n", 1, null, "its process ended with 1: last one"],
  [
    "a long last line",
    `first\n${"123456789 ".repeat(40)}`,
    1,
    null,
    `its process ended with 1: ${"123456789 ".repeat(20)}`,
  ],
];
for (const [name, errors, code, signal, detail] of exits) {
  played(`the end of a process with ${name} is reported with its last line of errors`, async (world) => {
    const token = await world.opened();
    const asked = ask(token, generate);
    await settled();
    world.child.stderr.write(errors);
    await settled();
    await world.child.exit(code, signal);
    assert.is(asked.outcome, `signer-unavailable: ${detail}`);
  });
}

played("of a process's errors the last 2,048 characters are kept", async (world) => {
  const token = await world.opened();
  const asked = ask(token, generate);
  await settled();
  const text = Array.from({ length: 1_000 }, (_, index) => String(index).padStart(4, "0")).join("");
  for (let from = 0; from < text.length; from += 1_000) world.child.stderr.write(text.slice(from, from + 1_000));
  await settled();
  await world.child.exit(1);
  assert.is(asked.outcome, `signer-unavailable: its process ended with 1: ${text.slice(-2_048).slice(0, 200)}`);
});

played("an error of a process's pipe does not end the program", async (world) => {
  const token = await world.opened();
  const { stdin, stdout, stderr } = world.child;
  for (const pipe of [stdin, stdout, stderr]) pipe.emit("error", new Error("EPIPE"));
  assert.is(token.failure, undefined);
});

const notCapable = Object.assign(new Error('Requires run access to "node", run again with the --allow-run flag'), {
  name: "NotCapable",
});
const cannotStart: [name: string, error: Error, outcome: string][] = [
  ["does not exist", new Error("spawn /none ENOENT"), "signer-unavailable: spawn /none ENOENT"],
  ["Deno does not allow", notCapable, 'not-permitted: Deno allows no run access to "node": add --allow-run=node'],
];
for (const [name, error, outcome] of cannotStart) {
  played(`a program that ${name}: the event names the reason`, async (world) => {
    const children: DeniedChild[] = [];
    const start = () => {
      children.push(new DeniedChild());
      return children.at(-1) as unknown as ChildProcess;
    };
    const token = world.token({ start });
    const asked = ask(token, find);
    await settled();
    children[0]!.emit("error", error);
    await settled();
    children[1]?.emit("error", error);
    await settled();
    assert.is(asked.outcome, outcome);
    assert.is(token.isFinal, error === notCapable);
    assert.is(children.length, error === notCapable ? 1 : 2);
    assert.is(token.pid, undefined);
  });
  played(`a program that ${name}: its token is let go of before the event`, async (world) => {
    const child = new DeniedChild();
    const token = world.token({ start: () => child as unknown as ChildProcess });
    const asked = ask(token, find);
    await settled();
    token.end();
    child.emit("error", error);
    await settled();
    assert.is(asked.outcome, outcome);
  });
  played(`a program that ${name}: the start throws the reason`, async (world) => {
    const start = () => {
      throw error;
    };
    const asked = ask(world.token({ start }), find);
    await settled();
    assert.is(asked.outcome, outcome.replace(": spawn", ": Error: spawn"));
  });
}

played("a start that is refused keeps its problem, with this token's name", async (world) => {
  const start = () => {
    throw new SignerError({ code: "not-supported-here", key: "another", detail: "no koffi in here" });
  };
  const asked = ask(world.token({ start }), find);
  await settled();
  assert.is(asked.outcome, "not-supported-here: no koffi in here");
  assert.is(asked.error?.key, "pkcs11:token=acme");
});

const loginEnds: [name: string, act: (world: World) => Promise<void>, detail: string][] = [
  ["never ends", (world) => world.pass(10_000), "it did not answer within 10000 ms"],
  ["ends its process", ({ child }) => child.exit(3), "its process ended with 3"],
  ["gives an answer that cannot be read", ({ child }) => child.answer(1), "its answer cannot be read"],
  ["prints without end", ({ child }) => child.print("x".repeat(16_385)), "its process printed too much"],
];
for (const [name, act, detail] of loginEnds) {
  played(`a login that ${name} may have presented the PIN, and is final`, async (world) => {
    const token = world.token();
    const asked = ask(token, find);
    await settled();
    await world.child.print(`${loginMark}\n`);
    await act(world);
    assert.is(asked.outcome, `login-failed: ${detail}`);
    assert.equal([token.isFinal, world.children.length, world.child.signals.length <= 1], [true, 1, true]);
  });
  played(`a process that ${name.replace("its process", "itself")} after its login is replaced`, async (world) => {
    const token = world.token();
    const asked = ask(token, find);
    await settled();
    await world.child.print(`${loginMark}\n`);
    await world.child.answer({ bytes: "" });
    await act(world);
    assert.is(asked.outcome, undefined);
    assert.is(token.isFinal, false);
  });
  played(`a process that ${name.replace("its process", "itself")} before its login is replaced`, async (world) => {
    const token = world.token();
    const asked = ask(token, find);
    await settled();
    await world.child.print(`x${loginMark}\n${loginMark}x\n`);
    await act(world);
    assert.equal([asked.outcome, world.children.length], [undefined, 2]);
  });
}

const unreadable: unknown[] = [
  null,
  1,
  {},
  { bytes: 1 },
  { problem: "x", detail: "" },
  { problem: "key-missing" },
  { problem: "key-missing", detail: 1 },
  { problem: "key-missing", detail: ["a list has parts too"] },
  { problem: ["key-missing"], detail: "" },
  { problem: 1, detail: "" },
  { problem: "toString", detail: "" },
  { detail: "" },
];
for (const answer of unreadable) {
  played(`the answer ${JSON.stringify(answer)} cannot be read`, async (world) => {
    const token = await world.opened();
    const asked = ask(token, sign);
    await settled();
    const { child } = world;
    await child.answer(answer);
    await child.answer(answer);
    assert.is(asked.outcome, "signer-unavailable: its answer cannot be read");
    assert.equal([child.signals, token.pid, world.children.length], [["SIGKILL"], undefined, 1]);
  });
}

played("an answer that is no JSON cannot be read", async (world) => {
  const token = await world.opened();
  const asked = ask(token, generate);
  await settled();
  await world.child.print("@token {\n");
  assert.is(asked.outcome, "signer-unavailable: its answer cannot be read");
});

played("of an answer's reason 500 characters are kept", async (world) => {
  const token = await world.opened();
  const asked = ask(token, sign);
  await settled();
  await world.child.answer({ problem: "key-missing", detail: `${"x".repeat(500)}y` });
  assert.is(asked.outcome, `key-missing: ${"x".repeat(500)}`);
});

played("lines of the module are passed over, and an answer may arrive in pieces", async (world) => {
  const token = await world.opened();
  const asked = ask(token, sign);
  await settled();
  await world.child.print("module: debug\n\n module: @token 1\n@tok");
  await world.child.print('en {"bytes": "AAAA"}');
  assert.is(asked.outcome, undefined);
  await world.child.print("\n");
  assert.is(asked.outcome, "AAAA");
});

played("an answer that nothing was asked for is passed over", async (world) => {
  const token = await world.opened();
  await world.child.answer(done);
  await world.child.answer({ problem: "key-missing", detail: "" });
  await world.child.answer(1);
  const asked = ask(token, sign);
  await settled();
  assert.is(asked.outcome, undefined);
  await world.child.answer(done);
  assert.is(asked.outcome, "AAAA");
});

played("a line may have 16,384 characters; a process that prints more is killed", async (world) => {
  const token = await world.opened();
  const { child } = world;
  const asked = ask(token, generate);
  await settled();
  await child.print(`${"x".repeat(16_000)}\n`);
  await child.print("x".repeat(16_384));
  assert.equal([asked.outcome, child.signals], [undefined, []]);
  await child.print("x");
  assert.is(asked.outcome, "signer-unavailable: its process printed too much");
  assert.equal(child.signals, ["SIGKILL"]);
});

played("between questions a process that prints too much is killed too", async (world) => {
  const token = await world.opened();
  const { child } = world;
  await child.print("x".repeat(16_385));
  assert.equal([child.signals, token.failure], [["SIGKILL"], undefined]);
});

test("without another start the token's own process is started", async () => {
  const open = { ...openWith("real"), module: "/none/module.so" };
  const token = new TokenProcess({ open, name: "pkcs11:token=acme" });
  const error = await token.ask(find).then(() => undefined, (cause: SignerError) => cause);
  assert.is(error?.code, "module-missing");
  token.end();
});

test.run();
