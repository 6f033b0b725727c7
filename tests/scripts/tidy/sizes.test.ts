import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fileLinesMax, functionLinesMax, largeOnes, sizeFindings } from "../../../scripts/tidy/sizes.ts";

const test = suite("sizes");

const linesOf = (count: number) => "//\n".repeat(count);
const long = (lines: number) => `const large = () => {\n${linesOf(lines - 2)}};\n`;

test("finds files and functions over their limit, and none at it", () => {
  const sized = (text: string) => largeOnes([{ path: "pki/a.ts", text }]);
  assert.equal(sized(linesOf(fileLinesMax)), {});
  assert.equal(sized(linesOf(fileLinesMax + 1)), { "pki/a.ts": fileLinesMax + 1 });
  assert.equal(sized(long(functionLinesMax)), {});
  assert.equal(sized(long(functionLinesMax + 1)), { "pki/a.ts#large": functionLinesMax + 1 });
});

test("sizes only shrink: what is new, grown, smaller or gone is found", () => {
  const allowed = { "pki/a.ts": 500, "pki/a.ts#f": 90 };
  assert.equal(sizeFindings(allowed, allowed), []);
  assert.match(
    sizeFindings({ ...allowed, "pki/b.ts": 401 }, allowed)[0] ?? "",
    /pki\/b\.ts:1: this file has 401 lines/,
  );
  assert.match(sizeFindings({ ...allowed, "pki/a.ts#f": 91 }, allowed)[0] ?? "", /f has grown from 90 to 91 lines/);
  assert.match(sizeFindings({ ...allowed, "pki/a.ts": 450 }, allowed)[0] ?? "", /has 450 lines, lower its 500/);
  assert.match(sizeFindings({ "pki/a.ts": 500 }, allowed)[0] ?? "", /pki\/a\.ts#f is not too large any more/);
});

test.run();
