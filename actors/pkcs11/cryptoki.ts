/**
 * The C interface of PKCS#11 (OASIS PKCS#11 3.0 §5), as far as signing needs it, called with koffi. Runs in the process of a token alone.
 *
 * Structures are laid out by hand: 64-bit little-endian systems, `CK_ULONG` of eight octets.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { endianness } from "node:os";

/** The part of koffi that is used. Its own types are not imported: the package is optional. */
export interface Koffi {
  load(path: string | null): { func(definition: string): (...args: readonly unknown[]) => unknown };
  decode(pointer: unknown, type: unknown): unknown;
  struct(members: Readonly<Record<string, unknown>>): unknown;
  array(type: string, length: number): unknown;
  proto(definition: string): unknown;
  address(value: Uint8Array): bigint;
  sizeof(type: string): number;
}

/** Loads koffi; undefined where it is not installed. */
export async function loadKoffi(): Promise<Koffi | undefined> {
  // In a variable: compilers would look for a package that need not be there.
  const name = "koffi";
  try {
    return ((await import(name)) as { readonly default: Koffi }).default;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ERR_MODULE_NOT_FOUND" || /not (?:a dependency|find|resolve)|could not find/i.test(message)) {
      return undefined;
    }
    throw error;
  }
}

/** A function of the module returned another value than CKR_OK. */
export class CryptokiError extends Error {
  readonly call: string;
  readonly value: number;
  constructor(call: string, value: number) {
    super(`${call} returned ${returnValues[value] ?? `0x${value.toString(16)}`}`);
    this.call = call;
    this.value = value;
  }
}

/** Return values that are told apart or are frequent (§5.1). */
const returnValues: Readonly<Record<number, string>> = {
  0x02: "CKR_HOST_MEMORY",
  0x05: "CKR_GENERAL_ERROR",
  0x06: "CKR_FUNCTION_FAILED",
  0x12: "CKR_ATTRIBUTE_TYPE_INVALID",
  0x13: "CKR_ATTRIBUTE_VALUE_INVALID",
  0x20: "CKR_DATA_INVALID",
  0x21: "CKR_DATA_LEN_RANGE",
  0x30: "CKR_DEVICE_ERROR",
  0x31: "CKR_DEVICE_MEMORY",
  0x32: "CKR_DEVICE_REMOVED",
  0x54: "CKR_FUNCTION_NOT_SUPPORTED",
  0x60: "CKR_KEY_HANDLE_INVALID",
  0x62: "CKR_KEY_SIZE_RANGE",
  0x63: "CKR_KEY_TYPE_INCONSISTENT",
  0x68: "CKR_KEY_FUNCTION_NOT_PERMITTED",
  0x70: "CKR_MECHANISM_INVALID",
  0x71: "CKR_MECHANISM_PARAM_INVALID",
  0x82: "CKR_OBJECT_HANDLE_INVALID",
  0xa0: "CKR_PIN_INCORRECT",
  0xa1: "CKR_PIN_INVALID",
  0xa2: "CKR_PIN_LEN_RANGE",
  0xa3: "CKR_PIN_EXPIRED",
  0xa4: "CKR_PIN_LOCKED",
  0xb0: "CKR_SESSION_CLOSED",
  0xb3: "CKR_SESSION_HANDLE_INVALID",
  0xd1: "CKR_TEMPLATE_INCONSISTENT",
  0xe0: "CKR_TOKEN_NOT_PRESENT",
  0xe1: "CKR_TOKEN_NOT_RECOGNIZED",
  0xe2: "CKR_TOKEN_WRITE_PROTECTED",
  0x100: "CKR_USER_ALREADY_LOGGED_IN",
  0x101: "CKR_USER_NOT_LOGGED_IN",
  0x102: "CKR_USER_PIN_NOT_INITIALIZED",
  0x130: "CKR_DOMAIN_PARAMS_INVALID",
  0x140: "CKR_CURVE_NOT_SUPPORTED",
  0x200: "CKR_FUNCTION_REJECTED",
};

/** The functions that are used: their places in CK_FUNCTION_LIST, and their arguments. */
const functions = {
  C_Initialize: [0, "void *"],
  C_GetSlotList: [4, "uint8_t, void *, void *"],
  C_GetTokenInfo: [6, "unsigned long, void *"],
  C_OpenSession: [12, "unsigned long, unsigned long, void *, void *, void *"],
  C_Login: [18, "unsigned long, unsigned long, void *, unsigned long"],
  C_GetAttributeValue: [24, "unsigned long, unsigned long, void *, unsigned long"],
  C_FindObjectsInit: [26, "unsigned long, void *, unsigned long"],
  C_FindObjects: [27, "unsigned long, void *, unsigned long, void *"],
  C_FindObjectsFinal: [28, "unsigned long"],
  C_SignInit: [42, "unsigned long, void *, unsigned long"],
  C_Sign: [43, "unsigned long, void *, unsigned long, void *, void *"],
  C_GenerateKeyPair: [59, "unsigned long, void *, void *, unsigned long, void *, unsigned long, void *, void *"],
} as const;
const functionCount = 68;

type FunctionName = keyof typeof functions;

/** An attribute of an object: type and value. */
export type Attribute = readonly [type: number, value: Uint8Array];

