/**
 * The generated parts of `docs/executors.md`: the bridge's routes, its answers and bounds, and the JSON of a job and of progress, from
 * the code that serves them.
 *
 * @module
 */
import type { ProblemCode } from "../../actors/job/bridge/problem.ts";
import { leastBytesPerMs } from "../../actors/files/stream_file.ts";
import { openApiJson } from "../../actors/job/bridge/openapi.ts";
import { jobLimits } from "../../actors/job/limits.ts";
import { bytesPerSecondMax, lineCharactersMax, linesPerSecondMax, tailBytesMax } from "../../actors/job/output.ts";
import { elementBytes } from "../../actors/learning/element_types.ts";
import { headerMaxBytes } from "../../actors/learning/mod.ts";
import {
  jobSpecSchema,
  peersReferenceSchema,
  progressResponseSchema,
  progressSchema,
  referenceSchema,
} from "../../transport/protocols/mod.ts";
import { type Shape, shapeText } from "../../transport/protocols/shape.ts";
import { trainingStateSchema } from "../../transport/protocols/training_schemas.ts";
import { aligned } from "../attack/aligned.ts";

const marksOf = (name: string) => ({
  begin: `<!-- ${name}: made by \`npm run executors\` -->`,
  end: `<!-- /${name} -->`,
});

