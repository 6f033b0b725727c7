/** What `init` writes loads as it stands, and shows every key. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keysOf } from "../../actors/config/keys.ts";
import { type ConfigOf, parseConfig } from "../../actors/config/load.ts";
import type { Role } from "../../pki/certificate.ts";
import { fileNameOf, initText } from "../../scripts/program/init_text.ts";

function load<R extends Role>(role: R, text: string): ConfigOf<R> {
  const parsed = parseConfig(role, { file: "c.toml", text }, { environment: {}, flags: {} });
  if (Result.isFailure(parsed)) throw parsed.failure;
  return parsed.success;
}

/** Takes the # off every key and table that may be left out. */
const uncomment = (text: string): string => text.replaceAll(/^#(?=[\w[])/gm, "");

const test = suite("initText()");

for (const role of ["gateway", "scheduler", "worker", "data"] as const) {
  test(`writes a ${role}'s configuration that loads`, () => {
    const config = load(role, initText({ role, name: "Node.1" }));
    assert.is(config.role, role);
    assert.is(config.certPem, "certs/node-1-cert.pem");
    assert.is(config.keyPem, "certs/node-1-key.pem");
    assert.is(config.trustPem, "certs/ca-bundle.pem");
  });

  test(`shows every key of a ${role}`, () => {
    const text = initText({ role, name: "n" });
    for (const { path } of keysOf(role)) assert.match(text, String(path[path.length - 1]));
  });

  test(`shows defaults of a ${role}: what may be left out changes nothing where it is put in`, () => {
    const text = initText({ role, name: "n" });
    const plain = load(role, text);
    const full = load(role, uncomment(text));
    for (
      const key of [
        "handshakeTimeoutMs",
        "keyExchange",
        "requireRoles",
        "leafAlgorithms",
        "caAlgorithms",
        "crlGraceHours",
        "drainTimeoutMs",
        "limits",
        "rotation",
        "excludeCidr",
        "relayCircuit",
      ] as const
    ) {
      assert.equal(full[key], plain[key], key);
    }
  });
}

test("keeps a name's special characters out of the text", () => {
  assert.is(fileNameOf('A/b "\n\\c'), "a-b-c");
  load("gateway", initText({ role: "gateway", name: '"]\nevil = "' }));
});

test.run();
