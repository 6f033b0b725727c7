/**
 * `docs/container/`: image and compose file, without a container. `tests/examples/install.test.ts` takes the image's last stage from a release
 * that it makes, and runs it.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { programHelp } from "../../scripts/build/help.ts";
import { runCommand } from "../../scripts/check/command.ts";
import { version } from "../../scripts/program/version.ts";
import { defaultFolder } from "../../scripts/up/program.ts";
import { argumentsOf, copiesOf, listedCommand, type Stage, stagesOf } from "../support/containerfile.ts";
import { needing } from "../support/prerequisites.ts";
import { blocksOf } from "../support/shell_session.ts";

const folder = "docs/container";
const stages = stagesOf(readFileSync(join(folder, "Containerfile"), "utf8"));
const [build, image] = stages as [Stage, Stage];
const help = await programHelp();
const steps = blocksOf("docs/install.md", "In containers").map(({ text }) => text.replaceAll("\\\n", " ")).join("\n");

interface Mount {
  readonly [key: string]: unknown;
  readonly source: string;
}

interface Service {
  readonly [key: string]: unknown;
  readonly image: string;
  readonly command: readonly string[];
  readonly volumes: readonly [string, ...Mount[]];
  readonly expose?: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck: { readonly test: readonly string[] };
}

/** What is wrong with a command line of ours; undefined where the program's own description knows all of it. */
function unknownIn([program = "", ...words]: readonly string[]): string | undefined {
  const commands = help.get(program);
  const found = commands?.filter((each) => each.words.length > 0 && each.words.every((word, at) => word === words[at]));
  const command = found?.toSorted((a, b) => b.words.length - a.words.length)[0];
  if (command === undefined) return `${program} has no command ${words.join(" ")}`;
  const flags = command.doc.flags.flatMap(({ name, aliases }) => [`--${name}`, ...aliases]);
  const unknown = words.filter((word) => /^--?[a-z]/.test(word) && !flags.includes(word));
  return unknown.length === 0 ? undefined : `${program} ${command.words.join(" ")} has no ${unknown.join(" ")}`;
}

const containerfile = suite("Containerfile");

containerfile("the build's steps name files that are there, and write what the last stage copies", () => {
  assert.is(build.name, "build");
  for (const { from, sources } of copiesOf(build)) {
    assert.is(from, undefined);
    for (const source of sources) assert.ok(existsSync(source), source);
  }
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Readonly<Record<string, string>> };
  const runs = argumentsOf(build, "RUN").map(listedCommand);
  assert.equal(runs.map(([program]) => program), ["node", "npm", "sh", "mkdir"]);
  assert.ok(existsSync(runs[0]?.[1] ?? "") && scripts[runs[1]?.[2] ?? ""] !== undefined);
  assert.equal(runs[2]?.slice(1), [`${runs[1]?.at(-1)}/install.sh`, "--prefix", "/image/usr/local"]);
  assert.equal(runs[3]?.at(-1), "/image/var/lib/hypha");
  const sources = copiesOf(image).flatMap(({ from, sources: all }) => all.map((source) => [from, source]));
  assert.equal(sources, [["build", "/image/usr/local"], ["build", "/image/var/lib/hypha"]]);
});

containerfile("the build's context has no keys, no history and no packages of the host", () => {
  const left = readFileSync(".dockerignore", "utf8").split("\n");
  for (const name of [".git", "node_modules", "dist", "release", "network", "tour", "by-hand"]) {
    assert.ok(left.includes(name), name);
  }
});

containerfile("bug: keys of `hypha up` in the clone went into the image, and git took them", () => {
  const [image, history] = [".dockerignore", ".gitignore"].map((file) => readFileSync(file, "utf8").split("\n"));
  // The second release of the checklist, the data set, and keys that the pages' commands write into the clone's root.
  for (const name of [defaultFolder, "again", "dataset", "*.pem"]) {
    assert.ok(image?.includes(name), `.dockerignore: ${name}`);
    assert.ok(history?.includes(name.startsWith("*") ? `/${name}` : `/${name}/`), `.gitignore: ${name}`);
  }
});

containerfile("the image runs nothing while it is made, and one of our programs as an ordinary user", () => {
  assert.equal([stages.length, image.name], [2, "hypha"]);
  assert.equal(argumentsOf(image, "RUN"), []);
  assert.equal(argumentsOf(image, "USER"), ["65532:65532"]);
  assert.is(copiesOf(image).at(-1)?.chown, "65532:65532");
  assert.equal(argumentsOf(image, "EXPOSE"), ["4001 8443"]);
  for (const name of ["CMD", "HEALTHCHECK"]) {
    const [rest = ""] = argumentsOf(image, name);
    assert.is(unknownIn(listedCommand(rest)), undefined);
  }
  assert.is(unknownIn(["hypha-gateway", "run", "--confg"]), "hypha-gateway run has no --confg");
  assert.is(unknownIn(["hypha-gateway", "start"]), "hypha-gateway has no command start");
});

