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
  });

  test("does without a variable where it says how", () => {
    const text = '{{ name | default: "Madame" }}{% if city %} de {{ city }}{% else %}!{% endif %}';
    expect(rendered(text)).toEqual({ text: "Madame!" });
    expect(rendered(text, { name: "Zoé", city: "Lyon" })).toEqual({ text: "Zoé de Lyon" });
  });

  test.each(["constructor", "__proto__", "toString", "hasOwnProperty", "name.constructor", "name.__proto__"])(
    "has no variable %s",
    (name) => expect(rendered(`{{ ${name} }}`, { name: "Zoé" })).toEqual({ missing: name }),
  );
});

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
