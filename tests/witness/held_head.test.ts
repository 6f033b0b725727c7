import { createPrivateKey, sign } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { auditKeyOf, composeCheckpoint, formatAuditKey } from "../../actors/audit/checkpoint.ts";
import { keyOf } from "../../actors/simulation/authority.ts";
import { headMessage, openHead } from "../../actors/witness/held_head.ts";
import { fileSigner } from "../../pki/issue/signer.ts";
import { headOf } from "../support/held_heads.ts";

const test = suite("openHead()");

test("a head travels with its binding, and is opened with the key that came along", () => {
  const head = headOf("a/audit/ca/one", 3);
  assert.equal(openHead(headMessage(head)), head);
});

test("a head without a key, or whose checkpoint is not the log's that the key names, is none", () => {
  const message = headMessage(headOf("a/audit/ca/one", 3));
  assert.is(openHead({ ...message, key: "none" }), undefined);
  assert.is(openHead({ ...message, checkpoint: "none" }), undefined);
  const { key } = headMessage(headOf("a/audit/ca/two", 3));
  assert.is(openHead({ ...message, key }), undefined);
});

test("a checkpoint of one log that the key of another log signed is none", () => {
  const keyPem = keyOf("held head", "audit");
  const key = auditKeyOf("a/audit/ca/two", fileSigner(keyPem))!;
  const opened = (origin: string) => {
    const head = { origin, size: 3, root: new Uint8Array(32) };
    const checkpoint = composeCheckpoint(head, key, (text) => sign(null, text, createPrivateKey(keyPem)));
    return openHead({ checkpoint, key: formatAuditKey(key), signature: new Uint8Array(), chain: [] });
  };
  assert.is(opened("a/audit/ca/two")?.size, 3);
  assert.is(opened("a/audit/ca/one"), undefined);
});

test.run();
