/** Lines of the log: what is in them, and what a peer cannot do to them. */
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatLine, lineLimits, type LogEntry, shownJson } from "../../scripts/program/log_line.ts";
import { openConsole } from "../../scripts/program/console.ts";
import { makeLog } from "../../scripts/program/log.ts";

const entry = (fields?: Record<string, unknown>, message = "Hello"): LogEntry => ({
  time: "2026-01-02T03:04:05.678Z",
  level: "warn",
  node: "gateway-01",
  event: "peer.refused",
  message,
  ...(fields === undefined ? {} : { fields }),
});

const test = suite("formatLine()");

test("writes JSON with time, level, node, event, message, then the fields", () => {
  assert.is(
    formatLine(entry({ code: "certificate-revoked", count: 2 }), "json"),
    '{"time":"2026-01-02T03:04:05.678Z","level":"warn","node":"gateway-01","event":"peer.refused","message":"Hello",' +
      '"code":"certificate-revoked","count":2}',
  );
});

test("writes text for people, values bare where that is unambiguous", () => {
  assert.is(
    formatLine(entry({ code: "hung-up", name: "a b", list: ["x"], none: undefined }), "text"),
    '2026-01-02T03:04:05.678Z WARN  gateway-01  peer.refused  Hello  code=hung-up  name="a b"  list=["x"]',
  );
});

test("colours the level only where asked to", () => {
  assert.match(formatLine(entry(), "text", true), "\x1b[33mWARN \x1b[0m");
  assert.not.match(formatLine(entry(), "json", true), "\x1b");
});

const forgeries: [name: string, text: string][] = [
  ["a line feed", "x\n2026 INFO  node.ready"],
  ["a carriage return", "x\rINFO"],
  ["an escape sequence", "\x1b[2J\x1b[31m"],
  ["a C1 control", "a\u009b31m"],
  ["a bidirectional override", "a\u202eb"],
  ["a line separator", "a\u2028b"],
  ["a zero width space and a byte order mark", "a\u200b\ufeffb"],
  ["a lone surrogate", "a\ud800b"],
];
for (const [name, text] of forgeries) {
  for (const format of ["text", "json"] as const) {
    test(`escapes ${name} in message, field, key and node (${format})`, () => {
      const line = formatLine({ ...entry({ [text]: text, list: [text] }, text), node: text }, format);
      assert.not.match(line, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
      if (format === "json") assert.is(JSON.parse(line).message, text);
    });
  }
}

test("keeps a field from taking the place of what the line has already", () => {
  const line = JSON.parse(
    formatLine(entry({ time: "t", level: "debug", node: "n", event: "e", message: "m" }), "json"),
  );
  assert.is(line.level, "warn");
  assert.is(line.event, "peer.refused");
  assert.is(line.level_, "debug");
});

for (const character of ["\x7f", "\u200b", "\u{e0041}", "\x00", '"']) {
  test(`bug: a line of many U+${character.codePointAt(0)?.toString(16)} was three times as long as the limit`, () => {
    const long = character.repeat(5_000);
    const line = formatLine(entry({ code: "kept", first: long, second: long }, long), "json");
    assert.ok(line.length <= lineLimits.lineCharacters, `${line.length}`);
    const { code, message, cut } = JSON.parse(line);
    assert.equal([code, cut, message.startsWith(character.repeat(300))], ["kept", true, true]);
  });
}

test("bounds every part of a line, and the line", () => {
  const long = "x".repeat(100_000);
  const wide = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`f${index}`, long]));
  const deep = { a: { b: { c: { d: { e: { f: 1 } } } } }, list: Array.from({ length: 10_000 }, () => long) };
  for (const format of ["text", "json"] as const) {
    for (const fields of [wide, deep, { [long]: long }]) {
      const line = formatLine(entry({ code: "kept", ...fields }, long), format);
      assert.ok(line.length <= lineLimits.lineCharacters + 1_000, `${line.length}`);
      assert.match(line, "kept");
      if (format === "json") JSON.parse(line);
    }
  }
});

