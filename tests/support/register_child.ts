/**
 * A CA in a process of its own, for tests that kill it: enrols and revokes without end, and writes a line after each answer.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import { makeAuthority } from "../../actors/ca/certificate_authority.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { Register } from "../../actors/ca/register.ts";
import { revoke } from "../../actors/ca/revoke.ts";
import { createToken } from "../../actors/ca/token_rows.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { fileSigner } from "../../pki/issue/mod.ts";
import { testCsr } from "./authority.ts";

const [folder = "", round = ""] = process.argv.slice(2);
const { key, chain } = JSON.parse(readFileSync(join(folder, "child.json"), "utf8")) as { key: string; chain: string[] };
const ca = Result.getOrThrow(makeAuthority({
  register: Result.getOrThrow(Register.open(join(folder, "ca.db"))),
  signer: fileSigner(key),
  chain: chain.map((der) => Uint8Array.from(Buffer.from(der, "hex"))),
  domain: "acme.example",
  url: "https://ca.acme.example:8443",
  lifetimeMs: () => 3_600_000,
  renewAfterExpiryMs: 0,
  retiredIssuers: [],
  gateways: [],
  approvedRoles: [],
  onAlarm: () => {},
}));
const answered = (line: object) => writeSync(1, `${JSON.stringify(line)}\n`);
for (let count = 0; count < 10_000; count++) {
  const [name, at] = [`n-${round}-${count}`, new Date()];
  const { text } = await Effect.runPromise(createToken(ca, { role: "worker", name, replaces: "no" }, at));
  const csr = (await testCsr()).der;
  const der = await Effect.runPromise(enrol(ca, { token: text, csr, address: "10.0.0.1" }, at));
  const { serial } = Result.getOrThrow(parseCertificate(der));
  answered({ issued: serial });
  if (count % 2 === 1) continue;
  const { number } = await Effect.runPromise(revoke(ca, { serial }, "keyCompromise", at));
  answered({ revoked: serial, number });
}
