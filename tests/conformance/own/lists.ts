/** Revocation lists as x509-limbo's family `crl` has them: in force or not, of what scope, well formed or not. */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { parseCertificate } from "../../../pki/certificate.ts";
import { constructed, derNull, integer, oid, sequence, setOfOne, utf8String } from "../../../pki/issue/der_writer.ts";
import { keyUsage } from "../../../pki/issue/extensions.ts";
import { type DerNode, readTree, writeTree } from "../../../scripts/fuzz/der_tree.ts";
import { at, type Forged, type ForgeListOptions, later } from "../../support/forge.ts";
import {
  authority,
  type CaseOptions,
  extension,
  flag,
  host,
  list,
  type OwnCase,
  points,
  root,
  scope,
  scopeNames,
  server,
  serverCase,
  uri,
} from "../../support/limbo_world.ts";

const ca = root();
const leaf = server(ca);
const serial = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der)).serial;
const shard = "http://example.com/shard.crl";
const sharded = server(ca, { add: [points(uri(shard))] });
const middle = authority(ca);
const deep = server(middle);
const other = root();

/** A server below the root, and one list of the root's. */
const withList = (
  id: string,
  options: ForgeListOptions,
  code: string | null,
  more: CaseOptions & { of?: Forged } = {},
) => serverCase(`crl::${id}`, [more.of ?? leaf, ca], code, { ...more, lists: [list(ca, options)] });

/** The same, of a form that the suite passes over, as if there were no list; it wants the opposite elsewhere. */
const unreadable = (id: string, options: ForgeListOptions, tbs: (der: Uint8Array) => Uint8Array = (der) => der) =>
  serverCase(`crl::${id}`, [leaf, ca], "crl-malformed", {
    lists: [tbs(list(ca, { revoked: [serial(leaf)], ...options }))],
    suite: "SUCCESS",
  });

const silent = root({ omit: ["2.5.29.15"] });
const mute = root({ add: [keyUsage(["keyCertSign"])] });

const usable: readonly OwnCase[] = [
  withList("empty", {}, null),
  withList("not-listed", { revoked: ["1234", "5678"] }, null),
  withList("listed", { revoked: [serial(leaf)] }, "certificate-revoked"),
  withList("listed-as-of-tomorrow", { revoked: [serial(leaf)], thisUpdate: later(-3) }, "certificate-revoked"),
  withList("ten-thousand", { revoked: Array.from({ length: 10_000 }, (_, n) => (0x400000 + n).toString(16)) }, null),
  withList("unknown-extension", { add: [extension("1.3.6.1.4.1.55738.666.1", false, derNull)] }, null),
  serverCase("crl::issuer-without-key-usage", [server(silent), silent], null, { lists: [list(silent)] }),
  serverCase("crl::issuer-may-not-sign-lists", [server(mute), mute], "crl-signature", { lists: [list(mute)] }),
  serverCase("crl::signed-by-a-namesake", [leaf, ca], "crl-signature", { lists: [list(ca, { signer: other })] }),
  serverCase("crl::of-another-issuer-beside", [leaf, ca, other], null, {
    lists: [list(ca), list(root({}, "elsewhere"), { revoked: [serial(leaf)] })],
  }),
  serverCase("crl::of-another-issuer-only", [leaf, ca], "revocation-unknown", { lists: [list(root({}, "elsewhere"))] }),
];

const dated: readonly OwnCase[] = [
  withList("not-yet", { thisUpdate: later(1) }, "crl-not-yet-valid"),
  withList("from-this-second", { thisUpdate: at }, null),
  withList("to-this-second", { nextUpdate: at }, null),
  withList("over-for-a-second", { nextUpdate: new Date(at.getTime() - 1_000) }, "crl-expired"),
  withList("over-before-the-certificate", { thisUpdate: later(-90), nextUpdate: later(-60) }, "crl-expired"),
];

