/**
 * The things that are banned in this tree, and their replacements. Part of `npm test`. Add a line for a new kind of mistake.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import process from "node:process";
import { mirrorExceptions, mirrorFindings } from "./tidy/mirrors.ts";
import { type Manifest, undeclaredImports } from "./tidy/packages.ts";
import { largeRooms, roomCircles, rowFindings } from "./tidy/rooms.ts";
import { largeOnes, sizeFindings, type Sizes } from "./tidy/sizes.ts";

/** A file of the tree: its path with forward slashes, and its text. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

interface Ban {
  readonly what: RegExp;
  readonly where: (path: string) => boolean;
  readonly use: string;
}

const rooms = ["pki", "transport", "actors", "scripts", "tests"] as const;
type Room = (typeof rooms)[number];

/** The rooms that a room may import from, besides itself. */
const mayImport: Record<Room, readonly Room[]> = {
  pki: [],
  transport: ["pki"],
  actors: ["transport", "pki"],
  scripts: ["actors", "transport", "pki"],
  tests: ["scripts", "actors", "transport", "pki"],
};

const roomOf = (path: string): Room | undefined => rooms.find((room) => path.startsWith(`${room}/`));
const inRooms = (...wanted: readonly Room[]) => (path: string) => wanted.some((room) => path.startsWith(`${room}/`));
const source = inRooms("pki", "transport", "actors", "scripts");
const except = (where: (path: string) => boolean, ...paths: readonly string[]) => (path: string) =>
  where(path) && !paths.includes(path);

/** Where paths come from a job, or from who dispatched it. */
const inJobs = (path: string) =>
  [
    "actors/job/bridge/",
    "actors/job/copy.ts",
    "actors/job/effects.ts",
    "actors/job/scope.ts",
    "actors/job/parameter_server",
  ]
    .some((prefix) => path.startsWith(prefix));

/** What runs in a browser. */
const isPage = (path: string) => path.startsWith("actors/console/page/");

/** Where the real world's clock, randomness and identifiers become ports. */
const realPorts = "actors/runtime/real_ports.ts";

