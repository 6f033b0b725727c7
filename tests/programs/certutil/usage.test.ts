/** Usage errors of `hypha-certutil`: the error and where to read more, on standard error, and nothing else. */
import { tmpdir } from "node:os";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { commandNames } from "../../support/certutil_commands.ts";
import { certutilHere } from "../../support/commands.ts";

const test = suite("usage errors");

const pair = ["--out-cert", "x.pem", "--out-key", "x.key"];
const cases: [name: string, args: readonly string[], said: RegExp, help: string][] = [
  ["no command", [], /command.*gen-ca.*doctor/, "hypha-certutil --help"],
  ["an unknown command", ["frobnicate"], /"frobnicate"/, "hypha-certutil --help"],
  ["a command that is nearly one", ["gen-cr"], /"gen-cr".*gen-crl/, "hypha-certutil --help"],
  ["a missing flag", ["gen-ca", "--out-cert", "x"], /--common-name/, "hypha-certutil gen-ca --help"],
  ["a misspelled flag", ["gen-ca", ...pair, "--comon-name", "x"], /--comon-name.*--common-name/, "gen-ca --help"],
  ["a flag without its value", ["gen-ca", "--out-cert"], /--out-cert/, "gen-ca --help"],
  ["a flag twice", ["gen-ca", ...pair, "--out-cert", "y.pem", "--common-name", "x"], /--out-cert/, "gen-ca --help"],
  [
    "a number that is none",
    ["gen-ca", ...pair, "--common-name", "x", "--days", "ten"],
    /--days.*"ten"/,
    "gen-ca --help",
  ],
  [
    "an unknown choice",
    ["gen-cert", ...pair, "--ca-cert", "a", "--ca-key", "b", "--common-name", "x", "--role", "boss"],
    /--role.*"boss".*gateway/,
    "gen-cert --help",
  ],
  ["a missing argument", ["inspect"], /file/, "inspect --help"],
  ["an argument too many", ["inspect", "a", "b\u001b[2J"], /"b\\u001b\[2J"/, "inspect --help"],
];
for (const [name, args, said, help] of cases) {
  test(`${name}: two lines on standard error`, async () => {
    const { code, stdout, stderr } = await certutilHere(tmpdir(), ...args);
    const [first, second, ...rest] = stderr.trimEnd().split("\n");
    assert.equal([code, stdout, rest], [2, "", []], `${stdout}${stderr}`);
    assert.match(first ?? "", /^hypha-certutil: /);
    assert.match(first ?? "", said);
    assert.ok(second?.endsWith(help), second);
  });
}

test("help that was asked for goes to standard output", async () => {
  const { code, stdout, stderr } = await certutilHere(tmpdir(), "gen-ca", "--help");
  assert.equal([code, stderr], [0, ""]);
  assert.match(stdout, "--common-name");
});

/** The flags of a command, as its help describes them; those of all its subcommands where it has some. */
async function flagsOf(words: readonly string[]): Promise<readonly string[]> {
  const { stdout } = await certutilHere(tmpdir(), ...words, "--help");
  const section = (name: string) => new RegExp(`\\n${name}\\n([\\s\\S]*?)(?:\\n\\n|$)`).exec(stdout)?.[1] ?? "";
  const below = [...section("SUBCOMMANDS").matchAll(/^ {2}([a-z-]+) {2}/gm)].map(([, name = ""]) => [...words, name]);
  if (below.length > 0) return (await Promise.all(below.map(flagsOf))).flat();
  const flags = section("FLAGS").split(/\n(?= {2}--)/);
  assert.not.equal(flags, [""], stdout);
  return flags;
}

for (const command of commandNames.filter((name) => name !== "hypha-certutil")) {
  test(`the help of ${command} says of each flag whether it is required, or what happens without it`, async () => {
    const flags = await flagsOf([command]);
    assert.equal(flags.filter((flag) => !/\(required\)|\(.*default/.test(flag)), []);
  });
}

test.run();
