/** Telemetry of whole programs, against a real collector and a real scrape. */
import { Buffer } from "node:buffer";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { instruments } from "../../actors/telemetry/instruments.ts";
import type { LogsData, OtlpLogRecord, OtlpSpan, TracesData } from "../../actors/telemetry/otlp.ts";
import { earlyCodes } from "../../actors/trust/refusal_log.ts";
import { permissionsFor } from "../../scripts/program/deno_permissions.ts";
import {
  exchange,
  metricsOf,
  type Posted,
  resourceOf,
  scrapeRequest,
  startCollector,
  takeIt,
  valuesOf,
} from "../support/collector.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, runProgramOnce, startProgram } from "../support/program.ts";
import { checkFiring, promtool } from "../support/promtool.ts";

/** A machine that many share may take its time. */
const lifeMs = 150_000;
const patienceMs = 60_000;
const folder = mkdtempSync(join(tmpdir(), "hypha-telemetry-"));
const pki = await makeTestPki();
const stranger = await makeTestPki({ organization: "Elsewhere" });

interface Place {
  readonly config: string;
  readonly certificates: string;
}

/** A folder with a gateway's configuration; everybody trusts the same, whoever issued its certificate. */
async function place(
  name: string,
  node: TestNode,
  { port = 4_001, more = [] as readonly string[] } = {},
) {
  const certificates = join(folder, name, "certs");
  mkdirSync(certificates, { recursive: true });
  const files = await pki.write(certificates, node, await pki.crls({ number: 1n }));
  const config = join(folder, name, "gateway.toml");
  const lines = [
    `cert_pem = "${files.certPath}"`,
    `key_pem = "${files.keyPath}"`,
    `trust_pem = "${files.trustPath}"`,
    `crls_pem = "${files.crlsPath}"`,
    `listen_addresses = ["/ip4/127.0.0.1/tcp/${port}"]`,
    `external_addresses = ["/ip4/127.0.0.1/tcp/${port}"]`,
    "exclude_cidr = []",
    "handshake_timeout_ms = 30000",
    ...more,
  ];
  writeFileSync(config, lines.join("\n"));
  return { config, certificates };
}

/** On Deno with the least permissions: telemetry needs its addresses, and nothing more. */
function start({ config, certificates }: Place, env: Record<string, string>): Running {
  const permissions = permissionsFor("gateway", {
    configPath: config,
    certificateFolder: certificates,
    readPaths: [],
    addresses: ["127.0.0.1"],
  });
  return startProgram("gateway", ["run", "-c", config, "--log-format", "json"], { permissions, env, lifeMs });
}

/** Lines of a page as series and value. */
function seriesOf(page: string): ReadonlyMap<string, number> {
  const lines = page.slice(page.indexOf("\r\n\r\n") + 4).split("\n").filter((line) =>
    line !== "" && !line.startsWith("#")
  );
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
  );
}

const test = suite("telemetry");
test.after(() => rmSync(folder, { recursive: true, force: true }));

