/** `hypha up`: a whole network under one supervisor, with a node that dies, one that is revoked, and a second start. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { unmountAll } from "../../scripts/demo/unmount_all.ts";
import { startProgram } from "../support/program.ts";

const test = suite("hypha up");
const script = new URL("../../scripts/hypha.ts", import.meta.url);
const folder = mkdtempSync(join(tmpdir(), "hypha-up-"));
const network = join(folder, "network");
const patienceMs = 120_000;

/** Ids of the processes that name something below a path; with `argument`, those that have this one too. */
function processes(path: string, argument?: string): readonly number[] {
  return readdirSync("/proc").filter((each) => /^\d+$/.test(each)).flatMap((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      const fits = argument === undefined || words.includes(argument);
      return fits && words.some((word) => word.startsWith(path)) ? [Number(pid)] : [];
    } catch {
      return []; // it has ended
    }
  });
}

/** Ids of the programs of this network. A process that one of them starts has its words for a moment. */
const programs = (name = "") => processes(join(network, name), "--log-format");

test.after(() => {
  for (const pid of processes(folder)) process.kill(pid, "SIGKILL");
  unmountAll(folder); // of a worker that was killed and revoked, no other one sweeps
  rmSync(folder, { recursive: true, force: true });
});

interface Session {
  readonly text: () => string;
  /** The terminal, or the reader of a pipe, is gone: what is written from now on fails. */
  readonly lose: () => void;
  readonly until: (shown: RegExp, times?: number) => Promise<void>;
  readonly stop: (by?: NodeJS.Signals) => Promise<number | null>;
  /** Ctrl-C in a terminal: each process of its group gets the signal. */
  readonly interrupt: () => Promise<number | null>;
}

type Started = Session & { readonly ended: Promise<{ code: number | null }> };

const hypha = (...args: readonly string[]): Started => hyphaIn({}, ...args);

