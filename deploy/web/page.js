"use strict";
/* The operator's page. It asks the run's addresses (deploy/web/routes.py says which) and shows what they answer.
   Text from outside enters the document as text only: nothing here makes HTML out of strings. */

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const GOOD = new Set(["running", "holding"]);
const WORDS = {
  opening: "Opening", running: "Running", holding: "Holding still (correction)", frozen: "Frozen picture", silent: "No answer from the driver",
  reconnecting: "Lost, reconnecting", failed: "Failed", ended: "Ended",
};
const page = {
  state: null, people: [], total: 0, timeline: { stays: [], gaps: [], now_s: 0 }, failures: 0, locked: false, rows: "person",
  large: null, person: null, search: null, enrol: null, loaded: { people: false, timeline: false },
};

/* ---------- small tools ---------- */

function el(tag, props = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** Make the children of a list those of `items`, keeping the nodes of those that stay: focus and pictures live on. */
function reconcile(list, items, key, make, update) {
  const before = new Map([...list.children].map((node) => [node.dataset.key, node]));
  let place = list.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let node = before.get(name);
    if (!node) {
      node = make(item);
      node.dataset.key = name;
    }
    before.delete(name);
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else list.insertBefore(node, place);
  }
  for (const node of before.values()) node.remove();
}

class Failure extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), options.patience || 20000);
  try {
    const reply = await fetch(path, { ...options, signal: limit.signal, credentials: "same-origin", cache: "no-store" });
    if (reply.status === 401) lock();
    const value = await reply.json();
    if (!reply.ok) throw new Failure(reply.status, value.error || reply.statusText);
    return value;
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(0, "The run cannot be reached.");
  } finally {
    clearTimeout(timer);
  }
}

const post = (path, value) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });

function toast(message) {
  const node = el("p", { class: "toast", text: message });
  $("toasts").append(node);
  setTimeout(() => node.remove(), 6000);
}

function fault(id, message) {
  $(id).hidden = !message;
  text($(id), message || "");
}

/** Run an action of a form: its button waits, and a failure stands beside it. */
async function act(button, faultId, work) {
  button.disabled = true;
  if (faultId) fault(faultId, "");
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (faultId) fault(faultId, error.message);
    else toast(error.message);
  } finally {
    button.disabled = false;
  }
}

/* ---------- words ---------- */

const nameOf = (person) => person.label || `ID ${person.id}`;
const placeOf = (stay) => (stay.camera === stay.modality ? stay.camera : `${stay.camera} (${stay.modality})`);
const two = (number) => String(Math.floor(number)).padStart(2, "0");
const cosine = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));

function clock(time_s) {
  if (page.state && page.state.recording) {
    const whole = Math.max(0, time_s);
    const hours = Math.floor(whole / 3600);
    return `${hours ? `${hours}:` : ""}${two((whole / 60) % 60)}:${two(whole % 60)}`;
  }
  const when = new Date(time_s * 1000);
  const today = new Date().toDateString() === when.toDateString();
  const time = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
  return today ? time : `${when.getDate()} ${when.toLocaleString("en", { month: "short" })} ${time}`;
}

function span(seconds) {
  const whole = Math.max(0, seconds);
  if (whole < 1) return "a moment";
  if (whole < 60) return `${Math.round(whole)} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h ${two((whole / 60) % 60)} min`;
  return `${Math.floor(whole / 86400)} days`;
}

function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

function seenLine(person) {
  if (person.here.length) return el("p", { class: "here", text: `Here now: ${person.here.join(", ")}` });
  const cameras = person.cameras.filter((camera) => camera !== "enrolled");
  if (!cameras.length) return el("p", { text: "Enrolled, not seen yet" });
  const ago = span((page.state ? page.state.now_s : person.last_s) - person.last_s);
  return el("p", { text: `Last seen ${clock(person.last_s)}, ${ago} ago` });
}

/* ---------- faces and meters ---------- */

function face(person, modality) {
  const digits = person.faces[modality];
  const frame = el("div", { class: "frame" });
  if (digits) {
    const picture = el("img", { src: `/api/people/${person.id}/${modality}.jpg?v=${digits}`, alt: `${nameOf(person)}, ${modality}`, loading: "lazy" });
    picture.addEventListener("error", () => frame.replaceChildren("no picture"));
    frame.append(picture);
  } else frame.append("no picture");
  return el("figure", { class: "face" }, frame, el("figcaption", { text: modality }));
}

const facesKey = (person) => `${person.id} ${person.label} ${person.faces.visible} ${person.faces.infrared}`;

/** Put both faces into a node, and leave them alone while they are the same: pictures must not flicker. */
function fillFaces(node, person) {
  if (node.dataset.faces === facesKey(person)) return;
  node.dataset.faces = facesKey(person);
  node.replaceChildren(face(person, "visible"), face(person, "infrared"));
}

