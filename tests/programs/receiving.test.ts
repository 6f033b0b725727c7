/** A scheduler whose certificate and key are replaced while a training is submitted to it. */
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { uploadAdmin } from "../../actors/admin/ask_admin.ts";
import { adminSocketPath } from "../../actors/admin/socket_path.ts";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { makeNodeNetwork } from "../support/node_network.ts";
import { startProgram } from "../support/program.ts";
import { schedulerToml } from "../support/scheduler_toml.ts";
import { submissionOf } from "../support/submission.ts";

const test = suite("a scheduler that takes another key");
const network = await makeNodeNetwork();
test.after(() => network.stop());

test("bug: it deleted a training that was being received", async () => {
  const { pki } = network;
  const gateway = await network.start("gateway-01", "gateway");
  const { addresses } = await gateway.said("node.listening") as unknown as { readonly addresses: readonly string[] };
  const folder = join(network.folder, "scheduler-01");
  const next = () => pki.node("scheduler-01", { role: "scheduler" });
  const files = await pki.write(folder, await next(), await pki.crls({ number: 1n }));
  const [state, config] = [join(folder, "state"), join(folder, "scheduler.toml")];
  writeFileSync(config, schedulerToml({ ...files, stateDir: state, gateway: `${addresses[0]}` }));
  const scheduler = startProgram("scheduler", ["run", "-c", config, "--log-format", "json"]);
  const loaded = (before: number) =>
    scheduler.waitFor(
      "trainings.loaded",
      () => scheduler.events.filter(({ event }) => event === "trainings.loaded").length > before,
    );
  await loaded(0);
  const weights = encodeTensors(new Map([["w", { shape: [1], values: Float32Array.of(1) }]]));
  const body = async function* (): AsyncGenerator<Uint8Array> {
    for await (const whole of submissionOf(weights)) {
      yield whole.subarray(0, -2);
      const { chainPem, keyPem } = await next();
      for (const [path, text] of [[files.certPath, chainPem], [files.keyPath, keyPem]] as const) {
        writeFileSync(`${path}.new`, text, { mode: 0o600 });
        renameSync(`${path}.new`, path);
      }
      await loaded(1);
      yield whole.subarray(-2);
    }
  };
  const { status, body: answer } = await Effect.runPromise(
    uploadAdmin(adminSocketPath(state), "POST /trainings", body()),
  );
  assert.is(status, 200, JSON.stringify(answer));
  scheduler.signal("SIGTERM");
  assert.is((await scheduler.ended).code, 0);
});

test.run();
