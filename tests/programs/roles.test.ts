/** The four programs as one small network: each starts with the least that it needs, joins, answers and takes leave. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { stringify } from "@std/toml";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeOwner } from "../../actors/job/owner_record.ts";
import { identifyProcess } from "../../actors/job/process_identity.ts";
import type { Role } from "../../pki/certificate.ts";
import { permissionsFor } from "../../scripts/program/deno_permissions.ts";
import { makeTestPki } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, runProgramOnce, startProgram } from "../support/program.ts";

const folder = mkdtempSync(join(tmpdir(), "hypha-roles-"));
const pki = await makeTestPki();
const crls = await pki.crls();
const roles: readonly Role[] = ["gateway", "data", "worker", "scheduler"];
const ports = new Map<Role, number>();
for (const role of roles) ports.set(role, await freePort());
const addressOf = (role: Role) => `/ip4/127.0.0.1/tcp/${ports.get(role)}`;

const dataset = join(folder, "digits");
mkdirSync(dataset);
for (const name of ["a", "b", "c"]) writeFileSync(join(dataset, name), "0,0\n");
const workDir = join(folder, "work");
mkdirSync(workDir, { mode: 0o700 });

const resources = { cpu: 1, memory: 1, storage: 1, gpu: 0 };
const price = { bid: 1, max: 2 };
const own: Record<Role, Record<string, unknown>> = {
  gateway: {},
  data: { dataset_path: dataset },
  worker: {
    work_dir: workDir,
    resources,
    // Its floor lies over the scheduler's bid: nothing is to be trained here.
    offer: { price: 9, floor: 9, strategy: { type: "whole" } },
    executors: [{ class: "train", name: "none", runtime: "process", cmd: process.execPath }],
  },
  scheduler: {
    scheduler: {
      job: {
        type: "diloco",
        model: {
          repository: "builtin/mlp-64-32-10",
          filenames: ["m"],
          type: "image-classification",
          input_names: ["x"],
        },
        dataset: { dataset: "digits" },
        inner_optimizer: { "learning-rate": 0.1 },
        outer_optimizer: { "learning-rate": 0.7, momentum: 0.9 },
        resources: {
          num_workers: 1,
          worker: resources,
          parameter_server: resources,
          worker_price: price,
          parameter_server_price: price,
        },
        rounds: { update_rounds: 1, avg_samples_between_updates: 1 },
      },
    },
  },
};

/** Writes certificate and configuration of a node, and says which it is. */
async function configure(
  role: Role,
  name: string,
): Promise<{ readonly config: string; readonly certificates: string }> {
  const certificates = join(folder, name);
  const files = await pki.write(certificates, await pki.node(name, { role }), crls);
  const config = join(folder, `${name}.toml`);
  const common = {
    cert_pem: files.certPath,
    key_pem: files.keyPath,
    trust_pem: files.trustPath,
    crls_pem: files.crlsPath,
    listen_addresses: [addressOf(role)],
    exclude_cidr: [],
    ...(role === "data" ? {} : { external_addresses: [addressOf(role)] }),
    ...(role === "gateway" ? {} : { gateway_addresses: [addressOf("gateway")] }),
  };
  writeFileSync(config, stringify({ ...common, ...own[role] }));
  return { config, certificates };
}

async function start(role: Role): Promise<Running> {
  const { config, certificates } = await configure(role, `${role}-01`);
  const permissions = permissionsFor(role, {
    configPath: config,
    certificateFolder: certificates,
    readPaths: role === "data" ? [dataset] : [],
    addresses: ["127.0.0.1"],
  });
  return startProgram(role, ["run", "-c", config, "--log-format", "json"], { permissions });
}

const test = suite("hypha-gateway, -data, -worker, -scheduler");
const nodes = new Map<Role, Running>();
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("each starts with the least that its role needs, and becomes ready", async () => {
  const gateway = await start("gateway");
  nodes.set("gateway", gateway);
  await gateway.waitFor("node.ready");
  for (const role of ["data", "worker", "scheduler"] as const) nodes.set(role, await start(role));
  for (const [role, node] of nodes) assert.is((await node.waitFor("node.ready"))["role"], role);
});

test("each answers the probe of another", async () => {
  const { config } = await configure("gateway", "operator");
  const ended = await Promise.all(
    roles.map((role) => runProgramOnce("gateway", ["probe", "-c", config, addressOf(role), "--timeout", "10000"])),
  );
  assert.equal(ended.map(({ code, stderr }) => [code, stderr]), roles.map(() => [0, ""]));
});

test("the scheduler finds the data node's slices, and goes on looking for workers", async () => {
  const found = await nodes.get("scheduler")?.waitFor("dataset.found");
  assert.is(found?.["slices"], 3);
});

test("a worker is killed: the others carry on; started again, it clears what its jobs left and is ready", async () => {
  const worker = nodes.get("worker") as Running;
  const identity = identifyProcess(worker.child.pid as number);
  assert.ok(identity !== undefined);
  // What a job leaves: its directory with the bridge's socket in it, and beside it whose it was.
  const left = join(workDir, "hypha-3f2504e0-4f89-41d3-9a0c-0305e82c3301");
  mkdirSync(left, { mode: 0o700 });
  await writeOwner(left, identity);
  const bridge = createServer().listen(join(left, "bridge.sock"));
  await new Promise((listening) => bridge.once("listening", listening));
  worker.signal("SIGKILL");
  assert.is((await worker.ended).signal, "SIGKILL");
  await nodes.get("gateway")?.waitFor("peer.closed", ({ name }) => name === "worker-01");
  const { config } = await configure("gateway", "operator");
  const others = roles.filter((role) => role !== "worker");
  const ended = await Promise.all(
    others.map((role) => runProgramOnce("gateway", ["probe", "-c", config, addressOf(role), "--timeout", "10000"])),
  );
  assert.equal(ended.map(({ code, stderr }) => [code, stderr]), others.map(() => [0, ""]));
  assert.ok(existsSync(join(left, "bridge.sock")), "left over until it is back");
  const again = await start("worker");
  nodes.set("worker", again);
  await Promise.all([again.waitFor("worker.swept"), again.waitFor("node.ready")]);
  assert.equal(readdirSync(workDir).filter((name) => name.startsWith("hypha-")), []);
  bridge.close();
});

test("each takes leave in order when told to stop, and leaves nothing behind", async () => {
  const leaving = roles.toReversed().map(async (role) => {
    nodes.get(role)?.signal("SIGTERM");
    const ended = await nodes.get(role)?.ended;
    return [role, ended?.code];
  });
  assert.equal(await Promise.all(leaving), roles.toReversed().map((role) => [role, 0]));
  for (const node of nodes.values()) assert.ok(node.events.some(({ event }) => event === "node.summary"));
  assert.ok(existsSync(workDir));
});

test.run();