function meter(label, value, least = null, match = true) {
  const part = (number) => `${Math.round(1000 * Math.min(1, Math.max(0, number))) / 10}%`;
  const track = el("div", { class: "track" }, el("div", { class: "fill", style: { width: part(value || 0) } }));
  if (least !== null && least !== undefined) track.append(el("div", { class: "least", style: { left: part(least) } }));
  return el("div", { class: `meter${match ? "" : " no"}` }, el("span", { text: label }), track, el("b", { text: cosine(value) }));
}

function nameLine(person) {
  return el("p", { class: "name" }, el("i", { class: "swatch", style: { background: person.colour } }), el("span", { text: nameOf(person) }));
}

/* ---------- the state of the run ---------- */

function showState() {
  const state = page.state;
  text($("engine"), state.engine);
  const seeing = state.cameras.filter((camera) => GOOD.has(camera.state)).length;
  const pills = [
    { key: "cameras", tone: seeing === state.cameras.length ? "good" : seeing ? "warn" : "bad", words: `${seeing} of ${plural(state.cameras.length, "camera", "cameras")}` },
    { key: "fps", tone: "", words: `${state.fps.toFixed(1)} frames/s` },
    { key: "threshold", tone: /no identities/i.test(state.threshold) ? "warn" : "", words: state.threshold },
  ];
  if (state.load.level) pills.push({ key: "load", tone: "warn", words: `Load: ${state.load.meaning}` });
  reconcile($("pills"), pills.filter((pill) => pill.words), (pill) => pill.key,
    () => el("li", {}, el("i", { class: "dot" }), el("span")),
    (node, pill) => {
      node.className = `pill ${pill.tone === "good" ? "" : pill.tone}`;
      node.firstChild.className = `dot ${pill.tone}`;
      node.firstChild.hidden = pill.key !== "cameras";
      text(node.lastChild, pill.words);
      node.title = pill.words;
    });
  const remarks = [...state.problems.map((words) => ({ words, tone: "bad" })), ...state.remarks.map((words) => ({ words, tone: "" }))];
  const seen = new Set();
  const alerts = remarks.filter((item) => !seen.has(item.words) && seen.add(item.words));
  $("alerts").hidden = !alerts.length;
  reconcile($("alerts"), alerts, (item) => item.words, () => el("li"), (node, item) => {
    node.className = item.tone;
    text(node, item.words);
  });
  const known = new Set(state.tracks.filter((track) => track.id !== null).map((track) => track.id)).size;
  const others = state.tracks.filter((track) => track.id === null).length;
  text($("live-note"), [known || !others ? `${plural(known, "person", "people")} in the pictures` : "", others ? plural(others, "unknown track", "unknown tracks") : ""].filter(Boolean).join(", "));
  showTiles(state.cameras);
  if (page.large) showLarge();
}

function showBanner() {
  let words = "";
  if (page.failures > 1) words = "No connection to the run. What is shown is old; trying again …";
  else if (page.state && page.state.silent_s > 5) words = `The camera loop has not answered for ${span(page.state.silent_s)}. What is shown is old.`;
  $("banner").hidden = !words;
  text($("banner"), words);
  document.body.classList.toggle("offline", Boolean(words));
}

/* ---------- live pictures ---------- */

function showTiles(cameras) {
  $("tiles").classList.toggle("few", cameras.length < 4);
  $("tiles").classList.toggle("two", cameras.length < 3);
  reconcile($("tiles"), cameras, (camera) => camera.name, makeTile, updateTile);
}

function makeTile(camera) {
  const picture = el("img", { alt: "", "data-blank": true });
  const open = el("button", { type: "button", "aria-label": `Enlarge ${camera.name}`, onclick: () => openLarge(camera.name) });
  const over = el("div", { class: "over" });
  const tile = el("article", { class: "tile", "aria-label": `Camera ${camera.name}` }, el("div", { class: "screen" }, picture, over, open),
    el("div", { class: "tile-foot" }, el("i", { class: "dot" }), el("b", { text: camera.name }),
      el("span", { class: "kind-mark", text: camera.band && camera.band !== "visible" ? `infrared ${camera.band}` : camera.modality }), el("span", { class: "end" })));
  follow(camera.name, picture, () => tile.isConnected);
  return tile;
}

function updateTile(tile, camera) {
  const good = GOOD.has(camera.state);
  const [screen, foot] = tile.children;
  const before = tile.dataset.state;
  tile.dataset.state = camera.state;
  if (before && before !== camera.state) text($("announce"), `Camera ${camera.name}: ${WORDS[camera.state] || camera.state}`);
  tile.classList.toggle("stale", !good);
  const over = screen.querySelector(".over");
  const since = page.state && !page.state.recording && camera.age_s !== null ? `last picture ${span(camera.age_s)} ago` : "";
  const said = good ? (camera.picture ? [] : ["Waiting for a picture"]) : [WORDS[camera.state] || camera.state, camera.reason, since];
  const lines = said.filter(Boolean);
  if (over.dataset.said !== lines.join("\n")) {
    over.dataset.said = lines.join("\n");
    over.replaceChildren(...lines.map((line, index) => el(index ? "span" : "b", { text: line })));
  }
  foot.children[0].className = `dot ${good ? "good" : camera.state === "failed" ? "bad" : camera.state === "ended" ? "" : "warn"}`;
  const notes = camera.notes.length ? `${camera.notes.join(", ")} · ` : "";
  text(foot.lastChild, good ? `${notes}${plural(camera.people, "person", "people")} · ${camera.fps.toFixed(1)} fps` : WORDS[camera.state] || camera.state);
}

