// Makes a page to read and to try of /openapi.json. It is plain JavaScript in one file, so that a server without
// internet serves all of it under a policy without inline scripts and styles. Nothing that comes from the network is
// ever parsed as markup: whatever is shown goes through make(), which adds text as text.
"use strict";

const DESCRIPTION_URL = "/openapi.json";
const TOKEN_PATH = "/v1/oauth/token";
const METHODS = ["get", "post", "patch", "put", "delete"];
const FORM = "application/x-www-form-urlencoded";
const MULTIPART = "multipart/form-data";
// Example values that stand for something only the reader has are shown as hints, not sent.
const BLANK = "…";
// Longer lists of parameters start folded, and longer answers are shown without colours, to keep the page quick.
const MANY = 10;
const MOST_COLOURED = 200_000;

let description = {};

// ---- Elements -------------------------------------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);

// Attributes that are functions listen, those that are true or false switch; children are nodes or texts.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (typeof value === "boolean") element.toggleAttribute(key, value);
    else if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const code = (text) => make("code", {}, String(text));

// Descriptions are prose in which back quotes mark code; the odd pieces between the quotes are the code.
function inline(text) {
  return String(text ?? "").split("`").map((piece, index) => (index % 2 ? code(piece) : piece));
}

function prose(text, className) {
  const paragraphs = String(text ?? "").split(/\n\s*\n/).filter((each) => each.trim());
  return paragraphs.map((each) => make("p", { class: className }, inline(each)));
}

// Browsers offer the clipboard to pages in a secure context only, and a server at home often has plain HTTP.
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const carrier = make("textarea", { class: "away", readonly: true });
  carrier.value = text;
  // An open dialog makes the rest of the page inert, so the text has to be selected inside it.
  (document.querySelector("dialog[open]") || document.body).append(carrier);
  carrier.select();
  const copied = document.execCommand("copy");
  carrier.remove();
  if (!copied) throw new Error("the browser did not allow it");
}

async function copyAndTell(button, text) {
  const label = button.dataset.label || (button.dataset.label = button.textContent);
  try {
    await copyText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not copied";
  }
  setTimeout(() => { button.textContent = label; }, 1600);
}

function copyButton(getText, what) {
  const copy = (event) => copyAndTell(event.currentTarget, getText());
  return make("button", { type: "button", class: "small quiet", "aria-label": `Copy ${what}`, click: copy }, "Copy");
}

// ---- JSON -----------------------------------------------------------------------------------------------------------

const JSON_PIECES = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

function kindOf(piece, isName) {
  if (isName) return "name";
  if (piece.startsWith('"')) return "text";
  return "value";
}

function coloured(text) {
  if (text.length > MOST_COLOURED) return [text];
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(JSON_PIECES)) {
    const piece = match[1] || match[0];
    pieces.push(text.slice(end, match.index), make("span", { class: `json-${kindOf(piece, match[2])}` }, piece));
    end = match.index + piece.length;
  }
  return [...pieces, text.slice(end)];
}

const pretty = (value) => JSON.stringify(value, null, 2);

// Scrolling areas have to be reachable by keyboard, hence the tabindex and the label.
function codeBlock(label, children) {
  return make("pre", { tabindex: "0", role: "region", "aria-label": label }, make("code", {}, children));
}

function exampleBlock(value, label) {
  const text = typeof value === "string" ? value : pretty(value);
  return make("div", { class: "block" }, copyButton(() => text, label),
    codeBlock(label, typeof value === "string" ? [text] : coloured(text)));
}

// ---- The description ------------------------------------------------------------------------------------------------

// References may point to references; the description is the server's own, so they end.
function deref(node) {
  let found = node || {};
  while (found.$ref) {
    const keys = found.$ref.slice(2).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
    found = keys.reduce((parent, key) => parent?.[key], description) || {};
  }
  return found;
}

function anchorOf(operation) {
  return operation.operationId || `${operation.method}${operation.path}`.replace(/[^a-z0-9]+/gi, "-");
}

