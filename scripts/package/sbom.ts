/**
 * The bill of materials of the executable, in CycloneDX's JSON: what npm writes of the whole tree, without the packages that are only there
 * to build and to test; with Node.
 *
 * @module
 */
import process from "node:process";
import { runCommand } from "../check/command.ts";

interface Component {
  readonly "bom-ref": string;
  readonly type: string;
  readonly name: string;
  readonly version: string;
  readonly [field: string]: unknown;
}

interface Bom {
  readonly metadata: { readonly component: Component; readonly [field: string]: unknown };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[];
  readonly [field: string]: unknown;
}

const npmMs = 60_000;

/**
 * The bill as text.
 *
 * @param packages The packages that are inside, as `name@version`.
 * @param madeAt The time of the release: npm's own, and its random serial number, would differ from build to build.
 */
export async function sbomOf(root: string, packages: ReadonlySet<string>, madeAt: Date): Promise<string> {
  const { code, stdout, stderr } = await runCommand("npm", ["sbom", "--sbom-format", "cyclonedx"], {
    cwd: root,
    timeoutMs: npmMs,
  });
  if (code !== 0) throw new Error(`Cannot write the bill of materials: npm sbom ended with ${code}\n${stderr}`);
  const bom = JSON.parse(stdout) as Bom;
  const inside = bom.components.filter(({ name, version }) => packages.has(`${name}@${version}`));
  const own = bom.metadata.component["bom-ref"];
  const refs = new Set([own, ...inside.map((component) => component["bom-ref"])]);
  const node = {
    "bom-ref": `node@${process.versions.node}`,
    type: "platform",
    name: "node",
    version: process.versions.node,
  };
  return `${
    JSON.stringify(
      {
        ...bom,
        serialNumber: undefined,
        metadata: {
          ...bom.metadata,
          timestamp: madeAt.toISOString(),
          component: { ...bom.metadata.component, type: "application", name: "hypha" },
        },
        components: [...inside, node],
        dependencies: bom.dependencies.filter(({ ref }) => refs.has(ref)).map(({ ref, dependsOn = [] }) => ({
          ref,
          dependsOn: [...dependsOn.filter((each) => refs.has(each)), ...(ref === own ? [node["bom-ref"]] : [])],
        })),
      },
      undefined,
      2,
    )
  }\n`;
}
