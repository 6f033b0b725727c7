import { suite } from "uvu";
import * as assert from "uvu/assert";
import { moreTelling } from "../../../pki/checks/more_telling.ts";
import { NotACa, UnknownIssuer } from "../../../pki/refusal.ts";

const test = suite("moreTelling()");
const certificate = (subject: string) => ({ subject: `CN=${subject}`, serial: "01" });

test("of two refusals the more specific one is given, in whichever order they come", () => {
  const vague = new UnknownIssuer({ certificate: certificate("node"), issuer: "ca" });
  const specific = new NotACa({ certificate: certificate("ca") });
  assert.is(moreTelling(vague, specific), specific);
  assert.is(moreTelling(specific, vague), specific);
});

test("of two equally specific ones the first is given", () => {
  const [first, second] = [
    new NotACa({ certificate: certificate("one") }),
    new NotACa({ certificate: certificate("other") }),
  ];
  assert.is(moreTelling(first, second), first);
  assert.is(moreTelling(second, first), second);
});

test("one alone is given, and none where there is none", () => {
  const only = new NotACa({ certificate: certificate("ca") });
  assert.is(moreTelling(only, undefined), only);
  assert.is(moreTelling(undefined, only), only);
  assert.is(moreTelling(undefined, undefined), undefined);
});

test.run();
