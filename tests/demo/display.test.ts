/** What the demo shows, in pseudo-terminals of several widths and where there is no terminal. */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeDisplay, progressLine, wrap } from "../../scripts/demo/display.ts";
import { commandOf } from "../../scripts/demo/runtimes.ts";
import { ownRuntime } from "../../scripts/check/runtimes.ts";
import { needing } from "../support/prerequisites.ts";
import { startInTerminal, Terminal } from "../support/terminal.ts";

const test = suite("the demo's display");
const words = [...commandOf(ownRuntime, ["-A"]), fileURLToPath(new URL("../support/demo_display.ts", import.meta.url))];
const inTerminal = needing(test, "script");
const bars = (terminal: Terminal) => terminal.rows.filter((row) => /█|░|round \d+\//.test(row));

test("wraps at words, indents what follows, and breaks a word that fits nowhere", () => {
  assert.equal(wrap("  one two three", 9, 4), ["  one two", "    three"]);
  assert.equal(wrap("abcdefghij", 4, 1), ["abcd", " efg", " hij"]);
  assert.equal(wrap("", 9), [""]);
  for (let width = 19; width < 140; width++) {
    for (const line of wrap(`   0.1 s    ${"some words and one/very/long/path ".repeat(6)}`, width, 12)) {
      assert.ok(line.length <= width, `${line.length} > ${width}`);
    }
  }
});

test("a progress line is never wider than the terminal, whatever its width", () => {
  for (let width = 19; width < 140; width++) {
    const { before, bar, label } = progressLine(width, " 100.1 s    ", 16, 16, "held-out accuracy 97.8 %");
    const line = `${before}${bar}${label}`;
    assert.ok(line.length <= width, `${line.length} > ${width}`);
    if (width >= 59) assert.match(line, /round 16\/16 {2}held-out accuracy 97.8 %$/);
  }
});

for (const columns of [60, 80, 132]) {
  inTerminal(`${columns} columns: no line is wider, the bar stays one line and is gone at the end`, async () => {
    let most = 0;
    const { terminal, ended, written } = startInTerminal(words, {
      columns,
      env: {},
      look: (shown) => most = Math.max(most, bars(shown).length),
    });
    assert.is(await ended, 0);
    assert.equal(terminal.wrapped, []);
    assert.equal(terminal.rows.filter((row) => row.length > columns), []);
    assert.ok(written().split("█").length > 16, "there was a bar");
    assert.is(most, 1, "bars that stood there at once");
    assert.equal(bars(terminal), []);
    assert.match(terminal.rows.at(-2) ?? "", /promise broken|of 8\)/);
    // The table is whole.
    assert.ok(terminal.rows.some((row) => /^worker-1 +worker +deno +1000 +27 +123456789/.test(row)));
  });
}

inTerminal("a terminal that gets narrower in the middle: the lines after it fit", async () => {
  let resized: Promise<void> | undefined;
  const { terminal, ended, written } = startInTerminal([...words, "30"], {
    columns: 132,
    env: {},
    look: (_, { resize }) => {
      if (written().includes("round 4/16")) resized ??= resize(60);
    },
  });
  assert.is(await ended, 0);
  await resized;
  assert.ok(resized !== undefined);
  const after = written().slice(written().indexOf("round 10/16"));
  const narrow = new Terminal(60);
  narrow.write(after.slice(after.indexOf("\r")).replaceAll("\n", "\r\n"));
  assert.equal(narrow.wrapped, []);
  assert.ok(terminal.rows.length > 10);
});

for (const [name, env] of [["NO_COLOR", { NO_COLOR: "1" }], ["TERM=dumb", { TERM: "dumb" }]] as const) {
  inTerminal(`${name}: plain lines that fit, no escape`, async () => {
    const { terminal, ended, written } = startInTerminal(words, { columns: 80, env });
    assert.is(await ended, 0);
    for (const part of ["\x1b", "\r", "█"]) assert.not.ok(written().includes(part));
    assert.equal(terminal.wrapped, []);
    assert.is(bars(terminal).length, 16);
  });
}

test("no terminal: plain lines, none broken, no escape", () => {
  const env = { ...process.env, NO_COLOR: "", CI: "", TERM: "xterm" };
  const { stdout, status } = spawnSync(words[0] ?? "", words.slice(1), { encoding: "utf8", env });
  assert.is(status, 0);
  for (const part of ["\x1b", "\r", "█"]) assert.not.ok(stdout.includes(part));
  assert.match(stdout, /round 16\/16 {2}held-out accuracy 91.6 %\n/);
  assert.match(stdout, /see them confined\n/);
});

test("a terminal that does not tell its width is taken for 80 columns", () => {
  for (const columns of [0, undefined]) {
    const terminal = new Terminal(80);
    const out = {
      isTTY: true,
      ...(columns === undefined ? {} : { columns }),
      write: (text: string) => terminal.write(text.replaceAll("\n", "\r\n")),
    };
    const display = makeDisplay({ json: false }, { out, env: {} });
    display.note("word ".repeat(60));
    display.progress(1, 2, "word ".repeat(60));
    assert.equal(terminal.wrapped, []);
    assert.ok(terminal.rows.length >= 4);
  }
});

test.run();
