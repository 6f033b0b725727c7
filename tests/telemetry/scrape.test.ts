import { once } from "node:events";
import { connect } from "node:net";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { serveMetrics } from "../../actors/telemetry/scrape.ts";

const test = suite("serveMetrics()");

test("bug: each of thousands of pipelined requests was worked on, although a connection has one", async () => {
  let served = 0;
  const options = {
    place: { host: "127.0.0.1", port: 0 },
    page: () => "page",
    unready: () => {
      served += 1;
      return undefined;
    },
    now: Date.now,
  };
  const received = await Effect.runPromise(
    Effect.scoped(Effect.flatMap(serveMetrics(options), (port) =>
      Effect.promise(async () => {
        const socket = connect(port, "127.0.0.1");
        let text = "";
        socket.on("data", (bytes) => text += bytes);
        socket.on("error", () => {}); // it may be closed before all has been sent
        socket.write("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000));
        await once(socket, "close");
        return text;
      }))),
  );
  assert.match(received, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nready\n$/);
  assert.is(received.split("HTTP/1.1").length, 2, "one answer");
  assert.is(served, 1);
});

test.run();