/** Keep an image at a camera's newest picture, while `alive` says so and somebody can see it. */
async function follow(camera, image, alive) {
  let version = 0;
  let visible = true;
  const watch = new IntersectionObserver((entries) => { visible = entries[entries.length - 1].isIntersecting; });
  watch.observe(image);
  await pause(0);
  while (alive()) {
    const began = performance.now();
    let wait = 120; // 8 pictures a second at most
    if (document.hidden || !visible || page.locked) wait = 400;
    else {
      try {
        const reply = await fetch(`/live/${camera}.jpg?after=${version}`, { credentials: "same-origin", cache: "no-store" });
        if (reply.status === 200) {
          version = Number(reply.headers.get("X-Picture"));
          const address = URL.createObjectURL(await reply.blob());
          const old = image.src;
          image.src = address;
          await image.decode().catch(() => undefined);
          image.removeAttribute("data-blank");
          if (old.startsWith("blob:")) URL.revokeObjectURL(old);
        } else if (reply.status !== 204) wait = 2000;
      } catch {
        wait = 2000;
        version = 0; // a run that begins anew counts from the start
      }
    }
    await pause(Math.max(20, wait - (performance.now() - began)));
  }
  watch.disconnect();
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function openLarge(camera) {
  page.large = camera;
  text($("large-title"), camera);
  const picture = $("large-picture");
  picture.setAttribute("data-blank", "");
  picture.alt = `Live picture of ${camera}`;
  showLarge();
  $("large").showModal();
  follow(camera, picture, () => page.large === camera);
}

function showLarge() {
  const camera = page.state.cameras.find((item) => item.name === page.large);
  if (!camera) return;
  text($("large-note"), `${WORDS[camera.state] || camera.state} · ${camera.fps.toFixed(1)} fps · ${camera.dropped} dropped · ${plural(camera.reconnects, "reconnect", "reconnects")}`);
  const tracks = page.state.tracks.filter((track) => track.camera === page.large).sort((a, b) => a.track - b.track);
  reconcile($("large-tracks"), tracks, (track) => track.track, (track) => el("li", {}, el("i", { class: "swatch" }), el("span"),
    el("button", { type: "button", class: "quiet", text: "Open", onclick: (event) => openTrack(event.currentTarget.closest("li").track || track) })),
  (node, track) => {
    node.track = track;
    node.firstChild.style.background = track.colour;
    const person = page.people.find((item) => item.id === track.id);
    text(node.children[1], track.id === null ? `track ${track.track}, nobody known` : person ? nameOf(person) : `ID ${track.id}`);
    text(node.lastChild, track.id === null ? "Name" : "Open");
  });
}

function openTrack(track) {
  if (track.id === null) openEnrol({ track: { camera: track.camera, track: track.track } });
  else openPerson(track.id);
}

/* ---------- people ---------- */

function showPeople() {
  const searching = $("find").value.trim();
  text($("people-note"), page.total ? (page.people.length < page.total ? `the newest ${page.people.length} of ${page.total}` : plural(page.total, "person", "people")) : "");
  $("people-empty").hidden = Boolean(page.people.length) || !page.loaded.people;
  $("people-empty").replaceChildren(...(searching ? [el("b", { text: "Nobody of this name or number" }), "Try another one."]
    : /no identities/i.test(page.state ? page.state.threshold : "")
      ? [el("b", { text: "Nobody is told apart yet" }), "The thresholds of this engine are not calibrated. You can still name a person in a live picture, enrol pictures, and search."]
      : [el("b", { text: "Nobody yet" }), "People appear here once a camera has seen them well enough, or when you enrol one."]));
  reconcile($("cards"), page.people, (person) => person.id, makeCard, updateCard);
}

function makeCard(person) {
  return el("li", { class: "card" }, el("div", { class: "faces" }), el("div", { class: "who" }),
    el("button", { type: "button", onclick: () => openPerson(person.id) }));
}

function updateCard(card, person) {
  const [faces, who, open] = card.children;
  fillFaces(faces, person);
  open.setAttribute("aria-label", `Open ${nameOf(person)}`);
  const cameras = person.cameras.filter((camera) => camera !== "enrolled" && !person.here.includes(camera));
  who.replaceChildren(nameLine(person), seenLine(person),
    el("p", { text: [person.label ? `ID ${person.id}` : "", cameras.length ? `${person.here.length ? "before: " : "seen by "}${cameras.join(", ")}` : ""].filter(Boolean).join(" · ") || "\u00a0" }));
  if (person.similarity !== null) who.append(meter("visible – infrared", person.similarity));
}

async function openPerson(id) {
  try {
    page.person = await ask(`/api/people/${id}`);
  } catch (error) {
    toast(error.message);
    return;
  }
  showPerson(true);
  if ($("search").open) $("search").close();
  if (!$("person").open) $("person").showModal();
}

function showPerson(fresh) {
  const person = page.person;
  text($("person-title"), nameOf(person));
  if (fresh) $("rename-name").value = person.label;
  fillFaces($("person-faces"), person);
  const cameras = person.cameras.filter((camera) => camera !== "enrolled");
  const facts = [
    ["Number", `ID ${person.id}${person.enrolled ? ", named: kept until erased" : ""}`],
    ["Now", person.here.length ? `in the picture of ${person.here.join(", ")}` : "not in a picture"],
    ["First seen", clock(person.first_s)], ["Last seen", clock(person.last_s)],
    ["Cameras", cameras.join(", ") || "none yet"],
    ["Visible – infrared", person.across === null ? "only one kind of camera has seen this person" : `cosine ${cosine(person.across)}`],
    ["Kept", plural(person.tracklets, "appearance", "appearances")],
  ];
  $("person-facts").replaceChildren(...facts.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
  $("person-stays").replaceChildren(...person.stays.map((stay) => el("tr", {}, el("td", { text: clock(stay.first_s) }),
    el("td", { text: stay.camera === "enrolled" ? "enrolled by an operator" : placeOf(stay) }),
    el("td", { text: stay.live ? "still there" : stay.camera === "enrolled" ? "" : span(stay.last_s - stay.first_s) }),
    el("td", { text: stay.similarity === null ? "" : cosine(stay.similarity) }))));
}

async function rename(event) {
  event.preventDefault();
  await act(event.submitter || $("rename").querySelector("button"), null, async () => {
    const person = await post(`/api/people/${page.person.id}/name`, { name: $("rename-name").value });
    Object.assign(page.person, person);
    showPerson(true);
    toast(person.label ? `ID ${person.id} is ${person.label} now` : `ID ${person.id} has no name any more`);
    await refresh();
  });
}

/* ---------- merge and erase ---------- */

function openMerge() {
  const others = page.people.filter((person) => person.id !== page.person.id);
  $("merge-other").replaceChildren(...others.map((person) => el("option", { value: person.id, text: person.label ? `${person.label} (ID ${person.id})` : `ID ${person.id}` })));
  fault("merge-fault", others.length ? "" : "There is nobody else.");
  $("merge-submit").disabled = !others.length;
  showMerge();
  $("merge").showModal();
}

function showMerge() {
  const other = page.people.find((person) => String(person.id) === $("merge-other").value);
  const side = (person) => {
    const faces = el("div", { class: "faces" });
    fillFaces(faces, person);
    return el("div", {}, el("h3", { text: nameOf(person) }), faces);
  };
  $("merge-faces").replaceChildren(side(page.person), ...(other ? [side(other)] : []));
  text($("merge-note"), other ? `Everything of ID ${other.id} will belong to ID ${page.person.id}. This cannot be undone.` : "");
}

async function merge(event) {
  event.preventDefault();
  await act($("merge-submit"), "merge-fault", async () => {
    const absorbed = Number($("merge-other").value);
    const person = await post("/api/merge", { kept: page.person.id, absorbed });
    $("merge").close();
    toast(`ID ${absorbed} and ID ${person.id} are one person now`);
    await Promise.all([openPerson(person.id), refresh()]);
  });
}

function openErase() {
  const person = page.person;
  text($("erase-title"), `Erase ${nameOf(person)}?`);
  const faces = ["visible", "infrared"].filter((modality) => person.faces[modality]);
  const parts = [
    `${plural(person.tracklets, "appearance", "appearances")} with their embeddings`,
    faces.length ? `the ${faces.join(" and the ")} picture` : null,
    person.label ? `the name ${person.label}` : null,
    `${plural(person.stays.length, "stay", "stays")} in the timeline`,
  ].filter(Boolean);
  $("erase-what").replaceChildren(el("p", { text: "This is removed from the gallery for good, also from the disk:" }), el("ul", {}, ...parts.map((part) => el("li", { text: part }))),
    el("p", { class: "note", text: `What was recorded before stays as it is: the sightings file with the number ${person.id}, and saved videos.${person.here.length ? " The person is in a picture now and will be a new, unknown one from here on." : ""}` }));
  fault("erase-fault", "");
  $("erase").showModal();
  $("erase-cancel").focus();
}

async function erase(event) {
  event.preventDefault();
  await act($("erase-submit"), "erase-fault", async () => {
    const person = page.person;
    await ask(`/api/people/${person.id}`, { method: "DELETE" });
    $("erase").close();
    $("person").close();
    toast(`${nameOf(person)} was erased`);
    await refresh();
    $("people").focus();
  });
}

/* ---------- pictures that the operator gives ---------- */

const LONGEST = 1920;

/** Return a picture to send: photographs are scaled down here, everything else is sent as it is. */
async function prepared(file) {
  if (file.size < 1.5e6 || !/^image\/(jpeg|png|webp)$/.test(file.type)) return file;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    const canvas = el("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await new Promise((done) => canvas.toBlob((blob) => done(blob || file), "image/jpeg", 0.92));
  } catch {
    return file;
  }
}

const images = (list) => [...list].filter((file) => file.type.startsWith("image/") || /\.(tiff?|bmp)$/i.test(file.name));

function droppable(zone, take) {
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => { event.preventDefault(); event.stopPropagation(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    zone.classList.remove("over");
    const files = images(event.dataTransfer.files);
    if (files.length) take(files);
    else toast("That is no picture.");
  });
}

function base64(blob) {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => fail(new Failure(0, "The picture could not be read."));
    reader.readAsDataURL(blob);
  });
}

