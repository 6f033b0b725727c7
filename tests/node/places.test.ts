import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkPlaces } from "../../actors/node/places.ts";
import { nodeConfig } from "../../actors/simulation/node_config.ts";
import { temporary } from "../support/job_world.ts";

const test = suite("checkPlaces()");

test("bug: a worker started in a work_dir in which any user can replace the directories of its jobs", async () => {
  const place = temporary();
  const workDir = join(place.path, "work");
  const config = nodeConfig({ name: "worker-01", role: "worker", trustPem: "", crlsPem: "", gateways: [] });
  if (config.role !== "worker") throw new TypeError("Cannot check: it is no worker's configuration");
  const check = () =>
    Effect.runPromise(Effect.provide(
      checkPlaces({ ...config, workDir, executors: [] }, { searchPath: "" }),
      NodeFileSystem.layer,
    ));
  assert.equal(await check(), [], "it is made later");
  mkdirSync(workDir);
  for (const mode of [0o700, 0o711, 0o775, 0o1777]) {
    chmodSync(workDir, mode);
    assert.equal(await check(), [], mode.toString(8));
  }
  chmodSync(workDir, 0o777);
  assert.equal(await check(), [{
    path: ["work_dir"],
    wrong: `every user may write ${workDir}, and replace what others have there`,
    expected: "a directory that this user may write",
    mend: `chmod o-w ${workDir}, or name another`,
  }]);
  place.remove();
});

test.run();
