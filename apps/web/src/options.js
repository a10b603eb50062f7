// SPDX-License-Identifier: Apache-2.0
// A form for a bundle's options, from their JSON schema.

export function build(place, bundle) {
  place.replaceChildren();
  const fields = [];
  for (const [name, schema] of Object.entries(bundle?.options?.properties ?? {})) {
    const id = `option-${name}`, label = document.createElement("label");
    label.htmlFor = id;
    label.textContent = name.replaceAll("_", " ");
    const { input, value } = field(schema);
    input.id = id;
    input.name = name;
    if (schema.description) {
      const words = document.createElement("p");
      words.className = "dim";
      words.id = `${id}-words`;
      words.textContent = schema.description;
      input.setAttribute("aria-describedby", words.id);
      place.append(label, input, words);
    } else place.append(label, input);
    fields.push([name, value]);
  }
  return () => Object.fromEntries(fields.map(([name, value]) => [name, value()]).filter(([, value]) => value !== undefined));
}

function field(schema) {
  const parts = schema.anyOf ?? [schema], choices = parts.flatMap((part) => part.enum ?? []);
  const initial = schema.default;
  if (parts.every((part) => part.enum)) {
    const input = document.createElement("select");
    for (const choice of choices) input.add(new Option(String(choice), JSON.stringify(choice), choice === initial, choice === initial));
    return { input, value: () => JSON.parse(input.value) };
  }
  const input = document.createElement("input");
  if (parts.every((part) => part.type === "boolean")) {
    input.type = "checkbox";
    input.checked = Boolean(initial);
    return { input, value: () => input.checked };
  }
  const numbers = parts.find((part) => part.type === "number" || part.type === "integer");
  input.type = numbers && !choices.length ? "number" : "text";
  if (numbers?.minimum !== undefined) input.min = numbers.minimum;
  if (numbers?.maximum !== undefined) input.max = numbers.maximum;
  if (numbers) input.step = numbers.type === "integer" ? 1 : "any";
  input.placeholder = initial === undefined || initial === null ? choices.join(", ") : String(initial);
  const value = () => {
    const text = input.value.trim();
    if (!text) return undefined;
    return numbers && Number.isFinite(Number(text)) ? Number(text) : text;
  };
  return { input, value };
}
