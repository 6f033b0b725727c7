/**
 * Mutations that know the structure: of octets, of values with a new signature, and of whole chains and lists.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { oid } from "../../pki/issue/der_writer.ts";
import { copyTree, type DerNode, type LengthLie, readTree, walk, writeTree } from "./der_tree.ts";
import type { FuzzCase } from "./evaluate.ts";
import { makeRandom, type Random } from "./random.ts";
import { type SignedPart, signedWith, type World } from "./worlds.ts";

/** One mutation, ready for evaluation. */
export interface Mutation extends FuzzCase {
  readonly index: number;
  readonly world: string;
  /** The mutated part: `leaf`, `issuer`, `anchor`, `list` or `chain`. */
  readonly target: Target;
  readonly kind: string;
}

type Target = "leaf" | "issuer" | "anchor" | "list" | "chain";
type Bend = (random: Random, root: DerNode, donors: readonly DerNode[]) => void;

const targets: readonly Target[] = [
  "leaf",
  "leaf",
  "leaf",
  "leaf",
  "issuer",
  "issuer",
  "list",
  "list",
  "anchor",
  "chain",
];

/** Makes the mutation of this number; the same seed and number give the same one. */
export function mutate(worlds: readonly World[], seed: number, index: number): Mutation {
  const random = makeRandom(seed, index);
  const world = random.pick(worlds);
  const target = random.pick(targets);
  const made = target === "chain" ? bendChain(random, world, worlds) : bendPart(random, world, target, worlds);
  return { index, world: world.name, target: made.target, kind: made.kind, ...made.given };
}

interface Made {
  readonly target: Target;
  readonly kind: string;
  readonly given: FuzzCase;
}

const ders = (parts: readonly SignedPart[]) => parts.map(({ der }) => der);

function plain({ chain, anchors, lists }: World): FuzzCase {
  return { chain: ders(chain), anchors: ders(anchors), lists: lists && ders(lists) };
}

/** Mutates one signed part of the world. In a world without that part it mutates the leaf. */
function bendPart(random: Random, world: World, wanted: Target, worlds: readonly World[]): Made {
  const { chain, anchors, lists } = world;
  const has = { leaf: true, issuer: chain.length > 1, anchor: true, list: lists !== undefined, chain: false };
  const target = has[wanted] ? wanted : "leaf";
  const group = target === "list" ? lists! : target === "anchor" ? anchors : chain;
  const place = target === "leaf"
    ? 0
    : target === "issuer"
    ? 1 + random.int(chain.length - 1)
    : random.int(group.length);
  const part = group[place]!;
  const { kind, der } = bendDer(random, part, worlds, target === "list");
  const given = plain(world);
  const bent = ders(group).map((each, index) => index === place ? der : each);
  const key = target === "list" ? "lists" : target === "anchor" ? "anchors" : "chain";
  return { target, kind, given: { ...given, [key]: bent } };
}

function bendDer(random: Random, part: SignedPart, worlds: readonly World[], isList: boolean) {
  if (random.chance(0.25)) {
    const [kind, bend] = random.pick(Object.entries(octetBends));
    return { kind, der: bend(random, part.der, donorsOf(worlds, isList)) };
  }
  const [root] = readTree(part.der)!;
  const content = copyTree(root!.children![0]!);
  const donors = donorsOf(worlds, isList).map((der) => readTree(der)![0]!.children![0]!);
  // Mostly one bend; where two meet, each hides behind the other.
  const kinds: string[] = [];
  for (let bends = random.chance(0.15) ? 2 : 1; bends > 0; bends--) {
    const [kind, bend] = random.pick(Object.entries(treeBends));
    bend(random, content, donors);
    kinds.push(kind);
  }
  return { kind: kinds.join("+"), der: signedWith(writeTree(content), part.signer) };
}

function donorsOf(worlds: readonly World[], isList: boolean): readonly Uint8Array[] {
  const certificates = worlds.flatMap(({ chain, anchors }) => [...ders(chain), ...ders(anchors)]);
  return isList
    ? [...worlds.flatMap(({ lists }) => lists === undefined ? [] : ders(lists)), ...certificates]
    : certificates;
}

/** Bends of the octets: the signature stays that of the original. */
const octetBends: Readonly<
  Record<string, (random: Random, der: Uint8Array, donors: readonly Uint8Array[]) => Uint8Array>
