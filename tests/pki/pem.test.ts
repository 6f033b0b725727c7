import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatPem, parsePem, pemBlocksMax, pemCharactersMax } from "../../pki/pem.ts";

const test = suite("parsePem()");

const one = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const indented = one.replaceAll(/^(?=.)/gm, " \t");
const rows: [name: string, text: string, expected: string][] = [
  ["finds nothing in nothing", "", "[]"],
  ["finds nothing in other text", "hello\nworld\n", "[]"],
  ["reads a block", one, "[CERTIFICATE:3000@1]"],
  [
    "reads several, with comments between",
    `# root\n${one}\nsubject: x\n${one}`,
    "[CERTIFICATE:3000@2,CERTIFICATE:3000@7]",
  ],
  ["reads CRLF", one.replaceAll("\n", "\r\n"), "[CERTIFICATE:3000@1]"],
  ["reads a block without a last line end", one.trimEnd(), "[CERTIFICATE:3000@1]"],
  ["reads a label of two words", one.replaceAll("CERTIFICATE", "X509 CRL"), "[X509 CRL:3000@1]"],
  [
    "bug: a block was lost whose file before it ends without a line end",
    one.trimEnd() + one,
    "3: put a line end before",
  ],
  ["bug: a block was lost that shares its dashes", one.trimEnd() + one.slice(5), "3: put a line end before"],
  ["bug: a block was lost that other text precedes", `# root\n see ${one}${one}`, "2: put a line end before"],
  ["bug: a block was lost that a sixth dash precedes", `-${one}`, "1: put a line end before"],
  ["bug: a block was lost behind a byte order mark", `\uFEFF${one}${one}`, "[CERTIFICATE:3000@1,CERTIFICATE:3000@4]"],
  ["bug: a block was lost behind a later byte order mark", `${one}\uFEFF${one}`, "4: put a line end before"],
  ["bug: an indented block was lost", `${one}${indented}`, "[CERTIFICATE:3000@1,CERTIFICATE:3000@4]"],
  ["reads an indented block behind a byte order mark", `\uFEFF${indented}`, "[CERTIFICATE:3000@1]"],
  ["passes over dashes that begin no block", `-----\n--BEGIN X\n----------\n${one}`, "[CERTIFICATE:3000@4]"],
  ["refuses a block without its end", "\n-----BEGIN CERTIFICATE-----\nMAA=\n", "2: has no END line"],
  ["refuses an end of another label", one.replace("END CERTIFICATE", "END X509 CRL"), "1: does not end with"],
  ["refuses a block inside of a block", `-----BEGIN CERTIFICATE-----\n${one}`, "1: does not end with"],
  ["refuses a label in lower case", one.replaceAll("CERTIFICATE", "certificate"), "1: no proper label"],
  ["refuses a BEGIN line that is cut off", "-----BEGIN CERTIFICATE", "1: no proper label"],
  ["refuses content on the BEGIN line", one.replace("-----\nMAA", "-----MAA"), "1: follows on the BEGIN line"],
  ["refuses an empty block", one.replace("MAA=\n", ""), "1: is empty"],
  ["refuses what is no base64", one.replace("MAA=", "M*A="), "1: is not base64"],
  ["refuses base64 of URLs", one.replace("MAA=", "M_-="), "1: is not base64"],
  ["refuses base64 without its padding", one.replace("MAA=", "MAA"), "1: is not base64"],
  ["refuses padding in the middle", one.replace("MAA=", "MA==MAA="), "1: is not base64"],
  ["refuses headers", one.replace("MAA=", "Proc-Type: 4,ENCRYPTED\n\nMAA="), "1: has headers"],
  ["counts lines up to the block at fault", `${one}${one}${one.replace("MAA=", "?")}`, "7: is not base64"],
];

for (const [name, text, expected] of rows) {
  test(name, () => {
    const outcome = parsePem(text);
    if (Result.isSuccess(outcome)) {
      const blocks = outcome.success.map(({ label, der, line }) =>
        `${label}:${Buffer.from(der).toString("hex")}@${line}`
      );
      return void assert.is(`[${blocks.join(",")}]`, expected);
    }
    const [line, detail] = expected.split(": ") as [string, string];
    assert.is(outcome.failure.line, Number(line));
    assert.ok(outcome.failure.detail.includes(detail), outcome.failure.detail);
  });
}

test("takes as many blocks as are allowed and no more", () => {
  assert.is(Result.getOrThrow(parsePem(one.repeat(pemBlocksMax))).length, pemBlocksMax);
  const outcome = parsePem(one.repeat(pemBlocksMax + 1));
  assert.ok(Result.isFailure(outcome));
  assert.is(outcome.failure.line, pemBlocksMax * 3 + 1);
});

test("the limits are 256 Mi characters and 10,000 blocks", () => {
  assert.equal([pemCharactersMax, pemBlocksMax], [268_435_456, 10_000]);
});

test("reads back what formatPem() writes, of any length", () => {
  for (let size = 1; size < 200; size++) {
    const der = new Uint8Array(size).map((_, index) => index * 7 + size);
    const text = formatPem("CERTIFICATE", der);
    assert.ok(text.split("\n").every((line) => line.length <= 64));
    const [block] = Result.getOrThrow(parsePem(text));
    assert.is(block!.der.buffer.byteLength, size);
    assert.is(Buffer.compare(block!.der, der), 0);
  }
});

test.run();
