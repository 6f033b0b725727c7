/** Trainings as lines for people, and as JSON. */
import { chmodSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AdminRoutes, type AdminUpload, serveAdmin } from "../../actors/admin/serve_admin.ts";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { writeHeader } from "../../actors/learning/safetensors.ts";
import type { ShownStatus } from "../../actors/scheduler/status.ts";
import { section } from "../../scripts/program/text_blocks.ts";
import { submit } from "../../scripts/program/trainings.ts";
import {
  ageText,
  cancelText,
  listText,
  logText,
  resumeText,
  statusText,
} from "../../scripts/program/trainings_text.ts";
import { runProgramOnce, startProgram } from "../support/program.ts";
import { unprivileged } from "../support/unprivileged.ts";

const test = suite("trainings for people");
const now = Date.parse("2026-01-02T00:00:00Z");
const ago = (seconds: number) => new Date(now - seconds * 1_000).toISOString();

test("a time is as short as it can be told apart", () => {
  const cases: readonly (readonly [seconds: number, text: string])[] = [
    [-5, "0 s"],
    [0, "0 s"],
    [119, "119 s"],
    [120, "2 min"],
    [7_199, "120 min"],
    [7_200, "2 h"],
    [172_799, "48 h"],
    [172_800, "2 d"],
  ];
  for (const [seconds, text] of cases) assert.is(ageText(ago(seconds), now), text);
  assert.is(ageText(null, now), "-");
});

const shown: ShownStatus = {
  id: "t-1",
  name: "digits",
  state: "running",
  reason: null,
  run: 7,
  round: 2,
  rounds: 5,
  keepsModel: true,
  loss: 0.5,
  members: [{ name: "w1", part: "trainer", last: "trains round 3: 64 samples so far", at: ago(3), loss: 0.25 }],
  out: [{ name: "w2", part: "aggregator", last: "its lease is over", at: null, loss: null }],
  losses: [{ round: 1, loss: 1 }, { round: 2, loss: 0.5 }],
  accuracy: 0.913,
  accuracyRound: 1,
  rejections: { norm: 2 },
  bytes: { received: 3, sent: 4 },
  roundSeconds: 1.25,
  submitted: ago(600),
  since: ago(300),
  machine: null,
};

test("a list has a line for each training, and says how to begin where there is none", () => {
  const line = { ...shown, members: 1 };
  assert.equal(listText([line, { ...line, id: "t-22", state: "failed", loss: null }], now).split("\n"), [
    "id    name    state    round  loss    members  age",
    "t-1   digits  running  2/5    0.5000  1        10 min",
    "t-22  digits  failed   2/5    -       1        10 min",
  ]);
  assert.match(listText([], now), "hypha-scheduler submit FILE");
});

test("a status says who is in and who is out, and what the aggregator claims as its claim", () => {
  assert.equal(statusText(shown, now).split("\n"), [
    "t-1 (digits): running, for 5 min",
    "round 2 of 5, run 7, 1.3 s for the newest",
    "loss: 1.000 (round 1), 0.5000 (round 2)",
    "accuracy on held-out rows: 91.3 % (round 1)",
    "rejected updates, as the aggregator claims: norm 2",
    "model: 3 bytes received, 4 bytes served",
    "members:",
    "  w1  trainer  trains round 3: 64 samples so far  3 s ago  loss 0.2500",
    "left:",
    "  w2  aggregator  its lease is over",
  ]);
  const failed = statusText({ ...shown, state: "failed", reason: "no trainer is left", members: [] }, now);
  assert.match(failed, "failed: no trainer is left, for 5 min");
  assert.match(failed, "took part:");
});

test("bug: a worker wrote lines of its choice into the status of a training: the line ends of its reason were printed", () => {
  const reason = "x\nt-1 (digits): done, for 3 s\nround 5 of 5\u202e";
  const out = [{ name: "w2", part: "trainer", last: `its job failed: ${reason}`, at: ago(3), loss: null }] as const;
  const written = statusText({ ...shown, state: "failed", reason, out, rejections: { [reason]: 1 } }, now);
  const [first, ...others] = written.split("\n");
  const safe = "x\\nt-1 (digits): done, for 3 s\\nround 5 of 5\\u202e".replaceAll("\\n", "\\u000a");
  assert.is(first, `t-1 (digits): failed: ${safe}, for 5 min`);
  assert.is(others.at(-1), `  w2  trainer  its job failed: ${safe}  3 s ago`);
  assert.is(others.length, 9, "no line more than of a reason without line ends");
  assert.equal(listText([{ ...shown, name: reason, members: 1 }], now).split("\n").length, 2);
  assert.equal(section("peers", [["a\nb"]]), ["peers:", "a\\u000ab"]);
});

