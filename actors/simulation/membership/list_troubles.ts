/**
 * Troubles of revocation lists on their way: withheld, garbled, contradicted, odd.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Effect, Result } from "effect";
import { parseCertificate } from "../../../pki/certificate.ts";
import { formatPem } from "../../../pki/pem.ts";
import { encodeMessage } from "../../../transport/protocols/mod.ts";
import type { CrlNotice } from "../../../transport/protocols/messages.ts";
import { isStreamData } from "../../../transport/simulated/frames.ts";
import type { Tamper } from "../../../transport/simulated/network.ts";
import { type CertificateAuthority, keyHash } from "../../ca/certificate_authority.ts";
import { takeRootList } from "../../ca/take_root_list.ts";
import { randomOf } from "../../runtime/random.ts";
import type { Member } from "./member.ts";
import type { MemberEvent } from "./member_scenario.ts";
import type { LinkedWorld } from "./member_world.ts";
import { Thief } from "./thief.ts";

const protocol = "/hypha-crl/1";
/** A peer that wasted our time three times is not heard for so long, in milliseconds. */
const deafMs = 3_600_000;
/** A list from the future: after the run. */
const aheadMs = 12 * 3_600_000;
const dayMs = 86_400_000;
/** A frame with a list in it has more octets. */
const listOctets = 250;

/** A gateway sends nothing about lists. Those that it has announced do not arrive in time, so its neighbours ignore it for an hour. */
export function withhold({ sim, checker }: LinkedWorld, { forMs }: MemberEvent, { name }: Member): void {
  checker.excuse(name, forMs + deafMs);
  const tamper: Tamper = (frame) => isStreamData(frame) && frame.protocol === protocol ? [] : [{ frame, laterMs: 0 }];
  tamperFor(sim.network, name, forMs, { sim, tamper });
}

/** A node's lists are garbage; half of the time they begin well, and the first large frame of each stream is as it should be. */
export function garble({ sim, checker }: LinkedWorld, { forMs, amount }: MemberEvent, { name }: Member): void {
  checker.excuse(name, forMs + deafMs);
  const begun = new Set<number>();
  const tamper: Tamper = (frame) => {
    if (!isStreamData(frame) || frame.protocol !== protocol || frame.bytes.length < listOctets) {
      return [{ frame, laterMs: 0 }];
    }
    if (amount < 0.5 && !begun.has(frame.stream)) {
      begun.add(frame.stream);
      return [{ frame, laterMs: 0 }];
    }
    const bytes = Uint8Array.from(frame.bytes);
    bytes[bytes.length - 5] = bytes[bytes.length - 5]! ^ 0xff;
    return [{ frame: { ...frame, bytes } as typeof frame, laterMs: 0 }];
  };
  tamperFor(sim.network, name, forMs, { sim, tamper });
}

function tamperFor(
  network: LinkedWorld["sim"]["network"],
  name: string,
  forMs: number,
  { sim, tamper }: Pick<LinkedWorld, "sim"> & { readonly tamper: Tamper },
): void {
  network.tamper(name, tamper);
  sim.after(forMs, () => network.tamper(name, undefined));
}

/** One host gets another list of the number in force: it lacks what was revoked last, and revokes a stranger. */
export function equivocate(world: LinkedWorld, { forMs }: MemberEvent, member: Member): void {
  const { ca, sim, web, checker } = world;
  const list = ca.list;
  if (list === undefined) return;
  const lastsMs = forMs + 75_000;
  // It gets no newer list by HTTP meanwhile.
  checker.excuse(member.name, lastsMs);
  const [serial = 0] = randomOf(sim.seed, "equivocation").bytes(1);
  const revoked = [{
    serial: `51${(serial + 256).toString(16).padStart(4, "0")}`,
    date: new Date(sim.time.now - dayMs),
  }];
  const times = { thisUpdate: new Date(list.this_update), nextUpdate: new Date(list.next_update) };
  ca.forge({ by: "intermediate", number: BigInt(list.number), ...times, revoked }, (made) => {
    if (Result.isFailure(made)) return;
    const before = web.twist;
    let isOver = false;
    const path = `/crl/${ca.issuerId}.crl`;
    web.twist = (from, request) => {
      // Who has not the true one yet cannot know better.
      const hasTrue = world.checker.numberOf(member.node) >= BigInt(list.number);
      if (isOver || from !== member.name || request.path !== path || !hasTrue) return before(from, request);
      world.bit.add("list-equivocating");
      return { status: 200, headers: {}, body: made.success };
    };
    // Another twist may be around this one by then.
    sim.after(lastsMs, () => isOver = true);
  });
}