/* ---------- search by picture ---------- */

function openSearch(file) {
  if (!file && !page.search) resetSearch();
  if (!$("search").open) $("search").showModal();
  if (file) takeSearch(file);
}

function resetSearch() {
  if (page.search) URL.revokeObjectURL(page.search.address);
  page.search = null;
  $("search-file").value = "";
  $("search-hint").hidden = false;
  $("search-preview").hidden = true;
  $("search-enrol").hidden = true;
  text($("search-found"), "");
  text($("search-note"), "Whom the picture resembles stands here.");
  $("hits").replaceChildren();
}

async function takeSearch(file) {
  resetSearch();
  const blob = await prepared(file);
  page.search = { blob, person: 0, address: URL.createObjectURL(blob), result: null, number: 0 };
  $("search-hint").hidden = true;
  $("search-preview").hidden = false;
  const picture = el("img", { src: page.search.address, alt: "The picture to search for" });
  picture.addEventListener("error", () => picture.replaceWith(el("span", { text: "This browser cannot show the picture." })));
  $("search-preview").replaceChildren(picture);
  await runSearch();
}

async function runSearch() {
  const search = page.search;
  if (!search) return;
  const number = ++search.number;
  const modality = document.querySelector('input[name="search-modality"]:checked').value;
  $("search-results").setAttribute("aria-busy", "true");
  $("hits").classList.add("busy");
  text($("search-note"), "Searching …");
  try {
    const result = await ask(`/api/search?modality=${modality}&person=${search.person}`, { method: "POST", body: search.blob });
    if (search !== page.search || number !== search.number) return;
    search.result = result;
    search.modality = modality;
    showSearch();
  } catch (error) {
    if (search === page.search && number === search.number) {
      text($("search-note"), error.message);
      $("hits").replaceChildren();
    }
  } finally {
    $("hits").classList.remove("busy");
    $("search-results").setAttribute("aria-busy", "false");
  }
}

