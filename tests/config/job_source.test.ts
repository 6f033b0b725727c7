/** A job as it is given on the command line: a file's path, or the job itself. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readJob } from "../../actors/config/job_source.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { temporary } from "../support/job_world.ts";

const test = suite("readJob()");
const read = (given: string) => Effect.runPromise(Effect.provide(Effect.result(readJob(given)), realServices));

test("bug: a file whose path has an equals sign was read as the text of a job", async () => {
  const { path, remove } = temporary();
  mkdirSync(join(path, "sweep"));
  const file = join(path, "sweep", "lr=0.1.toml");
  writeFileSync(file, 'type = "diloco"\n');
  const { file: of, values } = Result.getOrThrow(await read(file));
  assert.equal([of, { ...values }], [file, { type: "diloco" }]);
  remove();
});

test("a text is a job where no file has its name", async () => {
  for (const given of ['type = "diloco"', '{"type": "diloco"}', 'type = "diloco"\nlong = true']) {
    const { file, values } = Result.getOrThrow(await read(given));
    assert.equal([file, values["type"]], [undefined, "diloco"]);
  }
  const none = await read("no-job.toml");
  assert.match(Result.isFailure(none) ? none.failure.message : "", /no-job\.toml.* is no file/);
});

test.run();