> = {
  "bit-flip": (random, der) => {
    const bent = Uint8Array.from(der);
    for (let flips = 1 + random.int(3); flips > 0; flips--) bent[random.int(bent.length)]! ^= 1 << random.int(8);
    return bent;
  },
  "truncate": (random, der) => der.slice(0, 1 + random.int(der.length - 1)),
  "extend": (random, der) => Buffer.concat([der, random.bytes(1 + random.int(16))]),
  "insert": (random, der) => {
    const at = random.int(der.length);
    return Buffer.concat([der.subarray(0, at), random.bytes(1 + random.int(4)), der.subarray(at)]);
  },
  "delete": (random, der) => {
    const at = random.int(der.length - 4);
    return Buffer.concat([der.subarray(0, at), der.subarray(at + 1 + random.int(3))]);
  },
  "splice-octets": (random, der, donors) => {
    const donor = random.pick(donors);
    const at = random.int(Math.min(der.length, donor.length));
    return Buffer.concat([der.subarray(0, at), donor.subarray(at)]);
  },
  // The outer algorithm and the signature are not signed: bent as trees.
  "outer": (random, der) => {
    const root = copyTree(readTree(der)![0]!);
    const found = random.pick([{ node: root, list: [root] }, ...walk(root.children!.slice(1))]);
    bendOne(random, found.node, found.list);
    return writeTree(root);
  },
};

/** Mutations of the content, which then gets a new signature. */
const treeBends: Readonly<Record<string, Bend>> = {
  "content-flip": (random, root) => flip(random, random.pick(leaves(root))),
  "content-edge": (random, root) => edge(random, random.pick(leaves(root))),
  "length-lie": (random, root) => {
    random.pick(walk([root])).node.lie = random.pick(lies);
  },
  "tag": (random, root) => {
    const { node } = random.pick(walk([root]));
    node.tag = random.chance(0.5) ? node.tag ^ (1 << random.int(8)) : random.pick(usualTags);
  },
  "drop": (random, root) => dropOne(random.pick(walk(root.children!))),
  "repeat": (random, root) => {
    const { node, list } = random.pick(walk(root.children!));
    list.splice(list.indexOf(node), 0, copyTree(node));
  },
  "swap": (random, root) => {
    const { node, list } = random.pick(walk(root.children!));
    const [here, there] = [list.indexOf(node), random.int(list.length)];
    [list[here], list[there]] = [list[there]!, list[here]!];
  },
  "empty": (random, root) => {
    const { node } = random.pick(walk(root.children!));
    node.children = undefined;
    node.content = new Uint8Array();
  },
  "splice": (random, root, donors) => {
    const { node, list } = random.pick(walk(root.children!));
    const alike = walk(random.pick(donors).children!).filter((other) => other.node.tag === node.tag);
    const donor = random.pick(alike.length > 0 ? alike : walk(random.pick(donors).children!));
    list[list.indexOf(node)] = copyTree(donor.node);
  },
  "field": (random, root, donors) => {
    const place = random.int(root.children!.length);
    const donor = random.pick(donors).children!;
    root.children![place] = copyTree(donor[Math.min(place, donor.length - 1)]!);
  },
  "extension": (random, root, donors) => bendExtension(random, root, donors),
  "critical": (random, root) => bendCritical(random, root),
};

const lies: readonly LengthLie[] = [
  { kind: "off", by: 1 },
  { kind: "off", by: -1 },
  { kind: "off", by: 127 },
  { kind: "padded", zeros: 1 },
  { kind: "padded", zeros: 3 },
  { kind: "indefinite" },
  { kind: "huge" },
];

const usualTags = [
  1,
  2,
  3,
  4,
  5,
  6,
  0x0a,
  0x0c,
  0x13,
  0x14,
  0x16,
  0x17,
  0x18,
  0x1e,
  0x30,
  0x31,
  0x80,
  0x82,
  0xa0,
  0xa3,
];

function leaves(root: DerNode): DerNode[] {
  return walk(root.children!).map(({ node }) => node).filter(({ children }) => children === undefined);
}

function bendOne(random: Random, node: DerNode, list: DerNode[]): void {
  const choice = random.int(4);
  if (choice === 0) node.lie = random.pick(lies);
  else if (choice === 1) node.tag = random.pick(usualTags);
  else if (choice === 2 && node.children === undefined) edge(random, node);
  else dropOne({ node, list });
}

function dropOne({ node, list }: { readonly node: DerNode; readonly list: DerNode[] }): void {
  list.splice(list.indexOf(node), 1);
}

function flip(random: Random, node: DerNode): void {
  const bent = Uint8Array.from(node.content);
  if (bent.length > 0) bent[random.int(bent.length)]! ^= 1 << random.int(8);
  node.content = bent;
}

