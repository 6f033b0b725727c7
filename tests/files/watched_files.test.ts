import { writeFileSync } from "node:fs";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type FilesRead,
  settleRoundsMax,
  watchedFilesMachine,
  type WatchedFilesTiming,
} from "../../actors/files/watched_files.ts";
import { type Host, host } from "../support/child_host.ts";

const test = suite("watchedFilesMachine");
const folder = await mkdtemp(join(tmpdir(), "hypha-watched-"));
const hosts: Host[] = [];
let files = 0;

/** Polls that no test waits for; a test that waits for one says how soon it comes. */
const timing: WatchedFilesTiming = { settleMs: 10, pollMs: 60_000, pollUnwatchedMs: 60_000, patienceMs: 0 };

interface Options extends Partial<WatchedFilesTiming> {
  readonly path?: string;
}

async function start({ path = join(folder, String(files++)), ...times }: Options = {}) {
  await writeFile(path, "first").catch(() => {});
  const watch = host(watchedFilesMachine, { paths: [path], timing: { ...timing, ...times }, readAs: undefined });
  hosts.push(watch);
  await watch.hear("files.changed");
  return { watch, path, count: (type: string) => watch.said.filter((each) => each.type === type).length };
}

const answer = (rest: Partial<FilesRead>): { type: "files.read" } & Record<string, unknown> => ({
  type: "files.read",
  signature: "as read",
  isLoaded: true,
  problem: undefined,
  mendsItself: false,
  ...rest,
});
const broken = (rest: Partial<FilesRead> = {}) => answer({ isLoaded: false, problem: "malformed", ...rest });
const after = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test.after.each(async () => {
  await Promise.all(hosts.splice(0).map((each) => each.stop()));
});
test.after(() => rm(folder, { recursive: true, force: true }));

test("asks for a reading once, and waits for the owner's answer", async () => {
  const { watch, path, count } = await start();
  await writeFile(path, "second");
  await after(100);
  assert.is(count("files.changed"), 1);
  watch.send(answer({}));
  await watch.hear("files.changed", 2);
});

test("asks for a reading when a rename replaces the file", async () => {
  const { watch, path } = await start();
  watch.send(answer({}));
  await watch.hear("files.changed", 2); // "as read" is no signature of this file
  await writeFile(`${path}.new`, "second");
  await rename(`${path}.new`, path);
  watch.send(answer({}));
  await watch.hear("files.changed", 3);
});

test("reads files again that broke a moment ago, and reports them after the patience", async () => {
  const { watch, count } = await start({ patienceMs: 150 });
  const begun = performance.now();
  for (let asked = 1; count("files.broken") === 0; asked++) {
    await watch.hear("files.changed", asked);
    watch.send(broken({ problem: `problem ${asked}` }));
    await after(1);
  }
  assert.ok(performance.now() - begun >= 140, `${performance.now() - begun} ms`);
  assert.ok(count("files.changed") > 2);
});

test("reports nothing where the files load within the patience", async () => {
  const { watch, count } = await start({ patienceMs: 60_000 });
  watch.send(broken());
  await watch.hear("files.changed", 2);
  watch.send(answer({}));
  await after(60);
  assert.is(count("files.broken"), 0);
});

test("reports a problem once for each state of the files, and again after files.reload", async () => {
  const { watch, count } = await start({ pollMs: 30 });
  for (let asked = 1; asked <= 5; asked++) {
    await watch.hear("files.changed", asked);
    watch.send(broken({ mendsItself: true }));
  }
  await watch.hear("files.changed", 6);
  assert.is(count("files.broken"), 1);
  watch.send(broken({ signature: "another state" }));
  await watch.hear("files.broken", 2);
  watch.send({ type: "files.reload" });
  await watch.hear("files.changed", 7);
  watch.send(broken({ signature: "another state" }));
  await watch.hear("files.broken", 3);
});

test("a problem that the owner took with what it loaded is not reported again", async () => {
  const { watch, count } = await start({ pollMs: 20 });
  watch.send(answer({ problem: "unreadable", mendsItself: true }));
  for (let asked = 2; asked <= 4; asked++) {
    await watch.hear("files.changed", asked);
    watch.send(broken({ problem: "unreadable", mendsItself: true }));
  }
  await watch.hear("files.changed", 5);
  assert.is(count("files.broken"), 0);
});

test("files that stay unreadable are read at each poll and no faster", async () => {
  const { watch, count } = await start({ pollMs: 400 });
  const begun = performance.now();
  let answered = 0;
  while (performance.now() - begun < 1_000) {
    if (count("files.changed") > answered) {
      answered++;
      watch.send(broken({ mendsItself: true }));
    }
    await after(5);
  }
  assert.ok(answered >= 3 && answered <= 5, `${answered} readings in a second`);
});

test("files.reload asks for a reading in any state, also of files that nobody touched", async () => {
  const { watch } = await start();
  watch.send({ type: "files.reload" });
  await watch.hear("files.changed", 2);
  watch.send(broken({ signature: "x" }));
  watch.send({ type: "files.reload" });
  await watch.hear("files.changed", 3);
});

test("files that never stop changing are read after some looks", async () => {
  const { watch, path } = await start();
  watch.send(answer({}));
  // Written within one turn, so that a busy machine puts no quiet moment between two looks.
  let size = 10;
  const noise = setInterval(() => writeFileSync(path, "x".repeat(size++)), 2);
  try {
    const begun = performance.now();
    await watch.hear("files.changed", 2);
    assert.ok(performance.now() - begun >= settleRoundsMax * timing.settleMs / 2);
  } finally {
    clearInterval(noise);
  }
});

test("bug: a folder that cannot be watched was polled at the slow rate after each reading", async () => {
  const { watch, count } = await start({ path: join(folder, "missing", "file"), pollUnwatchedMs: 20 });
  await watch.hear("files.unwatched");
  for (let asked = 1; asked <= 4; asked++) {
    await watch.hear("files.changed", asked, 2_000);
    watch.send(broken({ mendsItself: true }));
  }
  assert.is(count("files.broken"), 1);
});

test.run();