function operationsOf() {
  return Object.entries(description.paths || {}).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => {
      const own = item[method];
      const parameters = [...(item.parameters || []), ...(own.parameters || [])].map(deref);
      return { ...own, path, method, parameters, requestBody: deref(own.requestBody) };
    }));
}

// Groups follow the order of the description's own list of tags; tags it does not list come after.
function groupsByTag(operations) {
  const groups = new Map((description.tags || []).map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const operation of operations) {
    const name = operation.tags?.[0] || "other";
    if (!groups.has(name)) groups.set(name, { name, operations: [] });
    groups.get(name).operations.push(operation);
  }
  return [...groups.values()].filter((group) => group.operations.length);
}

function isSecured(operation) {
  const needed = operation.security || description.security || [];
  return needed.length > 0 && needed.every((each) => Object.keys(each).length);
}

function examplesOf(content) {
  const named = Object.entries(content?.examples || {}).map(([name, each]) => {
    const example = deref(each);
    return { name: example.summary || name.replaceAll("_", " "), value: example.value };
  });
  if (named.length) return named;
  return content?.example === undefined ? [] : [{ name: "", value: content.example }];
}

// ---- Schemas --------------------------------------------------------------------------------------------------------

// Resolves references and composition, so that the rest sees plain properties, items and alternatives.
function simplified(given) {
  const schema = deref(given);
  if (schema.allOf) {
    const parts = schema.allOf.map(simplified);
    const all = (key) => Object.assign({}, ...parts.map((part) => part[key]), schema[key]);
    return { ...Object.assign({}, ...parts), ...schema, properties: all("properties"), allOf: undefined,
      required: [...parts, schema].flatMap((part) => part.required || []) };
  }
  const choices = (schema.anyOf || schema.oneOf || []).map(simplified);
  const solid = choices.filter((choice) => choice.type !== "null");
  const nullable = solid.length < choices.length;
  if (solid.length === 1) return { ...solid[0], description: schema.description || solid[0].description, nullable };
  return choices.length ? { ...schema, choices: solid, nullable } : schema;
}

const isNullable = (schema) => Boolean(schema.nullable) || [].concat(schema.type || []).includes("null");

function typeOf(given) {
  const schema = simplified(given);
  if (schema.choices) return [...new Set(schema.choices.map(typeOf))].join(" or ");
  const kinds = [].concat(schema.type || []).filter((kind) => kind !== "null");
  if (kinds[0] === "array") return `array of ${typeOf(schema.items)}`;
  if (!kinds.length && schema.properties) kinds.push("object");
  if (!kinds.length && (schema.enum || schema.const !== undefined)) kinds.push(typeof (schema.const ?? schema.enum[0]));
  return (kinds.join(" or ") || "any") + (schema.format ? ` (${schema.format})` : "");
}