function showSearch() {
  const { result, person } = page.search;
  const preview = $("search-preview");
  preview.querySelectorAll("button").forEach((node) => node.remove());
  result.boxes.forEach((box, index) => preview.append(el("button", {
    type: "button", "aria-pressed": index === result.chosen, "aria-label": `Person ${index + 1} of ${result.boxes.length}`,
    style: { left: `${(100 * box[0]) / result.width}%`, top: `${(100 * box[1]) / result.height}%`, width: `${(100 * box[2]) / result.width}%`, height: `${(100 * box[3]) / result.height}%` },
    onclick: (event) => { event.preventDefault(); page.search.person = index; runSearch(); },
  })));
  text($("search-found"), result.boxes.length > 1 ? `${result.boxes.length} people found; person ${person + 1} is searched. Choose another one in the picture.`
    : result.boxes.length ? "One person found." : "The whole picture is taken for the person.");
  $("search-enrol").hidden = false;
  const known = result.least.visible !== null || result.least.infrared !== null;
  text($("search-note"), !result.hits.length ? "The gallery is empty: there is nobody to compare with."
    : known ? `Among ${plural(result.people, "person", "people")}; the mark on a bar is the least cosine of a match.`
      : "Not calibrated: these are similarities (cosine), and none of them says that it is the same person.");
  $("hits").replaceChildren(...result.hits.map(hitRow));
}

function hitRow(hit) {
  const faces = el("div", { class: "faces" });
  fillFaces(faces, hit.person);
  const who = el("div", { class: "who" }, nameLine(hit.person));
  if (hit.above !== null) who.append(el("p", { class: `verdict ${hit.above ? "yes" : ""}`, text: hit.above ? "Match: above the threshold" : "Below the threshold" }));
  for (const modality of ["visible", "infrared"]) {
    if (hit[modality] !== null) who.append(meter(modality, hit[modality], page.search.result.least[modality], hit.above !== false));
  }
  return el("li", { class: "hit" }, faces, who, el("button", { type: "button", "aria-label": `Open ${nameOf(hit.person)}`, onclick: () => openPerson(hit.person.id) }));
}

/* ---------- enrol ---------- */

