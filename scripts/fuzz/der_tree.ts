/**
 * DER as a tree for mutations: it can replace values and write false lengths, and it encodes the surrounding values again.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** One value. It has children where its content is values, in a string of octets or bits too. */
export interface DerNode {
  tag: number;
  children: DerNode[] | undefined;
  content: Uint8Array;
  /** Octets in front of the children: the count of unused bits of a BIT STRING. */
  prefix: Uint8Array;
  lie: LengthLie | undefined;
}

/** How a length is written wrongly. */
export type LengthLie =
  | { readonly kind: "off"; readonly by: number }
  | { readonly kind: "padded"; readonly zeros: number }
  | { readonly kind: "indefinite" }
  | { readonly kind: "huge" };

/** The deepest nesting that is parsed; deeper values stay octets. */
const depthMax = 24;

/** Reads values that fill `bytes` to its end; undefined where they do not. */
export function readTree(bytes: Uint8Array, depth = 0): DerNode[] | undefined {
  const nodes: DerNode[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes[at]!;
    let length = bytes[at + 1];
    if ((tag & 0x1f) === 0x1f || length === undefined) return undefined;
    at += 2;
    if (length >= 0x80) {
      const octets = length & 0x7f;
      if (octets === 0 || octets > 4 || at + octets > bytes.length) return undefined;
      length = Buffer.from(bytes.subarray(at, at + octets)).readUIntBE(0, octets);
      at += octets;
    }
    if (at + length > bytes.length) return undefined;
    nodes.push(open(tag, bytes.subarray(at, at + length), depth));
    at += length;
  }
  return nodes;
}

function open(tag: number, content: Uint8Array, depth: number): DerNode {
  const node: DerNode = { tag, children: undefined, content, prefix: new Uint8Array(), lie: undefined };
  if (depth >= depthMax || content.length === 0) return node;
  if ((tag & 0x20) !== 0) node.children = readTree(content, depth + 1);
  // Extensions are values inside of octets.
  else if (tag === 0x04 && content.length > 1) node.children = readTree(content, depth + 1);
  return node;
}

/** Writes a tree, lies and all. */
export function writeTree(node: DerNode): Uint8Array {
  const parts = node.children === undefined ? [node.content] : [node.prefix, ...node.children.map(writeTree)];
  const content = Buffer.concat(parts);
  return Buffer.concat([Uint8Array.of(node.tag), lengthOctets(content.length, node.lie), content, ...tailOf(node.lie)]);
}

function tailOf(lie: LengthLie | undefined): Uint8Array[] {
  return lie?.kind === "indefinite" ? [Uint8Array.of(0, 0)] : [];
}

function lengthOctets(length: number, lie: LengthLie | undefined): Uint8Array {
  if (lie?.kind === "indefinite") return Uint8Array.of(0x80);
  if (lie?.kind === "huge") return Uint8Array.of(0x84, 0xff, 0xff, 0xff, 0xff);
  const claimed = Math.max(0, length + (lie?.kind === "off" ? lie.by : 0));
  const zeros = lie?.kind === "padded" ? lie.zeros : 0;
  if (claimed < 0x80 && zeros === 0) return Uint8Array.of(claimed);
  const octets: number[] = [];
  for (let rest = claimed; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  octets.unshift(...new Array<number>(zeros).fill(0));
  return Uint8Array.of(0x80 | octets.length, ...octets);
}

/** Every node of these trees, each with the list that contains it. */
export function walk(nodes: DerNode[]): { node: DerNode; list: DerNode[] }[] {
  return nodes.flatMap((node) => [{ node, list: nodes }, ...(node.children === undefined ? [] : walk(node.children))]);
}

/** A copy that can be bent on its own. */
export function copyTree(node: DerNode): DerNode {
  return { ...node, children: node.children?.map(copyTree) };
}
