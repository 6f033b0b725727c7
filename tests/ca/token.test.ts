/** Tokens are read in one form only; ten thousand that were changed are no tokens of the CA. */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { enrol } from "../../actors/ca/enrol.ts";
import { failuresMax } from "../../actors/ca/failure_limit.ts";
import { formatToken, isSecretOf, makeToken, parseToken, secretHash } from "../../actors/ca/token.ts";
import { codeOf, start, testAuthority, testCsr } from "../support/authority.ts";

const test = suite("join tokens");
const anchor = "ab".repeat(32);
const url = "https://ca.acme.example:8443";
const codeOfParse = (text: string) =>
  Result.match(parseToken(text), { onSuccess: () => "read", onFailure: ({ code }) => code });

test("a token that was written is read", () => {
  const token = makeToken({ anchor, url });
  const read = Result.getOrThrow(parseToken(formatToken(token)));
  assert.equal({ ...read, secret: Buffer.from(read.secret) }, { ...token, secret: Buffer.from(token.secret) });
  assert.ok(isSecretOf(token.secret, secretHash(token.secret)));
  assert.not(isSecretOf(makeToken({ anchor, url }).secret, secretHash(token.secret)));
});

const [version, id, secret, root, address] = formatToken(makeToken({ anchor, url })).split(".") as string[];
const withUrl = (text: string) => [version, id, secret, root, Buffer.from(text).toString("base64url")].join(".");
const cases: [name: string, text: string][] = [
  ["nothing", ""],
  ["another version", ["hyp2", id, secret, root, address].join(".")],
  ["a part less", [version, id, secret, root].join(".")],
  ["a part more", [version, id, secret, root, address, ""].join(".")],
  ["padding", [version, `${id}=`, secret, root, address].join(".")],
  [
    "bits behind the end",
    [version, `${id!.slice(0, -1)}${id!.endsWith("A") ? "B" : "A"}`.slice(0, 10) + "_", secret, root, address].join(
      ".",
    ),
  ],
  ["a shorter secret", [version, id, secret!.slice(0, 42), root, address].join(".")],
  ["a longer text", `${"a".repeat(1_025)}`],
  ["http", withUrl("http://ca.acme.example:8443")],
  ["a path", withUrl("https://ca.acme.example:8443/x")],
  ["a slash", withUrl("https://ca.acme.example:8443/")],
  ["a user", withUrl("https://me@ca.acme.example")],
  ["a default port, which has no one form", withUrl("https://ca.acme.example:443")],
  ["capitals in the host", withUrl("https://CA.acme.example")],
  ["a long URL", withUrl(`https://${"a".repeat(510)}`)],
];
for (const [name, text] of cases) {
  test(`refuses ${name}`, () => assert.is(codeOfParse(text), "token-malformed"));
}

test("of 10,000 changed tokens none is accepted", async () => {
  const world = await testAuthority();
  const text = await world.token("worker-01");
  const { der } = await testCsr();
  const codes = new Map<string, number>();
  let seed = 20_261_126;
  const draw = (below: number) => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) % below;
  for (let index = 0; index < 10_000; index++) {
    const at = draw(text.length);
    const letter = String.fromCharCode(33 + draw(94));
    const kind = draw(3);
    const changed = kind === 0
      ? text.slice(0, at) + letter + text.slice(at + 1)
      : kind === 1
      ? text.slice(0, at) + text.slice(at + 1)
      : text.slice(0, at) + letter + text.slice(at);
    if (changed === text) continue;
    // Each from an address of its own: the limit of failures must not be what refuses them.
    const code = await codeOf(
      enrol(world.ca, { token: changed, csr: der, address: `10.0.${index >> 8}.${index & 255}` }, start),
    );
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  assert.equal([...codes.keys()].sort(), ["token-foreign", "token-malformed", "token-unknown"]);
  assert.is(await codeOf(enrol(world.ca, { token: text, csr: der, address: "10.1.0.1" }, start)), "done");
  world.close();
});

test("an address whose enrolments failed ten times waits a minute; others do not", async () => {
  const world = await testAuthority();
  const [token, { der }] = [await world.token("worker-01"), await testCsr()];
  const other = token[20] === "A" ? "B" : "A";
  const wrong = { token: `${token.slice(0, 20)}${other}${token.slice(21)}`, csr: der, address: "10.0.0.1" };
  for (let count = 0; count < failuresMax; count++) {
    assert.is.not(await codeOf(enrol(world.ca, wrong, start)), "too-many-failures");
  }
  const right = (address: string, ms: number) =>
    codeOf(enrol(world.ca, { token, csr: der, address }, new Date(+start + ms)));
  assert.is(await right("10.0.0.1", 59_999), "too-many-failures");
  assert.is(await right("::ffff:10.0.0.1", 59_999), "too-many-failures");
  assert.is(await right("10.0.0.2", 59_999), "done");
  assert.is(await right("10.0.0.1", 60_000), "done");
  world.close();
});

test.run();
