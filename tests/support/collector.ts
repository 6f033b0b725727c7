/**
 * A collector of telemetry: a real HTTP server on loopback that takes OTLP posts and keeps them; and how Prometheus asks.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { connect } from "node:net";

/** A point of a metric, as OTLP's JSON writes it. */
export interface OtlpPoint {
  readonly attributes: readonly { readonly key: string; readonly value: { readonly stringValue?: string } }[];
  readonly startTimeUnixNano: string;
  readonly timeUnixNano: string;
  readonly asInt?: number | string;
  readonly asDouble?: number;
  readonly count?: number;
  readonly sum?: number;
  readonly bucketCounts?: readonly number[];
  readonly explicitBounds?: readonly number[];
}

/** A metric, as OTLP's JSON writes it. */
export interface OtlpMetric {
  readonly name: string;
  readonly unit: string;
  readonly description: string;
  readonly sum?: {
    readonly isMonotonic: boolean;
    readonly aggregationTemporality: number;
    readonly dataPoints: readonly OtlpPoint[];
  };
  readonly gauge?: { readonly dataPoints: readonly OtlpPoint[] };
  readonly histogram?: { readonly dataPoints: readonly OtlpPoint[] };
}

/** What was posted. */
export interface Posted {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A collector that runs. */
export interface Collector {
  readonly port: number;
  readonly url: string;
  readonly posts: readonly Posted[];
  /** The first post that fits, past or to come. */
  waitFor(fits: (posted: Posted) => boolean, timeoutMs?: number): Promise<Posted>;
  close(): Promise<void>;
}

/** What it does with a post; takes it by default. */
export type Behaviour = (request: IncomingMessage, response: ServerResponse) => void;

/** Starts a collector, at a port of its own or at this one. */
export async function startCollector(behave: Behaviour = takeIt, port = 0): Promise<Collector> {
  const posts: Posted[] = [];
  const listeners = new Set<() => void>();
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => void pieces.push(piece));
    request.on("end", () => {
      posts.push({ path: request.url ?? "", headers: request.headers, body: Buffer.concat(pieces) });
      behave(request, response);
      for (const listener of [...listeners]) listener();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.on("error", reject);
    server.listen(port, "127.0.0.1", () => resolve());
  });
  const address = server.address();
  const own = typeof address === "object" && address !== null ? address.port : port;
  return {
    port: own,
    url: `http://127.0.0.1:${own}`,
    posts,
    waitFor: (fits, timeoutMs = 20_000) =>
      new Promise((resolve, reject) => {
        const done = () => {
          clearTimeout(timer);
          listeners.delete(look);
        };
        const look = () => {
          const found = posts.find(fits);
          if (found === undefined) return;
          done();
          resolve(found);
        };
        const timer = setTimeout(() => {
          done();
          reject(new Error(`no such post within ${timeoutMs} ms; there were ${posts.length}`));
        }, timeoutMs);
        listeners.add(look);
        look();
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Answers as a collector does that takes everything. */
export function takeIt(_: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json" }).end("{}");
}

interface OtlpBody {
  /** Absent in a post of traces or of lines of the log. */
  readonly resourceMetrics?: readonly {
    readonly resource: { readonly attributes: OtlpPoint["attributes"] };
    readonly scopeMetrics: readonly { readonly metrics: readonly OtlpMetric[] }[];
  }[];
}

const parse = ({ body }: Posted): OtlpBody => JSON.parse(body.toString("utf8")) as OtlpBody;
const plain = (attributes: OtlpPoint["attributes"]) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? JSON.stringify(value)]));

/** The metrics of a post, by name. */
export function metricsOf(posted: Posted): ReadonlyMap<string, OtlpMetric> {
  const metrics = (parse(posted).resourceMetrics ?? []).flatMap(({ scopeMetrics }) =>
    scopeMetrics.flatMap((each) => each.metrics)
  );
  return new Map(metrics.map((metric) => [metric.name, metric]));
}

/** The resource's attributes. */
export function resourceOf(posted: Posted): Readonly<Record<string, string>> {
  return plain(parse(posted).resourceMetrics?.[0]?.resource.attributes ?? []);
}

/** Values of a metric's points, by their attributes: `code=unknown-issuer` → 1. A histogram's value is its count. */
export function valuesOf(metric: OtlpMetric | undefined): Readonly<Record<string, number>> {
  const points = metric?.sum?.dataPoints ?? metric?.gauge?.dataPoints ?? metric?.histogram?.dataPoints ?? [];
  return Object.fromEntries(points.map((point) => [
    Object.entries(plain(point.attributes)).map(([key, value]) => `${key}=${value}`).join(","),
    Number(point.asInt ?? point.asDouble ?? point.count),
  ]));
}

/** What Prometheus asks. */
export const scrapeRequest = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";

/** What comes for what is sent, until the other end closes. */
export function exchange(port: number, sent: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    const socket = connect(port, "127.0.0.1", () => socket.write(sent));
    socket.on("data", (piece: Buffer) => void pieces.push(piece));
    socket.on("error", reject);
    socket.on("close", () => resolve(Buffer.concat(pieces).toString("utf8")));
  });
}