test("a cancelled training names the workers that end later", () => {
  const members = [{ name: "w1", endsBy: null }, { name: "rust", endsBy: "2026-01-02T00:00:16.000Z" }];
  const [told, late] = cancelText({ id: "t-1", members }).split("\n");
  assert.match(told ?? "", "1 workers were told");
  assert.match(late ?? "", "rust is of the existing network");
  assert.match(late ?? "", "end by 2026-01-02T00:00:16.000Z");
});

test("a resumed training goes on after a round; one whose model is not kept begins again", () => {
  assert.is(resumeText({ id: "t-1", round: 3, keepsModel: true }), "t-1 goes on after round 3");
  assert.is(resumeText({ id: "t-1", round: 3 }), "t-1 goes on after round 3", "a scheduler of a former version");
  assert.is(
    resumeText({ id: "t-1", round: 0, keepsModel: false }),
    "t-1 begins again at round 0: its model was not kept",
  );
});

test("a line of the log has its time, level and worker", () => {
  const line = { at: ago(0), level: "warn", name: "w1", message: "Lost trainer" };
  assert.is(logText(line), "2026-01-02T00:00:00.000Z WARN  [w1] Lost trainer");
});

/** What a scheduler needs in its configuration to be asked. */
function configIn(folder: string): string {
  const config = join(folder, "scheduler.toml");
  const pems = ["cert", "key", "trust"].map((name) => `${name}_pem = "${name}.pem"`);
  const lists = ["listen", "gateway"].map((name) => `${name}_addresses = []`);
  writeFileSync(config, [...pems, ...lists, `state_dir = "${folder}"`].join("\n"));
  return config;
}

test("bug: commands printed control characters of a worker's failure raw where they printed JSON", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hypha-trainings-"));
  const config = configIn(folder);
  const hostile = "\u009b2J\u202e\u2028";
  const answer = { ...shown, id: hostile, reason: hostile, trainings: [{ reason: hostile }], events: [{ hostile }] };
  const route = () => Promise.resolve({ status: 200, body: answer });
  const routes: AdminRoutes = {
    "GET /trainings": route,
    ...Object.fromEntries(["status", "logs", "cancel", "resume"].map((name) => [`POST /trainings/${name}`, route])),
  };
  const commands = [["ls"], ...["status", "logs", "cancel", "resume"].map((name) => [name, "t-7f3a90c1"])];
  const printed = await Effect.runPromise(Effect.scoped(Effect.andThen(
    serveAdmin(join(folder, "admin.sock"), routes),
    Effect.promise(() =>
      Promise.all(commands.map((each) => runProgramOnce("scheduler", [...each, "--json", "-c", config])))
    ),
  )));
  rmSync(folder, { recursive: true });
  for (const { code, stdout, stderr } of printed) {
    assert.is(code, 0, stderr);
    assert.match(stdout, "\\u009b2J\\u202e\\u2028");
    assert.not.match(stdout, /[\u0080-\u009f\u2028\u202e]/);
    assert.match(JSON.stringify(JSON.parse(stdout)), hostile);
  }
});

/** Writes a job of two trainers, whose aggregator has so many GB of storage. */
function jobIn(folder: string, storage: number, heldOut?: string): string {
  const job = join(folder, "job.toml");
  writeFileSync(
    job,
    `type = "diloco"
dataset = { dataset = "digits" }
model = { weights = "init.safetensors", type = "image-classification", input_names = ["pixel_values"] }
inner_optimizer = { learning-rate = 0.004 }
outer_optimizer = { learning-rate = 0.7, momentum = 0.5 }
rounds = { update_rounds = 2, avg_samples_between_updates = 192 }
${heldOut === undefined ? "" : `evaluation = { held_out = "${heldOut}" }`}

[resources]
num_workers = 2
worker = { cpu = 1, memory = 1, storage = 1, gpu = 0 }
parameter_server = { cpu = 1, memory = 1, storage = ${storage}, gpu = 0 }
worker_price = { bid = 20, max = 100 }
parameter_server_price = { bid = 20, max = 100 }
`,
  );
  return job;
}

