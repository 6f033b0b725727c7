/**
 * The OpenTelemetry Collector takes traces and lines of the log, in both encodings, and reads what was written. `HYPHA_GO=1` runs it: Go
 * builds it for some minutes, and fetches its modules the first time.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Effect, Exit } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { telemetryProtocols } from "../../actors/config/telemetry_values.ts";
import type { Collector } from "../../actors/telemetry/collector.ts";
import { type Batch, sendBatch } from "../../actors/telemetry/send_batch.ts";
import { lacking } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";

const isAsked = process.env["HYPHA_GO"] === "1";
const isInstalled = existsSync("/usr/local/go/bin/go");
const test = suite("the OpenTelemetry Collector");
const tried = lacking(test, isInstalled ? [] : ["go"]);
const folder = mkdtempSync(join(tmpdir(), "hypha-otel-"));
test.after(() => rmSync(folder, { recursive: true }));

const startMs = 1_790_000_000_000;
const batches: readonly Batch[] = [{
  signal: "traces",
  items: [{
    traceId: "0af7651916cd43dd8448eb211c80319c",
    spanId: "b7ad6b7169203331",
    parentSpanId: "00f067aa0ba902b7",
    name: "handshake.check",
    kind: "server",
    startMs,
    endMs: startMs + 1.5,
    attributes: { "hypha.check": "revocation", count: -1 },
    error: "certificate-revoked",
  }],
}, {
  signal: "logs",
  items: [{ timeMs: startMs, level: "warn", event: "peer.refused", message: "refused", fields: { name: "worker-7" } }],
}];
const lines = [
  "Trace ID       : 0af7651916cd43dd8448eb211c80319c",
  "Parent ID      : 00f067aa0ba902b7",
  "ID             : b7ad6b7169203331",
  "Name           : handshake.check",
  "Kind           : Server",
  "End time       : 2026-09-21 14:13:20.0015 +0000 UTC",
  "Status code    : Error",
  "-> hypha.check: Str(revocation)",
  "-> count: Int(-1)",
  "-> error.type: Str(certificate-revoked)",
  "ObservedTimestamp: 2026-09-21 14:13:20 +0000 UTC",
  "SeverityNumber: Warn(13)",
  "EventName: peer.refused",
  "Body: Str(refused)",
  "-> name: Str(worker-7)",
];

const configOf = (port: number) =>
  `receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
exporters: { debug: { verbosity: detailed } }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    traces: { receivers: [otlp], exporters: [debug] }
    logs: { receivers: [otlp], exporters: [debug] }
`;

test("the batches that it is given have a trace and a line of the log", () => {
  assert.equal(batches.map(({ signal }) => signal), ["traces", "logs"]);
});

if (isAsked) {
  tried("it reads a span and a line of the log, in JSON and in protobuf", async () => {
    const program = join(folder, "collector");
    const source = fileURLToPath(new URL("../fixtures/otel_collector", import.meta.url));
    const built = await new Promise<string>((resolve) =>
      execFile(
        "/usr/local/go/bin/go",
        ["build", "-o", program, "."],
        { cwd: source, timeout: 540_000 },
        (error, _, stderr) => resolve(error === null ? "" : `${error.message} ${stderr}`),
      )
    );
    assert.is(built, "");
    const port = await freePort();
    const config = join(folder, "config.yaml");
    writeFileSync(config, configOf(port));
    let said = "";
    const child = execFile(program, ["--config", `file:${config}`], { timeout: 60_000 });
    for (const output of [child.stdout, child.stderr]) output?.on("data", (text: string) => (said += text));
    const ended = new Promise((resolve) => child.on("close", resolve));
    const until = async (holds: () => boolean) => {
      for (let left = 200; left > 0 && !holds(); left--) await pause(100);
      assert.ok(holds(), said);
    };
    await until(() => said.includes("Everything is ready"));
    for (const protocol of telemetryProtocols) {
      said = "";
      const url = new URL(`http://127.0.0.1:${port}/v1/metrics`);
      const resource = { "service.name": `hypha-${protocol}` };
      const collector: Collector = { url, protocol, headers: {}, resource, startedAt: 0 };
      for (const batch of batches) {
        const exit = await Effect.runPromiseExit(sendBatch(collector, batch));
        assert.ok(Exit.isSuccess(exit), JSON.stringify(exit));
      }
      await until(() => lines.every((line) => said.includes(line)));
      assert.match(said, `-> service.name: Str(hypha-${protocol})`);
    }
    child.kill();
    await ended;
  });
}

test.run();