const port = await freePort();
const metricsPort = await freePort();
const collector = await startCollector();
const startedAt = Date.now();
const gateway = await place("gateway", await pki.node("gateway-01"), {
  port,
  more: [
    'telemetry_endpoint = "http://127.0.0.1:1"',
    'telemetry_protocol = "http/json"',
    'telemetry_attributes = "team=file,zone=a%2Cb"',
    'telemetry_headers = "authorization=Bearer%20s3cret"',
    "telemetry_interval_ms = 60000",
    `metrics_listen_address = "${metricsPort}"`,
  ],
});
const running = start(gateway, {
  OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/base/`,
  OTEL_RESOURCE_ATTRIBUTES: "team=env,zone=a%2Cb",
  OTEL_METRIC_EXPORT_INTERVAL: "200",
  OTEL_EXPORTER_OTLP_HEADERS: "",
  OTEL_TRACES_SAMPLER: "always_on",
  OTEL_LOGS_EXPORTER: "otlp",
});

/** The lines of the log in a post. */
function recordsOf({ path, body }: Posted): readonly OtlpLogRecord[] {
  if (path !== "/base/v1/logs") return [];
  const { resourceLogs } = JSON.parse(body.toString("utf8")) as LogsData;
  return resourceLogs.flatMap(({ scopeLogs }) => scopeLogs.flatMap(({ logRecords }) => logRecords));
}

const count = (posted: Posted, name: string, labels: string) => valuesOf(metricsOf(posted).get(name))[labels] ?? 0;

test("metrics arrive at a collector: names, values, units, headers, resource; the environment stands over the file", async () => {
  await running.waitFor("node.ready", undefined, patienceMs);
  const friend = await place("friend", await pki.node("friend"));
  const intruder = await place("intruder", await stranger.node("intruder"));
  const probe = ({ config }: Place) =>
    runProgramOnce("gateway", ["probe", "-c", config, `/ip4/127.0.0.1/tcp/${port}`, "--timeout", "30000"]);
  const [accepted, refused] = await Promise.all([probe(friend), probe(intruder)]);
  assert.equal([accepted?.code, refused?.code], [0, 1], accepted?.stderr);
  const posted = await collector.waitFor((each) =>
    count(each, "hypha_refusals_total", "code=unknown-issuer") === 1 &&
    count(each, "hypha_handshakes_accepted_total", "direction=inbound") === 1 &&
    count(each, "hypha_connections_open", "direction=inbound") === 0, patienceMs);
  assert.is(posted.path, "/base/v1/metrics");
  assert.equal([posted.headers["authorization"], posted.headers["content-type"]], [
    "Bearer s3cret",
    "application/json",
  ]);
  const resource = resourceOf(posted);
  assert.equal([resource["service.name"], resource["team"], resource["zone"]], ["hypha-gateway", "env", "a,b"]);
  assert.match(resource["service.instance.id"] ?? "", /^[0-9a-f-]{36}$/);

  const metrics = metricsOf(posted);
  const known: readonly string[] = Object.keys(instruments);
  assert.equal([...metrics.keys()].filter((name) => !known.includes(name)), []);
  const ofOthers = /^hypha_(?:leases|jobs|cell_info|training_.*)$/;
  assert.equal(known.filter((name) => !metrics.has(name) && !ofOthers.test(name)), []);
  for (const [name, { unit, description }] of metrics) {
    const instrument = instruments[name as keyof typeof instruments];
    assert.equal([unit, description], [instrument.unit, instrument.description], name);
  }
});

test("counters are cumulative since the start, and gauges say what is", async () => {
  const last = collector.posts.at(-1);
  assert.ok(last !== undefined);
  const metrics = metricsOf(last);
  const refusals = metrics.get("hypha_refusals_total");
  assert.equal([refusals?.sum?.isMonotonic, refusals?.sum?.aggregationTemporality], [true, 2]);
  const [point] = refusals?.sum?.dataPoints ?? [];
  const from = Number(BigInt(point?.startTimeUnixNano ?? 0) / 1_000_000n);
  assert.ok(from >= startedAt && from <= Date.now(), `counts since ${from}`);
  const histogram = metrics.get("hypha_handshake_duration_seconds")?.histogram?.dataPoints
    .find(({ attributes }) => attributes.some(({ value }) => value.stringValue === "inbound"));
  assert.equal([histogram?.count, (histogram?.bucketCounts ?? []).reduce((sum, each) => sum + each, 0)], [1, 1]);
  assert.is(histogram?.bucketCounts?.length, (histogram?.explicitBounds?.length ?? 0) + 1);
  assert.ok((histogram?.sum ?? 0) > 0.000_1 && (histogram?.sum ?? 0) < 10, `${histogram?.sum} s`);

  const value = (name: string, labels = "") => valuesOf(metrics.get(name))[labels] ?? NaN;
  const own = Object.entries(valuesOf(metrics.get("hypha_certificate_expire_time_seconds")));
  const leaf = await pki.node("gateway-01");
  assert.is(own.length, 1);
  assert.is(own[0]?.[0], "name=gateway-01");
  assert.ok(Math.abs((own[0]?.[1] ?? 0) - notAfterOf(leaf)) < 120, "the certificate's own notAfter, as Unix time");
  assert.equal([value("hypha_node_ready"), value("hypha_trust_generation")], [1, 1]);
  assert.equal([value("hypha_connections_max"), value("hypha_handshakes_pending_max")], [6_144, 256]);

  const ages = Object.values(valuesOf(metrics.get("hypha_crl_age_seconds")));
  const due = valuesOf(metrics.get("hypha_crl_expire_time_seconds"));
  const left = valuesOf(metrics.get("hypha_crl_remaining_seconds"));
  assert.is(ages.length, Object.keys(due).length);
  assert.ok(ages.length > 0 && ages.every((age) => age >= 0 && age < 172_800), `${ages}`);
  const now = Number(BigInt(point?.timeUnixNano ?? 0) / 1_000_000n) / 1_000;
  for (const [issuer, at] of Object.entries(due)) {
    assert.ok(at > now && Math.abs(at - now - (left[issuer] ?? 0)) < 2, issuer);
  }
  assert.ok(Object.values(valuesOf(metrics.get("hypha_trust_anchor_expire_time_seconds"))).every((at) => at > now));
});

test("Prometheus reads the same numbers", async () => {
  const page = await exchange(metricsPort, scrapeRequest);
  assert.match(page, /^HTTP\/1\.1 200 OK\r\ncontent-type: text\/plain; version=0\.0\.4; charset=utf-8\r\n/);
  const series = seriesOf(page);
  assert.is(series.get('hypha_refusals_total{code="unknown-issuer"}'), 1);
  assert.is(series.get('hypha_refusals_total{code="certificate-revoked"}'), 0, "a code is there before it occurs");
  assert.is(series.get('hypha_handshakes_accepted_total{direction="inbound"}'), 1);
  assert.is(series.get('hypha_handshake_duration_seconds_bucket{direction="inbound",le="+Inf"}'), 1);
  // A node of another test may dial this port, which its gateway had before: what it causes is counted and logged as well.
  const refused = [...series].filter(([name]) => name.startsWith("hypha_refusals_total{"))
    .filter(([name]) => ![...earlyCodes].some((code) => name.includes(`"${code}"`)));
  const lines = series.get('hypha_log_lines_total{level="warn",event="peer.refused"}');
  assert.is(
    lines,
    refused.reduce((sum, [, value]) => sum + value, 0),
    JSON.stringify(refused.filter(([, each]) => each > 0)),
  );
  assert.is(series.get("hypha_telemetry_failures_total"), 0);
  for (const [name, value] of series) assert.ok(Number.isFinite(value), name);
  for (const [name, { kind }] of Object.entries(instruments)) {
    if (series.has(name)) assert.match(page, `# TYPE ${name} ${kind}\n`);
  }
});

