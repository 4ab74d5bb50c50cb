// Renders /openapi.json as a page to read and to try. Whatever comes from the network reaches the page as text only.
"use strict";

const METHODS = ["get", "post", "patch", "put", "delete"];
let description;
let token = "";

const byId = (id) => document.getElementById(id);

// Makes an element: its properties, then its children, texts among them.
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Follows a reference within the description.
function resolved(schema) {
  if (!schema || !schema.$ref) return schema || {};
  return schema.$ref.slice(2).split("/").reduce((found, key) => found[key], description);
}

const pretty = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

function typeOf(schema) {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.map((each) => typeOf(resolved(each))).join(" or ");
  return [].concat(schema.type || "any").join(" or ") + (schema.format ? ` (${schema.format})` : "");
}

// A schema as a tree that opens level by level.
function tree(name, given, required) {
  const schema = resolved(given);
  const items = schema.type === "array" ? resolved(schema.items) : null;
  const inner = { ...(items || schema).properties, ...(items || schema).patternProperties };
  const line = [make("code", {}, name), ` ${typeOf(schema)}`, required ? make("span", { className: "bad" }, " required") : null,
    schema.description ? make("span", { className: "soft" }, ` ${schema.description}`) : null];
  if (!Object.keys(inner).length) return make("div", {}, ...line);
  const needed = (items || schema).required || [];
  const children = Object.entries(inner).map(([key, value]) => tree(key, value, needed.includes(key)));
  const nested = make("div", {}, ...children);
  const list = make("blockquote", {}, nested);
  return make("details", { open: name === "body" || name === "data" }, make("summary", {}, ...line), list);
}

function examplesOf(content) {
  if (content.examples) return Object.entries(content.examples).map(([name, each]) => [name, each.value]);
  return content.example === undefined ? [] : [["", content.example]];
}

function responseView(status, response) {
  const parts = Object.entries(response.content || {}).flatMap(([type, content]) => [
    make("p", { className: "soft" }, type),
    ...examplesOf(content).flatMap(([name, value]) => [name ? make("code", {}, name) : null, make("pre", {}, pretty(value))]),
  ]);
  const summary = make("summary", {}, make("code", { className: status < "300" ? "get" : "bad" }, status), ` ${response.description}`);
  return make("details", {}, summary, ...parts);
}