/** Values from which parsers have slipped: empty, longest, negative, padded, odd times, zero octets in names. */
function edge(random: Random, node: DerNode): void {
  const text = (value: string) => Buffer.from(value, "latin1");
  const times = [
    "261125115959Z",
    "26112512000Z",
    "2611251200Z",
    "261125120000+0000",
    "20261125120000Z",
    "20261125120000.0Z",
    "991231235959Z",
    "490101000000Z",
    "500101000000Z",
    "99991231235959Z",
    "261325000000Z",
  ];
  const integers = [[0], [1], [0x80], [0, 1], [0, 0x80], [0xff, 0xff], [0x7f, ...new Array<number>(19).fill(0xff)], [
    0x7f,
    ...new Array<number>(20).fill(0xff),
  ], [1, 0, 0, 0, 0, 0, 0, 0, 0]];
  const names = [
    "",
    "\0",
    "a\0.fuzz.example",
    ".fuzz.example",
    "*.fuzz.example",
    "*",
    "fuzz.example.",
    "bad.fuzz.example",
    "FUZZ.EXAMPLE",
    "xn--a.fuzz.example",
    "a b",
    "\u00e9.example",
    "x".repeat(300),
    "spiffe://fuzz.example/worker/\n",
  ];
  const number = node.tag & 0x1f;
  node.content = number === 2 || number === 0x0a
    ? Uint8Array.from(random.pick(integers))
    : number === 0x17 || number === 0x18
    ? text(random.pick(times))
    : number === 6
    ? oid(random.pick(["2.5.29.15", "2.5.29.19", "2.5.29.37.0", "1.3.101.112", "1.3.101.113", "2.5.4.3", "1.2.3"]))
      .slice(2)
    : number === 1
    ? Uint8Array.of(random.pick([0, 1, 0xfe, 0xff]))
    : number === 3
    ? Uint8Array.from(random.pick([[], [0], [8, 1], [7, 0x80], [7, 0xff], [0, 0], [1, 6], [9]]))
    : text(random.pick(names));
}

/** The list of extensions: `[3]` of a certificate, `[0]` of a revocation list. */
function extensionsOf(root: DerNode): DerNode[] | undefined {
  return root.children!.findLast(({ tag }) => tag === 0xa3 || tag === 0xa0)?.children?.[0]?.children;
}

function bendExtension(random: Random, root: DerNode, donors: readonly DerNode[]): void {
  const own = extensionsOf(root);
  const others = extensionsOf(random.pick(donors));
  if (own === undefined || others === undefined || own.length === 0 || others.length === 0) return;
  const place = random.int(own.length);
  const choice = random.int(4);
  if (choice === 0) own[place] = copyTree(random.pick(others));
  else if (choice === 1) own.push(copyTree(random.pick(others)));
  else if (choice === 2) own.splice(place, 1);
  else {
    const type = own[place]!.children?.[0];
    const other = random.pick(others).children?.[0];
    if (type !== undefined && other !== undefined) type.content = other.content;
  }
}

function bendCritical(random: Random, root: DerNode): void {
  const extension = random.pick(extensionsOf(root) ?? [undefined])?.children;
  if (extension === undefined) return;
  const at = extension.findIndex(({ tag }) => tag === 1);
  if (at >= 0 && random.chance(0.5)) extension.splice(at, 1);
  else if (at >= 0) extension[at]!.content = Uint8Array.of(random.pick([0, 1, 0x7f]));
  else {extension.splice(1, 0, {
      tag: 1,
      children: undefined,
      content: Uint8Array.of(0xff),
      prefix: new Uint8Array(),
      lie: undefined,
    });}
}

/** Exchanges, drops, repeats whole certificates and lists. */
function bendChain(random: Random, world: World, worlds: readonly World[]): Made {
  const given = plain(world);
  const other = plain(random.pick(worlds));
  const shuffled = (list: readonly Uint8Array[]) => {
    const left = [...list];
    return list.map(() => left.splice(random.int(left.length), 1)[0]!);
  };
  const bends: Record<string, () => Partial<FuzzCase>> = {
    "order": () => ({ chain: shuffled(given.chain) }),
    "missing": () => ({ chain: given.chain.filter(() => random.chance(0.6)) }),
    "alien-chain": () => ({ chain: [...given.chain, ...other.chain] }),
    "alien-leaf": () => ({ chain: [other.chain[0]!, ...given.chain.slice(1)] }),
    "alien-anchors": () => ({ anchors: other.anchors }),
    "all-anchors": () => ({ anchors: [...given.anchors, ...given.chain.slice(1)] }),
    "leaf-anchor": () => ({ anchors: [...given.anchors, given.chain[0]!] }),
    "lists-missing": () => ({ lists: given.lists?.filter(() => random.chance(0.5)) ?? [] }),
    "lists-order": () => ({ lists: given.lists && shuffled([...given.lists, ...given.lists]) }),
    "anchor-sent": () => ({ chain: [...given.chain, ...given.anchors] }),
  };
  const [kind, bend] = random.pick(Object.entries(bends));
  return { target: "chain", kind, given: { ...given, ...bend() } };
}