needing(test, "promtool")("Prometheus' tool finds nothing wrong with the page, and no alert fires on it", async () => {
  const page = await exchange(metricsPort, scrapeRequest);
  promtool(["check", "metrics"], page.slice(page.indexOf("\r\n\r\n") + 4));
  const instance = `instance="127.0.0.1:${metricsPort}"`;
  const series = [...seriesOf(page)].map(([name, value]) =>
    [name.endsWith("}") ? name.replace(/}$/, `,${instance}}`) : `${name}{${instance}}`, value] as const
  );
  checkFiring(folder, Object.fromEntries(series), []);
});

test("a supervisor reads from the same port that the node is healthy and ready", async () => {
  const get = (path: string) => exchange(metricsPort, `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
  assert.match(await get("/healthz"), /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nok\n$/);
  assert.match(await get("/readyz"), /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nready\n$/);
});

test("spans of both handshakes and lines of the log arrive at the collector, and name what was refused", async () => {
  const spans = async (fits: (span: OtlpSpan) => boolean) => {
    const of = ({ path, body }: Posted): readonly OtlpSpan[] =>
      path !== "/base/v1/traces"
        ? []
        : (JSON.parse(body.toString("utf8")) as TracesData).resourceSpans.flatMap((each) =>
          each.scopeSpans.flatMap((scope) => scope.spans)
        );
    return of(await collector.waitFor((posted) => of(posted).some(fits), patienceMs));
  };
  const isRefused = ({ name, status }: OtlpSpan) => name === "handshake" && status?.code === 2;
  const batch = await spans(isRefused);
  const refused = batch.find(isRefused);
  const codeOf = (span: OtlpSpan | undefined) => span?.attributes.find(({ key }) => key === "error.type")?.value;
  assert.equal(codeOf(refused), { stringValue: "unknown-issuer" });
  const last = batch.filter(({ parentSpanId, name }) => parentSpanId === refused?.spanId && name === "handshake.check")
    .at(-1);
  assert.equal(codeOf(last), { stringValue: "unknown-issuer" }, "the check that refused");
  await spans(({ name, status }) => name === "handshake" && status === undefined);
  await spans(({ name, kind }) => name === "request" && kind === 2);
  const isLine = ({ eventName, severityText }: OtlpLogRecord) =>
    eventName === "peer.refused" && severityText === "WARN";
  const posted = await collector.waitFor((each) => recordsOf(each).some(isLine), patienceMs);
  assert.is(posted.headers["authorization"], "Bearer s3cret");
});

test("a collector that goes away is said once, and that it is back; the last numbers are sent at the end", async () => {
  assert.equal(running.events.filter(({ event }) => event === "config.idle"), []);
  await collector.close();
  const ofMetrics = ({ message }: { readonly message: string }) => message.startsWith("Cannot send metrics");
  const unsent = await running.waitFor("telemetry.unsent", ofMetrics);
  assert.is(unsent.level, "warn");
  assert.match(unsent.message, `Cannot send metrics to ${collector.url}/base/v1/metrics: `);
  assert.match(String(unsent["hint"]), "telemetry_endpoint");
  await untilTried(collector.port, 3); // three more sendings come to nothing
  const again = await startCollector(takeIt, collector.port);
  await running.waitFor("telemetry.sent", ({ message }) => message.startsWith("Metrics"));
  const unsents = running.events.filter((each) => each.event === "telemetry.unsent" && ofMetrics(each));
  assert.is(unsents.length, 1, "quiet after the first");
  const back = await again.waitFor((each) => count(each, "hypha_telemetry_failures_total", "") >= 2);
  assert.is(count(back, "hypha_refusals_total", "code=unknown-issuer"), 1, "nothing was lost");
  const log = JSON.stringify(running.events);
  assert.not.match(log, "s3cret", "a header is a secret");
  running.signal("SIGTERM");
  assert.is((await running.ended).code, 0);
  const last = again.posts.filter(({ path }) => path.endsWith("/v1/metrics")).at(-1) as Posted;
  assert.is(count(last, "hypha_node_ready", ""), 0, "the last one is from after the drain");
  await again.close();
});

/** Waits until a port was dialled so often; each connection is reset. */
async function untilTried(port: number, times: number): Promise<void> {
  let tried = 0;
  const server = createServer((socket) => {
    tried += 1;
    socket.on("error", () => {}).resetAndDestroy();
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const end = performance.now() + patienceMs;
  while (tried < times) {
    assert.ok(performance.now() < end, `${tried} sendings`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await new Promise((resolve) => server.close(resolve));
}

/** What keeps a node from nothing: a collector that never answers, a port that somebody has. */
test("a collector that never answers and a port that is taken disturb nothing", async () => {
  const taken = await new Promise<Server>((resolve) => {
    const server = createServer(() => {}).listen(0, "127.0.0.1", () => resolve(server));
  });
  const { port: takenPort } = taken.address() as { port: number };
  const node = start(await place("disturbed", await pki.node("disturbed"), { port: await freePort() }), {
    HYPHA_TELEMETRY_ENDPOINT: `http://127.0.0.1:${takenPort}`,
    HYPHA_METRICS_LISTEN_ADDRESS: `127.0.0.1:${takenPort}`,
  });
  await node.waitFor("node.ready", undefined, patienceMs);
  const unserved = await node.waitFor("telemetry.unserved");
  assert.match(unserved.message, /Cannot listen for metrics: .*in use/i);
  assert.match(String(unserved["hint"]), "metrics_listen_address");
  const before = Date.now();
  node.signal("SIGTERM");
  assert.is((await node.ended).code, 0);
  assert.ok(Date.now() - before < 30_000, "it does not wait for the collector");
  taken.close();
});

