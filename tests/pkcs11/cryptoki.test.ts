/** The C interface of PKCS#11: what a module is called with, and what is made of its answers. */
import { Buffer } from "node:buffer";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type Attribute,
  Cryptoki,
  CryptokiError,
  type Koffi,
  loadKoffi,
  memory,
  ulong,
} from "../../actors/pkcs11/cryptoki.ts";
import { needing } from "../support/prerequisites.ts";
import { softModule } from "../support/soft_token.ts";

const test = suite("Cryptoki");

// Places in CK_FUNCTION_LIST, by the order of pkcs11f.h.
const places = {
  C_Initialize: 0,
  C_GetSlotList: 4,
  C_GetTokenInfo: 6,
  C_OpenSession: 12,
  C_Login: 18,
  C_GetAttributeValue: 24,
  C_FindObjectsInit: 26,
  C_FindObjects: 27,
  C_FindObjectsFinal: 28,
  C_SignInit: 42,
  C_Sign: 43,
  C_GenerateKeyPair: 59,
} as const;
/** Functions of PKCS#11 2.40, which all versions begin with. */
const functionCount = 68;

type Name = keyof typeof places;
type Implementation = (...args: never[]) => number | void;

/** What stands in place of koffi: its pointers are numbers, its functions are JavaScript. */
function koffiOf(functions: Partial<Record<Name, Implementation>> = {}, other: Partial<Koffi> = {}) {
  const calls: string[] = [];
  const addressed: Uint8Array[] = [];
  const koffi: Koffi = {
    load: () => ({
      func: () => (found) => {
        (found as unknown[])[0] = "list";
        return 0;
      },
    }),
    array: (type, length) => ({ type, length }),
    struct: (members) => members,
    proto: (definition) => definition,
    decode: (pointer, type) => {
      if (pointer === "list") {
        const { major, minor, pointers } = type as Readonly<Record<string, unknown>>;
        assert.equal([major, minor, pointers], ["uint8_t", "uint8_t", { type: "void *", length: functionCount }]);
        return { major: 2, minor: 40, pointers: Array.from({ length: functionCount }, (_, place) => place) };
      }
      const name = /^unsigned long (C_\w+)\(/.exec(String(type))?.[1] as Name;
      assert.is(pointer, places[name], name);
      return (...args: readonly unknown[]) => {
        calls.push(name);
        return functions[name]?.(...args as never[]) ?? 0;
      };
    },
    address: (value) => {
      assert.is(value.buffer.byteLength, value.byteLength, "it shares no memory, and is none of the collector's heap");
      return BigInt(addressed.push(value));
    },
    sizeof: () => 8,
    ...other,
  };
  /** The attributes that a module finds at an address. */
  const attributesAt = (bytes: Buffer) =>
    Array.from({ length: bytes.length / 24 }, (_, index) => {
      const [type, address, length] = [0, 8, 16].map((at) => Number(bytes.readBigUInt64LE(index * 24 + at)));
      const value = addressed[address! - 1];
      assert.is(value?.length ?? 0, length);
      return [type!, value] as const;
    });
  return { calls, koffi, module: () => new Cryptoki(koffi, "/module.so"), attributesAt };
}

function thrownBy(act: () => unknown): unknown {
  try {
    return void act();
  } catch (error) {
    return error;
  }
}

/** The number and call of a refusal of the module. */
function refusalOf(act: () => unknown): readonly [call: string, value: number] | undefined {
  const error = thrownBy(act);
  if (error === undefined) return undefined;
  assert.ok(error instanceof CryptokiError, String(error));
  return [error.call, error.value];
}

const numbers = (bytes: Buffer) => Array.from({ length: bytes.length / 8 }, (_, at) => bytes.readBigUInt64LE(at * 8));

/** Writes numbers of type CK_ULONG, as a module does. */
function write(to: Buffer, ...values: readonly number[]): void {
  for (const [index, value] of values.entries()) to.writeBigUInt64LE(BigInt(value), index * 8);
}

// pkcs11t.h
const names: readonly (readonly [value: number, name: string])[] = [
  [0x02, "CKR_HOST_MEMORY"],
  [0x05, "CKR_GENERAL_ERROR"],
  [0x06, "CKR_FUNCTION_FAILED"],
  [0x12, "CKR_ATTRIBUTE_TYPE_INVALID"],
  [0x13, "CKR_ATTRIBUTE_VALUE_INVALID"],
  [0x20, "CKR_DATA_INVALID"],
  [0x21, "CKR_DATA_LEN_RANGE"],
  [0x30, "CKR_DEVICE_ERROR"],
  [0x31, "CKR_DEVICE_MEMORY"],
  [0x32, "CKR_DEVICE_REMOVED"],
  [0x54, "CKR_FUNCTION_NOT_SUPPORTED"],
  [0x60, "CKR_KEY_HANDLE_INVALID"],
  [0x62, "CKR_KEY_SIZE_RANGE"],
  [0x63, "CKR_KEY_TYPE_INCONSISTENT"],
  [0x68, "CKR_KEY_FUNCTION_NOT_PERMITTED"],
  [0x70, "CKR_MECHANISM_INVALID"],
  [0x71, "CKR_MECHANISM_PARAM_INVALID"],
  [0x82, "CKR_OBJECT_HANDLE_INVALID"],
  [0xa0, "CKR_PIN_INCORRECT"],
  [0xa1, "CKR_PIN_INVALID"],
  [0xa2, "CKR_PIN_LEN_RANGE"],
  [0xa3, "CKR_PIN_EXPIRED"],
  [0xa4, "CKR_PIN_LOCKED"],
  [0xb0, "CKR_SESSION_CLOSED"],
  [0xb3, "CKR_SESSION_HANDLE_INVALID"],
  [0xd1, "CKR_TEMPLATE_INCONSISTENT"],
  [0xe0, "CKR_TOKEN_NOT_PRESENT"],
  [0xe1, "CKR_TOKEN_NOT_RECOGNIZED"],
  [0xe2, "CKR_TOKEN_WRITE_PROTECTED"],
  [0x100, "CKR_USER_ALREADY_LOGGED_IN"],
  [0x101, "CKR_USER_NOT_LOGGED_IN"],
  [0x102, "CKR_USER_PIN_NOT_INITIALIZED"],
  [0x130, "CKR_DOMAIN_PARAMS_INVALID"],
  [0x140, "CKR_CURVE_NOT_SUPPORTED"],
  [0x200, "CKR_FUNCTION_REJECTED"],
  [0x80000abc, "0x80000abc"],
];
for (const [value, name] of names) {
  test(`a function that returned 0x${value.toString(16)}: ${name}`, () => {
    const error = new CryptokiError("C_Sign", value);
    assert.equal([error.call, error.value, error.message], ["C_Sign", value, `C_Sign returned ${name}`]);
  });
}

for (const [type, name] of [["unsigned long", "a number"], ["void *", "a pointer"]]) {
  test(`a system where ${name} has four octets is refused`, () => {
    const { module } = koffiOf({}, { sizeof: (asked) => asked === type ? 4 : 8 });
    assert.match((thrownBy(module) as Error).message, "64-bit little-endian Unix systems only");
  });
}

for (const value of [1, 5]) {
  test(`a module that gives no list of functions, but ${value}, is refused`, () => {
    const { module } = koffiOf({}, { load: () => ({ func: () => () => value }) });
    assert.equal(refusalOf(module), ["C_GetFunctionList", value]);
  });
}

for (const name of Object.keys(places) as Name[]) {
  test(`${name} is called with its arguments, and each value but CKR_OK is an error`, () => {
    const returned = [0, 1, 5];
    const args: unknown[][] = [];
    const module = koffiOf({
      [name]: (...given: unknown[]) => {
        args.push(given);
        return returned.shift()!;
      },
    }).module();
    const call = () => module.call(name, 3, null);
    assert.equal([refusalOf(call), refusalOf(call), refusalOf(call)], [undefined, [name, 1], [name, 5]]);
    assert.equal(args[0], [3, null]);
  });
}

test("a number has eight octets, the lowest first", () => {
  assert.equal(ulong(0x0102), Buffer.from("0201000000000000", "hex"));
  assert.equal(memory(3), Buffer.alloc(3));
});

/** Slots of a module that says that it has this many. */
function slotsOf(count: number): readonly number[] {
  const C_GetSlotList = (hasToken: number, list: Buffer, told: Buffer) => {
    assert.equal([hasToken, list.length, numbers(told)], [1, 64 * 8, [64n]]);
    write(list, ...Array.from({ length: Math.min(count, 64) }, (_, index) => 100 + index));
    write(told, count);
  };
  return koffiOf({ C_GetSlotList }).module().slots();
}

test("slots with a token are listed, 64 at most, whatever the module says", () => {
  assert.equal(slotsOf(0), []);
  assert.equal(slotsOf(3), [100, 101, 102]);
  for (const count of [63, 64]) assert.is(slotsOf(count).at(-1), 99 + count);
  for (const count of [64, 65, 1e9]) assert.is(slotsOf(count).length, 64);
});

test("a token's label, serial and flags are read from their places", () => {
  const fill = (label: string, serial: string) => (slot: number, info: Buffer) => {
    assert.is(slot, 7);
    assert.ok(info.length >= 208, "CK_TOKEN_INFO has 208 octets");
    info.fill("x", 0, 208);
    info.write(label.padEnd(32), 0);
    info.write(serial.padEnd(16), 80);
    write(info.subarray(96, 104), 0x40d);
  };
  const read = (label: string, serial: string) =>
    koffiOf({ C_GetTokenInfo: fill(label, serial) }).module().tokenInfo(7);
  assert.equal(read("acme é", "12 34"), { label: "acme é", serial: "12 34", flags: 0x40d });
  const [label, serial] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210"];
  assert.equal(read(label, serial), { label, serial, flags: 0x40d });
  assert.is(read("acme\0\0", "1").label, "acme", "some modules have zeros");
});

test("a session has the number that the module gives it", () => {
  const C_OpenSession = (slot: number, flags: number, application: null, notify: null, session: Buffer) => {
    assert.equal([slot, flags, application, notify, session.length], [7, 6, null, null, 8]);
    write(session, 41);
  };
  assert.is(koffiOf({ C_OpenSession }).module().openSession(7, 6), 41);
});

/** Objects that are found by a module that says that it found this many. */
function found(count: number, attributes: readonly Attribute[], most: number) {
  const seen: unknown[] = [];
  const { calls, module, attributesAt } = koffiOf({
    C_FindObjectsInit: (session: number, template: Buffer, length: number) =>
      void seen.push(session, ...attributesAt(template), length),
    C_FindObjects: (session: number, list: Buffer, told: number, had: Buffer) => {
      assert.equal([session, list.length, told, had.length], [41, 8 * most, most, 8]);
      write(list, ...Array.from({ length: Math.min(count, most) }, (_, index) => 200 + index));
      write(had, count);
    },
    C_FindObjectsFinal: (session: number) => void seen.push(session),
  });
  return { objects: module().find(41, attributes, most), seen, calls };
}

test("objects are found by attributes whose octets are at their addresses, and the search ends", () => {
  const label = Buffer.from("ca"); // one of many in the memory that Buffer shares among small ones
  assert.is.not(label.buffer.byteLength, label.length);
  const attributes = [[0, ulong(3)], [3, label], [0x102, Buffer.of(1)], [0x103, Buffer.alloc(0)]] as const;
  const { objects, seen, calls } = found(2, attributes, 2);
  assert.equal(objects, [200, 201]);
  assert.equal(seen, [41, [0, ulong(3)], [3, label], [0x102, Buffer.of(1)], [0x103, undefined], 4, 41]);
  assert.equal(calls, ["C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal"]);
});

test("objects are as many as were asked for at most, whatever the module says", () => {
  assert.equal(found(0, [], 2).objects, []);
  assert.equal(found(1, [], 2).objects, [200]);
  assert.equal(found(1e9, [], 2).objects, [200, 201]);
});

/** The value of an attribute for which a module says that it has this many octets. */
function attributeOf(length: bigint, returned = 0): Buffer | undefined {
  const { module, attributesAt } = koffiOf({
    C_GetAttributeValue: (session: number, object: number, template: Buffer, count: number) => {
      const attributes = attributesAt(template);
      assert.equal([session, object, count, attributes.length], [41, 200, 1, 1]);
      const [type, value] = attributes[0]!;
      assert.equal([type, value?.length], [0x181, 512]);
      for (let at = 0; at < 512; at++) value![at] = at;
      template.writeBigUInt64LE(length, 16);
      return returned;
    },
  });
  return module().attribute(41, 200, 0x181);
}

test("an attribute has the octets that the module wrote, 512 at most", () => {
  assert.equal(attributeOf(3n), Buffer.of(0, 1, 2));
  assert.equal(attributeOf(0n), Buffer.alloc(0));
  assert.is(attributeOf(512n)?.length, 512);
  for (const length of [513n, 2n ** 64n - 1n]) assert.is(attributeOf(length), undefined);
});

test("an attribute that the object has not, or does not show, is undefined; other refusals are errors", () => {
  for (const value of [0x11, 0x12]) assert.is(attributeOf(3n, value), undefined);
  for (const value of [0x10, 0x13, 0x30]) {
    assert.equal(refusalOf(() => attributeOf(3n, value)), ["C_GetAttributeValue", value]);
  }
  const broken = new TypeError("koffi");
  const { module } = koffiOf({
    C_GetAttributeValue: () => {
      throw broken;
    },
  });
  assert.is(thrownBy(() => module().attribute(41, 200, 0x181)), broken);
});

/** The signature for which a module says that it has this many octets. */
function signatureOf(length: number) {
  const data = Uint8Array.of(5, 6, 7);
  const { calls, module } = koffiOf({
    C_SignInit: (session: number, mechanism: Buffer, key: number) =>
      assert.equal([session, numbers(mechanism), key], [41, [0x1041n, 0n, 0n], 200]),
    C_Sign: (session: number, input: Buffer, inputLength: number, signature: Buffer, told: Buffer) => {
      assert.equal([session, input, inputLength], [41, Buffer.from(data), 3]);
      assert.equal([signature.length, numbers(told)], [512, [512n]]);
      for (let at = 0; at < 512; at++) signature[at] = at;
      write(told, length);
    },
  });
  const signature = module().sign(41, 200, 0x1041, data);
  assert.equal(calls, ["C_SignInit", "C_Sign"]);
  return signature;
}

test("a signature has the octets that the module wrote, 512 at most", () => {
  assert.equal(signatureOf(3), Buffer.of(0, 1, 2));
  for (const length of [512, 513, 1e9]) assert.is(signatureOf(length).length, 512);
});

const folder = mkdtempSync(join(tmpdir(), "cryptoki-"));
test.after(() => rmSync(folder, { recursive: true }));

/** What comes of loading koffi in a folder that has this program as the package, or none. */
async function loaded(program?: string): Promise<unknown> {
  const own = mkdtempSync(join(folder, "koffi-"));
  const file = join(own, "cryptoki.ts");
  copyFileSync(fileURLToPath(new URL("../../actors/pkcs11/cryptoki.ts", import.meta.url)), file);
  if (program !== undefined) {
    const place = join(own, "node_modules", "koffi");
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, "package.json"), `{"name": "koffi", "version": "3.3.4", "main": "index.cjs"}`);
    writeFileSync(join(place, "index.cjs"), program);
  }
  const { loadKoffi } = await import(pathToFileURL(file).href);
  return loadKoffi().catch((error: Error) => error.message);
}