function openEnrol({ track = null, pictures = [] } = {}) {
  page.enrol = { track, pictures };
  $("enrol-name").value = "";
  $("enrol-files").value = "";
  $("enrol-pictures").hidden = Boolean(track);
  $("enrol-track").hidden = !track;
  text($("enrol-track"), track ? `With what camera ${track.camera} has seen of track ${track.track} so far.` : "");
  fault("enrol-fault", "");
  showThumbs();
  $("enrol").showModal();
  $("enrol-name").focus();
}

async function takeEnrol(files) {
  for (const file of files) {
    const blob = await prepared(file);
    page.enrol.pictures.push({ blob, modality: "visible", person: 0, address: URL.createObjectURL(blob), name: file.name });
  }
  showThumbs();
}

function showThumbs() {
  reconcile($("enrol-thumbs"), page.enrol.pictures, (picture) => picture.address, (picture) => {
    const kind = el("select", { "aria-label": `Kind of camera of ${picture.name}`, onchange: (event) => { picture.modality = event.target.value; } },
      el("option", { value: "visible", text: "visible camera" }), el("option", { value: "infrared", text: "infrared camera" }));
    kind.value = picture.modality;
    const remove = el("button", { type: "button", class: "quiet", text: "Remove", "aria-label": `Remove ${picture.name}`, onclick: () => {
      page.enrol.pictures = page.enrol.pictures.filter((item) => item !== picture);
      URL.revokeObjectURL(picture.address);
      showThumbs();
    } });
    return el("li", {}, el("img", { src: picture.address, alt: "" }), kind, remove);
  }, () => undefined);
}

async function enrol(event) {
  event.preventDefault();
  await act($("enrol-submit"), "enrol-fault", async () => {
    const name = $("enrol-name").value;
    const { track, pictures } = page.enrol;
    if (!track && !pictures.length) throw new Failure(0, "Choose at least one picture.");
    const wish = track ? { name, track } : { name, pictures: await Promise.all(pictures.map(async (picture) => ({ modality: picture.modality, person: picture.person, data: await base64(picture.blob) }))) };
    const { person, similar } = await post("/api/enrol", wish);
    pictures.forEach((picture) => URL.revokeObjectURL(picture.address));
    $("enrol").close();
    toast(similar.length ? `${nameOf(person)} is enrolled, and resembles ${similar.map((hit) => nameOf(hit.person)).join(", ")}: if that is the same person, merge them` : `${nameOf(person)} is enrolled as ID ${person.id}`);
    await refresh();
    if (track || similar.length) await openPerson(person.id);
  });
}

/* ---------- timeline ---------- */

const LANE = 11;
const ROW = 36;
const MOST_ROWS = 40;

function showTimeline() {
  const { stays, gaps } = page.timeline;
  $("times-empty").hidden = Boolean(stays.length) || !page.loaded.timeline;
  $("chart").hidden = !stays.length && page.loaded.timeline;
  $("legend").hidden = !stays.length || page.rows === "table";
  $("times-empty").replaceChildren(el("b", { text: "Nobody was seen in this time" }), "Choose a longer one, or wait for somebody to come.");
  if (!stays.length) {
    text($("times-note"), "");
    return;
  }
  if (page.rows === "table") showTable(stays);
  else drawChart(stays, gaps);
}

function labelOf(id) {
  if (id === null) return "nobody known";
  const person = page.people.find((item) => item.id === id);
  return person ? nameOf(person) : `ID ${id}`;
}