test("bug: the failure of a node was not sent to the collector", async () => {
  const taken = createServer(() => {});
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const { port: takenPort } = taken.address() as { port: number };
  const collector = await startCollector();
  const node = start(await place("failing", await pki.node("failing"), { port: takenPort }), {
    OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/base/`,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_LOGS_EXPORTER: "otlp",
  });
  const { message } = await node.waitFor("node.failed", undefined, patienceMs);
  assert.is((await node.ended).code, 1);
  const sent = collector.posts.flatMap(recordsOf).filter(({ eventName }) => eventName === "node.failed");
  assert.equal(sent.map(({ body }) => body), [{ stringValue: message }]);
  await collector.close();
  taken.close();
});

function notAfterOf({ chainPem }: TestNode): number {
  const der = Buffer.from(/-----BEGIN CERTIFICATE-----([\s\S]*?)-----END/.exec(chainPem)?.[1] ?? "", "base64");
  const times = [...der.toString("latin1").matchAll(/(\d{12})Z/g)].map((match) => match[1] ?? "");
  const [year, month, day, hour, minute, second] = (times[1]?.match(/\d\d/g) ?? []).map(Number);
  return Date.UTC(2000 + (year ?? 0), (month ?? 1) - 1, day, hour, minute, second) / 1_000;
}

test.run();
