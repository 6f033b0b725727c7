/**
 * The commands to a node that runs, as an operator gives them: real programs, a CA, a gateway and a worker that were joined by token. On
 * Deno with the least permissions that `docs/deno.md` names.
 */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AdminNotAsked, askAdmin } from "../../actors/admin/ask_admin.ts";
import { serveAdmin } from "../../actors/admin/serve_admin.ts";
import type { ShownNode } from "../../actors/node/shown_node.ts";
import type { Role } from "../../pki/certificate.ts";
import { notAsked } from "../../scripts/program/asking.ts";
import { permissionsFor } from "../../scripts/program/deno_permissions.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, runProgramOnce, startProgram } from "../support/program.ts";
import { submittedJob } from "../support/submission.ts";

const test = suite("commands to a node that runs");
const caScript = new URL("../../scripts/hypha_ca.ts", import.meta.url);
const folder = mkdtempSync(join(tmpdir(), "hypha-operator-"));
const [caPort, gatewayPort] = [await freePort(), await freePort()];
const running: Running[] = [];
const consoleTable = '\n[console]\nlisten = "127.0.0.1:0"\n';
test.after(() => {
  for (const each of running) each.signal("SIGKILL");
  rmSync(folder, { recursive: true });
});

/** Runs a command to its end; what it prints. */
async function printed(role: Role, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgramOnce(role, args, { cwd: folder });
  assert.is(code, 0, `${role} ${args.join(" ")}: ${stderr}`);
  return stdout.trim();
}

async function ca(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgramOnce("gateway", args, { cwd: folder, script: caScript });
  assert.is(code, 0, stderr);
  return stdout;
}

const start = (role: Role, script?: URL): Running => {
  const config = script === undefined ? `${role}.toml` : "ca/ca.toml";
  const made = startProgram(role, ["run", "-c", config, "--log-format", "json"], {
    cwd: folder,
    lifeMs: 150_000,
    ...(script === undefined
      ? {
        permissions: permissionsFor(role, {
          configPath: join(folder, config),
          certificateFolder: folder,
          certificates: "renewed",
          readPaths: [],
          addresses: ["0.0.0.0", `127.0.0.1:${caPort}`],
        }),
      }
      : { script }),
  });
  running.push(made);
  return made;
};

async function joined(role: Role): Promise<Running> {
  const file = join(folder, `${role}.token`);
  writeFileSync(file, await ca("token", "-c", "ca/ca.toml", "--role", role, "--name", `${role}-01`));
  await printed(role, "join", file);
  if (role === "gateway") appendFileSync(join(folder, "gateway.toml"), consoleTable);
  return start(role);
}

const statusOf = async (role: Role) => JSON.parse(await printed(role, "status", "--json", "-c", `${role}.toml`));

test("status says who a node is, whom it is connected with, and when its certificate ends", async () => {
  const named = ["--gateway", `gateway-01=/ip4/127.0.0.1/tcp/${gatewayPort}`];
  await ca("init", "--domain", "acme.local", "--url", `https://127.0.0.1:${caPort}`, ...named, "-d", "ca");
  appendFileSync(join(folder, "ca/ca.toml"), consoleTable);
  await start("gateway", caScript).waitFor("ca.listening");
  await (await joined("gateway")).waitFor("node.ready");
  await (await joined("worker")).waitFor("node.ready");
  const socket = join(folder, ".hypha", "worker", "admin.sock");
  assert.is(statSync(socket).mode & 0o777, 0o600);
  const shown: ShownNode = await statusOf("worker");
  assert.equal([shown.name, shown.role, shown.state, shown.waitsFor], ["worker-01", "worker", "ready", []]);
  assert.ok(Date.parse(shown.certificate?.notAfter ?? "") > Date.now());
  assert.is(shown.renewal?.state, "resting");
  assert.is(shown.gateways.length, 1);
  assert.ok(shown.gateways[0]?.linked);
  const gateway = shown.peers.find(({ name }) => name === "gateway-01");
  assert.equal([gateway?.role, gateway?.direction, gateway?.relayed], ["gateway", "outbound", false]);
  assert.ok((shown.trust?.lists.length ?? 0) >= 1);
  assert.equal([shown.leases, shown.jobs], [[], []]);
  const other: ShownNode = await statusOf("gateway");
  assert.ok(other.peers.some(({ name, direction }) => name === "worker-01" && direction === "inbound"));
  const text = await printed("worker", "status", "-c", "worker.toml");
  assert.match(text, /^worker-01 \(worker\): ready, version /);
  assert.match(text, /^ {2}gateway-01 +gateway +outbound +direct/m);
  assert.match(text, /^refusals since the start: none$/m);
});