function hyphaIn(env: Readonly<Record<string, string>>, ...args: readonly string[]): Started {
  const options = { cwd: folder, script, env, lifeMs: 2 * patienceMs, detached: true };
  const { child, ended, signal } = startProgram("gateway", args, options);
  let shown = "";
  for (const output of [child.stdout, child.stderr]) output?.on("data", (data) => (shown += String(data)));
  const until = async (wanted: RegExp, times = 1) => {
    const every = new RegExp(wanted, "g");
    for (let leftMs = patienceMs; leftMs > 0; leftMs -= 50) {
      if ([...shown.matchAll(every)].length >= times) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.unreachable(`${wanted} was not shown ${times} times:\n${shown}`);
  };
  return {
    text: () => shown,
    lose: () => [child.stdout, child.stderr].forEach((output) => output?.destroy()),
    until,
    ended,
    stop: async (by = "SIGINT") => {
      signal(by);
      return (await ended).code;
    },
    interrupt: async () => {
      process.kill(-(child.pid as number), "SIGINT");
      return (await ended).code;
    },
  };
}

async function untilSo(what: string, isSo: () => boolean): Promise<void> {
  for (let leftMs = patienceMs; leftMs > 0; leftMs -= 50) {
    if (isSo()) return; // evaluated once: a program that starts another is counted twice for a moment
    await new Promise((done) => setTimeout(done, 50));
  }
  assert.unreachable(what);
}

async function once(...args: readonly string[]): Promise<string> {
  const session = hypha(...args);
  const { code } = await session.ended;
  assert.is(code, 0, `hypha ${args.join(" ")}\n${session.text()}`);
  return session.text();
}

test("brings a network up, starts again what dies, not what is revoked, and ends all", async () => {
  const dataset = join(folder, "digits");
  mkdirSync(dataset);
  writeFileSync(join(dataset, "slice-000.csv"), "1,2,3\n");
  const up = hypha("up", "--dir", network, "--workers", "1", "--dataset", dataset);
  await up.until(/Ctrl-C ends it\./);
  const names = ["ca-01", "data-01", "gateway-01", "scheduler-01", "worker-01"];
  assert.equal(up.text().match(/^\S+ runs$/gm)?.map((line) => line.replace(" runs", "")).toSorted(), names);
  assert.match(up.text(), /^ {2}gateway-01's page: +http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{22}$/m);
  await untilSo("each node is one program", () => programs().length === names.length);

  for (const name of names) {
    const role = name.split("-")[0];
    const text = readFileSync(join(network, role === "ca" ? "ca" : name, `${role}.toml`), "utf8");
    assert.not.match(text, /^listen.*0\.0\.0\.0/m, "it listens on this machine alone");
  }
  const status = JSON.parse(await once("gateway", "status", "--json", "-c", join(network, "gateway-01/gateway.toml")));
  const peers = (status.peers as readonly { readonly name: string }[]).map(({ name }) => name);
  for (const name of names.filter((each) => each !== "gateway-01")) {
    assert.ok(peers.includes(name), `${name}: ${peers}`);
  }

  const [pid] = programs("worker-01");
  process.kill(pid as number, "SIGKILL");
  await up.until(/worker-01 ended with \d+, started again in 1 s/);
  await up.until(/worker-01 runs/, 2);

  await once("ca", "revoke", "-c", join(network, "ca/ca.toml"), "worker-01");
  await up.until(/worker-01 ended with 3 and is not started again/);

  assert.is(await up.stop(), 0, up.text());
  assert.equal(programs(), [], "nothing runs on");
});

test("a second start takes the network that is there; a revoked node is named, and ends nothing else", async () => {
  const certificate = () => readFileSync(join(network, "gateway-01/gateway-cert.pem"), "utf8");
  const before = certificate();
  // A log that cannot be written ends no program.
  rmSync(join(network, "logs/gateway-01.log"));
  mkdirSync(join(network, "logs/gateway-01.log"));
  const up = hypha("up", "--dir", network, "--workers", "1");
  await up.until(/Cannot start the network|Ctrl-C ends it\./);
  assert.match(up.text(), /worker-01 .*revoked/);
  assert.match(up.text(), "Ctrl-C ends it.");
  assert.match(up.text(), /Cannot write .*gateway-01\.log: EISDIR/);
  assert.not.match(up.text(), "Unset");
  assert.is(certificate(), before);
  assert.is(await up.stop("SIGHUP"), 0, "the terminal was closed");
  assert.equal(programs(), []);
});

test("bug: a program that was drained was started again, and the new address of a console was not shown", async () => {
  const up = hypha("up", "--dir", network, "--workers", "1");
  await up.until(/Ctrl-C ends it\./);
  const [pid] = programs("scheduler-01");
  process.kill(pid as number, "SIGKILL");
  await up.until(/scheduler-01 runs/, 2);
  const shown = [...up.text().matchAll(/scheduler-01's page: +(http\S+)/g)].map(([, address]) => address);
  assert.is(new Set(shown).size, 2, up.text());
  await once("scheduler", "drain", "-c", join(network, "scheduler-01/scheduler.toml"));
  await up.until(/scheduler-01 ended with 0/);
  assert.match(up.text(), "scheduler-01 ended with 0 and is not started again: it was drained");
  assert.is(await up.stop(), 0, up.text());
});

test("bug: a program that was drained before it was ready ended the network", async () => {
  const config = join(network, "scheduler-01/scheduler.toml");
  const good = readFileSync(config, "utf8");
  writeFileSync(config, good.replace(/\/tcp\/[1-9]\d*/g, "/tcp/1")); // it is never ready: no gateway answers there
  const up = hypha("up", "--dir", network, "--workers", "1");
  await untilSo("the scheduler answers", () => existsSync(join(network, "scheduler-01/.hypha/scheduler/admin.sock")));
  writeFileSync(config, good);
  await once("scheduler", "drain", "-c", config);
  await up.until(/Cannot start the network|Ctrl-C ends it\./);
  assert.match(up.text(), "scheduler-01 ended with 0 and is not started again: it was drained");
  assert.not.match(up.text(), "Cannot start");
  assert.is(await up.stop(), 0, up.text());
});

test("bug: the commands that up names failed in its own shell where that had HYPHA_STATE_DIR", async () => {
  const up = hyphaIn({ HYPHA_STATE_DIR: join(folder, "other") }, "up", "--dir", network, "--workers", "1");
  await up.until(/Cannot start the network|Ctrl-C ends it\./);
  assert.match(up.text(), /^Unset HYPHA_STATE_DIR in a shell that runs these commands\.$/m);
  assert.is(await up.stop(), 0, up.text());
});

test("bug: a port that the system gives to others was a node's for ever; two could be one", () => {
  const port = (file: string, text: RegExp) => Number(text.exec(readFileSync(join(network, file), "utf8"))?.[1]);
  const ca = port("ca/ca.toml", /"127\.0\.0\.1:([1-9]\d+)"/);
  const gateway = port("gateway-01/gateway.toml", /\/ip4\/127\.0\.0\.1\/tcp\/(\d+)/);
  assert.ok(ca > 1_024 && gateway > 1_024 && ca !== gateway, `${ca} ${gateway}`);
  const [first = 0] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/).map(Number);
  assert.ok(ca < first && gateway < first, `${ca} ${gateway}: the system gives ${first} and more`);
});

test("bug: when its terminal was closed, nothing was drained: it failed to write and killed all", async () => {
  const up = hypha("up", "--dir", network, "--workers", "1");
  await up.until(/Cannot start the network|Ctrl-C ends it\./);
  up.lose();
  assert.is(await up.stop("SIGHUP"), 0, up.text());
  assert.equal(programs(), []);
  const scheduler = readFileSync(join(network, "logs/scheduler-01.log"), "utf8").trim().split("\n").slice(-12).join(
    "\n",
  );
  assert.match(scheduler, /SIGTERM was received/);
});

test("bug: another --dataset at a later start was ignored", async () => {
  const other = join(folder, "other");
  const up = hypha("up", "--dir", network, "--workers", "1", "--dataset", other);
  await up.until(/Cannot start the network|Ctrl-C ends it\./);
  assert.match(up.text(), "Cannot start the network: ");
  for (const named of [join(network, "data-01/data.toml"), join(folder, "digits"), other]) {
    assert.match(up.text(), named);
  }
  assert.is((await up.ended).code, 1);
  assert.equal(programs(), []);
});

test("bug: Ctrl-C during the first start made every later start fail", async () => {
  const dir = join(folder, "interrupted");
  const gateway = (name: string) => join(dir, "gateway-01", name);
  mkdirSync(join(dir, "ca.new/state"), { recursive: true }); // what `ca init` leaves when it is killed
  const first = hypha("up", "--dir", dir, "--workers", "1");
  await untilSo("the gateway has its certificate", () => existsSync(gateway("gateway-cert.pem")));
  assert.is(await first.interrupt(), 0, first.text());
  assert.equal(processes(dir), [], "nothing runs on");
  // `join` was in a later step, at the latest in its last.
  rmSync(gateway("gateway.toml"), { force: true });
  writeFileSync(gateway("other"), "");

  const second = hypha("up", "--dir", dir, "--workers", "1");
  await second.until(/Cannot start the network|gateway-01 runs/);
  assert.not.match(second.text(), "Cannot start");
  assert.is(await second.interrupt(), 0, second.text());
  assert.not.match(second.text(), "it was drained");
  assert.equal(processes(dir), [], "nothing runs on");
  assert.not.match(readFileSync(join(dir, "ca/ca.toml"), "utf8"), "0.0.0.0");
  assert.not.ok(existsSync(join(dir, "ca.new")));
  assert.ok(existsSync(gateway("other")), "of the node's folder only the pair is removed");
});

test("a CA's folder without a configuration is not taken for a new one", async () => {
  const dir = join(folder, "emptied");
  mkdirSync(join(dir, "ca/state"), { recursive: true });
  const up = hypha("up", "--dir", dir);
  assert.is((await up.ended).code, 1);
  assert.match(up.text(), /Cannot start the network: .*emptied\/ca has no ca\.toml/);
});

test("wrong numbers are refused, and a folder that cannot be made", async () => {
  const none = hypha("up", "--dir", join(folder, "none"), "--workers", "0");
  assert.is((await none.ended).code, 2);
  assert.match(none.text(), "--workers takes 1 to 32, not 0");
  writeFileSync(join(folder, "file"), "");
  const file = hypha("up", "--dir", join(folder, "file"));
  assert.is((await file.ended).code, 1);
  assert.match(file.text(), /Cannot start the network: .*file/);
});

test.run();
