/**
 * Deliberate defects in the transport's core. Tests of its parts alone would not notice most of them: they need two connections
 * of one peer, a crowd, a member that lies, or one that keeps silent.
 *
 * @module
 */
import type { PlantedBug } from "./planted_bugs.ts";

const core = "transport/core";

/** Defects of connections and members. */
const connections: readonly PlantedBug[] = [
  {
    name: "re-verification stops after one slice",
    file: `${core}/reverification.ts`,
    find: "else this.#clock.yield(() => this.#slice());",
    replace: "else this.#isRunning = false;",
  },
  {
    name: "re-verification ends with the first connection that it closes",
    file: `${core}/reverification.ts`,
    find: "if (!wasOver && isOver(row.gate)) break;",
    replace: "if (!wasOver && isOver(row.gate)) return true;",
  },
  {
    name: "a new connection is not evaluated again",
    file: `${core}/connection_table.ts`,
    find: "    this.#reverification.add(row);\n",
    replace: "",
  },
  {
    name: "the table forgets the first of two connections",
    file: `${core}/groups.ts`,
    find: "    if (known === undefined) this.#groups.set(key, [item]);\n    else known.push(item);",
    replace: "    if (known === undefined || known.length > 0) this.#groups.set(key, [item]);",
  },
  {
    name: "a member's end is told with the last connection of its PeerID",
    file: `${core}/connection_table.ts`,
    find: "const last = row.member === undefined || this.#members.remove(row.member, row);",
    replace:
      "if (row.member !== undefined) this.#members.remove(row.member, row);\n    const last = !this.#peers.has(identity.peer);",
  },
  {
    name: "a member with a second certificate is not told of",
    file: `${core}/connection_table.ts`,
    find: "const first = !this.#members.has(row.member);",
    replace: "const first = !this.#peers.has(identity.peer);",
  },
  {
    name: "a stream counts with the identity of the peer's first connection",
    file: `${core}/session.ts`,
    find: '    const identity = this.#table.identityOf(connection);\n    if (identity === undefined) return "refused";',
    replace:
      '    const own = this.#table.identityOf(connection);\n    const [first] = own === undefined ? [] : this.#table.of(own.peer);\n    const identity = first === undefined ? own : this.#table.identityOf(first);\n    if (identity === undefined) return "refused";',
  },
  {
    name: "the limit of connections of one peer is ignored",
    file: `${core}/connection_table.ts`,
    find: "if (others !== undefined && others.length >= max) {",
    replace: "if (others !== undefined && others.length >= max * 1_000) {",
  },
  {
    name: "the limit of connections of one peer is off by one",
    file: `${core}/connection_table.ts`,
    find: "if (others !== undefined && others.length >= max) {",
    replace: "if (others !== undefined && others.length > max) {",
  },
  {
    name: "connections of a replaced certificate are not drained",
    file: `${core}/connection_table.ts`,
    find: "if (shown < generation) gate.send(",
    replace: "if (shown + 1 < generation) gate.send(",
  },
  {
    name: "a relayed connection is used although a direct one is there",
    file: `${core}/connection_table.ts`,
    find: "if (connection.relay === undefined || best?.relay !== undefined || best === undefined) best = connection;",
    replace: "if (best === undefined || connection.relay !== undefined) best = connection;",
  },
  {
    name: "a reservation that was lost counts as there",
    file: `${core}/reachability.ts`,
    find: "  reservationLost(relay: PeerText): void {\n    this.#reserved.delete(relay);",
    replace: "  reservationLost(relay: PeerText): void {",
  },
];

/** Defects of records and gossip. */
const claims: readonly PlantedBug[] = [
  {
    name: "a record's publisher need not be its sender",
    file: `${core}/records.ts`,
    find: "if (!sameBytes(record.key, key) || peerOf(record.publisher) !== identity.peer)",
    replace: "if (!sameBytes(record.key, key) || peerOf(record.publisher) === undefined)",
  },
  {
    name: "another owner takes over a key",
    file: `${core}/record_store.ts`,
    find: "there !== undefined && there.publisher !== publisher && there.owner !== owner &&",
    replace: 'there !== undefined && there.publisher !== publisher && there.owner === "" &&',
  },
  {
    name: "publishers that were not verified count",
    file: `${core}/lookup.ts`,
    find: "if (identity === undefined) return end(rejected);",
    replace:
      'if (identity === undefined) return end({ type: "confirmed", value: candidate.values[0]?.value ?? new Uint8Array(), identity });',
  },
  {
    name: "the value of an answer counts, not the publisher's own",
    file: `${core}/candidates.ts`,
    find: "return { publisher, value: state.value, identity: state.identity };",
    replace: "return { publisher, value: values.at(-1)?.value ?? state.value, identity: state.identity };",
  },
  {
    name: "a majority of the answers counts before the publisher was asked",
    file: `${core}/candidates.ts`,
    find: 'if (isLate || state.type === "rejected") continue;',
    replace:
      'const most = values.find(({ hints }) => 2 * hints > this.#hints);\n      if (most !== undefined) return { publisher, value: most.value, identity: undefined };\n      if (isLate || state.type === "rejected") continue;',
  },
  {
    name: "authors that were verified a while ago survive new trust",
    file: `${core}/verified_peers.ts`,
    find: "    for (const member of [...this.#recent.keys()]) this.#forget(member);\n",
    replace: "",
  },
  {
    name: "authors are not verified",
    file: `${core}/gossip.ts`,
    find: 'const identity = acts.allowedOf("worker.request", identities);',
    replace:
      'const identity = identities.length > 0 ? acts.allowedOf("worker.request", identities) : { peer: author } as never;',
  },
];