/** Opens a console by the address in its log; the parts that its feed sends first. */
async function consoleParts(program: Running): Promise<string> {
  const { url } = await program.waitFor("console.listening");
  const entered = await fetch(String(url), { redirect: "manual" });
  const [cookie = ""] = (entered.headers.get("set-cookie") ?? "").split(";");
  const place = new URL(entered.headers.get("location") ?? "", String(url));
  const key = place.hash.slice(1);
  const page = await (await fetch(new URL("/", place), { headers: { cookie } })).text();
  assert.match(page, "/page.js");
  const { body } = await fetch(new URL("/feed", place), { headers: { cookie, "x-hypha-console": key } });
  const reader = (body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (!/^event: (?:refusals|locked)$/m.test(text)) {
    {
      const { done, value } = await reader.read();
      assert.not(done, "the feed ended");
      text += decoder.decode(value, { stream: true });
    }
  }
  await reader.cancel();
  return text;
}

test("the address in the log opens the console of a CA and of a gateway", async () => {
  const [caProgram, gateway] = running as [Running, Running];
  assert.match(await consoleParts(caProgram), /^event: domain\ndata: "acme\.local"$/m);
  if ("Deno" in globalThis) {
    // The page of the source tree is made by a program that the node's permissions do not allow.
    const { message } = await gateway.waitFor("console.unserved");
    return assert.match(String(message), "Run the program of the built package (npm run build), or allow deno run -A");
  }
  const shown = await consoleParts(gateway);
  assert.match(shown, /^event: name\ndata: "gateway-01"$/m);
  assert.match(shown, /^event: peers\ndata: .*"name":"worker-01"/m);
});

test("bug: the console of a CA said that it issues while it could not open its port", async () => {
  await ca("init", "--domain", "other.local", "--url", "https://127.0.0.1:8443", "-d", "other");
  const file = join(folder, "other/ca.toml");
  writeFileSync(file, readFileSync(file, "utf8").replace("https://127.0.0.1", "https://no..name") + consoleTable);
  const args = ["run", "-c", file, "--log-format", "json"];
  const program = startProgram("gateway", args, { cwd: folder, script: caScript });
  await program.waitFor("ca.failed");
  assert.match(await consoleParts(program), /^event: problem\ndata: ".*no\.\.name.* is no DNS name"$/m);
  program.signal("SIGTERM");
  await program.ended;
});

test("renew brings another certificate of the same key while the node goes on", async () => {
  const before: ShownNode = await statusOf("worker");
  const { serial } = JSON.parse(await printed("worker", "renew", "--json", "-c", "worker.toml"));
  assert.is.not(serial, before.certificate?.serial);
  const after: ShownNode = await statusOf("worker");
  assert.equal([after.certificate?.serial, after.peer, after.state], [serial, before.peer, "ready"]);
});

test("log-level and reload are seen in the log; what has no meaning is answered", async () => {
  const worker = running.at(-1) as Running;
  const count = worker.events.filter(({ level }) => level === "debug").length;
  const socketPath = join(folder, ".hypha", "worker", "admin.sock");
  const described = await Effect.runPromise(askAdmin(socketPath, "GET /openapi.json"));
  assert.ok(Object.hasOwn((described.body as { readonly paths: object }).paths, "/events"));
  let followed = "";
  const following = request(
    { socketPath, path: "/events" },
    (response) => response.on("data", (text) => followed += text),
  );
  following.on("error", () => {});
  following.end();
  assert.match(await printed("worker", "log-level", "debug", "-c", "worker.toml"), "debug");
  assert.match(await printed("worker", "reload", "-c", "worker.toml"), "reading its files again");
  await printed("worker", "renew", "-c", "worker.toml");
  assert.ok(count === 0 || worker.events.length > count);
  assert.match(followed, /^data: \{.*"event":"identity\./m, "the log's lines are its events");
  following.destroy();
  const answered = (path: string, body: string) =>
    new Promise<[number | undefined, unknown]>((resolve, reject) => {
      const sent = request({ socketPath, path, method: "POST" }, (response) => {
        let text = "";
        response.on("data", (piece) => text += piece);
        response.on("end", () => resolve([response.statusCode, JSON.parse(text).code]));
      });
      sent.on("error", reject);
      sent.end(body);
    });
  assert.equal(await answered("/log-level", '{"level": "loud"}'), [400, "wrong-body"]);
  assert.equal(await answered("/drain", '{"reason": 7}'), [400, "wrong-body"]);
  assert.equal((await answered("/trainings", "{}"))[0], 404);
});

test("bug: commands to a running node ended with errors of its configuration, of which they need the state directory alone", async () => {
  const file = join(folder, "worker.toml");
  const good = readFileSync(file, "utf8");
  writeFileSync(file, `${good.replace(/^listen_addresses.*$/m, "")}\n[authorisation]\nlist = "operators"\n`);
  assert.match(await printed("worker", "status", "-c", "worker.toml"), /^worker-01 \(worker\): ready/);
  assert.match(await printed("worker", "log-level", "info", "-c", "worker.toml"), "info");
  writeFileSync(file, `state_dir = 7\n${good}`);
  const { code, stderr } = await runProgramOnce("worker", ["status", "-c", "worker.toml"], { cwd: folder });
  assert.is(code, 1);
  assert.match(stderr, /worker\.toml:1:1.*state_dir/);
  writeFileSync(file, good);
});

test("bug: submit ended with errors of the scheduler's configuration, of which it needs the state directory alone", async () => {
  const stateDir = mkdtempSync(join(folder, "scheduler-"));
  writeFileSync(join(folder, "scheduler.toml"), `state_dir = ${JSON.stringify(stateDir)}\n[authorisation]\n`);
  const upload = () => Promise.resolve({ status: 200, body: { id: "t-00000001" } });
  const job = {
    ...submittedJob,
    model: { ...submittedJob.model, weights: undefined, repository: "a/b", filenames: ["c"] },
  };
  const submit = async (given: object) => {
    writeFileSync(join(folder, "job.json"), JSON.stringify(given));
    return await runProgramOnce("scheduler", ["submit", "-c", "scheduler.toml", "job.json"], { cwd: folder });
  };
  const submits = async () =>
    [await submit(job), await submit({ ...job, model: { ...job.model, keep: true } })] as const;
  const socket = serveAdmin(join(stateDir, "admin.sock"), { "POST /trainings": { upload } });
  const [good, wrong] = await Effect.runPromise(Effect.scoped(Effect.andThen(socket, Effect.promise(submits))));
  assert.equal([good.code, good.stdout, good.stderr], [0, "t-00000001\n", ""]);
  assert.is(wrong.code, 1);
  const places = wrong.stderr.trim().split("\n").map((line) => /job\.json:1:1: ([\w.]+)/.exec(line)?.[1]);
  assert.equal(places, ["scheduler.job.model.revision", "scheduler.job.model.filenames"], wrong.stderr);
});

test("drain ends the node in order; then commands say how to start it", async () => {
  const worker = running.at(-1) as Running;
  assert.is(await printed("worker", "drain", "-c", "worker.toml"), "ended");
  assert.is((await worker.ended).code, 0);
  assert.not(existsSync(join(folder, ".hypha", "worker", "admin.sock")));
  const { code, stderr } = await runProgramOnce("worker", ["status", "-c", "worker.toml"], { cwd: folder });
  assert.is(code, 1);
  assert.match(stderr, "Start it: hypha-worker run -c worker.toml");
});

test("bug: a command said that no worker runs with worker.toml, though it ran with another state_dir", async () => {
  const { stderr } = await runProgramOnce("worker", ["status", "-c", "worker.toml"], { cwd: folder });
  assert.match(stderr, "no worker answers on .hypha/worker/admin.sock. Start it: ");
  assert.match(stderr, "; where it runs with another state_dir: HYPHA_STATE_DIR=DIR");
  const error = new AdminNotAsked({ path: "admin.sock", problem: "not-running", detail: "" });
  const { notice } = notAsked({ role: "scheduler", config: "s.toml" }, error);
  assert.not.match(String(notice), "[scheduler.job]", "it is of no matter to status, drain and renew");
});

test("bug: drain waited for a node that does not answer as long as its requests may take, not as long as it may take to end", async () => {
  const stateDir = mkdtempSync(join(folder, "silent-"));
  const routes = {
    "POST /drain": () => Promise.resolve({ status: 200, body: { withinMs: 1_000 } }),
    "GET /status": () => new Promise<never>(() => {}),
  };
  const drained = () =>
    runProgramOnce("worker", ["drain", "-c", "worker.toml"], { cwd: folder, env: { HYPHA_STATE_DIR: stateDir } });
  const beganAt = performance.now();
  const { code, stderr } = await Effect.runPromise(
    Effect.scoped(Effect.andThen(serveAdmin(join(stateDir, "admin.sock"), routes), Effect.promise(drained))),
  );
  assert.is(code, 1);
  assert.match(stderr, "it has not ended within 1 s");
  const tookMs = performance.now() - beganAt;
  assert.ok(tookMs < 10_000, `${tookMs} ms`);
});

test.run();