test("bug: where a file of a job could not be read, submit said that the socket hung up", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hypha-trainings-"));
  chmodSync(folder, 0o755);
  const [config, rows] = [configIn(folder), join(folder, "rows.csv")];
  const weights = new Map([["w", { shape: [2_000_000], values: new Float32Array(2_000_000) }]]);
  writeFileSync(join(folder, "init.safetensors"), encodeTensors(weights));
  writeFileSync(rows, "1,2\n");
  chmodSync(rows, 0);
  const options = { config, format: "text", file: jobIn(folder, 1, rows) } as const;
  const denied = await unprivileged(() =>
    Effect.runPromise(Effect.provide(Effect.flip(submit(options)), NodeFileSystem.layer))
  );
  assert.match(denied.notice ?? "", `the job's held_out ${rows}: `);
  chmodSync(rows, 0o600);
  chmodSync(folder, 0o700);
  const upload: AdminUpload["upload"] = async (body) => {
    for (let piece = await body.next(); piece.done !== true; piece = await body.next()) truncateSync(rows, 1);
    return { status: 200, body: { id: "t-1" } };
  };
  const noticeFor = async (heldOut: string) => {
    const { stderr } = await runProgramOnce("scheduler", ["submit", jobIn(folder, 1, heldOut), "-c", config]);
    return stderr.trim();
  };
  const notices = await Effect.runPromise(Effect.scoped(Effect.andThen(
    serveAdmin(join(folder, "admin.sock"), { "POST /trainings": { upload } }),
    Effect.promise(async () => [await noticeFor(rows), await noticeFor("/proc/self/mem")]),
  )));
  assert.match(notices[0] ?? "", `the job's held_out ${rows}: it became shorter`);
  assert.match(notices[1] ?? "", "the job's held_out /proc/self/mem: its disk has a fault");
  for (const each of notices) assert.not.match(each, "admin.sock");
  rmSync(folder, { recursive: true });
});

test("bug: what a slow reader had not taken within a second was lost, with exit code 0", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hypha-trainings-"));
  const config = configIn(folder);
  const many = Array.from({ length: 4_000 }, () => ({ ...shown, at: ago(0), level: "info", message: "m".repeat(500) }));
  const commands = [["logs", "t-7f3a90c1"], ["ls"], ["status", "t-7f3a90c1", "--json"], ["status", "--json"]];
  const answered: string[] = [];
  const answer = (route: string, body: unknown) => ({
    [route]: () => {
      answered.push(route);
      return Promise.resolve({ status: 200, body });
    },
  });
  const routes: AdminRoutes = {
    ...answer("POST /trainings/logs", { events: many }),
    ...answer("GET /trainings", { trainings: many }),
    ...answer("POST /trainings/status", many),
    ...answer("GET /status", many),
  };
  const ended = await Effect.runPromise(Effect.scoped(Effect.andThen(
    serveAdmin(join(folder, "admin.sock"), routes),
    Effect.promise(async () => {
      const running = commands.map((each) => startProgram("scheduler", [...each, "-c", config]));
      for (const { child } of running) child.stdout?.pause();
      while (answered.length < commands.length) await sleep(50);
      await sleep(2_000);
      for (const { child } of running) child.stdout?.resume();
      return Promise.all(running.map(({ ended }) => ended));
    }),
  )));
  rmSync(folder, { recursive: true });
  assert.equal(ended.map(({ code }) => code), [0, 0, 0, 0], ended.map(({ stderr }) => stderr).join(""));
  const json = `${JSON.stringify(many)}\n`.length;
  const [logs, list, ...jsons] = ended.map(({ stdout }) => stdout);
  assert.equal([logs, list].map((text) => text?.split("\n").length), [many.length + 1, many.length + 2]);
  assert.equal(jsons.map((text) => text.length), [json, json]);
});

test("bug: an aggregator without storage for the updates of its trainers was leased without a word", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hypha-trainings-"));
  const [config, weights] = [configIn(folder), join(folder, "init.safetensors")];
  const elements = 5_000_000;
  const header = writeHeader([{ name: "w", dtype: "BF16", shape: [elements] }]);
  writeFileSync(weights, header);
  truncateSync(weights, header.length + 2 * elements);
  /** Submits a job of two trainers, whose aggregator has so many GB of storage, to a scheduler that does not run. */
  const printedFor = async (storage: number) => {
    return (await runProgramOnce("scheduler", ["submit", jobIn(folder, storage), "-c", config])).stderr;
  };
  // Two updates and the result in F32, the velocity before and after in F64.
  const enough = await printedFor(0.14);
  assert.match(enough, /no scheduler answers/);
  assert.not.match(enough, /storage/);
  const [warning, ...others] = (await printedFor(0.1399)).split("\n");
  assert.match(
    warning ?? "",
    "warning: resources.parameter_server.storage gives 139.9 MB, and the aggregator writes about 140 MB in a round",
  );
  assert.match(others.join("\n"), /no scheduler answers/);
  rmSync(folder, { recursive: true });
});

test.run();