// The rules beside the type, each as a short label and the values it holds for.
function rulesOf(schema) {
  const rules = [];
  if (schema.const !== undefined) rules.push(["Always", [schema.const]]);
  if (schema.enum) rules.push(["One of", schema.enum]);
  if (schema.default !== undefined) rules.push(["Default", [schema.default]]);
  if (schema.pattern) rules.push(["Pattern", [schema.pattern]]);
  for (const [key, label] of [["minimum", "At least"], ["maximum", "At most"], ["minLength", "Shortest"], ["maxLength", "Longest"]]) {
    if (schema[key] !== undefined) rules.push([label, [schema[key]]]);
  }
  return rules;
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function ruleView([label, values]) {
  return make("span", { class: "rule" }, `${label} `, values.flatMap((value, index) => [index ? ", " : "", code(shown(value))]));
}

function exampleOf(schema, sample) {
  const value = schema.example ?? schema.examples?.[0] ?? sample;
  const small = value !== undefined && value !== null && typeof value !== "object" && value !== BLANK;
  return small && schema.const === undefined ? [["Example", [value]]] : [];
}

// What a schema holds, as [name, schema, required, sample, note]; samples come from the example of the whole.
function membersOf(schema, sample) {
  if (schema.choices) return schema.choices.map((choice, index) => [`option ${index + 1}`, choice, false, sample]);
  const required = schema.required || [];
  const named = Object.entries(schema.properties || {}).map(([name, each]) =>
    [name, each, required.includes(name), sample?.[name]]);
  const patterned = Object.entries(schema.patternProperties || {}).map(([pattern, each]) => {
    const name = Object.keys(sample || {}).find((key) => new RegExp(pattern).test(key) && !schema.properties?.[key]);
    return [name || pattern, each, false, sample?.[name], name ? ["Any name like", [pattern]] : null];
  });
  const other = schema.additionalProperties;
  return [...named, ...patterned, ...(other && typeof other === "object" ? [["any other name", other, false]] : [])];
}

function schemaLine(name, schema, required) {
  return [code(name), make("span", { class: "type" }, typeOf(schema)),
    required ? make("span", { class: "required" }, "required") : null,
    isNullable(schema) ? make("span", { class: "flag" }, "nullable") : null,
    schema.readOnly ? make("span", { class: "flag" }, "read only") : null];
}

// One member of the tree. The path of schemas above it stops those that contain themselves.
function schemaNode([name, given, required, sample, note], above, openLevels) {
  const schema = simplified(given);
  const isArray = [].concat(schema.type || []).includes("array");
  const holder = isArray ? simplified(schema.items) : schema;
  const inside = isArray ? sample?.[0] : sample;
  const members = above.includes(holder) ? [] : membersOf(holder, inside);
  const rules = [...(note ? [note] : []), ...rulesOf(schema), ...(members.length ? [] : exampleOf(schema, sample))];
  const text = [...prose(schema.description, "soft"), rules.length ? make("p", { class: "rules" }, rules.map(ruleView)) : null];
  const line = schemaLine(name, schema, required);
  if (!members.length) return make("li", {}, make("div", { class: "leaf" }, line), text);
  const list = schemaList(members, [...above, holder], openLevels - 1);
  return make("li", {}, make("details", { open: openLevels > 0 }, make("summary", {}, line), text, list));
}

function schemaList(members, above, openLevels) {
  return make("ul", { class: "tree" }, members.map((member) => schemaNode(member, above, openLevels)));
}

function schemaTree(content, openLevels) {
  const schema = simplified(content.schema);
  const members = membersOf(schema, examplesOf(content)[0]?.value);
  return members.length ? schemaList(members, [schema], openLevels) : make("p", { class: "soft" }, typeOf(schema));
}

// ---- Reading an operation -------------------------------------------------------------------------------------------

function section(title, ...children) {
  return make("section", {}, make("h4", {}, title), children);
}

function groupOf(parameter) {
  if (parameter.in !== "query") return { path: "Path", header: "Headers" }[parameter.in] || "Other";
  return parameter.name.startsWith("filter[") ? "Filters" : "Query";
}

function parameterGroups(parameters) {
  const groups = new Map();
  for (const parameter of parameters) groups.set(groupOf(parameter), [...(groups.get(groupOf(parameter)) || []), parameter]);
  return [...groups];
}

// A group that folds when it is long, for the table and for the inputs alike.
function folding(title, count, ...children) {
  return make("details", { class: "group", open: count <= MANY },
    make("summary", {}, title, make("span", { class: "count" }, count)), children);
}

function parameterRow(parameter) {
  const schema = simplified(parameter.schema);
  const rules = [...rulesOf(schema), ...exampleOf(schema, parameter.example)];
  return make("tr", {},
    make("th", { scope: "row" }, code(parameter.name), make("span", { class: "type" }, typeOf(schema)),
      parameter.required ? make("span", { class: "required" }, "required") : null),
    make("td", {}, prose(parameter.description || schema.description), rules.length ? make("p", { class: "rules" }, rules.map(ruleView)) : null));
}

function parameterTable(title, parameters) {
  const head = make("tr", {}, ["Parameter", "Meaning"].map((text) => make("th", { scope: "col" }, text)));
  return folding(title, parameters.length,
    make("table", {}, make("thead", { class: "away" }, head), make("tbody", {}, parameters.map(parameterRow))));
}

function parametersView(operation) {
  const groups = parameterGroups(operation.parameters);
  return groups.length ? section("Parameters", groups.map(([title, each]) => parameterTable(title, each))) : null;
}

// Media types that share one schema are described once.
function bodyView(operation) {
  const contents = Object.entries(operation.requestBody.content || {});
  const kinds = Map.groupBy ? null : new Map();
  if (!contents.length) return null;
  const bySchema = kinds || new Map();
  for (const [type, content] of contents) {
    const key = JSON.stringify(content.schema);
    bySchema.set(key, { content, types: [...(bySchema.get(key)?.types || []), type] });
  }
  return section("Request body", [...bySchema.values()].flatMap(({ content, types }) => [
    make("p", { class: "media" }, types.flatMap((type, index) => [index ? ", " : "", code(type)])), schemaTree(content, 3)]));
}

function headersView(headers) {
  const list = Object.entries(headers || {}).map(([name, each]) =>
    make("li", {}, make("div", { class: "leaf" }, code(name), make("span", { class: "type" }, "header")), prose(deref(each).description, "soft")));
  return list.length ? make("ul", { class: "tree" }, list) : null;
}

function contentView([type, content], status) {
  const examples = examplesOf(content).map(({ name, value }) => [
    name ? make("p", { class: "example-name" }, name) : null, exampleBlock(value, `Example of ${status}${name ? `, ${name}` : ""}`)]);
  const fields = content.schema ? make("details", { class: "fields" }, make("summary", {}, "Fields"), schemaTree(content, 1)) : null;
  return [make("p", { class: "media" }, code(type)), examples.flat(), fields];
}

const statusKind = (status) => (String(status) < "300" ? "good" : "bad");

function responseView(status, given, isOpen) {
  const response = deref(given);
  const contents = Object.entries(response.content || {}).flatMap((each) => contentView(each, status));
  const summary = make("summary", {}, make("span", { class: `status ${statusKind(status)}` }, status), make("span", {}, inline(response.description)));
  return make("details", { class: "response", open: isOpen }, summary, headersView(response.headers), contents);
}

function responsesView(operation) {
  const responses = Object.entries(operation.responses || {});
  return section("Responses", responses.map(([status, each], index) => responseView(status, each, index === 0)));
}

function methodLabel(operation) {
  return make("span", { class: `method ${operation.method}` }, operation.method);
}

function operationView(operation) {
  const id = anchorOf(operation);
  const heading = make("h3", { id: `${id}-title` }, operation.summary || operation.path,
    make("a", { class: "anchor", href: `#${id}`, "aria-label": `Link to ${operation.summary || operation.path}` }, "#"));
  return make("article", { id, "aria-labelledby": `${id}-title` },
    make("div", { class: "read" }, heading,
      make("p", { class: "route" }, methodLabel(operation), code(operation.path)),
      operation.deprecated ? make("p", { class: "notice" }, "Deprecated.") : null,
      prose(operation.description), isSecured(operation) ? null : make("p", { class: "soft" }, "Needs no token."),
      parametersView(operation), bodyView(operation), responsesView(operation)),
    tryView(operation, id));
}

// ---- Building a request ---------------------------------------------------------------------------------------------

// Names stay as they are, brackets included, as the links in the server's answers have them.
function urlOf(operation, values) {
  let path = operation.path;
  const query = [];
  for (const { parameter, value } of values) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value) || `{${parameter.name}}`);
    else if (parameter.in === "query" && value) query.push(`${parameter.name}=${encodeURIComponent(value)}`);
  }
  return path + (query.length ? `?${query.join("&")}` : "");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const isSecret = (name) => /secret|password|token$/.test(name);

