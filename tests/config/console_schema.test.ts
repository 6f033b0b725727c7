/** `[console]` in a configuration: loopback addresses only, for nodes and for CAs. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readConsolePlace } from "../../actors/config/console_schema.ts";
import { parseConfig } from "../../actors/config/load.ts";

const head = `cert_pem = "gw.pem"
key_pem = "gw.key"
trust_pem = "ca.pem"
listen_addresses = ["/ip4/0.0.0.0/tcp/4001"]
external_addresses = ["/dns4/gw.lab/tcp/4001"]
`;
const parse = (text: string, environment: Readonly<Record<string, string>> = {}) =>
  parseConfig("gateway", { file: "g.toml", text: head + text }, { environment, flags: {} });

const test = suite("readConsolePlace()");

for (
  const [text, expected] of [
    ["127.0.0.1:9465", { host: "127.0.0.1", port: 9_465 }],
    ["127.9.9.9:1", { host: "127.9.9.9", port: 1 }],
    ["[::1]:9465", { host: "::1", port: 9_465 }],
    ["9465", { host: "127.0.0.1", port: 9_465 }],
  ] as const
) test(`reads ${text}`, () => assert.equal(readConsolePlace(text), expected));

for (const text of ["0.0.0.0:9465", "[::]:9465", "192.0.2.1:9465", "128.0.0.1:9465", "126.255.255.255:9465"]) {
  test(`refuses ${text}, which other machines may reach`, () => {
    assert.match(readConsolePlace(text) as string, /^is not a loopback address/);
  });
}
for (const text of ["localhost:9465", "127.0.0.1", "127.0.0.1:65536", "", "127.1:80"]) {
  test(`refuses ${JSON.stringify(text)}`, () => assert.type(readConsolePlace(text), "string"));
}

test("a configuration has no console unless it names a place", () => {
  assert.is(Result.getOrThrow(parse("")).console, undefined);
  assert.is(Result.getOrThrow(parse("[console]\n")).console, undefined);
  assert.equal(Result.getOrThrow(parse('[console]\nlisten = "9465"\n')).console, { host: "127.0.0.1", port: 9_465 });
  assert.equal(Result.getOrThrow(parse("", { HYPHA_CONSOLE__LISTEN: "[::1]:1" })).console, { host: "::1", port: 1 });
});

test("a configuration with another address is refused, by its key", () => {
  const read = parse('[console]\nlisten = "0.0.0.0:9465"\n');
  assert.match(Result.isFailure(read) ? read.failure.message : "", /console\.listen[\s\S]*is not a loopback address/);
});

test.run();