/** A member announces lists that are old, from the future, of the root alone, signed by another key, and nowhere. */
export function announceOdd(world: LinkedWorld): void {
  const { ca, sim, web, ledger } = world;
  const name = `guest-${world.thieves}`;
  const thief = new Thief(sim, web, world.thieves++);
  world.operate<string>((done) => ca.token({ role: "worker", name }, done), (token) => {
    ledger.token(token, { identity: `spiffe://sim.hypha/worker/${name}` });
    thief.ask({ token }, (got) => {
      if (got === undefined) return;
      const guest = thief.connect(got, world.gateway.node.address);
      makeOdd(world, (notices) => {
        sim.after(1_000, () => {
          for (const connection of guest.open) {
            guest.hostile.exchange(connection, protocol, encodeMessage(protocol, "request", { Announce: notices }));
          }
        });
      });
    });
  });
}

function makeOdd(world: LinkedWorld, done: (notices: readonly CrlNotice[]) => void): void {
  const { ca, sim } = world;
  const issuer = ca.issuerId;
  const now = sim.time.now;
  const past = { thisUpdate: new Date(now - 3 * dayMs), nextUpdate: new Date(now - dayMs) };
  const future = { thisUpdate: new Date(now + aheadMs), nextUpdate: new Date(now + aheadMs + 3 * dayMs) };
  const good = { thisUpdate: new Date(now - dayMs), nextUpdate: new Date(now + 3 * dayMs) };
  const root = keyHash(rootKeyOf(sim));
  const seconds = BigInt(Math.floor((now + aheadMs) / 1_000));
  const wanted = [
    { issuer, by: "intermediate", number: 2n, ...past, revoked: [] },
    { issuer, by: "intermediate", number: seconds, ...future, revoked: [] },
    { issuer: root, by: "root", number: 2n, ...good, revoked: [] },
    // Signed by another key than the one that it is announced for.
    { issuer, by: "root", number: seconds + 1n, ...good, revoked: [] },
  ] as const;
  const notices: CrlNotice[] = [];
  const next = (index: number): void => {
    const each = wanted[index];
    if (each === undefined) return done([...notices, nowhere(issuer, seconds + 2n, now)]);
    const { issuer: key, ...request } = each;
    ca.forge(request, (made) => {
      if (Result.isFailure(made)) return next(index + 1);
      notices.push(noticeOf(key, request, made.success));
      if (key !== root) return next(index + 1);
      // Its operator has the CA publish it. The CA refuses it where it has one of this number.
      const file = join(dirname(ca.registerPath), "root-list.pem");
      writeFileSync(file, formatPem("X509 CRL", made.success));
      const publish = (authority: CertificateAuthority, at: Date) => Effect.result(takeRootList(authority, file, at));
      world.operate<unknown>((answered) => ca.operate(publish, answered), () => next(index + 1));
    });
  };
  next(0);
}

function noticeOf(
  issuer: string,
  { number, thisUpdate }: { readonly number: bigint; readonly thisUpdate: Date },
  bytes: Uint8Array,
): CrlNotice {
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const updated = Math.floor(+thisUpdate / 1_000);
  return { issuer, scope: "all", number: String(number), base: null, sha256, size: bytes.length, updated, bytes };
}

function nowhere(issuer: string, number: bigint, now: number): CrlNotice {
  const sha256 = createHash("sha256").update(Buffer.from(`${number}`)).digest("hex");
  const updated = Math.floor(now / 1_000);
  return { issuer, scope: "all", number: String(number), base: null, sha256, size: 5_000, updated };
}

function rootKeyOf({ authority: { root } }: LinkedWorld["sim"]): Uint8Array {
  return spkiOf(root.der);
}

function spkiOf(der: Uint8Array): Uint8Array {
  return Result.getOrThrow(parseCertificate(der)).publicKey.spki;
}