// Secrets are named, not shown, so that the line can be pasted into a ticket or a script.
function curlField(flag, [name, value]) {
  return isSecret(name) ? `${flag} "${name}=$${name.toUpperCase()}"` : `${flag} ${quoted(`${name}=${value}`)}`;
}

// The -g is for the brackets in names, which curl would otherwise take for a range.
function curlOf(request) {
  const lines = [`curl -g ${quoted(location.origin + request.url)}`];
  if (request.method !== "GET") lines.push(`--request ${request.method}`);
  if (request.secured) lines.push('--header "Authorization: Bearer $TOKEN"');
  for (const [name, value] of request.headers) lines.push(`--header ${quoted(`${name}: ${value}`)}`);
  if (request.fields) {
    const flag = request.mediaType === MULTIPART ? "--form-string" : "--data-urlencode";
    lines.push(...request.fields.map((field) => curlField(flag, field)));
  } else if (request.text) {
    lines.push(`--header ${quoted(`Content-Type: ${request.mediaType}`)}`, `--data-raw ${quoted(request.text)}`);
  }
  return lines.join(" \\\n  ");
}

// The browser itself says the content type of forms, with the boundary that multipart needs.
function fetchOptions(request) {
  const headers = new Headers(request.headers);
  if (request.secured && token.value) headers.set("Authorization", `Bearer ${token.value}`);
  const options = { method: request.method, headers, cache: "no-store", credentials: "omit" };
  if (request.fields) {
    options.body = request.mediaType === MULTIPART ? new FormData() : new URLSearchParams();
    for (const [name, value] of request.fields) options.body.append(name, value);
  } else if (request.text) {
    headers.set("Content-Type", request.mediaType);
    options.body = request.text;
  }
  return options;
}

