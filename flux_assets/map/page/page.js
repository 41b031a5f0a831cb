// Shows every table and view that has a geometry, says of each which version it is, how old and whether to trust it, and follows
// what is published. Static layers are vector tiles; synced tables are features, which are replaced without flicker.
import { AttributionControl, Map as MapLibre, NavigationControl, Popup, ScaleControl } from "./maplibre/maplibre-gl.mjs";

const ASK_AGAIN = 15_000; // what becomes late announces nothing
const MOST_FEATURES = 10_000; // of the tile server
const OPEN = { PENDING: "#8e6bbf", ACTIVE: "#d62828", ASSIGNED: "#f77f00", IN_PROGRESS: "#f2b705" };
const OUTAGES = "outage_restoration_tracker";
const SIZE = ["interpolate", ["linear"], ["sqrt", ["coalesce", ["get", "customers_affected"], 0]], 0, 5, 50, 26];
const RISK = ["interpolate", ["linear"], ["coalesce", ["get", "risk_score"], 0], 0, "#a9cfa0", 1, "#2f6b2f"];

const dots = (colour, radius, more = {}) => ({
  type: "circle",
  paint: { "circle-color": colour, "circle-radius": radius, ...more },
});
const lines = (colour, width) => ({ type: "line", paint: { "line-color": colour, "line-width": width } });
const areas = (colour, more = {}) => ({ type: "fill", paint: { "fill-color": colour, ...more } });
const of = (kind, layer) => ({ ...layer, filter: ["==", ["geometry-type"], kind] });

// From bottom to top. What is not named here is drawn by its kind of geometry, and only when it is asked for.
const LOOKS = {
  osm_water: { columns: ["water_type"], layers: [of("Polygon", areas("#b5d3ea")), of("LineString", lines("#b5d3ea", 2))] },
  building_footprints: { columns: ["building_type"], from: 14, layers: [areas("#d8d0c3", { "fill-outline-color": "#bfb5a5" })] },
  vegetation_risk: { columns: ["risk_level", "risk_score"], from: 13, layers: [dots(RISK, 2.5)] },
  grid_power_lines: { columns: ["circuit_id", "line_type", "voltage_class"], layers: [lines("#7d93ac", 1.3)] },
  substations: {
    columns: ["substation_name", "capacity_mva"],
    layers: [dots("#39316b", 6, { "circle-stroke-color": "#fff", "circle-stroke-width": 2 })],
  },
  work_orders: {
    columns: ["work_order_type", "priority", "status", "scheduled_start"],
    layers: [dots("#2a7de1", 3.5, { "circle-stroke-color": "#fff", "circle-stroke-width": 1 })],
  },
  [OUTAGES]: {
    columns: ["status", "customers_affected", "cause_category", "start_time", "crew_assigned"],
    filter: `status IN (${Object.keys(OPEN).map((status) => `'${status}'`).join(",")})`,
    layers: [
      dots(["match", ["get", "status"], ...Object.entries(OPEN).flat(), "#777"], SIZE, {
        "circle-opacity": 0.8, "circle-stroke-color": "#fff", "circle-stroke-width": 1.5,
      }),
    ],
  },
};
const BY_KIND = [["POLYGON", areas("#c9a3d6", { "fill-opacity": 0.4 })], ["LINESTRING", lines("#8d6e63", 1.2)], ["POINT", dots("#607d8b", 2.5)]];
const ORDER = Object.keys(LOOKS);

const element = (id) => document.getElementById(id);
const shown = {}; // by table what of it is on the map: a mark of its version
const asked = new Set(ORDER); // tables that are to be seen
let schema = "";
let counts = "";
let heardAt = Date.now();

function look(state) {
  return LOOKS[state.table] ?? {
    from: state.geometry.endsWith("LINESTRING") ? 0 : 14,
    layers: BY_KIND.filter(([kind]) => state.geometry === "GEOMETRY" || state.geometry.endsWith(kind)).map(([, layer]) => layer),
  };
}