function parameterTable(parameters) {
  const rows = parameters.map((each) => make("tr", {},
    make("td", {}, make("code", {}, each.name)), make("td", {}, typeOf(each.schema)),
    make("td", {}, (each.description || "") + (each.example === undefined ? "" : ` Example: ${each.example}`))));
  const head = make("tr", {}, ...["name", "type", "meaning"].map((text) => make("th", { scope: "col" }, text)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

// The request that the inputs of an operation ask for.
function requestOf(operation, inputs, body, mediaType) {
  let path = operation.path;
  const query = [];
  for (const { parameter, input } of inputs) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value) query.push(`${parameter.name}=${encodeURIComponent(input.value)}`);
  }
  const headers = {};
  if (token && !(operation.security && !operation.security.length)) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = mediaType;
  return { url: path + (query.length ? `?${query.join("&")}` : ""), method: operation.method.toUpperCase(), headers, body };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf(request) {
  const parts = ["curl -sS -g", quoted(location.origin + request.url)];
  if (request.method !== "GET") parts.push(`-X ${request.method}`);
  for (const [name, value] of Object.entries(request.headers)) {
    parts.push(`-H ${quoted(`${name}: ${name === "Authorization" ? "Bearer $TOKEN" : value}`)}`.replace("'Authorization: Bearer $TOKEN'", '"Authorization: Bearer $TOKEN"'));
  }
  if (request.body) parts.push(`-d ${quoted(request.body)}`);
  return parts.join(" \\\n  ");
}

// Form bodies are shown and sent as forms, all others as the JSON that they are.
function bodyText(mediaType, example) {
  return mediaType === "application/x-www-form-urlencoded" ? new URLSearchParams(example).toString() : pretty(example);
}

async function send(request, output) {
  output.replaceChildren("Sending …");
  const began = performance.now();
  try {
    const answer = await fetch(request.url, { method: request.method, headers: request.headers, body: request.body || undefined });
    const text = await answer.text();
    const taken = Math.round(performance.now() - began);
    const headers = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    let shown = text;
    try { shown = pretty(JSON.parse(text)); } catch { /* not JSON: shown as it came */ }
    output.replaceChildren(
      make("p", { className: answer.ok ? "get" : "bad" }, `${answer.status} ${answer.statusText} in ${taken} ms`),
      make("pre", {}, headers), make("pre", {}, shown));
  } catch (error) {
    output.replaceChildren(make("p", { className: "bad" }, `The server cannot be reached: ${error.message}`));
  }
}

function tryView(operation) {
  const inputs = (operation.parameters || []).map((parameter) => {
    const input = make("input", { value: parameter.in === "path" ? parameter.example || "" : "" });
    return { parameter, input, label: make("label", {}, parameter.name, input) };
  });
  const [mediaType, content] = Object.entries(operation.requestBody?.content || {})[0] || [];
  const body = content ? make("textarea", { value: bodyText(mediaType, examplesOf(content)[0]?.[1]), spellcheck: false }) : null;
  const curl = make("pre");
  const output = make("div", { role: "status" });
  const request = () => requestOf(operation, inputs, body?.value, mediaType);
  const refresh = () => { curl.textContent = curlOf(request()); };
  const copy = make("button", { type: "button", className: "quiet", onclick: () => navigator.clipboard?.writeText(curl.textContent) }, "Copy curl");
  const form = make("form", { oninput: refresh, onsubmit: (event) => { event.preventDefault(); send(request(), output); } },
    ...inputs.map((each) => each.label), body ? make("label", {}, `Body, ${mediaType}`, body) : null,
    make("button", {}, "Send"), copy, curl);
  const details = make("details", { ontoggle: refresh }, make("summary", {}, "Try it"), form, output);
  return details;
}

function operationView(operation) {
  const parameters = operation.parameters || [];
  const [, content] = Object.entries(operation.requestBody?.content || {})[0] || [];
  return make("article", { id: operation.operationId },
    make("h3", {}, make("span", { className: `method ${operation.method}` }, operation.method.toUpperCase()), make("a", { href: `#${operation.operationId}` }, operation.path)),
    make("p", {}, operation.summary), operation.description ? make("p", { className: "soft" }, operation.description) : null,
    parameters.length ? make("details", { open: parameters.length < 4 }, make("summary", {}, "Parameters"), parameterTable(parameters)) : null,
    content ? make("details", {}, make("summary", {}, "Body"), tree("body", content.schema)) : null,
    make("details", {}, make("summary", {}, "Answers"), ...Object.entries(operation.responses).map(([status, each]) => responseView(status, each))),
    tryView(operation));
}

function operationsByTag() {
  const groups = new Map(description.tags.map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((each) => item[each])) {
      groups.get(item[method].tags[0]).push({ ...item[method], path, method });
    }
  }
  return groups;
}

function render() {
  byId("title").textContent = `${description.info.title} ${description.info.version}`;
  byId("description").textContent = description.info.description;
  const sections = [];
  for (const [tag, operations] of operationsByTag()) {
    sections.push(make("h2", {}, tag), ...operations.map(operationView));
    byId("contents").append(make("li", { className: "group" }, tag), ...operations.map((each) => {
      const method = make("span", { className: `method ${each.method}` }, each.method.toUpperCase());
      const item = make("li", {}, make("a", { href: `#${each.operationId}` }, method, each.summary));
      item.dataset.text = `${each.method} ${each.path} ${each.summary}`.toLowerCase();
      return item;
    }));
  }
  byId("operations").replaceChildren(...sections);
  if (location.hash) byId(location.hash.slice(1))?.scrollIntoView();
}

function useToken(text, state) {
  token = text.trim();
  byId("state").textContent = token ? state : "no token yet";
}

async function getToken(event) {
  event.preventDefault();
  const body = new URLSearchParams(new FormData(event.target));
  body.set("grant_type", "client_credentials");
  const answer = await fetch("/v1/oauth/token", { method: "POST", body }).then((each) => each.json(), (error) => ({ error: error.message }));
  if (answer.access_token) {
    const until = new Date(Date.now() + answer.expires_in * 1000);
    useToken(answer.access_token, `token until ${until.toLocaleTimeString()}`);
  } else {
    byId("state").textContent = `no token: ${answer.error}`;
  }
}

function find() {
  const wanted = byId("find").value.toLowerCase();
  for (const item of byId("contents").querySelectorAll("li[data-text]")) item.hidden = !item.dataset.text.includes(wanted);
}

async function start() {
  byId("credentials").addEventListener("submit", getToken);
  byId("token").addEventListener("input", (event) => useToken(event.target.value, "token pasted"));
  byId("find").addEventListener("input", find);
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    description = await answer.json();
    render();
  } catch (error) {
    byId("operations").replaceChildren(make("p", { className: "bad" }, `The description at /openapi.json cannot be shown: ${error.message}. Reload the page, or look at the server's log.`));
  }
}

start();