// ---- Trying an operation --------------------------------------------------------------------------------------------

function choice(values, attributes) {
  return make("select", attributes, values.map((value) => make("option", { value }, String(value) || "not sent")));
}

function inputFor(name, schema, example, attributes) {
  const values = schema.enum || ([].concat(schema.type).includes("boolean") ? [true, false] : null);
  if (values) return choice(["", ...values], attributes);
  const hint = example === undefined || example === null ? {} : { placeholder: shown(example) };
  return make("input", { ...attributes, ...hint, type: isSecret(name) || schema.format === "password" ? "password" : "text",
    autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
}

function field(name, input, required) {
  return make("div", { class: "field" }, make("label", { for: input.id }, code(name), required ? make("span", { class: "required" }, "required") : null), input);
}

function parameterField(parameter, id) {
  const schema = simplified(parameter.schema);
  const example = parameter.example ?? schema.example ?? schema.examples?.[0];
  const input = inputFor(parameter.name, schema, example, { id, required: Boolean(parameter.required) });
  if (parameter.in === "path" && example !== undefined) input.value = shown(example);
  return { parameter, view: field(parameter.name, input, parameter.required), get value() { return input.value; } };
}

// A form is edited field by field; whoever leaves a field empty does not send it.
function formEditor(mediaType, content, id) {
  const schema = simplified(content.schema);
  const example = examplesOf(content)[0]?.value || {};
  const inputs = Object.entries(schema.properties || {}).map(([name, given]) => {
    const input = inputFor(name, simplified(given), example[name] ?? given.example, { id: `${id}-${name}` });
    if (example[name] !== undefined && example[name] !== BLANK) input.value = example[name];
    return { name, input };
  });
  const view = inputs.map(({ name, input }) => field(name, input, (schema.required || []).includes(name)));
  const read = () => ({ mediaType, fields: inputs.filter(({ input }) => input.value).map(({ name, input }) => [name, input.value]) });
  return { view, read };
}

// A body that is not JSON can be sent all the same: to see what the server answers is what the page is for.
function textEditor(mediaType, content, id) {
  const area = make("textarea", { id, rows: "14", spellcheck: "false", "aria-describedby": `${id}-hint` });
  const examples = examplesOf(content);
  const hint = make("p", { class: "hint", id: `${id}-hint`, role: "status" });
  const check = () => { hint.textContent = jsonFault(area.value); };
  area.value = examples.length ? pretty(examples[0].value) : "{}";
  area.addEventListener("input", check);
  const view = [make("div", { class: "field" }, make("label", { for: id }, `Body, ${mediaType}`), area, hint)];
  return { view, read: () => ({ mediaType, text: area.value }) };
}

function jsonFault(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `Not JSON: ${error.message}`;
  }
}

function editorFor([mediaType, content], id) {
  return [FORM, MULTIPART].includes(mediaType) ? formEditor(mediaType, content, id) : textEditor(mediaType, content, id);
}

// One editor for each media type, of which one shows; their texts survive a change of mind.
function bodyEditor(operation, id) {
  const contents = Object.entries(operation.requestBody.content || {});
  if (!contents.length) return { view: [], read: () => ({}) };
  const editors = contents.map((each, index) => editorFor(each, `${id}-body-${index}`));
  const panels = editors.map((editor, index) => make("div", { class: "fields-grid", hidden: index > 0 }, editor.view));
  if (editors.length === 1) return { view: panels, read: editors[0].read };
  const select = choice(contents.map(([type]) => type), { id: `${id}-media` });
  const show = () => panels.forEach((panel, index) => { panel.hidden = index !== select.selectedIndex; });
  select.addEventListener("input", show);
  const label = make("label", { for: select.id }, "Media type of the body");
  return { view: [make("div", { class: "field" }, label, select), ...panels], read: () => editors[select.selectedIndex].read() };
}

function fieldGroups(fields) {
  const groups = parameterGroups(fields.map((each) => each.parameter));
  return groups.map(([title, parameters]) => folding(title, parameters.length,
    make("div", { class: "fields-grid" }, fields.filter((each) => parameters.includes(each.parameter)).map((each) => each.view))));
}

function tryView(operation, id) {
  const fields = operation.parameters.map((parameter, index) => parameterField(parameter, `${id}-input-${index}`));
  const body = bodyEditor(operation, id);
  const request = () => ({
    method: operation.method.toUpperCase(), url: urlOf(operation, fields), secured: isSecured(operation),
    headers: fields.filter((each) => each.parameter.in === "header" && each.value).map((each) => [each.parameter.name, each.value]),
    ...body.read() });
  const curl = codeBlock("The request as a curl command", []);
  const refresh = () => { curl.firstChild.textContent = curlOf(request()); };
  const output = make("div", { class: "output", role: "status" });
  const needsToken = isSecured(operation) ? make("p", { class: "needs-token" }, "This call needs a token. ",
    make("button", { type: "button", class: "small quiet", click: openAuthorise }, "Authorise")) : null;
  const submit = (event) => {
    event.preventDefault();
    send(request(), output, event.submitter);
  };
  const form = make("form", { input: refresh, submit, novalidate: true }, needsToken, fieldGroups(fields), body.view,
    make("div", { class: "actions" }, make("button", {}, "Send")));
  refresh();
  return make("div", { class: "try" }, make("div", { class: "card" },
    make("div", { class: "bar" }, make("h4", {}, "Request"), copyButton(() => curl.textContent, "the curl command")), curl,
    make("details", { class: "try-it" }, make("summary", {}, "Try it"), form, output)));
}

// ---- Answers --------------------------------------------------------------------------------------------------------

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function sizeOf(text) {
  const bytes = new TextEncoder().encode(text).length;
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} kB`;
}

function answerView(answer, text, milliseconds) {
  const value = parsed(text);
  const headers = [...answer.headers].map(([name, each]) => `${name}: ${each}`).join("\n");
  const use = () => useToken(value.access_token, value.expires_in);
  return [
    make("p", { class: "outcome" }, make("span", { class: `status ${statusKind(answer.status)}` }, answer.status),
      make("span", {}, answer.statusText), make("span", { class: "soft" }, `${milliseconds} ms, ${sizeOf(text)}`)),
    value?.access_token ? make("button", { type: "button", class: "small", click: use }, "Use this token") : null,
    make("details", { class: "fields" }, make("summary", {}, "Headers"), codeBlock("Headers of the answer", [headers])),
    text ? exampleBlock(value === undefined ? text : value, "Body of the answer") : make("p", { class: "soft" }, "The body is empty."),
  ].filter(Boolean);
}

async function send(request, output, button) {
  button.disabled = true;
  output.replaceChildren(make("p", { class: "soft" }, "Sending …"));
  const began = performance.now();
  try {
    const answer = await fetch(request.url, fetchOptions(request));
    const text = await answer.text();
    output.replaceChildren(...answerView(answer, text, Math.round(performance.now() - began)));
  } catch (error) {
    output.replaceChildren(make("p", { class: "notice" }, `No answer from the server: ${error.message}`));
  }
  button.disabled = false;
}

// ---- The token ------------------------------------------------------------------------------------------------------

// Kept in this variable alone: storage of the browser would outlive the page and be open to other scripts.
const token = { value: "", until: null };

function tokenState() {
  if (!token.value) return "No token yet";
  if (!token.until) return "Token in use, expiry unknown";
  const minutes = Math.ceil((token.until - Date.now()) / 60_000);
  const time = token.until.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return minutes > 0 ? `Token valid until ${time}, ${minutes} min left` : `Token expired at ${time}`;
}

function showToken() {
  const usable = Boolean(token.value) && !(token.until && token.until <= Date.now());
  if (byId("token-state").textContent !== tokenState()) byId("token-state").textContent = tokenState();
  document.body.classList.toggle("authorised", usable);
  byId("token-actions").hidden = !token.value;
}

function useToken(value, seconds) {
  token.value = value;
  token.until = seconds > 0 ? new Date(Date.now() + seconds * 1000) : null;
  showToken();
}

const tellOutcome = (text) => { byId("authorise-outcome").textContent = text; };

function openAuthorise() {
  tellOutcome(token.value ? tokenState() : "");
  byId("authorise-dialog").showModal();
}

// Of the described URL only the path counts: the page may talk to its own server alone.
function tokenPath() {
  const schemes = Object.values(description.components?.securitySchemes || {}).map(deref);
  const url = schemes.map((each) => each.flows?.clientCredentials?.tokenUrl).find(Boolean);
  return url ? new URL(url, location.href).pathname : TOKEN_PATH;
}

async function getToken(event) {
  event.preventDefault();
  const form = event.target;
  const body = new URLSearchParams(new FormData(form));
  body.set("grant_type", "client_credentials");
  tellOutcome("Asking for a token …");
  try {
    const answer = await fetch(tokenPath(), { method: "POST", body, cache: "no-store", credentials: "omit" });
    const value = parsed(await answer.text());
    if (!value?.access_token) throw new Error(value?.error || value?.errors?.[0]?.detail || `the server answered ${answer.status}`);
    useToken(value.access_token, value.expires_in);
    form.reset();
    tellOutcome(`${tokenState()}.`);
  } catch (error) {
    tellOutcome(`No token: ${error.message}`);
  }
}

function pasteToken(event) {
  event.preventDefault();
  const value = event.target.elements.token.value.trim();
  if (!/^[\x21-\x7e]+$/.test(value)) return tellOutcome("That is not a token: it has characters that a header cannot carry.");
  useToken(value);
  event.target.reset();
  tellOutcome(`${tokenState()}.`);
}

function forgetToken() {
  useToken("");
  tellOutcome("The token is forgotten here; on the server it lives until it expires.");
}

function wireAuthorise() {
  const dialog = byId("authorise-dialog");
  byId("authorise").addEventListener("click", openAuthorise);
  byId("authorise-close").addEventListener("click", () => dialog.close());
  byId("credentials").addEventListener("submit", getToken);
  byId("paste").addEventListener("submit", pasteToken);
  byId("token-forget").addEventListener("click", forgetToken);
  byId("token-copy").addEventListener("click", (event) => copyAndTell(event.currentTarget, `TOKEN=${quoted(token.value)}`));
  setInterval(showToken, 15_000);
}

// ---- The contents ---------------------------------------------------------------------------------------------------

function contentsGroup(group) {
  const links = group.operations.map((operation) => make("li", { "data-words": `${operation.method} ${operation.path} ${operation.summary} ${group.name}`.toLowerCase() },
    make("a", { href: `#${anchorOf(operation)}` }, make("span", {}, operation.summary || operation.path), methodLabel(operation))));
  return make("section", {}, make("h2", {}, group.name.replaceAll("_", " ")), make("ul", {}, links));
}

