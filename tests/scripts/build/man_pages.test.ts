/** The pages for man: made from the programs' help, and rendered by man itself. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CommandHelp, programHelp } from "../../../scripts/build/help.ts";
import { manPage } from "../../../scripts/build/man_pages.ts";
import { needing } from "../../support/prerequisites.ts";

const test = suite("pages for man");
const rendered = needing(suite("pages for man, rendered"), "man");
const help = await programHelp();
const folder = mkdtempSync(join(tmpdir(), "hypha-man-"));
rendered.after(() => rmSync(folder, { recursive: true, force: true }));

function render(page: string): string {
  const file = join(folder, "page.1");
  writeFileSync(file, page);
  const env = { ...process.env, MANWIDTH: "1000", LC_ALL: "C.UTF-8" };
  const { status, stdout, stderr } = spawnSync("man", ["--warnings", "-E", "UTF-8", "-l", file], {
    encoding: "utf8",
    env,
  });
  assert.equal([status, stderr], [0, ""]);
  return stdout;
}

test("the package names a page for each program", () => {
  const { man, bin } = JSON.parse(readFileSync("package.json", "utf8")) as { man: string[]; bin: object };
  assert.equal(man.toSorted(), [...help.keys()].map((name) => `dist/man/${name}.1`).toSorted());
  assert.equal([...help.keys()].toSorted(), Object.keys(bin).toSorted());
});

for (const [program, commands] of help) {
  rendered(`${program}(1) has every command and every flag, without a warning`, () => {
    const page = render(manPage(program, commands));
    for (const { words, doc } of commands) {
      if (words.length > 0) assert.match(page, new RegExp(`^ +${[program, ...words].join(" ")}$`, "m"));
      for (const { name } of doc.flags) assert.match(page, ` --${name}`);
    }
  });
}

rendered("no text of a program is an order to roff", () => {
  const [first] = help.get("hypha-data") ?? [];
  assert.ok(first !== undefined);
  const description = ".so /etc/passwd\n'br \\fB \\n[x] \\$1 ü – …";
  const hostile: CommandHelp = { words: [], doc: { ...first.doc, description } };
  assert.match(render(manPage("hypha-data", [hostile])), ".so /etc/passwd 'br \\fB \\n[x] \\$1 ü – …");
});

test.run();
rendered.run();
