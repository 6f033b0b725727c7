/**
 * Subject alternative names as operators write them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { isIPv4, isIPv6 } from "node:net";
import { primitive } from "./der_writer.ts";
import { IssueError } from "./issue_error.ts";

/** Most names that one certificate is issued with. */
export const sanEntriesMax = 100;

/** One alternative name, not yet encoded. */
export interface GeneralName {
  /** The kind of name. */
  readonly type: "dns" | "ip" | "uri" | "email";
  /** The name as text. */
  readonly value: string;
}

/**
 * Reads one alternative name: `DNS:x`, `IP:1.2.3.4`, `URI:spiffe://…`, `email:a@b`, or bare (an address is an IP, what
 * holds `://` a URI, all else DNS).
 *
 * @throws {IssueError} `san` with what is wrong with it.
 */
export function parseGeneralName(text: string): GeneralName {
  const match = /^(DNS|IP|URI|email):(.*)$/is.exec(text.trim());
  if (match !== null && !isIPv6(text.trim())) {
    return checkName({ type: match[1]!.toLowerCase() as GeneralName["type"], value: match[2]!.trim() }, text);
  }
  const value = text.trim();
  if (isIPv4(value) || isIPv6(value)) return { type: "ip", value };
  return checkName({ type: value.includes("://") ? "uri" : "dns", value }, text);
}

/** Whether a text can be a DNS name in a certificate: dotted labels of letters, digits, `-` and `_`, `*.` in front. */
export function isDnsName(text: string): boolean {
  const label = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
  return text.length <= 253 && new RegExp(`^(?:\\*\\.)?${label}(?:\\.${label})*$`).test(text);
}

function checkName(name: GeneralName, text: string): GeneralName {
  const refuse = (what: string): never => {
    throw new IssueError({ problem: "san", detail: `alternative name ${JSON.stringify(text)} is no ${what}` });
  };
  switch (name.type) {
    case "dns":
      return isDnsName(name.value) ? name : refuse("DNS name");
    case "ip":
      return isIPv4(name.value) || isIPv6(name.value) ? name : refuse("IP address");
    case "uri":
      return /^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+$/.test(name.value) ? name : refuse("URI with a scheme");
    case "email":
      return /^[\x21-\x7e]+@[\x21-\x7e]+$/.test(name.value) ? name : refuse("mailbox");
  }
}

/** Encodes a name (RFC 5280 §4.2.1.6): mailbox [1], DNS [2], URI [6], address [7]. */
export function encodeGeneralName({ type, value }: GeneralName): Uint8Array {
  switch (type) {
    case "email":
      return primitive(1, Buffer.from(value, "latin1"));
    case "dns":
      return primitive(2, Buffer.from(value, "latin1"));
    case "uri":
      return primitive(6, Buffer.from(value, "latin1"));
    case "ip":
      return primitive(7, addressOctets(value));
  }
}

/** The 4 or 16 octets of an address. */
export function addressOctets(address: string): Uint8Array {
  if (isIPv4(address)) return Uint8Array.from(address.split("."), Number);
  return ipv6Octets(address);
}

function ipv6Octets(address: string): Uint8Array {
  const plain = address.replace(/%.*$/, "").replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => {
    const pair = (high: string, low: string) => (Number(high) * 256 + Number(low)).toString(16);
    return `${pair(a, b)}:${pair(c, d)}`;
  });
  const [head = "", tail] = plain.split("::");
  const groups = (text: string) => (text === "" ? [] : text.split(":"));
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  const zeros = new Array<string>(8 - front.length - back.length).fill("0");
  return Buffer.from([...front, ...zeros, ...back].map((group) => group.padStart(4, "0")).join(""), "hex");
}
