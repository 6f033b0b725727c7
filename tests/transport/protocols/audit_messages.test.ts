/** Bytes of messages about audit logs, as docs/wire.md ("Extensions") has them, and their bounds. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditHead, AuditRequest, AuditResponse } from "../../../transport/protocols/messages.ts";
import {
  auditChainBytesMax,
  auditChainMax,
  auditHeadsMax,
  auditPathMax,
  decodeMessage,
  encodeMessage,
  requestMaxBytes,
} from "../../../transport/protocols/mod.ts";

const test = suite("messages about audit logs");
const protocol = "/hypha-audit/1";
const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const ascii = (text: string) => hex(new TextEncoder().encode(text));
const head: AuditHead = { checkpoint: "note", key: "key", signature: Uint8Array.of(7), chain: [Uint8Array.of(1, 2)] };
const hash = new Uint8Array(32).fill(5);

const isRead = (direction: "request" | "response", message: AuditRequest | AuditResponse) =>
  decodeMessage(protocol, direction, encodeMessage(protocol, direction, message as never))._tag === "Success";

test("requests and answers have these bytes, and are read back", () => {
  const prove: AuditRequest = { Prove: { origin: "a/audit/b", old: 3, new: null } };
  assert.is(
    hex(encodeMessage(protocol, "request", prove)),
    `a165${ascii("Prove")}a366${ascii("origin")}69${ascii("a/audit/b")}63${ascii("old")}0363${ascii("new")}f6`,
  );
  const proof: AuditResponse = { Proof: { head, path: [hash] } };
  assert.is(
    hex(encodeMessage(protocol, "response", proof)),
    `a165${ascii("Proof")}a264${ascii("head")}a46a${ascii("checkpoint")}64${ascii("note")}63${ascii("key")}63` +
      `${ascii("key")}69${ascii("signature")}410765${ascii("chain")}8142010264${ascii("path")}815820${hex(hash)}`,
  );
  for (const request of [prove, { Prove: { origin: "o", old: 0, new: 7 } }, { Held: [head, head] }] as const) {
    const read = decodeMessage(protocol, "request", encodeMessage(protocol, "request", request));
    assert.equal(read._tag === "Success" && read.success, request);
  }
  for (const response of [proof, { NoProof: "unavailable" }, { Noted: 2 }] as const) {
    const read = decodeMessage(protocol, "response", encodeMessage(protocol, "response", response));
    assert.equal(read._tag === "Success" && read.success, response);
  }
});

test("every part of a message has a limit", () => {
  const many = <A>(count: number, each: A): readonly A[] => Array.from({ length: count }, () => each);
  const held = (change: Partial<AuditHead>) => ({ Held: [{ ...head, ...change }] });
  const proof = (path: readonly Uint8Array[]) => ({ Proof: { head, path } });
  const bounds: readonly (readonly [name: string, fits: boolean, direction: "request" | "response", unknown])[] = [
    ["heads", true, "request", { Held: many(auditHeadsMax, head) }],
    ["one head more", false, "request", { Held: many(auditHeadsMax + 1, head) }],
    ["no head", false, "request", { Held: [] }],
    ["hashes", true, "response", proof(many(auditPathMax, hash))],
    ["one hash more", false, "response", proof(many(auditPathMax + 1, hash))],
    ["a hash of another length", false, "response", proof([new Uint8Array(31)])],
    ["certificates", true, "request", held({ chain: many(auditChainMax, Uint8Array.of(1)) })],
    ["one certificate more", false, "request", held({ chain: many(auditChainMax + 1, Uint8Array.of(1)) })],
    ["no certificate", false, "request", held({ chain: [] })],
    ["large certificates", true, "request", held({ chain: [new Uint8Array(auditChainBytesMax)] })],
    ["larger ones", false, "request", held({ chain: [new Uint8Array(auditChainBytesMax + 1)] })],
    ["a long note", false, "request", held({ checkpoint: "n".repeat(4_609) })],
    ["a long key", false, "request", held({ key: "n".repeat(2_305) })],
    ["a long signature", false, "request", held({ signature: new Uint8Array(513) })],
    ["a long origin", false, "request", { Prove: { origin: "n".repeat(2_049), old: 0, new: null } }],
  ];
  for (const [name, fits, direction, message] of bounds) assert.is(isRead(direction, message as never), fits, name);
  const chain = [new Uint8Array(auditChainBytesMax)];
  const largest = { ...head, checkpoint: "n".repeat(4_608), key: "k".repeat(2_304), chain };
  assert.ok(encodeMessage(protocol, "request", { Held: many(auditHeadsMax, largest) }).length < requestMaxBytes);
});

test.run();
