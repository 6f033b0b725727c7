/** The weights of a model of a repository, fetched by its scheduler from a hub of the test. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { schedulerWeb, weightsIn } from "../../actors/training/repository_weights.ts";
import { ownRuntime } from "../../scripts/check/runtimes.ts";
import { withWeb } from "../support/job_bridge.ts";
import { openWeb, temporary } from "../support/job_world.ts";
import { tensors } from "../support/kept_training.ts";

const test = suite("weights of a repository");
const commit = "0123456789abcdef0123456789abcdef01234567";
const model = {
  repository: "acme/model",
  revision: commit,
  filenames: ["config.json", "sub/model.safetensors"],
  token: "hf-token",
  type: "image-classification",
  inputNames: ["x"],
  keep: true,
};

const fetched = (folder: string, web?: Parameters<typeof weightsIn>[2]) =>
  Effect.runPromise(Effect.provide(Effect.result(weightsIn(folder, model, web)), NodeFileSystem.layer));

test("they are fetched once, with the job's token, whatever the hub leads to", async () => {
  const place = temporary();
  const folder = join(place.path, "trainings", "t-1");
  const asked: (string | undefined)[] = [];
  await withWeb((request, response) => {
    asked.push(request.url, request.headers.authorization);
    if (request.url !== "/elsewhere") response.writeHead(302, { location: "/elsewhere" }).end();
    else response.end(tensors(1, 2));
  }, async (hubUrl) => {
    for (const _ of ["the first run", "the second run"]) {
      const path = Result.getOrThrow(await fetched(folder, { ...openWeb, hubUrl }));
      assert.equal([...readFileSync(path)], [...tensors(1, 2)]);
    }
  });
  const url = `/acme/model/resolve/${commit}/sub/model.safetensors`;
  assert.equal(asked, [url, "Bearer hf-token", "/elsewhere", "Bearer hf-token"]);
  place.remove();
});

test("what the hub refuses is final, what may pass is tried again; nothing is left of a broken file", async () => {
  const place = temporary();
  const answers: Readonly<Record<string, number>> = { WeightsRefused: 404, CheckpointFailed: 503, broken: 200 };
  for (const [name, status] of Object.entries(answers)) {
    await withWeb((_, response) => {
      if (name !== "broken") return void response.writeHead(status).end();
      response.writeHead(200, { "content-length": "100" });
      response.write("half");
      setTimeout(() => response.destroy(), 10);
    }, async (hubUrl) => {
      const outcome = await fetched(place.path, { ...openWeb, hubUrl });
      assert.ok(Result.isFailure(outcome));
      assert.is(outcome.failure._tag, name === "broken" ? "CheckpointFailed" : name);
      assert.equal(readdirSync(place.path), []);
    });
  }
  place.remove();
});

test("an address of the scheduler's own surroundings is never asked", async () => {
  const place = temporary();
  let asked = 0;
  await withWeb((_, response) => void (asked += 1, response.end(tensors(1))), async (hubUrl) => {
    const outcome = await fetched(place.path, { ...schedulerWeb(), hubUrl });
    assert.ok(Result.isFailure(outcome) && outcome.failure._tag === "WeightsRefused");
    assert.match(outcome.failure.message, /deny_cidr/);
  });
  assert.equal([asked, existsSync(join(place.path, "repository.safetensors"))], [0, false]);
  place.remove();
});

(ownRuntime === "deno" ? test : () => {})(
  "bug: a scheduler with the permissions that it needs on Deno did not find weights that it had fetched",
  () => {
    const place = temporary();
    const path = join(place.path, "repository.safetensors");
    writeFileSync(path, tensors(1));
    const child = new URL("../support/weights_child.ts", import.meta.url).pathname;
    const tree = new URL("../..", import.meta.url).pathname;
    const { status, stdout, stderr } = spawnSync(process.execPath, [
      ...["run", "--quiet", "--no-check", "--no-prompt", "--ignore-env", "--allow-env"],
      `--allow-read=${place.path},${tree}`,
      `--allow-write=${place.path}`,
      ...[child, place.path],
    ], { encoding: "utf8", timeout: 30_000 });
    assert.equal([status, stdout], [0, `${path}\n`], stderr);
    place.remove();
  },
);

test.run();
