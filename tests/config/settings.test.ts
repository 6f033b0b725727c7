import { parse } from "@std/toml";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cellDefault, fetchDefault } from "../../actors/config/cell_config.ts";
import * as defaults from "../../actors/config/defaults.ts";
import { keysOf } from "../../actors/config/keys.ts";
import { auditDefault } from "../../actors/config/audit_schema.ts";
import { membershipDefault } from "../../actors/config/membership_schema.ts";
import { camelled, tomlOf } from "../../actors/config/settings.ts";
import { defaultLimits } from "../../transport/core/admission.ts";

const test = suite("camelled() and tomlOf()");

test("spells the keys of tables in camel case, in lists too, and no value", () => {
  const table = { max_batch_size: 1, "learning-rate": 0.1, inner: { input_names: ["pixel_values"] }, plain: null };
  assert.equal(camelled(table), {
    maxBatchSize: 1,
    learningRate: 0.1,
    inner: { inputNames: ["pixel_values"] },
    plain: null,
  });
  assert.equal(camelled([{ a_b: 1 }]), [{ aB: 1 }]);
  assert.equal(Object.keys(camelled({})), []);
});

test("writes what TOML reads", () => {
  for (const value of ['a "b"', 86_400, 0.5, true, ["http", "https"], [], [1, 2]]) {
    assert.equal(parse(`value = ${tomlOf(value)}`)["value"], value);
  }
});

const keys = new Map(
  (["gateway", "worker", "data"] as const).flatMap((role) => keysOf(role).map((key) => [key.key, key] as const)),
);

/** The default that `docs/configuration.md` names, from the schema. */
function documented(key: string): unknown {
  const note = keys.get(key);
  return note && parse(`value = ${note.standard ?? note.example}`)["value"];
}

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const tables: [prefix: string, values: object, apart: readonly string[]][] = [
  ["cell.", cellDefault, ["readOnly", "memoryBytes", "diskBytes", "disk", "cpuSeconds", "gpu", "gpuCommon"]],
  ["fetch.", fetchDefault, ["hosts", "fileBytesMax"]],
  ["limits.", defaultLimits, []],
  ["rotation.", defaults.rotationDefault, []],
  ["membership.", membershipDefault, []],
  ["audit.", auditDefault, []],
  ["", {
    excludeCidr: defaults.excludeCidrDefault,
    handshakeTimeoutMs: defaults.handshakeTimeoutMsDefault,
    crlGraceHours: defaults.crlGraceHoursDefault,
    drainTimeoutMs: defaults.drainTimeoutMsDefault,
    keyExchange: defaults.keyExchangeDefault,
    requireRoles: defaults.requireRolesDefault,
    relayCircuit: defaults.relayCircuitDefault,
    requireGrant: defaults.requireGrantDefault,
    leafAlgorithms: defaults.keyAlgorithmsDefault,
    caAlgorithms: defaults.keyAlgorithmsDefault,
    telemetryIntervalMs: defaults.telemetryIntervalMsDefault,
  }, []],
];
for (const [prefix, values, apart] of tables) {
  test(`the documented defaults of ${prefix || "the top level"} are those that hold`, () => {
    for (const [name, value] of Object.entries(values).filter(([name]) => !apart.includes(name))) {
      assert.equal(documented(`${prefix}${snake(name)}`), value, name);
    }
  });
}

test.run();
