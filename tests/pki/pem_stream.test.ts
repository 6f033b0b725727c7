/**
 * The stream and `parsePem` read the same language: every text, cut in chunks anywhere, has the same blocks or is refused
 * by both.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "../../actors/runtime/random.ts";
import { formatPem, parsePem, PemError } from "../../pki/pem.ts";
import { PemStream } from "../../pki/pem_stream.ts";

const test = suite("PemStream");

const next = seededRandom(20_261_125);
const random = (below: number) => Math.floor(next() * below);

type Outcome = readonly string[] | "refused";

function streamed(text: string, chunkMax: number): Outcome {
  const blocks: string[] = [];
  const stream = new PemStream(({ label, der, line }) =>
    blocks.push(`${label} ${line} ${Buffer.from(der).toString("hex")}`)
  );
  const bytes = Buffer.from(text);
  try {
    for (let at = 0; at < bytes.length;) {
      const size = 1 + random(chunkMax);
      stream.push(bytes.subarray(at, at + size));
      at += size;
    }
    stream.finish();
    return blocks;
  } catch (error) {
    assert.instance(error, PemError);
    return "refused";
  }
}

function parsed(text: string): Outcome {
  const outcome = parsePem(text);
  if (Result.isFailure(outcome)) return "refused";
  return outcome.success.map(({ label, der, line }) => `${label} ${line} ${Buffer.from(der).toString("hex")}`);
}

/** The line at which the stream refuses a text; undefined where it takes it. */
function lineOfError(text: string, chunkMax: number): number | undefined {
  const stream = new PemStream(() => {});
  try {
    for (let at = 0; at < Buffer.byteLength(text); at += chunkMax) {
      stream.push(Buffer.from(text).subarray(at, at + chunkMax));
    }
    stream.finish();
  } catch (error) {
    assert.instance(error, PemError);
    return (error as PemError).line;
  }
  return undefined;
}

const one = formatPem("X509 CRL", Uint8Array.of(0x30, 0));
const block = (size: number) => formatPem("X509 CRL", Uint8Array.from({ length: size }, () => random(256)));
const whole = () =>
  `# a comment\n${block(1 + random(200))}${block(1 + random(5))}between\r\n${block(48).replaceAll("\n", "\r\n")}`;

test("reads whole files alike, however they are cut", () => {
  for (let round = 0; round < 200; round++) {
    const text = whole();
    const expected = parsed(text);
    assert.is(expected.length, 3);
    for (const chunkMax of [1, 7, 64, 10_000]) assert.equal(streamed(text, chunkMax), expected);
  }
});

test("refuses what parsePem refuses, and takes what it takes, in 20,000 altered files", () => {
  const odd = [..."-=:+/_ \t\r\nAZaz09", "-----", "-----BEGIN ", "\uFEFF", "-----END X509 CRL-----", "\n\n"];
  const verdicts = { refused: 0, taken: 0 };
  for (let round = 0; round < 20_000; round++) {
    let text = `${round % 3 === 0 ? "x\n" : ""}${block(1 + random(30))}${round % 2 === 0 ? block(3) : ""}`;
    for (let change = random(3) + 1; change > 0; change--) {
      const at = random(text.length + 1);
      text = text.slice(0, at) + odd[random(odd.length)] + text.slice(at + random(3));
    }
    const expected = parsed(text);
    assert.equal(streamed(text, 1 + random(40)), expected, JSON.stringify(text));
    verdicts[expected === "refused" ? "refused" : "taken"] += 1;
  }
  assert.ok(verdicts.refused > 1_000 && verdicts.taken > 1_000, JSON.stringify(verdicts));
});

const joined: [name: string, text: string, expected: readonly string[] | number][] = [
  ["whose file before it ends without a line end", one.trimEnd() + one, 3],
  ["that shares its dashes", one.trimEnd() + one.slice(5), 3],
  ["that other text precedes", `# list\n see ${one}`, 2],
  ["that a sixth dash precedes", `-${one}`, 1],
  ["behind a byte order mark", `\uFEFF${one}${one}`, ["X509 CRL 1 3000", "X509 CRL 4 3000"]],
  ["behind a part of a byte order mark, or two", `\uFEFF\uFEFF${one}`, 1],
  ["that is indented", one + one.replaceAll(/^(?=.)/gm, " \t"), ["X509 CRL 1 3000", "X509 CRL 4 3000"]],
  ["behind a later byte order mark", `${one}\uFEFF${one}`, 4],
];
for (const [name, text, expected] of joined) {
  test(`bug: a block was lost ${name}`, () => {
    assert.equal(parsed(text), typeof expected === "number" ? "refused" : expected);
    for (const chunkMax of [1, 2, 7, 1_000]) {
      const outcome = lineOfError(text, chunkMax) ?? streamed(text, chunkMax);
      assert.equal(outcome, expected);
    }
  });
}

test("says what is wrong with a block as parsePem says it", () => {
  const detailOf = (text: string) => {
    try {
      const stream = new PemStream(() => {});
      stream.push(Buffer.from(text));
      stream.finish();
      return "taken";
    } catch (error) {
      return error instanceof PemError ? error.detail : String(error);
    }
  };
  for (const body of ["Proc: 4", "AA;A", "M*A=", "AAA", ""]) {
    const text = `-----BEGIN X509 CRL-----\n${body}\n-----END X509 CRL-----\n`;
    const expected = parsePem(text);
    assert.is(detailOf(text), Result.isFailure(expected) ? expected.failure.detail : "taken");
  }
});

test("a buffer that is full when the last octets come grows for them", () => {
  for (const size of [62, 63, 64, 65, 66, 127, 128, 129, 130]) {
    const text = block(size);
    let der = "";
    const stream = new PemStream((found) => der = Buffer.from(found.der).toString("hex"), 64);
    stream.push(Buffer.from(text));
    stream.finish();
    assert.is(der, Buffer.from(Result.getOrThrow(parsePem(text))[0]!.der).toString("hex"), String(size));
  }
});

test("grows for a block larger than was hinted", () => {
  const large = block(100_000);
  assert.equal(streamed(large, 4_096), parsed(large));
});

test.run();