/** Defects of the acts of members. */
const acts: readonly PlantedBug[] = [
  {
    name: "a row of the table of acts allows everybody",
    file: "transport/authorization/acts.ts",
    find: '"job.status": { receivedBy: ["scheduler"], allowedTo: ["worker"],',
    replace: '"job.status": { receivedBy: ["scheduler"], allowedTo: "member",',
  },
  {
    name: "a certificate of any role stands for every role",
    file: "transport/authorization/authorize.ts",
    find: 'if (allowedTo === "member" || allowedTo.some((as) => standsFor(member.role, as))) return',
    replace: 'if (allowedTo === "member" || allowedTo.some((as) => standsFor(undefined, as))) return',
  },
  {
    name: "gossip is judged by the one that hands it on",
    file: `${core}/gossip.ts`,
    find: 'const identity = acts.allowedOf("worker.request", identities);',
    replace: 'const identity = acts.allowedOf("worker.request", verified.known(via));',
  },
  {
    name: "any role publishes data sets",
    file: `${core}/records.ts`,
    find: 'if (!this.#parts.acts.allows("record.put", identity)) return',
    replace: 'if (!this.#parts.acts.allows("kad.query", identity)) return',
  },
  {
    name: "a rule that allows wins over one that denies",
    file: "transport/authorization/authorize.ts",
    find: "if (denies !== undefined) return refused(denies.label);",
    replace:
      'if (denies !== undefined && !fitting.some(({ effect }) => effect === "allow")) return refused(denies.label);',
  },
  {
    name: "changed rules end no lease",
    file: "actors/worker/working.ts",
    find: 'if (!denied.includes("lease.renew") && !denied.includes("job.dispatch")) return;',
    replace: "return;",
  },
];

/** Defects of streams and requests: what a peer begins and never ends. */
const leaks: readonly PlantedBug[] = [
  {
    name: "a half-sent request is kept for ever",
    file: `${core}/received_request.ts`,
    find: 'if (this.#state !== "answering" || this.#isExtended) return this.abort(',
    replace: 'if (this.#state !== "answering") return;\n    if (this.#isExtended) return this.abort(',
  },
  {
    name: "a request of ours is not bounded in time",
    file: `${core}/ask_stream.ts`,
    find: "this.#timer = clock.after(timeoutMs, () => this.fail(",
    replace: "this.#timer = clock.after(2 ** 40, () => this.fail(",
  },
  {
    name: "a Kademlia stream has no deadline",
    file: `${core}/kad_streams.ts`,
    find: `return this.#init.clock.after(kadMessageTimeoutMs, () => this.abort("no message in time"));`,
    replace: `return this.#init.clock.after(2 ** 40, () => this.abort("no message in time"));`,
  },
  {
    name: "a stream's place is not given back",
    file: `${core}/stream_places.ts`,
    find: "      leave();\n      listener.closed(how, detail);",
    replace: '      if (how !== "reset") leave();\n      listener.closed(how, detail);',
  },
];

/** Defects of what a member may cost. */
const costs: readonly PlantedBug[] = [
  {
    name: "a question of Kademlia costs nothing",
    file: `${core}/prices.ts`,
    find: '"kad": { eachUs: 120, perKibUs: 10 },',
    replace: '"kad": { eachUs: 0, perKibUs: 0 },',
  },
  {
    name: "a request costs nothing",
    file: `${core}/prices.ts`,
    find: '"request": { eachUs: 400, perKibUs: 10 },',
    replace: '"request": { eachUs: 0, perKibUs: 0 },',
  },
  {
    name: "a peer gets a fresh budget with each connection",
    file: `${core}/session.ts`,
    find: "    this.#departed.returned(identity);\n",
    replace: "    this.#departed.returned(identity);\n    this.costs.work.refund(identity.peer, 1_000_000_000);\n",
  },
  {
    name: "a peer's streams may hold what they like",
    file: `${core}/held_bytes.ts`,
    find: "return purse.bytes <= heldBytesMax || this.#makeRoom(purse);",
    replace: "return true;",
  },
  {
    name: "streams are counted by connection, not by peer",
    file: `${core}/stream_places.ts`,
    find: "const taken = this.#peers.get(peer)?.get(kind) ?? 0;",
    replace: "const taken = this.#connections.get(connection)?.get(protocol) ?? 0;",
  },
];

/** All of them. */
export const plantedCoreBugs: readonly PlantedBug[] = [...connections, ...claims, ...acts, ...leaks, ...costs];
