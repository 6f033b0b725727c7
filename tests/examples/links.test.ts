/** The documents: links between them resolve, paths and commands that they name exist, and the two that newcomers read first stay short. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../..", import.meta.url));
const pages = ["", "docs"].flatMap((folder) =>
  readdirSync(join(root, folder)).filter((name) => name.endsWith(".md")).map((name) => posix.join(folder, name))
);
const textOf = (page: string) => readFileSync(join(root, page), "utf8");

/** The text without code blocks and without code in a line: what a reader sees as prose. */
const proseOf = (text: string) => text.replaceAll(/^```[\s\S]*?^```$/gm, "").replaceAll(/`[^`\n]*`/g, "");

/** Targets of the text's links. */
function linksOf(text: string): readonly string[] {
  return [...proseOf(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? "");
}

/** Anchors of the text's headings, as GitHub makes them. */
function anchorsOf(text: string): readonly string[] {
  const headings = text.replaceAll(/^```[\s\S]*?^```$/gm, "").matchAll(/^#+ (.+)$/gm);
  return [...headings].map(([, heading]) =>
    (heading ?? "").toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}

/** What is wrong with a link of `page`; undefined where it resolves. */
function brokenLink(page: string, link: string): string | undefined {
  if (/^[a-z]+:/.test(link)) return undefined;
  const [path = "", anchor] = link.split("#");
  const target = path === "" ? page : posix.join(dirname(page), path);
  if (!existsSync(join(root, target))) return `${page}: ${link} does not exist`;
  if (anchor === undefined || anchorsOf(textOf(target)).includes(anchor)) return undefined;
  return `${page}: ${target} has no heading #${anchor}`;
}

/** Paths of the tree that `page` names as code, without patterns. */
function namedPaths(page: string): readonly string[] {
  const text = textOf(page).replaceAll(/^```[\s\S]*?^```$/gm, "");
  const named = text.matchAll(/`((?:mod\.ts|(?:pki|transport|actors|tests|scripts|docs)\/[\w./*-]*))`/g);
  return [...named].map(([, path]) => path ?? "").filter((path) => !path.includes("*"));
}

const test = suite("documents");

test("there are pages, with links", () => {
  assert.ok(pages.includes("README.md") && pages.includes("docs/operations.md"), pages.join(" "));
  assert.ok(linksOf(textOf("README.md")).length >= 15);
});

for (const page of pages) {
  test(`${page}: every link resolves, its heading too`, () => {
    const broken = linksOf(textOf(page)).map((link) => brokenLink(page, link)).filter((found) => found !== undefined);
    assert.equal(broken, []);
  });
}

test("a link to a missing file or heading is found", () => {
  assert.is(brokenLink("docs/wire.md", "gone.md"), "docs/wire.md: gone.md does not exist");
  assert.is(brokenLink("README.md", "docs/wire.md#gone"), "README.md: docs/wire.md has no heading #gone");
  assert.is(brokenLink("docs/wire.md", "../README.md#first-network"), undefined);
  assert.equal(linksOf("[a](b.md) `[c](d.md)`\n```sh\n[e](f.md)\n```\n"), ["b.md"]);
});

test("every path of the tree that a page names exists", () => {
  const missing = pages.filter((page) => page !== "CHANGELOG.md").flatMap((page) =>
    namedPaths(page).filter((path) => !existsSync(join(root, path))).map((path) => `${page}: ${path}`)
  );
  assert.equal(missing, []);
});

test("CONTRIBUTING answers the questions of newcomers, each by a path", () => {
  const section = textOf("CONTRIBUTING.md").split("\n## Where is …?\n")[1]?.split("\n## ")[0] ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("|")).slice(2).map((line) => line.split("|"));
  const questions = [/number of a CRL/, /renew a lease/, /first meet libp2p/, /at expiry/, /socket of a job/];
  for (const question of questions) assert.ok(rows.some(([, asked = ""]) => question.test(asked)), String(question));
  const named = ([, asked = "", answer = ""]: readonly string[]) => {
    const paths = [...answer.matchAll(/`([\w./]+\.ts)`/g)].map(([, path = ""]) => path);
    return { asked: asked.trim(), paths, missing: paths.filter((path) => !existsSync(join(root, path))) };
  };
  const answers = rows.map(named);
  assert.equal(answers.filter(({ paths, missing }) => paths.length === 0 || missing.length > 0), []);
});

test("README links to no file that the package lacks", () => {
  const { files } = JSON.parse(textOf("package.json")) as { files: readonly string[] };
  const local = linksOf(textOf("README.md")).filter((link) => !/^[a-z]+:|^#/.test(link));
  const outside = local.map((link) => link.split("#")[0] ?? "").filter((path) =>
    !files.some((entry) => path === entry || path.startsWith(`${entry}/`))
  );
  assert.equal(outside, []);
});

test("every npm script and deno task that a page names exists", () => {
  const { scripts } = JSON.parse(textOf("package.json")) as { scripts: Readonly<Record<string, string>> };
  const { tasks } = JSON.parse(textOf("deno.json")) as { tasks: Readonly<Record<string, string>> };
  const missing = pages.flatMap((page) => {
    const text = textOf(page);
    const named = (what: RegExp) => [...text.matchAll(what)].map(([, name]) => name ?? "");
    return [
      ...named(/\bnpm run ([a-z]+)/g).filter((name) => !Object.hasOwn(scripts, name)),
      ...named(/\bdeno task ([a-z]+)/g).filter((name) => !Object.hasOwn(tasks, name)),
    ].map((name) => `${page}: ${name}`);
  });
  assert.equal(missing, []);
});

const sizes: readonly [page: string, bytesMax: number][] = [["README.md", 9_000], ["ARCHITECTURE.md", 16_000]];
for (const [page, bytesMax] of sizes) {
  test(`${page} has at most ${bytesMax} bytes`, () => {
    const bytes = readFileSync(join(root, page)).byteLength;
    assert.ok(bytes <= bytesMax, `${bytes} bytes: move something into docs/`);
  });
}

test.run();
