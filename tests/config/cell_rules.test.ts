/** `[cell]` in a configuration: GPUs, levels, and what is refused. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseConfig } from "../../actors/config/load.ts";
import { type ConfigError, describeProblem } from "../../actors/config/problem.ts";

const head = (gpu: number) =>
  `cert_pem = "c.pem"
key_pem = "k.pem"
trust_pem = "t.pem"
gateway_addresses = ["/dns4/gw.lab/tcp/4001"]
listen_addresses = []
work_dir = "work"
executors = []
resources = { cpu = 4, memory = 16, storage = 100, gpu = ${gpu} }
`;
const parse = (text: string, gpu = 0) =>
  parseConfig("worker", { file: "w.toml", text: head(gpu) + text }, { environment: {}, flags: {} });
const cellOf = (text: string, gpu = 0) => {
  const { cell } = Result.getOrThrow(parse(text, gpu));
  if (cell === undefined) throw new Error("Cannot see [cell]");
  return cell;
};
const problemsOf = (text: string, gpu = 0): readonly string[] => {
  const parsed = parse(text, gpu) as Result.Result<unknown, ConfigError>;
  return Result.isFailure(parsed) ? parsed.failure.problems.map(describeProblem) : [];
};
const table = (device: string, memory = 24) => `[[cell.gpu]]\ndevices = ["${device}"]\nmemory = ${memory}\n`;

const test = suite("[cell]");

test("has no GPU and every level by default", () => {
  const { gpu, gpuCommon, levelMax, level } = cellOf("");
  assert.equal([gpu, gpuCommon, levelMax, level], [[], { devices: [] }, "full", "bare"]);
  assert.equal(cellOf("[cell.gpu_common]\n").gpuCommon, { devices: [] });
});

test("has a table for each GPU, and devices that all share", () => {
  const text = `[cell]\nlevel = "root"\nlevel_max = "root"\n${table("/dev/nvidia0")}${table("/dev/nvidia1", 16)}` +
    `[cell.gpu_common]\ndevices = ["/dev/nvidiactl"]\n`;
  const { gpu, gpuCommon, levelMax } = cellOf(text, 40);
  assert.equal(gpu, [{ devices: ["/dev/nvidia0"], memory: 24 }, { devices: ["/dev/nvidia1"], memory: 16 }]);
  assert.equal([gpuCommon.devices, levelMax], [["/dev/nvidiactl"], "root"]);
});

const refusals: [what: string, text: string, gpu: number, complaint: RegExp][] = [
  ["more GPU memory than there is", table("/dev/a") + table("/dev/b"), 49, /49, and the tables .* have 48 GB/],
  ["a device twice", table("/dev/a") + table("/dev/a"), 24, /"\/dev\/a" is there already/],
  ["a device of one GPU that all share", `${table("/dev/a")}[cell.gpu_common]\ndevices = ["/dev/a"]\n`, 1, /already/],
  ["a path that is not absolute", table("nvidia0"), 1, /absolute paths|devices/],
  ["a GPU without memory", table("/dev/a", 0), 0, /from 1 to/],
  ["no level at all", '[cell]\nlevel = "full"\nlevel_max = "root"\n', 0, /is weaker than level = "full"/],
];
for (const [what, text, gpu, complaint] of refusals) {
  test(`refuses ${what}`, () => {
    assert.match(problemsOf(text, gpu).join("\n"), complaint);
  });
}

test("takes as much GPU memory as there is", () => {
  assert.equal(problemsOf(table("/dev/a") + table("/dev/b"), 48), []);
  // Another implementation's file has no such tables: it loads, and the worker says that it offers no GPU memory.
  assert.equal(problemsOf("", 24), []);
});

test.run();
