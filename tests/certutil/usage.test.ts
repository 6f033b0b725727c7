/** Usage errors of `hypha-certutil`: the error and where to read more, on standard error, and nothing else. */
import { tmpdir } from "node:os";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certutilHere } from "../support/commands.ts";

const test = suite("usage errors");

const pair = ["--out-cert", "x.pem", "--out-key", "x.key"];
const cases: [name: string, args: readonly string[], said: string, help: string][] = [
  ["no command", [], "a command is missing", "hypha-certutil --help"],
  ["an unknown command", ["frobnicate"], 'unknown command "frobnicate"', "hypha-certutil --help"],
  [
    "a command that is nearly one",
    ["gen-cr"],
    'unknown command "gen-cr" (did you mean gen-ca or gen-crl?)',
    "hypha-certutil --help",
  ],
  ["a missing flag", ["gen-ca", "--out-cert", "x"], "flag --out-key is missing", "hypha-certutil gen-ca --help"],
  [
    "a misspelled flag",
    ["gen-ca", ...pair, "--comon-name", "x"],
    "unknown flag --comon-name (did you mean --common-name?)",
    "hypha-certutil gen-ca --help",
  ],
  ["a flag without its value", ["gen-ca", "--out-cert"], "flag --out-cert needs a value (FILE)", "gen-ca --help"],
  [
    "a flag twice",
    ["gen-ca", ...pair, "--out-cert", "y.pem", "--common-name", "x"],
    "flag --out-cert is given 2 times",
    "gen-ca --help",
  ],
  [
    "a number that is none",
    ["gen-ca", ...pair, "--common-name", "x", "--days", "ten"],
    'flag --days is "ten", expected a number',
    "gen-ca --help",
  ],
  [
    "an unknown choice",
    ["gen-cert", ...pair, "--ca-cert", "a", "--ca-key", "b", "--common-name", "x", "--role", "boss"],
    'flag --role is "boss", expected gateway, scheduler, worker, data',
    "gen-cert --help",
  ],
  ["a missing argument", ["inspect"], "argument FILE is missing", "inspect --help"],
  ["an argument too many", ["inspect", "a", "b\u001b[2J"], 'unexpected argument "b\\u001b[2J"', "inspect --help"],
];
for (const [name, args, said, help] of cases) {
  test(`${name}: two lines on standard error`, async () => {
    const { code, stdout, stderr } = await certutilHere(tmpdir(), ...args);
    const [first, second, ...rest] = stderr.trimEnd().split("\n");
    assert.equal([code, stdout, rest], [2, "", []], `${stdout}${stderr}`);
    assert.is(first, `hypha-certutil: ${said}`);
    assert.match(second ?? "", /^For all commands and flags: hypha-certutil/);
    assert.ok(second!.endsWith(help), second);
  });
}

test("help that was asked for goes to standard output", async () => {
  const { code, stdout, stderr } = await certutilHere(tmpdir(), "gen-ca", "--help");
  assert.equal([code, stderr], [0, ""]);
  assert.match(stdout, "--common-name");
});

test.run();