function find() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const group of byId("contents").children) {
    const items = [...group.querySelectorAll("li")];
    for (const item of items) item.hidden = !words.every((word) => item.dataset.words.includes(word));
    group.hidden = items.every((item) => item.hidden);
    count += items.filter((item) => !item.hidden).length;
  }
  byId("found").textContent = words.length ? `${count} found` : "";
  byId("found").classList.toggle("away", !words.length || count > 0);
}

function setMenu(isOpen) {
  byId("menu").setAttribute("aria-expanded", String(isOpen));
  document.body.classList.toggle("menu-open", isOpen);
}

function wireContents() {
  byId("find").addEventListener("input", find);
  byId("menu").addEventListener("click", () => setMenu(byId("menu").getAttribute("aria-expanded") !== "true"));
  byId("contents").addEventListener("click", (event) => event.target.closest("a") && setMenu(false));
}

// Marks where the reader is; the contents scroll by themselves, without moving the page.
function markCurrent(id) {
  for (const link of byId("contents").querySelectorAll("a")) {
    const isCurrent = link.getAttribute("href") === `#${id}`;
    link.toggleAttribute("aria-current", isCurrent);
    if (!isCurrent) continue;
    link.setAttribute("aria-current", "location");
    const [box, view] = [link.getBoundingClientRect(), byId("index").getBoundingClientRect()];
    if (box.top < view.top || box.bottom > view.bottom) byId("index").scrollTop += box.top - view.top - view.height / 2;
  }
}