test("makes something of every value", () => {
  const line = formatLine(
    entry({
      error: new Error("broken"),
      date: new Date(0),
      bad: new Date(NaN),
      big: 2n ** 70n,
      bytes: new Uint8Array(3),
      map: new Map([["a", 1]]),
      nan: NaN,
      none: null,
      fn: () => 1,
    }),
    "json",
  );
  const { error, date, bad, big, bytes, map, nan, none } = JSON.parse(line);
  assert.equal({ error, date, bad, big, bytes, map, nan, none }, {
    error: "broken",
    date: "1970-01-01T00:00:00.000Z",
    bad: "invalid date",
    big: "1180591620717411303424",
    bytes: "3 bytes",
    map: { a: 1 },
    nan: "NaN",
    none: null,
  });
});
test("bug: commands with --json printed control and format characters of names as they were", () => {
  const value = { name: "a\u009b2Jb\u202ec", lines: ["x\ny"] };
  const text = shownJson(value);
  assert.not.match(text, /[\u0080-\uffff]/);
  assert.equal(JSON.parse(text), value);
  assert.is(text.split("\n").length, 6);
});

test.run();

const log = suite("makeLog()");
const write = (level: "debug" | "info" | "warn" | "error", lines: string[]) =>
  makeLog("hypha-gateway", { level, format: "json", colour: false, now: () => 0, write: (line) => lines.push(line) });

log("leaves out what is under its level, and names the node once it is known", () => {
  const lines: string[] = [];
  const made = write("warn", lines);
  made.report({ level: "info", event: "a", message: "" });
  made.report({ level: "warn", event: "b", message: "" });
  made.name("gateway-01");
  made.report({ level: "error", event: "c", message: "" });
  assert.equal(lines.map((line) => JSON.parse(line)).map(({ node, event }) => [node, event]), [
    ["hypha-gateway", "b"],
    ["gateway-01", "c"],
  ]);
});

log("its followers get lines of JSON from info on, also where the log itself begins higher, until they leave", () => {
  const lines: string[] = [];
  const followed: string[] = [];
  const made = write("warn", lines);
  const leave = made.follow((line) => followed.push(line));
  const report = (level: "debug" | "info" | "warn", event: string) =>
    made.report({ level, event, message: "a\nb\u2028", fields: { text: "x".repeat(100_000) } });
  report("debug", "a");
  report("info", "b");
  report("warn", "c");
  made.setLevel("debug");
  report("debug", "d");
  leave();
  report("warn", "e");
  assert.equal(followed.map((line) => JSON.parse(line).event), ["b", "c", "d"]);
  assert.equal(lines.map((line) => JSON.parse(line).event), ["c", "d", "e"]);
  assert.ok(followed.every((line) => !/[\n\u2028]/.test(line) && line.length < 16_384));
});

log("bug: a console that opened below the log's level had an address that was written nowhere", async () => {
  const lines: string[] = [];
  const opened = openConsole({ host: "127.0.0.1", port: 0 }, {
    ...{ routes: {}, log: write("error", lines), kind: "ca" },
    ports: { now: () => 0, report: () => {} } as never,
  });
  await Effect.runPromise(Effect.scoped(opened));
  assert.equal(lines.map((line) => JSON.parse(line)).map(({ level, event }) => [level, event]), [
    ["info", "console.listening"],
  ]);
  assert.match(JSON.parse(lines[0] ?? "").url, /^http:\/\/127\.0\.0\.1:\d+\/\?token=/);
});

log("never throws: neither for a field that does nor for an output that is gone", () => {
  const thrower = {
    get x(): string {
      throw new Error("no");
    },
  };
  write("debug", []).report({ level: "info", event: "a", message: "", fields: { thrower } });
  makeLog("n", {
    level: "debug",
    format: "text",
    colour: false,
    now: () => 0,
    write: () => {
      throw new Error("gone");
    },
  })
    .report({ level: "info", event: "a", message: "" });
});
log.run();