const scoped: readonly OwnCase[] = [
  withList("point-matches", { add: [scope(scopeNames(uri(shard)))] }, null, { of: sharded }),
  withList("point-differs", { add: [scope(scopeNames(uri("http://example.com/x")))] }, "revocation-unknown", {
    of: sharded,
  }),
  withList(
    "point-spelt-otherwise",
    { add: [scope(scopeNames(uri(shard.replace("s", "%73"))))] },
    "revocation-unknown",
    {
      of: sharded,
    },
  ),
  withList("point-and-none", { add: [scope(scopeNames(uri(shard)))] }, "revocation-unknown"),
  withList("point-is-a-host-too", { add: [scope(scopeNames(uri(shard), host("example.com")))] }, "crl-malformed", {
    of: sharded,
  }),
  withList("certificate-points-at-a-host-too", { add: [scope(scopeNames(uri(shard)))] }, "malformed-certificate", {
    of: server(ca, { add: [points(uri(shard), host("example.com"))] }),
  }),
  withList("users-only", { add: [scope(flag(1))] }, null),
  withList("cas-only", { add: [scope(flag(2))] }, "revocation-unknown"),
  withList("attributes-only", { add: [scope(flag(5))] }, "crl-malformed"),
  withList("indirect", { add: [scope(scopeNames(uri(shard)), flag(4))] }, "crl-malformed", { of: sharded }),
  withList(
    "some-reasons",
    { add: [scope(scopeNames(uri(shard)), Uint8Array.of(0x83, 2, 6, 0x40))] },
    "revocation-unknown",
    {
      of: sharded,
    },
  ),
  withList("relative-name", {
    add: [scope(constructed(0, constructed(1, setOfOne(sequence(oid("2.5.4.3"), utf8String("part"))))))],
  }, "crl-malformed"),
  serverCase("crl::users-only-above-a-ca", [deep, ca], "revocation-unknown", {
    others: [middle],
    lists: [list(ca, { add: [scope(flag(1))] }), list(middle)],
  }),
];

const malformed: readonly OwnCase[] = [
  withList("number-missing", { omitNumber: true }, "crl-malformed"),
  withList("number-critical", {
    omitNumber: true,
    add: [extension("2.5.29.20", true, integer(7))],
  }, "crl-malformed"),
  withList(
    "unknown-critical-extension",
    { add: [extension("1.3.6.1.4.1.55738.666.1", true, derNull)] },
    "crl-malformed",
  ),
  withList("unknown-critical-extension-of-an-entry", {
    revoked: [{ serial: "1234", add: [extension("1.3.6.1.4.1.55738.666.1", true, derNull)] }],
  }, "crl-malformed"),
  withList("unknown-extension-of-the-entry", {
    revoked: [{ serial: serial(leaf), add: [extension("1.3.6.1.4.1.55738.666.1", false, derNull)] }],
  }, "certificate-revoked"),
  withList("listed-twice", { revoked: ["1234", "5678", "1234"] }, "crl-malformed"),
  unreadable("version-1", { version: 0 }),
  unreadable("version-3", { version: 2 }),
  unreadable("no-next-update", {}, withoutNextUpdate),
  unreadable("dates-as-generalized-time", {}, withGeneralizedTime),
];

/** Without the second of its two times; its signature is of no account, as it is not read that far. */
function withoutNextUpdate(der: Uint8Array): Uint8Array {
  return changeTimes(der, ([first]) => [first]);
}

/** Both with the century, which is right from 2050 on only. */
function withGeneralizedTime(der: Uint8Array): Uint8Array {
  return changeTimes(
    der,
    (times) => times.map((time) => ({ ...time, tag: 0x18, content: Buffer.concat([Buffer.from("20"), time.content]) })),
  );
}

function changeTimes(der: Uint8Array, change: (times: [DerNode, DerNode]) => DerNode[]): Uint8Array {
  const [whole] = readTree(der) as [DerNode];
  const fields = whole.children![0]!.children!;
  const first = fields.findIndex(({ tag }) => tag === 0x17);
  fields.splice(first, 2, ...change(fields.slice(first, first + 2) as [DerNode, DerNode]));
  return writeTree(whole);
}

export const listCases: readonly OwnCase[] = [...usable, ...dated, ...scoped, ...malformed];
