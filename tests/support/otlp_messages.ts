/**
 * Reads OTLP's protobuf messages, by the field numbers of opentelemetry-proto (common.proto, resource.proto, trace.proto, logs.proto),
 * into the shape of its JSON encoding. Written apart from the encoder; a field that is not listed is an error.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { LogsData, TracesData } from "../../actors/telemetry/otlp.ts";

type Read = (value: Wire) => unknown;
type Wire = { readonly bytes: Buffer; readonly number: bigint };
type Fields = Readonly<Record<number, readonly [name: string, read: Read, repeated?: "repeated"]>>;

const text: Read = ({ bytes }) => bytes.toString("utf8");
const hex: Read = ({ bytes }) => bytes.toString("hex");
const enumeration: Read = ({ number }) => Number(number);
const int64: Read = ({ number }) => String(BigInt.asIntN(64, number));
const fixed64: Read = ({ bytes }) => String(bytes.readBigUInt64LE());
const double: Read = ({ bytes }) => bytes.readDoubleLE();
const bool: Read = ({ number }) => number !== 0n;
const message = (fields: Fields): Read => ({ bytes }) => readMessage(bytes, fields);

const anyValue = message({
  1: ["stringValue", text],
  2: ["boolValue", bool],
  3: ["intValue", int64],
  4: ["doubleValue", double],
});
const keyValue = message({ 1: ["key", text], 2: ["value", anyValue] });
const resource = message({ 1: ["attributes", keyValue, "repeated"] });
const scope = message({ 1: ["name", text] });
const span = message({
  1: ["traceId", hex],
  2: ["spanId", hex],
  4: ["parentSpanId", hex],
  5: ["name", text],
  6: ["kind", enumeration],
  7: ["startTimeUnixNano", fixed64],
  8: ["endTimeUnixNano", fixed64],
  9: ["attributes", keyValue, "repeated"],
  15: ["status", message({ 2: ["message", text], 3: ["code", enumeration] })],
});
const logRecord = message({
  1: ["timeUnixNano", fixed64],
  2: ["severityNumber", enumeration],
  3: ["severityText", text],
  5: ["body", anyValue],
  6: ["attributes", keyValue, "repeated"],
  11: ["observedTimeUnixNano", fixed64],
  12: ["eventName", text],
});
const scopeSpans = message({ 1: ["scope", scope], 2: ["spans", span, "repeated"] });
const scopeLogs = message({ 1: ["scope", scope], 2: ["logRecords", logRecord, "repeated"] });

/** `ExportTraceServiceRequest`. */
export function readTraces(bytes: Uint8Array): TracesData {
  const of = message({ 1: ["resource", resource], 2: ["scopeSpans", scopeSpans, "repeated"] });
  return readMessage(Buffer.from(bytes), { 1: ["resourceSpans", of, "repeated"] }) as unknown as TracesData;
}

/** `ExportLogsServiceRequest`. */
export function readLogs(bytes: Uint8Array): LogsData {
  const of = message({ 1: ["resource", resource], 2: ["scopeLogs", scopeLogs, "repeated"] });
  return readMessage(Buffer.from(bytes), { 1: ["resourceLogs", of, "repeated"] }) as unknown as LogsData;
}

function readMessage(bytes: Buffer, fields: Fields): Record<string, unknown> {
  const repeated = Object.values(fields).filter(([, , kind]) => kind === "repeated");
  const value: Record<string, unknown> = Object.fromEntries(repeated.map(([name]) => [name, []]));
  for (const [field, wire] of wireFields(bytes)) {
    const known = fields[field];
    if (known === undefined) throw new Error(`no field ${field} in a message with ${JSON.stringify(fields)}`);
    const [name, read, kind] = known;
    if (kind === "repeated") (value[name] as unknown[]).push(read(wire));
    else value[name] = read(wire);
  }
  return value;
}

function* wireFields(bytes: Buffer): Generator<[field: number, value: Wire]> {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = bytes.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const kind = tag & 7;
    const number = kind === 0 ? varint() : 0n;
    const size = kind === 0 ? 0 : kind === 1 ? 8 : kind === 2 ? Number(varint()) : NaN;
    if (Number.isNaN(size) || at + size > bytes.length) throw new Error(`wire type ${kind} of ${size} bytes`);
    yield [tag >> 3, { bytes: bytes.subarray(at, at + size), number }];
    at += size;
  }
}
