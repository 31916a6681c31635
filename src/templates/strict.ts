import {
  AssignTag,
  CaseTag,
  evalToken,
  IfTag,
  UnlessTag,
  Value,
  type Context,
  type Emitter,
  type Liquid,
  type Parser,
  type TagToken,
  type Token,
  type TopLevelToken,
} from "liquidjs";

type TagArguments = [token: TagToken, rest: TopLevelToken[], liquid: Liquid, parser: Parser];

/** Between names they only combine whether each is there; any other asks for what it is. */
const LOGIC = new Set(["and", "or", "not"]);

/**
 * `lenientIf`, which lets `default` stand for what is missing, lets it be missing in every tag as well: a text would be made
 * of nothing, or of the wrong branch. With these only an `if` or `unless` that asks for nothing but names lets it.
 */
export function makeStrict(liquid: Liquid): void {
  liquid.registerTag("assign", StrictAssign);
  liquid.registerTag("case", StrictCase);
  liquid.registerTag("if", StrictIf);
  liquid.registerTag("unless", StrictUnless);
  for (const [name, filter] of Object.entries(liquid.filters)) {
    if (typeof filter !== "function") continue;
    liquid.registerFilter(name, function (value: unknown, ...args: unknown[]): unknown {
      const result: unknown = filter.call(this, value, ...args);
      if (typeof result === "number" && !Number.isFinite(result)) throw new Error("not a finite number");
      return result;
    });
  }
}

class StrictAssign extends AssignTag {
  constructor(...[token, rest, liquid]: TagArguments) {
    super(token, rest, liquid);
    for (const value of valuesOf(this)) forbid(value);
  }
}

class StrictCase extends CaseTag {
  constructor(...given: TagArguments) {
    super(...given);
    for (const value of valuesOf(this)) forbid(value);
  }

  override *render(context: Context, emitter: Emitter): Generator<unknown, void, unknown> {
    for (const { values } of this.branches) for (const value of values) yield evalToken(value, context, false);
    yield* super.render(context, emitter);
  }
}

class StrictIf extends IfTag {
  constructor(...given: TagArguments) {
    super(...given);
    for (const value of valuesOf(this)) if (!onlyAsks(value)) forbid(value);
  }
}

class StrictUnless extends UnlessTag {
  constructor(...given: TagArguments) {
    super(...given);
    for (const value of valuesOf(this)) if (!onlyAsks(value)) forbid(value);
  }
}

const valuesOf = (tag: AssignTag | CaseTag | IfTag | UnlessTag): Value[] =>
  [...tag.arguments()].filter((each) => each instanceof Value);

/** Whether it asks for nothing but whether its variables are there: `name`, `name and city`. */
const onlyAsks = ({ filters, initial }: Value): boolean =>
  filters.length === 0 && initial.postfix.every((token) => !isOperator(token) || LOGIC.has(token.operator));

const isOperator = (token: Token): token is Token & { operator: string } => "operator" in token;

/** Whatever its tag says, a variable must be there; but for a `default`, which the value sees to by itself. */
function forbid(value: Value): void {
  const evaluate = value.value.bind(value);
  value.value = (context) => evaluate(context, false);
}