test("koffi that is not installed, or not whole, is undefined; one that cannot start is an error", async () => {
  assert.is(await loaded(), undefined);
  const missing = "Cannot find the native Koffi module; did you bundle it correctly?";
  assert.is(await loaded(`throw new Error("${missing}")`), undefined);
  const other = "libc.so.6: version GLIBC_2.38 is required";
  assert.is(await loaded(`throw new Error("${other}")`), other);
  assert.equal(await loaded("module.exports = { sizeof: 8 }"), { sizeof: 8 });
});

const withModule = needing(test, "softhsm2-util");

if (process.platform === "linux") {
  withModule(
    "bug: a module was unloaded under its user when the collector ran, and the next call crashed",
    async () => {
      const own = join(folder, "module.so"); // no other test holds it
      copyFileSync(softModule, own);
      const koffi = (await loadKoffi())!;
      // koffi takes a prototype's name once in a process.
      const proto = (definition: string) => koffi.proto(definition.replace("(", `_${Date.now()}(`));
      const module = new Cryptoki({ ...koffi, proto }, own);
      const { gc } = globalThis as { gc?: () => void };
      assert.type(gc, "function");
      for (let round = 0; round < 3; round++) {
        gc!();
        await setTimeout(10); // finalizers run then
      }
      assert.match(readFileSync("/proc/self/maps", "utf8"), own);
      const notInitialized = 0x190;
      assert.equal(refusalOf(() => module.slots()), ["C_GetSlotList", notInitialized]);
    },
  );
}

test.run();