function make(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text ?? "";
  if (className) made.className = className;
  return made;
}

function age(seconds) {
  if (seconds === null) return "never";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${Math.max(0, Math.floor(seconds))} s ago`;
}

// Tiles and features of one version have an address of their own, so that no cache mixes them.
function address(state, what, more) {
  const columns = LOOKS[state.table]?.columns;
  const options = { ...(columns ? { properties: columns.join(",") } : {}), ...more, "geom-column": state.geometry_column, mark: mark(state) };
  return `${location.origin}/collections/${schema}.${state.table}/${what}?${new URLSearchParams(options)}`;
}

const mark = (state) => `${state.version?.slice(0, 12) ?? ""}@${state.published_at}`;
const isSynced = (state) => state.kind === "dynamic";

async function features(state) {
  const filter = LOOKS[state.table]?.filter;
  const answer = await fetch(address(state, "items", { f: "geojson", limit: MOST_FEATURES, ...(filter ? { filter, "filter-lang": "cql2-text" } : {}) }));
  if (!answer.ok) throw new Error(`${state.table}: ${answer.status}`);
  return answer.json();
}

async function show(state) {
  const source = map.getSource(state.table);
  if (isSynced(state)) {
    const found = await features(state);
    if (state.table === OUTAGES) count(found);
    if (source) source.setData(found);
    else map.addSource(state.table, { type: "geojson", data: found });
  } else {
    const tiles = [address(state, "tiles/WebMercatorQuad/{z}/{x}/{y}").replaceAll(/%7B([xyz])%7D/g, "{$1}")];
    if (source) source.setTiles(tiles);
    else map.addSource(state.table, { type: "vector", tiles, maxzoom: 16 });
  }
  if (!source) draw(state);
  shown[state.table] = mark(state);
}

function draw(state) {
  const rank = (id) => (ORDER.indexOf(id.split("/")[0]) + 1 || ORDER.length - 1.5);
  const above = map.getStyle().layers.find((layer) => layer.source && rank(layer.id) > rank(state.table))?.id;
  const { from = 0, layers } = look(state);
  layers.forEach((layer, place) => {
    const own = { ...layer, id: `${state.table}/${place}`, source: state.table, minzoom: isSynced(state) ? 0 : from };
    map.addLayer(isSynced(state) ? own : { ...own, "source-layer": "default" }, above);
    map.on("click", own.id, (event) => explain(state.table, event));
  });
}

function explain(table, event) {
  const list = make("dl");
  for (const [name, value] of Object.entries(event.features[0].properties)) list.append(make("dt", name), make("dd", value));
  const content = make("div");
  content.append(make("b", table), list);
  new Popup().setLngLat(event.lngLat).setDOMContent(content).addTo(map);
}

function count(found) {
  const out = found.features.reduce((sum, feature) => sum + (feature.properties.customers_affected ?? 0), 0);
  const open = found.numberMatched;
  const some = open > found.features.length ? ` (${found.features.length.toLocaleString()} of them shown)` : "";
  counts = `${open.toLocaleString()} open outage${open === 1 ? "" : "s"}, ${out.toLocaleString()} customers affected${some}`;
}

function key() {
  const entries = [make("h2", counts || "No outages are known")];
  for (const [status, colour] of Object.entries(OPEN)) entries.push(entry(status.toLowerCase().replace("_", " "), colour, 11));
  for (const customers of [10, 100, 1000]) entries.push(entry(`${customers.toLocaleString()} customers`, "#888", 2 * (5 + (Math.sqrt(customers) * 21) / 50)));
  element("outages").replaceChildren(...entries);
}

function entry(text, colour, size) {
  const line = make("div", "", "key");
  const dot = make("i");
  dot.style.cssText = `width:${size}px;height:${size}px;background:${colour}`;
  line.append(dot, make("span", text));
  return line;
}

function row(state) {
  const judged = state.trusted === false ? "wrong" : state.state === "still" ? "still" : state.trusted ? "live" : "";
  const line = make("li", "", judged);
  line.dataset.table = state.table;
  line.dataset.shown = shown[state.table] ?? "";
  if (shown[state.table] || state.geometry) line.append(choice(state));
  line.append(make("b", state.table));
  line.title = [state.release_tag && `release ${state.release_tag}`, state.version && `version ${state.version}`].filter(Boolean).join(", ");
  if (state.of) line.append(make("small", `view of ${state.of}`));
  const version = state.version ? `version ${state.version.slice(0, 8)}, ` : "";
  const ages = `changed ${age(state.published_age_seconds)}, checked ${age(state.checked_age_seconds)}`;
  line.append(make("small", state.published_at ? version + ages : state.state));
  if (state.trusted !== null && state.state !== "live") line.append(make("em", `${state.state}: ${state.detail}`));
  if (["failed", "interrupted"].includes(state.last_attempt)) line.append(make("small", `last attempt ${state.last_attempt}: ${state.last_attempt_detail}`));
  return line;
}

function choice(state) {
  const box = make("input");
  box.type = "checkbox";
  box.title = `show ${state.table}`;
  box.checked = asked.has(state.table);
  box.onchange = () => {
    if (box.checked) asked.add(state.table);
    else asked.delete(state.table);
    for (const layer of map.getStyle().layers.filter((each) => each.source === state.table)) {
      map.setLayoutProperty(layer.id, "visibility", box.checked ? "visible" : "none");
    }
    refresh();
  };
  return box;
}

function warn(sentences) {
  document.body.classList.toggle("wrong", sentences.length > 0);
  element("warning").hidden = sentences.length === 0;
  element("warning").textContent = sentences.join("\n");
}

async function update() {
  let states;
  const problems = [];
  try {
    const answer = await fetch("tables");
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.problem);
    ({ schema, tables: states } = told);
    heardAt = Date.now();
  } catch (error) {
    warn([`No answer since ${age((Date.now() - heardAt) / 1000)}, so what is shown may be old. ${error.message}`]);
    return;
  }
  for (const state of states.filter((each) => each.geometry && each.published_at && asked.has(each.table))) {
    if (shown[state.table] === mark(state)) continue;
    try {
      await show(state);
    } catch (error) {
      problems.push(`The newest version could not be drawn. ${error.message}`);
    }
  }
  const wrong = states.filter((state) => state.trusted === false && !state.of); // a view is what its tables are
  warn([...wrong.map((state) => `${state.table} is ${state.state}: ${state.detail}`), ...problems]);
  key();
  element("tables").replaceChildren(...states.sort((a, b) => (a.kind + a.table).localeCompare(b.kind + b.table)).map(row));
  element("heard").textContent = states.length ? `Looked at ${new Date().toLocaleTimeString()}; changes are shown as they are published.` : "Nothing is loaded yet: flux-assets load";
}

// One at a time: what comes meanwhile is one more.
let running = false;
let again = false;
async function refresh() {
  again = true;
  if (running) return;
  running = true;
  while (again) {
    again = false;
    await update();
  }
  running = false;
}

const bounds = await (await fetch("bounds")).json().catch(() => null);
const map = new MapLibre({
  container: "map",
  style: { version: 8, sources: {}, layers: [{ id: "ground", type: "background", paint: { "background-color": "#f4f1ea" } }] },
  bounds: bounds ?? [-180, -60, 180, 75],
  fitBoundsOptions: { padding: { top: 30, bottom: 30, left: 30, right: 374 } },
  attributionControl: false,
});
map.addControl(new NavigationControl(), "bottom-left");
map.addControl(new ScaleControl(), "bottom-left");
map.addControl(new AttributionControl({ compact: false, customAttribution: "MapLibre" }));
globalThis.fluxMap = map; // for whoever looks at it by a program

await map.once("load");
new EventSource("changes").onmessage = refresh;
setInterval(refresh, ASK_AGAIN);
refresh();