const compose = needing(suite("compose.yaml"), "python3-yaml");
let services: Readonly<Record<string, Service>> = {};
let volumes: readonly string[] = [];

compose.before(async () => {
  const script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
  const { stdout } = await runCommand("python3", ["-c", script, join(folder, "compose.yaml")], { timeoutMs: 20_000 });
  const parsed = JSON.parse(stdout) as { services: typeof services; volumes: object };
  services = parsed.services;
  volumes = Object.keys(parsed.volumes);
});

compose("each service is one node, confined", () => {
  assert.equal(Object.keys(services).toSorted(), [
    ...["ca-01", "data-01", "gateway-01", "scheduler-01", "worker-01", "worker-02"],
  ]);
  for (const [name, service] of Object.entries(services)) {
    const role = name.replace(/-\d+$/, "");
    const { image: tag, user, read_only, cap_drop, security_opt } = service;
    assert.equal([tag, user, read_only, cap_drop, security_opt], [
      ...[`hypha:${version}`, "65532:65532", true, ["ALL"], ["no-new-privileges:true"]],
    ]);
    const file = role === "ca" ? "ca/ca.toml" : `${role}.toml`;
    assert.equal(service.command, [`hypha-${role}`, "run", "-c", file], name);
    assert.equal(service.healthcheck.test, ["CMD", `hypha-${role}`, "status", "-c", file], name);
    for (const command of [service.command, service.healthcheck.test.slice(1)]) {
      assert.is(unknownIn(command), undefined);
    }
    assert.is(service.volumes[0], `${name}:/var/lib/hypha`, "no node sees the key of another");
    assert.ok(volumes.includes(name));
    assert.equal(
      Object.values(service.depends_on ?? {}).map(({ condition }) => condition),
      name === "ca-01" ? [] : [
        "service_healthy",
      ],
    );
  }
});

compose("ports are those of the image and of the page; the environment has known keys and no secret", () => {
  const exposed = Object.values(services).flatMap(({ expose = [] }) => expose).toSorted();
  assert.equal(exposed.join(" "), argumentsOf(image, "EXPOSE")[0]);
  for (const { expose = [] } of Object.values(services)) {
    for (const port of expose) assert.match(steps, new RegExp(`[:/]${port}\\b`));
  }
  const known = readFileSync("docs/configuration.md", "utf8");
  for (const { environment } of Object.values(services)) {
    for (const key of Object.keys(environment)) assert.ok(known.includes(`\`${key}\``), key);
    assert.not.match(Object.keys(environment).join(" "), /TOKEN|SECRET|HEADERS|KEY_PEM/);
  }
});

compose(
  "bug: the data set's folder lay in docs/, which releases copy; its variable ended our programs in that shell",
  () => {
    const { source, ...mount } = services["data-01"]?.volumes[1] as Mount;
    const [, variable = "", path = ""] = /^\$\{(\w+):-(.+)\}$/.exec(source) ?? [];
    assert.is(join(folder, path), "dataset", "in the clone's root, where git and the image's build leave it out");
    // A folder that is missing is an error of compose, not an empty data set.
    assert.equal(mount, { type: "bind", target: "/srv/dataset", read_only: true, bind: { create_host_path: false } });
    assert.not.match(variable, /^HYPHA_/);
    assert.match(readFileSync("docs/install.md", "utf8"), `\`${variable}\``);
  },
);

compose("the page's commands name services and commands that are there, and join each node once", () => {
  const inContainers = [...steps.matchAll(/docker compose (?:run|exec)((?: -\S+)*) (\S+)( hypha-[^|;\n]+)?/g)];
  assert.ok(inContainers.length >= 4);
  for (const [line, , service = "", command = ""] of inContainers) {
    if (!service.startsWith("$")) assert.ok(service in services, line);
    if (command === "") continue;
    const words = command.trim().replace("hypha-$1", "hypha-worker").replace(/ "\$\{@.*$/, "").split(/\s+/);
    assert.is(unknownIn(words), undefined, line);
  }
  const joined = [...steps.matchAll(/^join (\w+) (\S+)(.*)$/gm)];
  assert.equal(
    joined.map(([, , name]) => name).toSorted(),
    Object.keys(services).filter((name) => name !== "ca-01").toSorted(),
  );
  for (const [line, role = "", name = "", flags = ""] of joined) {
    assert.match(name, `${role}-`);
    assert.is(unknownIn([`hypha-${role}`, "join", "-", ...flags.trim().split(/\s+/)]), undefined, line);
  }
});

containerfile.run();
compose.run();
