/** The weights of a model of a repository, fetched by its scheduler from a hub of the test. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FreeSpace } from "../../actors/files/free_space.ts";
import type { Web } from "../../actors/job/bridge/web_request.ts";
import { openModel } from "../../actors/training/keep_model.ts";
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

const keepRounds = 2;
const fetched = (folder: string, web?: Web, freeBytes = Number.POSITIVE_INFINITY) =>
  Effect.result(weightsIn({ folder, keepRounds, web, againMs: [1, 1] }, model)).pipe(
    Effect.provide(NodeFileSystem.layer),
    Effect.provideService(FreeSpace, () => Effect.succeed(freeBytes)),
    Effect.runPromise,
  );

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

test("what the hub refuses three times is final, what may pass is tried again; nothing is left of a broken file", async () => {
  const place = temporary();
  const answers: readonly (readonly [status: number, tag: string, asked: number])[] = [
    [404, "WeightsRefused", 3],
    [429, "HubFailed", 1],
    [503, "HubFailed", 1],
    [200, "HubFailed", 1],
  ];
  for (const [status, tag, times] of answers) {
    let asked = 0;
    await withWeb((_, response) => {
      asked++;
      if (status !== 200) return void response.writeHead(status).end();
      response.writeHead(200, { "content-length": "100" });
      response.write("half");
      setTimeout(() => response.destroy(), 10);
    }, async (hubUrl) => {
      const outcome = await fetched(place.path, { ...openWeb, hubUrl });
      assert.ok(Result.isFailure(outcome));
      assert.equal([outcome.failure._tag, asked, readdirSync(place.path)], [tag, times, []], String(status));
    });
  }
  place.remove();
});

test("bug: the error for weights that took too long named a key of workers; they are fetched again later", async () => {
  const place = temporary();
  await withWeb((_, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("half");
  }, async (hubUrl) => {
    const rules = { ...openWeb.rules, timeoutMs: 3_000 };
    const outcome = await fetched(place.path, { ...openWeb, hubUrl, rules });
    assert.ok(Result.isFailure(outcome));
    assert.is(outcome.failure._tag, "HubFailed");
    assert.match(outcome.failure.message, /takes longer than 3000 ms: 4 of 100 bytes came/);
  });
  place.remove();
});

test("bug: one false refusal of the hub ended the training, and any ended one that had rounds", async () => {
  const place = temporary();
  let refusals = 2;
  await withWeb((_, response) => {
    if (refusals-- > 0) response.writeHead(403).end();
    else response.end(tensors(1, 2));
  }, async (hubUrl) => {
    const web = { ...openWeb, hubUrl };
    const path = Result.getOrThrow(await fetched(place.path, web));
    const opened = openModel({ folder: place.path, keepRounds, rounds: 3 }, { weights: path, run: 1 });
    await Effect.runPromise(Effect.provide(opened, Layer.merge(NodeFileSystem.layer, NodePath.layer)));
    rmSync(path);
    refusals = 9;
    const outcome = await fetched(place.path, web);
    assert.is(Result.isFailure(outcome) && outcome.failure._tag, "HubFailed");
  });
  place.remove();
});

test("bug: a file that does not fit was fetched until the disk was full; its room is checked first, that of its rounds too", async () => {
  const place = temporary();
  const bytes = tensors(1, 2);
  const needed = bytes.length * (1 + (keepRounds + 1) * 2 + 2);
  await withWeb((_, response) => void response.end(bytes), async (hubUrl) => {
    const web = { ...openWeb, hubUrl };
    const outcome = await fetched(place.path, web, needed - 1);
    assert.ok(Result.isFailure(outcome) && outcome.failure._tag === "WeightsRefused");
    assert.is(
      outcome.failure.detail,
      `not enough disk: need ${needed} bytes, have ${needed - 1} bytes at ${place.path}`,
    );
    assert.equal(readdirSync(place.path), []);
    assert.ok(Result.isSuccess(await fetched(place.path, web, needed)));
  });
  await withWeb((_, response) => {
    response.writeHead(200, { "transfer-encoding": "chunked" });
    response.end(bytes);
  }, async (hubUrl) => {
    rmSync(join(place.path, "repository.safetensors"));
    const outcome = await fetched(place.path, { ...openWeb, hubUrl });
    assert.match(Result.isFailure(outcome) ? outcome.failure.message : "", /does not name its size/);
  });
  place.remove();
});

test("bug: whatever the hub sent was taken for the commit's file; it is the one that the hub names, or none", async () => {
  const place = temporary();
  const bytes = tensors(1, 2), other = "f".repeat(40);
  const digest = createHash("sha256").update(bytes).digest("hex");
  const named = { "x-linked-etag": `"${digest}"`, "x-linked-size": String(bytes.length), "x-repo-commit": commit };
  const cases: readonly (readonly [headers: Record<string, string>, why: RegExp])[] = [
    [{ ...named, "x-linked-etag": `"${"0".repeat(64)}"` }, /names SHA-256 0000/],
    [{ ...named, "x-linked-size": String(bytes.length + 1) }, /names [0-9]+ bytes, and sent/],
    [{ ...named, "x-linked-size": String(bytes.length - 1) }, /names [0-9]+ bytes, and sends more/],
    [{ ...named, "x-repo-commit": other }, /is of commit ffff/],
  ];
  let headers = named as Record<string, string>;
  await withWeb((request, response) => {
    if (request.url === "/blob") return void response.end(bytes);
    response.writeHead(302, { ...headers, location: "/blob" }).end();
  }, async (hubUrl) => {
    for (const [given, why] of cases) {
      headers = given;
      const outcome = await fetched(place.path, { ...openWeb, hubUrl });
      assert.ok(Result.isFailure(outcome) && outcome.failure._tag === "HubFailed");
      assert.match(outcome.failure.message, why);
      assert.equal(readdirSync(place.path), []);
    }
    headers = named;
    assert.ok(Result.isSuccess(await fetched(place.path, { ...openWeb, hubUrl })));
  });
  place.remove();
});

test("no request goes to an address of the scheduler's own surroundings", async () => {
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