function showTable(stays) {
  text($("times-note"), plural(stays.length, "stay", "stays"));
  const rows = stays.slice(0, 300).map((stay) => el("tr", {}, el("td", { text: clock(stay.first_s) }), el("td", { text: stay.live ? "now" : clock(stay.last_s) }),
    el("td", {}, stay.id === null ? "nobody known" : el("button", { type: "button", text: labelOf(stay.id), onclick: () => openPerson(stay.id) })),
    el("td", { text: placeOf(stay) }), el("td", { text: stay.similarity === null ? "" : cosine(stay.similarity) })));
  const head = ["From", "To", "Who", "Camera", "Similarity"].map((name) => el("th", { scope: "col", text: name }));
  const body = $("chart").querySelector("tbody");
  if (body) body.replaceChildren(...rows); // the place where somebody reads stays
  else $("chart").replaceChildren(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Stays" }, el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))));
}

/** Give each row its name, and each of its stays a lane so that none hides another. */
function rowsOf(stays, gaps) {
  const rows = new Map();
  const byCamera = page.rows === "camera";
  if (byCamera && page.state) for (const camera of page.state.cameras) rows.set(camera.name, { name: camera.name, stays: [], gaps: gaps.filter((gap) => gap.camera === camera.name) });
  for (const stay of stays) {
    if (stay.camera === "enrolled") continue;
    const key = byCamera ? stay.camera : stay.id;
    if (!rows.has(key)) rows.set(key, { id: stay.id, name: byCamera ? stay.camera : labelOf(stay.id), stays: [], gaps: [] });
    rows.get(key).stays.push(stay);
  }
  const all = [...rows.values()].sort((a, b) => (a.id === null) - (b.id === null)); // who is nobody yet comes last
  for (const row of all) {
    const ends = [];
    for (const stay of [...row.stays].sort((a, b) => a.first_s - b.first_s)) {
      let lane = byCamera ? ends.findIndex((end) => end < stay.first_s) : stay.modality === "infrared" ? 1 : 0;
      if (lane < 0) lane = Math.min(ends.length, 4);
      ends[lane] = stay.last_s;
      stay.lane = lane;
    }
    row.lanes = byCamera ? Math.max(1, ends.length) : 2;
    row.height = Math.max(ROW, row.lanes * (LANE + 2) + 10);
  }
  return all;
}

function drawChart(stays, gaps) {
  const width = $("chart").clientWidth || 600;
  const every = rowsOf(stays, gaps);
  const rows = every.slice(0, MOST_ROWS);
  text($("times-note"), every.length > MOST_ROWS ? `the newest ${MOST_ROWS} of ${every.length}` : "");
  const left = width < 520 ? 92 : 150;
  const chosen = Number($("window").value);
  const end = Math.max(page.timeline.now_s, ...stays.map((stay) => stay.last_s));
  const earliest = Math.min(...stays.map((stay) => stay.first_s));
  const begin = Math.min(end - 30, chosen ? Math.max(end - chosen, earliest - 5) : earliest); // a young run fills the width too
  const length = end - begin;
  const x = (time_s) => left + ((width - left - 14) * (Math.max(time_s, begin) - begin)) / length;
  const top = 28;
  const height = top + rows.reduce((sum, row) => sum + row.height, 0) + 4;
  const svg = el("svg:svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `Timeline of ${plural(every.length, page.rows, page.rows === "person" ? "people" : "cameras")}; the button Table has the same as text` });
  svg.append(el("svg:defs", {}, stripes("gap", "gap-line", 5), stripes("ir", "stripe", 5)));
  for (const time_s of ticks(begin, end, Math.max(2, Math.floor((width - left) / 110)))) {
    svg.append(el("svg:line", { class: "grid", x1: x(time_s), x2: x(time_s), y1: top - 4, y2: height }));
    const words = el("svg:text", { x: Math.min(x(time_s), width - 30), y: 17, "text-anchor": "middle" });
    words.textContent = length < 600 || (page.state && page.state.recording) ? clock(time_s) : clock(time_s).slice(0, -3);
    svg.append(words);
  }
  let y = top;
  for (const row of rows) {
    drawRow(svg, row, y, { x, left, width, begin, end });
    y += row.height;
  }
  svg.append(el("svg:line", { class: "now", x1: x(end), x2: x(end), y1: top - 6, y2: height }));
  $("chart").replaceChildren(svg);
}

function drawRow(svg, row, y, { x, left, width, begin, end }) {
  svg.append(el("svg:line", { class: "rule", x1: 0, x2: width, y1: y, y2: y }));
  const words = el("svg:text", { class: "label", x: 12, y: y + row.height / 2 + 4 });
  words.textContent = shortened(row.name, left - 20);
  svg.append(words);
  for (const gap of row.gaps) {
    const last = gap.last_s === null ? end : gap.last_s;
    if (last < begin) continue;
    const mark = el("svg:rect", { class: "lost", x: x(gap.first_s), y: y + 4, width: Math.max(1, x(last) - x(gap.first_s)), height: row.height - 8 });
    mark.append(titled(`${WORDS[gap.state] || gap.state}${gap.reason ? `: ${gap.reason}` : ""}, from ${clock(gap.first_s)}`));
    svg.append(mark);
  }
  const pad = (row.height - row.lanes * (LANE + 2) + 2) / 2;
  for (const stay of row.stays) {
    const from = x(stay.first_s);
    const size = { x: from, y: y + pad + stay.lane * (LANE + 2), width: Math.max(3, x(stay.live ? Math.max(stay.last_s, end) : stay.last_s) - from), height: LANE, rx: 2 };
    const bar = el("svg:rect", { ...size, class: "stay", fill: stay.colour, onclick: () => (stay.id === null ? openTrackOf(stay) : openPerson(stay.id)) });
    bar.append(titled(`${labelOf(stay.id)}, ${placeOf(stay)}, ${clock(stay.first_s)} to ${stay.live ? "now" : clock(stay.last_s)}${stay.similarity === null ? "" : `, similarity ${cosine(stay.similarity)}`}`));
    svg.append(bar);
    if (stay.modality === "infrared") svg.append(el("svg:rect", { ...size, fill: "url(#ir)", style: { pointerEvents: "none" } }));
  }
}

function openTrackOf(stay) {
  if (stay.live) openTrack(stay);
  else toast("Nobody was recognised here, and the track has ended.");
}

function titled(words) {
  const node = el("svg:title");
  node.textContent = words;
  return node;
}

function stripes(id, className, step) {
  return el("svg:pattern", { id, width: step, height: step, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, el("svg:line", { class: className, x1: 0, y1: 0, x2: 0, y2: step }));
}

function shortened(words, width_px) {
  const most = Math.floor(width_px / 7.2);
  return words.length > most ? `${words.slice(0, most - 1)}…` : words;
}

function ticks(begin, end, most) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 604800, 2592000];
  const step = steps.find((size) => (end - begin) / size <= most) || 31536000;
  const shift = page.state && page.state.recording ? 0 : new Date(end * 1000).getTimezoneOffset() * 60;
  const found = [];
  for (let time_s = Math.ceil((begin - shift) / step) * step + shift; time_s <= end; time_s += step) found.push(time_s);
  return found;
}

/* ---------- asking again and again ---------- */

async function refreshState() {
  try {
    page.state = await ask("/api/state", { patience: 5000 });
    page.failures = 0;
    showState();
  } catch (error) {
    if (error.status !== 401) page.failures += 1;
  }
  showBanner();
}

async function refreshPeople() {
  const found = await ask(`/api/people?limit=200&text=${encodeURIComponent($("find").value.trim())}`);
  page.people = found.people;
  page.total = found.total;
  page.loaded.people = true;
  showPeople();
}

async function refreshTimeline() {
  const length = Number($("window").value);
  const now_s = page.state ? page.state.now_s : 0;
  page.timeline = await ask(`/api/timeline?limit=1000${length && now_s ? `&since=${(now_s - length).toFixed(0)}` : ""}`);
  page.loaded.timeline = true;
  showTimeline();
}

const refresh = () => Promise.all([refreshPeople(), refreshTimeline()]).catch(() => undefined);

async function every(seconds, work) {
  for (;;) {
    if (!document.hidden && !page.locked) await work().catch(() => undefined);
    await pause(1000 * seconds * (page.failures > 3 ? 3 : 1));
  }
}

/* ---------- the token ---------- */

function lock() {
  page.locked = true;
  if (!$("token").open) $("token").showModal();
}

async function unlock(event) {
  event.preventDefault();
  await act(event.submitter, "token-fault", async () => {
    const reply = await fetch("/", { headers: { Authorization: `Bearer ${$("token-text").value.trim()}` }, cache: "no-store" }).catch(() => null);
    if (!reply) throw new Failure(0, "The run cannot be reached.");
    if (reply.status === 401) throw new Failure(401, "That is not the token of this run.");
    $("token-text").value = "";
    $("token").close();
    page.locked = false;
    await refreshState();
    await refresh();
  });
}

/* ---------- wiring ---------- */

function wire() {
  if (location.search.includes("token=")) history.replaceState(null, "", location.pathname);
  for (const node of document.querySelectorAll("dialog .close")) node.addEventListener("click", () => node.closest("dialog").close());
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("click", (event) => { if (event.target === dialog && dialog.id !== "token") dialog.close(); });
  $("token").addEventListener("cancel", (event) => event.preventDefault());
  $("large").addEventListener("close", () => { page.large = null; });
  $("open-search").addEventListener("click", () => openSearch());
  $("open-enrol").addEventListener("click", () => openEnrol());
  $("open-merge").addEventListener("click", openMerge);
  $("open-erase").addEventListener("click", openErase);
  $("rename").addEventListener("submit", rename);
  $("merge-form").addEventListener("submit", merge);
  $("merge-other").addEventListener("change", showMerge);
  $("erase-form").addEventListener("submit", erase);
  $("enrol-form").addEventListener("submit", enrol);
  $("token-form").addEventListener("submit", unlock);
  $("search-file").addEventListener("change", (event) => { if (event.target.files.length) takeSearch(event.target.files[0]); });
  $("enrol-files").addEventListener("change", (event) => takeEnrol(images(event.target.files)));
  $("search-enrol").addEventListener("click", () => {
    const { blob, person, modality, address } = page.search;
    page.search = null;
    $("search").close();
    openEnrol({ pictures: [{ blob, person, modality: modality || "visible", address, name: "the picture" }] });
  });
  for (const node of document.querySelectorAll('input[name="search-modality"]')) node.addEventListener("change", runSearch);
  droppable($("search-drop"), (files) => takeSearch(files[0]));
  droppable($("enrol-drop"), takeEnrol);
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === "drop" && !document.querySelector("dialog[open]")) {
      const files = images(event.dataTransfer.files);
      if (files.length) openSearch(files[0]);
    }
  });
  let typing = 0;
  $("find").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => refreshPeople().catch(() => undefined), 250);
  });
  for (const button of document.querySelectorAll("[data-rows]")) button.addEventListener("click", () => {
    page.rows = button.dataset.rows;
    for (const other of document.querySelectorAll("[data-rows]")) other.setAttribute("aria-pressed", String(other === button));
    showTimeline();
  });
  $("window").addEventListener("change", () => refreshTimeline().catch(() => undefined));
  new ResizeObserver(() => { if (page.rows !== "table") showTimeline(); }).observe($("times-note").closest("section"));
}

async function begin() {
  wire();
  await refreshState();
  if (page.state && page.state.recording) $("window").value = "0";
  every(1, refreshState);
  every(3, refreshPeople);
  every(4, refreshTimeline);
}

begin();