const bans: readonly Ban[] = [
  {
    what: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(/,
    where: (path) => inRooms("pki", "transport", "actors")(path) && path !== realPorts && !isPage(path),
    use: "reading the clock is banned here, take the time as an argument or from ports",
  },
  {
    what: /\bMath\.random\(|\bcrypto\.randomUUID\(|\brandomUUID\(/,
    where: except(source, realPorts),
    use: "drawing is banned here, use ports.uuid for identifiers and ports.random for jitter",
  },
  {
    what:
      /\bset(?:Timeout|Interval|Immediate)\(|\bqueueMicrotask\(|\bAbortSignal\b|\bnew Promise\b|\basync\b|\bawait\b/,
    where: (path) => path.startsWith("transport/core/") || path.startsWith("transport/simulated/"),
    use:
      "timers and promises are banned in the core and under it, use the Clock of transport/core/clock.ts and callbacks",
  },
  {
    what: /from "(?:@libp2p\/(?!peer-id")[^"]*|libp2p|node:tls|node:timers)"/,
    where: (path) => path.startsWith("transport/core/") || path.startsWith("transport/simulated/"),
    use: "the network is behind the Wire of transport/core/wire.ts here, move this to transport/libp2p/",
  },
  {
    what: /\bcreateActor\b|\binterpret\(/,
    where: except(source, "actors/runtime/supervise.ts"),
    use: "createActor is banned here, use superviseRoot of actors/runtime/supervise.ts",
  },
  {
    what: /\bfromPromise\b/,
    where: except(source, "actors/runtime/supervise.ts"),
    use: "fromPromise is banned (it never replays), use fromEffect of actors/runtime/effect_actor.ts",
  },
  {
    what: /\._parent\b/,
    where: source,
    use: "_parent is xstate's own, take the parent as input (actors/runtime/parent.ts)",
  },
  {
    what: /\bif \(event\.type !== "(?!@xstate)/,
    where: except(inRooms("actors"), "actors/trust/identity.ts"),
    use: "an action does not ask for its event, take the event's data as params",
  },
  {
    what: /\bguards?:\s*async\b|\basync\s*\([^)]*\)\s*(?::[^=]*)?=>[^,]*\/\/\s*guard/,
    where: () => true,
    use: "an async guard always passes, compute the outcome first and guard on it",
  },
  {
    what: /\bconsole\.(?:log|error|warn|info|debug|table|trace|dir)\b/,
    where: inRooms("pki", "transport", "actors"),
    use: "console is banned outside scripts/, use ports.report",
  },
  {
    what: /from "node:fs(\/promises)?"/,
    where: inJobs,
    use: "files of a job are opened by actors/files/contained_files.ts only, use its WorkDirectory",
  },
  {
    what: /\b(?:files|fs)\.exists\(/,
    where: source,
    use: "for FileSystem.exists Deno asks the user's id, use isThere of actors/files/is_there.ts",
  },
  { what: /\b(test|suite)\.only\(/, where: inRooms("tests"), use: "test.only hides the other tests, remove it" },
  {
    what: /\.skip\(\s*["'`]/,
    where: inRooms("tests"),
    use: "a test that is skipped proves nothing, mend it or take it out",
  },
  {
    what: /\bdocument\.(get|query|create|cookie)|\bwindow\.(location|document|open)\b/,
    where: (path) => source(path) && !isPage(path),
    use: "there is no browser here; document and window only type-check because lib has dom",
  },
  { what: /\bDeno\./, where: source, use: "the Deno global is banned, use node: modules, which both runtimes have" },
  { what: /(^|[^.\w])(TODO|FIXME|XXX)\b/, where: () => true, use: "do it now, or write it into the issue" },
];

/** Tidy looks for these words, so the file that lists them and its test hold them. */
const exempt = new Set(["scripts/tidy.ts", "tests/scripts/tidy.test.ts"]);
const badNames = /(^|\/)(utils?|common|misc|helpers?|manager)(\.|\/)/;

/** The text without its comments, line by line, so that comments may name banned things. */
function codeLines(text: string): string[] {
  const withoutBlocks = text.replace(/\/\*[\s\S]*?\*\//g, (block) => block.replace(/[^\n]/g, ""));
  return withoutBlocks.split("\n").map((line) => line.replace(/(^|\s)\/\/.*$/, "$1"));
}

function importFindings({ path, text }: SourceFile): string[] {
  const room = roomOf(path);
  return codeLines(text).flatMap((line, index) => {
    const specifier = /(?:\bfrom|\bimport\(?)\s*"(\.[^"]*)"/.exec(line)?.[1];
    if (specifier === undefined) return [];
    const target = posix.normalize(posix.join(posix.dirname(path), specifier));
    const to = roomOf(target);
    if (room === undefined || to === undefined || to === room || mayImport[room].includes(to)) return [];
    return [`${path}:${index + 1}: ${room}/ must not import ${to}/, imports point scripts → actors → transport → pki`];
  });
}

function banFindings({ path, text }: SourceFile): string[] {
  const code = codeLines(text);
  const lines = text.split("\n");
  return bans.filter(({ where }) => where(path)).flatMap(({ what, use }) => {
    const searched = what.source.includes("TODO") ? lines : code;
    return searched.flatMap((line, index) => (what.test(line) ? [`${path}:${index + 1}: ${use}`] : []));
  });
}

function suiteFindings({ path, text }: SourceFile): string[] {
  if (!path.endsWith(".test.ts")) return [];
  const names = [...text.matchAll(/\bconst (\w+) = (?:needing\()?suite(?:<[^(]*>)?\(/g)].map((match) => match[1]);
  return names
    .filter((name) => !text.includes(`${name}.run()`))
    .map((name) => `${path}:1: suite ${name} never runs, end it with ${name}.run()`);
}

/** A test whose body begins with a return that depends on the machine. */
const leaving = /^\s*\w+(?:\([^\n]*?\))?\(\s*["'`][^\n]*=> \{\n\s*if \([^\n]*\) return;/gm;

function leavingFindings({ path, text }: SourceFile): string[] {
  if (!path.endsWith(".test.ts")) return [];
  return [...text.matchAll(leaving)].map(({ index }) =>
    `${path}:${
      text.slice(0, index).split("\n").length
    }: a test that returns at once passes untested, declare it only ` +
    "where it can run (tests/support/prerequisites.ts)"
  );
}

/** The findings in these files, one line each: `path:line: the fault, and its replacement`. */
export function findings(files: readonly SourceFile[]): string[] {
  return files.filter(({ path }) => !exempt.has(path)).flatMap((file) => [
    ...(badNames.test(file.path) ? [`${file.path}:1: the name is too general, name the file for its topic`] : []),
    ...importFindings(file),
    ...banFindings(file),
    ...suiteFindings(file),
    ...leavingFindings(file),
  ]);
}

/** Paths that ARCHITECTURE.md names in backquotes and that are not there. */
export function deadPaths(text: string, exists: (path: string) => boolean): string[] {
  const named = text.split("\n").flatMap((line, index) =>
    [...line.matchAll(/`((?:mod\.ts|(?:pki|transport|actors|tests|scripts|docs)\/[\w./*-]*))`/g)].map((match) => ({
      path: match[1] ?? "",
      line: index + 1,
    }))
  );
  return named
    .filter(({ path }) => !path.includes("*") && !exists(path))
    .map(({ path, line }) => `ARCHITECTURE.md:${line}: ${path} does not exist, correct the path`);
}

/** Pages that a source file, or a comment of a test, names, and that are not in the tree. */
export function lostPages(files: readonly SourceFile[], exists: (path: string) => boolean): string[] {
  return files.filter(({ path }) => !exempt.has(path)).flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, index) => {
      if (path.startsWith("tests/") && !/^\s*(?:\/?\*|\/\/)/.test(line)) return [];
      const named = [...line.matchAll(/(?<![\w./-])\w[\w./-]*\.md\b/g)].map(([page]) => page);
      return named.filter((page) => !exists(page)).map((page) =>
        `${path}:${index + 1}: ${page} is no page of this tree, name its whole path, as in docs/wire.md`
      );
    })
  );
}

const isSource = (name: string) => /\.tsx?$/.test(name) || name.endsWith(".mjs");

function sourceFiles(root: string, folder: string): SourceFile[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (entry.isDirectory()) return sourceFiles(root, path);
    return isSource(entry.name) ? [{ path, text: readFileSync(join(root, path), "utf8") }] : [];
  });
}

/** All findings of tidy in the tree at `root`. */
export function tidy(root: string): string[] {
  const exists = (path: string) => existsSync(join(root, path));
  const read = (path: string) => readFileSync(join(root, path), "utf8");
  const files = rooms.flatMap((room) => (exists(room) ? sourceFiles(root, room) : []));
  const page = exists("ARCHITECTURE.md") ? read("ARCHITECTURE.md") : "";
  const source = files.filter(({ path }) => !path.startsWith("tests/"));
  return [
    ...findings(files),
    ...deadPaths(page, exists),
    ...lostPages(files, exists),
    ...roomCircles(source),
    ...largeRooms(source),
    ...rowFindings(page, files),
    ...mirrorFindings(files, JSON.parse(read(mirrorExceptions)) as readonly string[]),
    ...undeclaredImports(
      [...files, { path: "mod.ts", text: read("mod.ts") }],
      JSON.parse(read("package.json")) as Manifest,
    ),
    ...sizeFindings(largeOnes(source), JSON.parse(read("scripts/tidy/sizes.json")) as Sizes),
  ];
}

if (process.argv[1]?.endsWith("scripts/tidy.ts") === true) {
  const found = tidy(process.cwd());
  for (const finding of found) console.log(finding);
  process.exitCode = found.length === 0 ? 0 : 1;
}