/** A number as CK_ULONG. */
export function ulong(value: number): Buffer {
  const bytes = memory(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** Octets outside of the garbage collector's heap: their address stays. */
export function memory(size: number): Buffer {
  return Buffer.from(new ArrayBuffer(size));
}

const numberAt = (bytes: Buffer, offset = 0) => Number(bytes.readBigUInt64LE(offset));

/** koffi unloads a library that the garbage collector finds unused, and the functions of a module's list are not known to it as a use. */
const loaded: unknown[] = [];

/** A loaded module. It stays loaded until the process ends. */
export class Cryptoki {
  readonly #koffi: Koffi;
  readonly #calls: Readonly<Record<FunctionName, (...args: readonly unknown[]) => unknown>>;

  /** Loads a module. Throws what the dynamic linker says where that is not possible. */
  constructor(koffi: Koffi, path: string) {
    if (endianness() !== "LE" || koffi.sizeof("unsigned long") !== 8 || koffi.sizeof("void *") !== 8) {
      throw new Error("PKCS#11 is supported on 64-bit little-endian Unix systems only");
    }
    this.#koffi = koffi;
    const found: [unknown] = [null];
    const library = koffi.load(path);
    loaded.push(library);
    const value = library.func("unsigned long C_GetFunctionList(_Out_ void **list)")(found);
    if (value !== 0) throw new CryptokiError("C_GetFunctionList", Number(value));
    const list = koffi.struct({ major: "uint8_t", minor: "uint8_t", pointers: koffi.array("void *", functionCount) });
    const { pointers } = koffi.decode(found[0], list) as { readonly pointers: readonly unknown[] };
    const bound = Object.entries(functions).map(([name, [place, args]]) =>
      [name, koffi.decode(pointers[place], koffi.proto(`unsigned long ${name}(${args})`))] as const
    );
    this.#calls = Object.fromEntries(bound) as Record<FunctionName, (...args: readonly unknown[]) => unknown>;
  }

  /** Calls a function; throws a {@linkcode CryptokiError} where it does not return CKR_OK. */
  call(name: FunctionName, ...args: readonly unknown[]): void {
    const value = Number(this.#calls[name](...args));
    if (value !== 0) throw new CryptokiError(name, value);
  }

  /** Slots with a token, at most 64. */
  slots(): readonly number[] {
    const count = ulong(64);
    const list = memory(64 * 8);
    this.call("C_GetSlotList", 1, list, count);
    return Array.from({ length: Math.min(64, numberAt(count)) }, (_, index) => numberAt(list, index * 8));
  }

  /** Label, serial and flags of a token (CK_TOKEN_INFO). */
  tokenInfo(slot: number): { readonly label: string; readonly serial: string; readonly flags: number } {
    const info = memory(512);
    this.call("C_GetTokenInfo", slot, info);
    const text = (from: number, to: number) => info.toString("utf8", from, to).replace(/[ \0]+$/, "");
    return { label: text(0, 32), serial: text(80, 96), flags: numberAt(info, 96) };
  }

  /** Opens a session that may write. */
  openSession(slot: number, flags: number): number {
    const session = ulong(0);
    this.call("C_OpenSession", slot, flags, null, null, session);
    return numberAt(session);
  }

  /** Objects with these attributes, at most `most`. */
  find(session: number, attributes: readonly Attribute[], most: number): readonly number[] {
    const template = this.template(attributes);
    this.call("C_FindObjectsInit", session, template.bytes, attributes.length);
    template.release();
    const [list, count] = [memory(most * 8), ulong(0)];
    this.call("C_FindObjects", session, list, most, count);
    this.call("C_FindObjectsFinal", session);
    return Array.from({ length: Math.min(most, numberAt(count)) }, (_, index) => numberAt(list, index * 8));
  }

  /** An attribute's value, at most 512 octets; undefined where the object has none. */
  attribute(session: number, object: number, type: number): Buffer | undefined {
    const value = memory(512);
    const template = this.template([[type, value]]);
    try {
      this.call("C_GetAttributeValue", session, object, template.bytes, 1);
    } catch (error) {
      if (error instanceof CryptokiError && (error.value === 0x11 || error.value === 0x12)) return undefined;
      throw error;
    } finally {
      template.release();
    }
    const length = template.bytes.readBigUInt64LE(16);
    return length > 512n ? undefined : value.subarray(0, Number(length));
  }

  /** Signs: the signature as the token gives it. */
  sign(session: number, key: number, mechanism: number, data: Uint8Array): Buffer {
    this.call("C_SignInit", session, this.mechanism(mechanism), key);
    const [input, signature, length] = [memory(data.length), memory(512), ulong(512)];
    input.set(data);
    this.call("C_Sign", session, input, data.length, signature, length);
    return signature.subarray(0, numberAt(length));
  }

  /** CK_MECHANISM without a parameter. */
  mechanism(type: number): Buffer {
    return Buffer.concat([ulong(type), ulong(0), ulong(0)]);
  }

  /** An array of CK_ATTRIBUTE. The values stay alive until `release()`: `bytes` has their addresses alone. */
  template(attributes: readonly Attribute[]): { readonly bytes: Buffer; readonly release: () => void } {
    const bytes = memory(attributes.length * 24);
    const held = attributes.map(([, value]) => {
      if (value.buffer.byteLength === value.byteLength) return value;
      const copy = memory(value.length);
      copy.set(value);
      return copy;
    });
    for (const [index, [type]] of attributes.entries()) {
      const value = held[index]!;
      bytes.writeBigUInt64LE(BigInt(type), index * 24);
      bytes.writeBigUInt64LE(value.length === 0 ? 0n : this.#koffi.address(value), index * 24 + 8);
      bytes.writeBigUInt64LE(BigInt(value.length), index * 24 + 16);
    }
    return { bytes, release: () => void held.splice(0) };
  }
}