function followReading() {
  const seen = (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => markCurrent(entry.target.id));
  const observer = new IntersectionObserver(seen, { rootMargin: "-15% 0px -80% 0px" });
  document.querySelectorAll("article").forEach((article) => observer.observe(article));
}

// ---- The page -------------------------------------------------------------------------------------------------------

function groupView(group) {
  return make("section", { class: "tag" }, make("h2", {}, group.name.replaceAll("_", " ")), prose(group.description), group.operations.map(operationView));
}

function render() {
  const { info = {} } = description;
  const title = `${info.title || "Rollbook"} API`.replace(/API API$/, "API");
  document.title = title;
  byId("brand").textContent = title;
  byId("title").replaceChildren(title, make("span", { class: "version" }, `version ${info.version || "unknown"}`));
  byId("about").replaceChildren(...prose(info.description),
    make("p", { class: "base" }, "Base URL ", code(location.origin), make("a", { href: DESCRIPTION_URL }, "OpenAPI description")));
  const groups = groupsByTag(operationsOf());
  byId("operations").replaceChildren(...groups.map(groupView));
  byId("contents").replaceChildren(...groups.map(contentsGroup));
}

// The target of a link exists only now, so the browser could not go there by itself.
function goToAnchor() {
  const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
  if (target) target.scrollIntoView();
}

function showFailure(error) {
  const text = `The description of the API, ${DESCRIPTION_URL}, cannot be shown: ${error.message}. The log of the server may say more.`;
  byId("operations").replaceChildren(make("div", { class: "notice", role: "alert" }, make("p", {}, text),
    make("button", { type: "button", class: "quiet", click: load }, "Try again")));
}

async function load() {
  byId("operations").replaceChildren(make("p", { class: "soft" }, "Loading the description …"));
  try {
    const answer = await fetch(DESCRIPTION_URL);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    description = await answer.json();
    render();
    followReading();
    goToAnchor();
  } catch (error) {
    showFailure(error);
  }
}

wireAuthorise();
wireContents();
showToken();
load();