/** Each part of the page, with the marks around it. */
export function executorsTables(): readonly (readonly [{ readonly begin: string; readonly end: string }, string])[] {
  return [
    [marksOf("routes"), routesTable()],
    [marksOf("answers"), answersTable()],
    [marksOf("job"), fenced(jobShapes())],
    [marksOf("progress"), fenced(progressShapes())],
    [marksOf("types"), `${Object.keys(elementBytes).map((name) => `\`${name}\``).join(", ")}.`],
    [marksOf("limits"), limitsTable()],
  ];
}

const fenced = (text: string) => `\`\`\`text\n${text}\n\`\`\``;

// ── Routes and answers ──────────────────────────────────────────────────────────────────────────────────────────────

interface Operation {
  readonly summary?: string;
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
}

function routesTable(): string {
  const { paths } = JSON.parse(openApiJson) as {
    readonly paths: Readonly<
      Record<
        string,
        Readonly<Record<string, unknown>> & {
          readonly parameters?: readonly { readonly name: string; readonly description: string }[];
        }
      >
    >;
  };
  const rows = Object.entries(paths).flatMap(([path, { parameters = [], ...methods }]) =>
    Object.entries(methods).map(([method, operation]) => {
      const { summary = "", responses } = operation as Operation;
      const query = parameters.map(({ name, description }) => `; \`?${name}=\` ${description}`).join("");
      return [`\`${method.toUpperCase()} ${path}\``, `${summary}${query}`, responses["200"]?.description ?? ""];
    })
  );
  return aligned([["route", "what it does", "answer 200"], ...rows]);
}

const problems: Readonly<Record<ProblemCode, readonly [status: number, what: string, what_next: string]>> = {
  unauthorized: [401, "`BRIDGE_TOKEN` is missing or wrong", "end"],
  "job-scope": [403, "the job names no such reference or peer, or the worker's operator does not allow it", "end"],
  invalid_request: [400, "the request is not allowed: a path outside the directory, an address that is none", "end"],
  connector_error: [500, "another node or a web server failed", "try again"],
  network_error: [500, "the scheduler did not answer", "try again"],
  io_error: [500, "the worker's file system failed", "try again"],
  internal_error: [500, "the worker failed", "try again"],
  busy: [503, "too many requests, or too many sends that still run", "try again"],
};

function answersTable(): string {
  const coded = Object.entries(problems).map((
    [code, [status, what, next]],
  ) => [`${status}`, `\`${code}\``, what, next]);
  const plain = [
    ["400", "none", "the body is not JSON", "end"],
    ["404, 405", "none, no body", "no such route, or another method (`allow` names it)", "end"],
    ["408", "none", "the body did not come in time", "end"],
    ["413", "none", "the body is too long", "end"],
    ["415", "none", "the content type is not `application/json`", "end"],
    ["422", "none", "the JSON has another shape; the text names the place", "end"],
  ];
  const rows = [...coded, ...plain].sort(([one = ""], [other = ""]) => one.localeCompare(other));
  return aligned([["status", "`error`", "what happened", "then"], ...rows]);
}

// ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a key of an object is, or the variant of an enum that has a literal `name`. */
function inside(shape: Shape, ...steps: readonly string[]): Shape {
  return steps.reduce<Shape>((at, step) => {
    if (typeof at === "string") throw new TypeError(`Cannot describe ${step}: a ${at} has no keys`);
    const found = "variants" in at
      ? at.variants.find((each) =>
        typeof each !== "string" && "fields" in each && each.fields[0]?.shape === `"${step}"`
      )
      : "fields" in at
      ? at.fields.find(({ key }) => key === step)?.shape
      : undefined;
    if (found === undefined) throw new TypeError(`Cannot describe ${step}: the schema has none`);
    return found;
  }, shape);
}

const shapeOf = ({ shape = "value" }: { readonly shape?: Shape }): Shape => shape;

const definition = (name: string, shape: Shape, names: ReadonlyMap<Shape, string> = new Map()): string =>
  `${name} = ${shapeText(shape, names)}`.replace(" \n", "\n");

/** Of `class = "train"`: the other class, `aggregate`, is built into workers. */
function jobShapes(): string {
  const whole = shapeOf(jobSpecSchema);
  // `aggregation` is for the class that is built in.
  const job = typeof whole !== "string" && "fields" in whole
    ? { fields: whole.fields.filter(({ key }) => key !== "aggregation") }
    : whole;
  const executor = inside(job, "executor");
  const train = inside(executor, "train");
  const config = inside(train, "config");
  const named: readonly (readonly [string, Shape])[] = [
    ["Executor", train],
    ["Train", config],
    ["Model", inside(config, "model")],
    ["Reference", shapeOf(referenceSchema)],
    ["Peers", shapeOf(peersReferenceSchema)],
    ["Schedule", inside(config, "scheduler")],
    ["Training", shapeOf(trainingStateSchema)],
  ];
  const names = new Map<Shape, string>([...named.map(([name, shape]) => [shape, name] as const), [
    executor,
    "Executor",
  ]]);
  return [["Job", job] as const, ...named].map(([name, shape]) => definition(name, shape, names)).join("\n\n");
}

function progressShapes(): string {
  return [
    definition("Progress", shapeOf(progressSchema)),
    definition("Response", shapeOf(progressResponseSchema)),
  ].join("\n\n");
}

// ── Limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function limitsTable(): string {
  const seconds = (ms: number) => `${ms / 1_000} s`;
  const bytes = (count: number) =>
    count >= 1024 ** 3
      ? `${count / 1024 ** 3} GiB`
      : count >= 1024 ** 2
      ? `${count / 1024 ** 2} MiB`
      : `${count} bytes`;
  const l = jobLimits;
  return aligned([
    ["bound", "value"],
    ["a request's body, and the time for it", `${bytes(l.bodyBytesMax)}, ${seconds(l.bodyMs)}`],
    ["requests at once, connections at once", `${l.requestsMax}, ${l.connectionsMax}`],
    ["sends that run in the background", `${l.sendsMax}`],
    ["a received file or a slice (more where the lease has more storage)", bytes(l.fileBytesMax)],
    ["a fetch, send or receive without progress is given up after", seconds(l.idleMs)],
    ["a file from or to another node is given up that, after this time, is slower than", `${leastBytesPerMs} kB/s`],
    ["another node answers within", seconds(l.exchangeMs)],
    ["a fetch of a slice or of parameters waits for a node that is away", seconds(l.awayMs)],
    ["keep-alive comments of a quiet receive, every", seconds(l.keepaliveMs)],
    ["a receive whose reader takes nothing is ended after", seconds(l.readerMs)],
    ["files of one `huggingface` reference, redirects of one fetch", `${l.filesMax}, ${l.redirectsMax}`],
    ["header of a safetensors file", bytes(headerMaxBytes)],
    [
      "lines of output that are logged, and their length",
      `${linesPerSecondMax} a second, ${lineCharactersMax} characters`,
    ],
    ["output that is read in a second; more waits in the pipe, and the program with it", bytes(bytesPerSecondMax)],
    ["output that is kept for the reason of a failure", bytes(tailBytesMax)],
    ["from SIGTERM to SIGKILL", seconds(l.graceMs)],
  ]);
}
