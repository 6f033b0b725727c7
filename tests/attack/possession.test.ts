/**
 * Whatever certificate our own parser reads, TLS has proved the key of.
 *
 * Deno's TLS takes the proof of possession for given where it cannot read the certificate (version 1, for one). That is harmless
 * as long as such a certificate is none to us either: a certificate that we accept and the runtime cannot read would be one to
 * steal. Each shape below is shown by somebody who has another key.
 */
import { Buffer } from "node:buffer";
import type { KeyObject } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { constructed, derValue, integer, octetString, oid, sequence } from "../../pki/issue/der_writer.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { hostileClient } from "../../scripts/attack/gate/hostile_tls.ts";
import { version1 } from "../../scripts/attack/gate/odd_certificates.ts";
import { at, forge, type ForgeOptions } from "../support/forge.ts";

const test = suite("possession of the key");
const root = forge("root", { ca: true });
const own = forge("own", { issuer: root });
const made = makeTrustSnapshot({ trustPem: root.pem, policy: defaultPolicy, generation: 1, at });
const { snapshot } = Result.getOrThrow(made);
const pemOf = (key: KeyObject) => key.export({ type: "pkcs8", format: "pem" }) as string;
const context = createSecureContext({ cert: own.pem, key: pemOf(own.key), minVersion: "TLSv1.3" });

const extension = (name: string, ...octets: number[]) => ({ oid: name, critical: false, value: Buffer.from(octets) });
const usual = ["2.5.29.15", "2.5.29.37"];
const sanOf = (name: Uint8Array) => ({ add: [{ oid: "2.5.29.17", critical: false, value: sequence(name) }] });
const hosts = (count: number) => Array.from({ length: count }, (_, n) => `DNS:host-${n}.example.with.a.name.example`);
/** `[3] { SEQUENCE {} }` behind everything else. */
const emptyExtensions = (tbs: Uint8Array) =>
  sequence(tbs.subarray(tbs[1]! < 0x80 ? 2 : 2 + (tbs[1]! & 0x7f)), constructed(3, sequence()));

const shapes: [name: string, options: ForgeOptions][] = [
  ["as usual", {}],
  ["without extensions", { omit: usual }],
  ["with an empty list of extensions", { omit: usual, tbs: emptyExtensions }],
  ["a serial number of 20 octets", { serial: Buffer.alloc(20, 0x7f) }],
  ["a serial number of 21 octets with its sign", { serial: Buffer.alloc(20, 0xff) }],
  ["valid until 9999", { notAfter: new Date("9999-12-31T23:59:59Z") }],
  ["valid from 1950", { notBefore: new Date("1950-01-01T00:00:00Z") }],
  ["a CA", { ca: true }],
  ["38 kB of names", { san: hosts(1_000) }],
  ["56 kB of names", { san: hosts(1_450) }],
  ["65 kB", { add: [{ oid: "1.2.3.4", critical: false, value: Buffer.alloc(65_000) }] }],
  ["an unknown extension without content", { add: [extension("1.2.3.4")] }],
  ["an unknown extension that is no DER", { add: [extension("1.2.3.4", 1, 2, 3)] }],
  ["basic constraints with nothing in them", { add: [{ oid: "2.5.29.19", critical: false, value: sequence() }] }],
  ["key usage of two octets", { add: [extension("2.5.29.15", 3, 3, 7, 0x80, 0x80)] }],
  ["an other name", sanOf(constructed(0, oid("1.2.3"), constructed(0, octetString(Buffer.from("a")))))],
  ["a registered identifier", sanOf(derValue(0x88, [Buffer.from([0x2a, 3])]))],
  ["an empty directory name", sanOf(constructed(4, sequence()))],
  ["an X.400 address", sanOf(constructed(3, sequence()))],
  ["an address of five octets", sanOf(derValue(0x87, [Buffer.from([1, 2, 3, 4, 5])]))],
  ["must-staple", { add: [{ oid: "1.3.6.1.5.5.7.1.24", critical: false, value: sequence(integer(5)) }] }],
  ...[14, 15, 17, 18, 19, 30, 31, 32, 35, 36, 37, 46, 54].map((arc): [string, ForgeOptions] => [
    `2.5.29.${arc} with a NULL for content`,
    { add: [extension(`2.5.29.${arc}`, 5, 0)] },
  ]),
];

/** Whether TLS of this runtime believes that somebody with another key has this certificate's. */
function believes(certificate: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      const options = { isServer: true, requestCert: true, rejectUnauthorized: false, secureContext: context };
      const tls = new TLSSocket(socket, options);
      const done = (believed: boolean) => {
        resolve(believed);
        tls.destroy();
        server.close();
      };
      tls.on("secure", () => done(true)).on("error", () => done(false)).on("close", () => done(false));
    });
    server.listen(0, "127.0.0.1", () => {
      const socket: Socket = connect((server.address() as { port: number }).port, "127.0.0.1");
      socket.on("error", () => {});
      hostileClient(socket, { chain: [certificate], keyPem: pemOf(own.key) }).catch(() => {}).finally(() =>
        socket.destroy()
      );
    });
  });
}

const accepted = (certificate: Uint8Array) => Result.isSuccess(verifyPath([certificate], snapshot, { at }));

for (const [name, options] of shapes) {
  test(`is proved, or the certificate is refused: ${name}`, async () => {
    const { der } = forge("member", { issuer: root, ...options });
    if (await believes(der)) assert.not.ok(accepted(der), "it could be stolen");
  });
}

test("a certificate of version 1 is refused, whatever TLS makes of it", async () => {
  const shown = ({ der, pem, key }: typeof own) => ({ chain: [der], certPem: pem, keyPem: pemOf(key) });
  const der = version1(shown(forge("member", { issuer: root })), shown(own));
  const believed = await believes(der);
  // What makes this file necessary: should it ever change, so may the comment at its top.
  assert.is(believed, "Deno" in globalThis);
  assert.not.ok(accepted(der));
});

test("the usual shape is accepted: the table would notice", () => {
  assert.ok(accepted(forge("member", { issuer: root }).der));
});

test.run();
