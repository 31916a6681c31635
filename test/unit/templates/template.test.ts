import { describe, expect, test } from "vitest";
import { parseTemplate, type Variables } from "../../../src/templates/template.ts";

function rendered(text: string, variables: Variables = {}): unknown {
  const parsed = parseTemplate(text);
  return "fault" in parsed ? parsed : parsed.template.render(variables);
}

describe("a template", () => {
  test("puts values in as they are: no HTML, numbers and truth values as written", () => {
    const variables = { name: `Zoé <b> & "co"`, rooms: 3.5, free: true };
    expect(rendered("Bonjour {{ name }}: {{ rooms }}, {{free}} {% raw %}{{ x }}{% endraw %}", variables)).toEqual({
      text: `Bonjour Zoé <b> & "co": 3.5, true {{ x }}`,
    });
  });

  test("names the first variable that is missing, and nothing of the others", () => {
    expect(rendered("Bonjour {{ name }}\n{{ city | upcase }}", { name: "Zoé" })).toEqual({ missing: "city" });
    expect(rendered("{{ name.first_name }}", { name: "Zoé" })).toEqual({ missing: "name.first_name" });
    const long = `name.${"x".repeat(194)}`;
    expect(rendered(`{{ name["${long.slice(5)}🛑"] }}`, { name: "Zoé" })).toEqual({ missing: long });
  });

  test("does without a variable where it says how", () => {
    const text = '{{ name | default: "Madame" }}{% if city %} de {{ city }}{% else %}!{% endif %}';
    expect(rendered(text)).toEqual({ text: "Madame!" });
    expect(rendered(text, { name: "Zoé", city: "Lyon" })).toEqual({ text: "Zoé de Lyon" });
  });

  test.each([
    ["assigns it", "{% assign n = name | capitalize %}Bonjour {{ n }}", "name"],
    ["adds it to another", '{% assign n = "M. " | append: name %}Bonjour {{ n }}', "name"],
    ["takes its case", '{% case city %}{% when "Paris" %}P{% else %}Ailleurs{% endcase %}', "city"],
    ["takes a case that it may be", '{% case "Paris" %}{% when "Paris", city %}P{% endcase %}', "city"],
    ["compares it", "{% if price > 100 %}Cher{% else %}Pas cher{% endif %}", "price"],
    ["compares it after asking for it", "{% if price and price > 100 %}Cher{% endif %}", "price"],
    ["compares it with nothing", "{% if name == blank %}Madame{% endif %}", "name"],
    ["compares it in a second branch", '{% if name %}{% elsif city == "Paris" %}P{% endif %}', "city"],
    ["does unless it is something", '{% unless city == "Paris" %}Ailleurs{% endunless %}', "city"],
    ["asks for what it would become", "{% if name | size %}Bonjour{% endif %}", "name"],
  ])("wants the variable where it %s", (_how, text, missing) => expect(rendered(text)).toEqual({ missing }));

  test.each([
    ["{% if name and city %}both{% elsif name or city %}one{% else %}none{% endif %}", "none"],
    ["{% unless name %}Madame{% endunless %}{% if not city %}, bonjour{% endif %}", "Madame, bonjour"],
    ["{% if price %}{% if price > 100 %}Cher{% endif %}{% else %}?{% endif %}", "?"],
    [
      '{% assign n = name | default: "Madame" %}{% case city | default: "" %}{% when "" %}{{ n }}{% endcase %}',
      "Madame",
    ],
  ])("%s does without", (text, said) => expect(rendered(text)).toEqual({ text: said }));

  test("with its variables says what Liquid says", () => {
    const text =
      '{% assign n = name | capitalize %}{{ n }} {% case city %}{% when "Lyon", "Paris" %}P{% else %}A{% endcase %}' +
      " {% if price > 100 and price < 300 %}cher{% endif %} {{ price | divided_by: 2 | plus: 0.5 }}";
    expect(rendered(text, { name: "zoé", city: "Paris", price: 200 })).toEqual({ text: "Zoé P cher 100.5" });
  });

  test.each([
    "{{ n | divided_by: 0 }}",
    "{% assign m = n | divided_by: 0 %}{{ m | at_least: 1 }}",
    "{{ n | modulo: 0 | append: '' }}",
  ])("%s makes no number, and is given up", (text) =>
    expect(rendered(text, { n: 5 })).toEqual({ failed: "The template cannot be rendered (line 1, column 1)." }),
  );

  test.each(["toString", "hasOwnProperty", "name.constructor", "name.__proto__"])("has no variable %s", (name) =>
    expect(rendered(`{{ ${name} }}`, { name: "Zoé" })).toEqual({ missing: name }),
  );
});

const NAME = "is no name of a variable: a letter or _ (no accents), then up to 49 letters, digits, _ and -";

test.each([
  ["Bonjour\n {% fro %}", `is no template: tag "fro" not found (line 2, column 2)`],
  ["{{ name ", `is no template: output "{{ name " not closed (line 1, column 1)`],
  ["{% if name %}", "is no template: tag {% if name %} not closed (line 1, column 1)"],
  ["{{ name | shout }}", "is no template: undefined filter: shout (line 1, column 1)"],
  ["{{ name | constructor }}", "is no template: undefined filter: constructor (line 1, column 1)"],
  ["{% include 'x' %}", `is no template: tag "include" not found (line 1, column 1)`],
  ["{% render '/etc/passwd' %}", `is no template: tag "render" not found (line 1, column 1)`],
  ["{% layout 'x' %}", `is no template: tag "layout" not found (line 1, column 1)`],
  ["{% for i in (1..1000000000) %}x{% endfor %}", `is no template: tag "for" not found (line 1, column 1)`],
  [" ", "is empty"],
  ["x".repeat(10_001), "must have at most 10000 characters"],
  ["{{ prénom }}", `"prénom" (line 1, column 4) ${NAME}`],
  ["{% if name %}\n{{ name | append: zoé }}{% endif %}", `"zoé" (line 2, column 19) ${NAME}`],
  ["{{ constructor }}", `"constructor" (line 1, column 4) ${NAME}`],
  ["{{ __proto__.x }}", `"__proto__" (line 1, column 4) ${NAME}`],
  ["\0", "holds a NUL character or half of a surrogate pair; send well-formed Unicode"],
])("%j → is refused in words, with its place", (text, fault) => expect(parseTemplate(text)).toEqual({ fault }));

test.each([
  ["doubles a text", "{% assign s='0123456789' %}" + "{% assign s = s | append: s %}".repeat(30) + "{{ s }}"],
  [
    "replaces within what it replaced",
    "{% assign s='0' %}" + "{% assign s = s | replace: '0', '00000000' %}".repeat(20),
  ],
  ["counts to a thousand million", "{% assign s = (1..1000000000) | join: ',' %}"],
  ["pads a date", "{{ 'now' | date: '%1000000000d' }}"],
  ["says a long text a thousand times", "{{ long }}".repeat(900)],
])("a template that %s → is given up, without holding the event loop", (_name, text) => {
  expect(rendered(text, { long: "x".repeat(1000) })).toEqual({ failed: expect.stringContaining("The template") });
});
