/** The page of all configuration keys is that of the schema. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keysOf } from "../../actors/config/keys.ts";
import { ownRuntime, scriptCommand } from "../../scripts/check/runtimes.ts";
import { configurationPage } from "../../scripts/program/configuration_page.ts";

const test = suite("configurationPage()");
const page = configurationPage();
const rows = page.split("\n").map((line) => line.split(" | ").map((cell) => cell.replace(/^\| | \|$/g, "").trim()));
const rowOf = (key: string) => rows.find(([first]) => first === `\`${key}\``) ?? [];

test("docs/configuration.md is current", () => {
  const written = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");
  assert.ok(written === page, "docs/configuration.md is out of date: npm run configuration");
});

for (const name of ["configuration", "diagrams", "executors_page", "outcomes"]) {
  test(`bug: ${name} with a misspelt --check wrote its page`, () => {
    const [command, ...before] = scriptCommand(ownRuntime);
    const script = fileURLToPath(new URL(`../../scripts/${name}.ts`, import.meta.url));
    const { status, stderr } = spawnSync(command, [...before, script, "--chek"], { encoding: "utf8", timeout: 60_000 });
    assert.is(status, 2, stderr);
    assert.match(stderr, /^Cannot run: .*--chek/);
  });
}

for (const role of ["gateway", "scheduler", "worker", "data"] as const) {
  test(`has a row for every key of a ${role}`, () => {
    for (const { key, variable, flag } of keysOf(role)) {
      const row = rowOf(key).join(" ");
      assert.ok(row.includes(`\`${variable}\``) && row.includes(`\`--${flag}\``), key);
    }
  });
}

const defaults: [key: string, standard: string][] = [
  ["cert_pem", "required"],
  ["crls_pem", "none"],
  ["external_addresses", "`[]`"],
  ["exclude_cidr", "see below"],
  ["handshake_timeout_ms", "`5000`"],
  ["telemetry_protocol", '`"http/protobuf"`'],
  ["offer.price", "`1.0`"],
  ["cell.level", '`"bare"`'],
  ["scheduler.job.preprocessor.type", "required in its table"],
  ["scheduler.job.preprocessor.token", "none"],
];
for (const [key, standard] of defaults) {
  test(`knows the default of ${key}`, () => assert.is(rowOf(key)[2], standard));
}

test("names aliases, and OpenTelemetry's variables", () => {
  assert.match(rowOf("gateway_addresses").join(" "), "`--gateway-addresses`, `--gateway`");
  assert.match(rowOf("telemetry_endpoint").join(" "), "formerly `exporter_otlp_endpoint`");
  assert.match(rowOf("telemetry_endpoint").join(" "), "`OTEL_EXPORTER_OTLP_ENDPOINT`");
});

test.run();
