import type { CpuProfile, ProfileNode } from "./inspector.ts";

/** A call with its callees; times in microseconds, `total` with theirs. */
export interface Frame {
  name: string;
  area: string;
  self: number;
  total: number;
  children: Frame[];
}

export interface Share {
  name: string;
  self: number;
  /** Of all samples that have it anywhere on the stack. */
  total: number;
}

const ROOT_NAME = "(root)";
const IDLE = "(idle)";
/** Areas that are no code of anybody's. */
export const COLLECTION = "garbage collection";
export const NODE = "Node for nobody else";

/** The tree of calls of a profile without the time in which nothing ran. `root`: where the sources are, with a slash. */
export function framesOf({ nodes, samples, timeDeltas }: CpuProfile, root: string): Frame {
  const selfOf = new Map<number, number>();
  // A sample stands for the time until the next one.
  samples.forEach((id, i) => selfOf.set(id, (selfOf.get(id) ?? 0) + (timeDeltas[i + 1] ?? 0)));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const build = (node: ProfileNode, callerArea: string): Frame => {
    const { functionName, url, lineNumber } = node.callFrame;
    const area = areaOf(node, callerArea, root);
    const children = (node.children ?? [])
      .flatMap((id) => byId.get(id) ?? [])
      .filter(({ callFrame }) => callFrame.functionName !== IDLE)
      .map((child) => build(child, area));
    const self = selfOf.get(node.id) ?? 0;
    const total = children.reduce((sum, child) => sum + child.total, self);
    return { name: nameOf(functionName, url, lineNumber, root), area, self, total, children };
  };
  const top = nodes.find(({ callFrame }) => callFrame.functionName === ROOT_NAME);
  if (!top) throw new Error("the profile has no root");
  return build(top, "");
}

/** By area or by function, the most self time first; who calls himself counts once. */
export function sharesOf(top: Frame, key: (frame: Frame) => string): Share[] {
  const shares = new Map<string, Share>();
  const visit = (frame: Frame, above: ReadonlySet<string>): void => {
    const name = key(frame);
    const share = shares.get(name) ?? { name, self: 0, total: 0 };
    shares.set(name, share);
    share.self += frame.self;
    if (!above.has(name)) share.total += frame.total;
    const stack = above.has(name) ? above : new Set([...above, name]);
    for (const child of frame.children) visit(child, stack);
  };
  for (const child of top.children) visit(child, new Set());
  return [...shares.values()].toSorted((a, b) => b.self - a.self);
}

/** What the event loop begins with, the most time first: the outermost functions that are not Node's own. */
export function beginningsOf(top: Frame): Share[] {
  const found = new Map<string, Share>();
  const visit = (frame: Frame): void => {
    if (frame.area === NODE) return frame.children.forEach(visit);
    const share = found.get(frame.name) ?? { name: frame.name, self: 0, total: 0 };
    found.set(frame.name, share);
    share.self += frame.self;
    share.total += frame.total;
  };
  top.children.forEach(visit);
  return [...found.values()].toSorted((a, b) => b.total - a.total);
}

/** A room of `src` or a package; what Node and V8 do for either is its own. */
function areaOf({ callFrame: { functionName, url } }: ProfileNode, callerArea: string, root: string): string {
  if (functionName === "(garbage collector)") return COLLECTION;
  if (functionName === ROOT_NAME) return "";
  if (url === "" || url.startsWith("node:")) return callerArea || NODE;
  const path = pathOf(url, root);
  const own = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1];
  return own ?? path.split("/").slice(0, -1).join("/");
}

function nameOf(functionName: string, url: string, lineNumber: number, root: string): string {
  const name = functionName === "" ? "(anonymous)" : functionName;
  return url === "" ? name : `${name} ${pathOf(url, root).replace(/^.*node_modules\//, "")}:${lineNumber + 1}`;
}

function pathOf(url: string, root: string): string {
  return decodeURI(url)
    .replace(/^file:\/\//, "")
    .replace(root, "");
}
