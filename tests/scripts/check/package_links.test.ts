/** The packed package holds what its pages link to. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { linksOutside } from "../../../scripts/check/package_links.ts";

const test = suite("linksOutside()");
const folder = mkdtempSync(join(tmpdir(), "hypha-links-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("finds links that lead out of the package, from every page; addresses, headings and code are none", () => {
  assert.equal(linksOutside(folder), [`${folder} holds no page`]);
  for (const path of ["docs", "node_modules/other", "examples"]) mkdirSync(join(folder, path), { recursive: true });
  writeFileSync(join(folder, "node_modules/other/README.md"), "[gone](gone.md)");
  writeFileSync(
    join(folder, "README.md"),
    "[a](docs/a.md#top) [b](https://example.org/x) [c](#here) `[d](d.md)` [e](examples) [f](docs/missing.md)\n" +
      "```sh\n[g](g.md)\n```\n![h](picture.png)\n",
  );
  writeFileSync(join(folder, "docs/a.md"), "[up](../README.md#x) [out](../../elsewhere.md) [no](b.md)");
  assert.equal(linksOutside(folder).toSorted(), [
    "README.md: docs/missing.md",
    "README.md: picture.png",
    "docs/a.md: ../../elsewhere.md",
    "docs/a.md: b.md",
  ]);
});

test.run();
