// The explorer: two methods on one label of one image. The form is the whole state, and its fields are the permalink;
// pictures come from explorer-data.js, a photograph's from a script of its own that is loaded when it is chosen, and
// numbers from the page's table "All numbers". Nothing is fetched.
//
// A link to a view, in which all but the first field may be left out:
//   explorer.html#photo=599&label=tabby&left=cam&right=score-cam
//   explorer.html#image=val-00100&label=5&left=cam&left-head=linear&right=minmax-cam&right-head=kernel-usage
//                &view=overlay&opacity=60&outline=on
// `photo` is the photograph's id in COCO; which network it is shown under, the label says.
(() => {
  const data = window.CAM_EXPLORER;
  const form = document.querySelector("form.explorer");
  if (!data || !form) return; // the sentence that sends the reader to the table stays
  const folder = document.currentScript.src;
  const SIDES = ["left", "right"];
  const FIELDS = ["image", "label", "left", "left-head", "right", "right-head", "view", "opacity", "outline"];
  const colours = data.colours.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const summary = form.querySelector(".summary");
  let note = ""; // what was wrong with a permalink

  const numbers = new Map();
  for (const row of document.querySelectorAll(".explorer-numbers tbody tr")) {
    const cells = [...row.cells].map((cell) => cell.textContent.trim());
    numbers.set(cells.slice(0, 4).join("/"), cells);
  }

  const value = (name) => {
    const field = form.elements[name];
    return field.type === "checkbox" ? (field.checked ? "on" : "off") : field.value;
  };

  // Sets a field if it has this value to offer; says whether it had.
  const set = (name, wanted) => {
    const field = form.elements[name];
    const before = value(name);
    if (field.type === "checkbox") field.checked = wanted === "on";
    else if (field.type === "range") field.value = wanted; // which the browser may round, or refuse
    else {
      const offered = [...(field.options ?? field)].find((each) => each.value === wanted && !each.disabled);
      if (offered) offered[field.options ? "selected" : "checked"] = true;
    }
    const taken = value(name) === wanted;
    if (!taken && field.type === "range") field.value = before;
    return taken;
  };

  // An image has labels, methods and heads of its own; what is chosen stays if the image has it.
  const offer = (name, offered) => {
    const field = form.elements[name];
    for (const each of field.options ?? field) {
      each.disabled = !offered.includes(each.value);
      (field.options ? each : each.closest("label")).hidden = each.disabled;
    }
    const first = field.dataset?.first;
    if (!offered.includes(value(name))) set(name, offered.includes(first) ? first : offered[0]);
  };

  const offerAll = () => {
    const { labels, methods, heads } = data.scenes[value("image")];
    offer("label", labels);
    for (const side of SIDES) {
      offer(side, methods);
      offer(`${side}-head`, heads);
    }
  };

  // Writes the image's own name into a link that names a photograph.
  const resolve = (link) => {
    if (!link.has("photo")) return;
    const views = Object.entries(data.scenes).filter(([, { number }]) => number === Number(link.get("photo")));
    const [name] = views.find(([, { labels }]) => labels.includes(link.get("label"))) ?? views[0] ?? ["photo"];
    link.set("image", name);
  };

  const restore = () => {
    const link = new URLSearchParams(location.hash.slice(1));
    resolve(link);
    if (!link.has("image")) return false;
    const refused = FIELDS.filter((name) => {
      const known = !link.has(name) || set(name, link.get(name));
      if (name === "image") offerAll();
      return !known;
    });
    note = refused.length ? `The link asks for an unknown ${refused.join(", ")}, which is left as it was. ` : "";
    return true;
  };

  const remember = () => {
    const { number } = data.scenes[value("image")];
    const link = new URLSearchParams(
      FIELDS.map((name) => (name === "image" && number ? ["photo", number] : [name, value(name)])),
    );
    history.replaceState(null, "", `#${link}`);
  };

  const cache = new Map();
  const pixels = (address) => {
    if (!cache.has(address)) {
      const image = new Image();
      image.src = address;
      const made = image.decode().then(() => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        return context.getImageData(0, 0, canvas.width, canvas.height);
      });
      cache.set(address, made);
    }
    return cache.get(address);
  };

  const loading = new Map();
  const picturesOf = (scene) => {
    if (scene.pictures) return scene.pictures;
    if (!loading.has(scene.script)) {
      const loaded = new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = new URL(scene.script, folder);
        script.onload = () => done(scene.pictures);
        script.onerror = () => {
          loading.delete(scene.script); // another choice tries again
          failed(new Error(`${scene.title}: its pictures could not be loaded. `));
        };
        document.head.append(script);
      });
      loading.set(scene.script, loaded);
    }
    return loading.get(scene.script);
  };

  const chosen = (side) => {
    const field = form.elements[side];
    const { methods } = data.scenes[value("image")];
    const head = value(`${side}-head`);
    return { head, column: methods.indexOf(field.value), name: field.selectedOptions[0].text };
  };

  // Mixes the photograph with the map's tile: coloured over it, or hidden as the network has it hidden. A photograph
  // may be larger than its map.
  const paint = (canvas, photo, maps, [wide, high], row, column, blank) => {
    const view = value("view");
    const opacity = value("opacity") / 100;
    const { width, height } = photo;
    const painted = new ImageData(width, height);
    [canvas.width, canvas.height] = [width, height];
    for (let y = 0; y < height; y += 1) {
      const line = (row * high + Math.floor((y * high) / height)) * maps.width + column * wide;
      for (let x = 0; x < width; x += 1) {
        const to = 4 * (y * width + x);
        const level = maps.data[4 * (line + Math.floor((x * wide) / width))];
        const [over, share] =
          view === "overlay" ? [colours[level], opacity] : [blank, view === "kept" ? 1 - level / 255 : level / 255];
        for (let c = 0; c < 3; c += 1) painted.data[to + c] = photo.data[to + c] * (1 - share) + over[c] * share;
        painted.data[to + 3] = 255;
      }
    }
    canvas.getContext("2d").putImageData(painted, 0, 0);
  };

  let turn = 0;
  const draw = async (alt) => {
    const scene = data.scenes[value("image")];
    const row = scene.labels.indexOf(value("label"));
    const mine = (turn += 1);
    const pictures = await picturesOf(scene);
    for (const [i, side] of SIDES.entries()) {
      const { head, column } = chosen(side);
      const [photo, maps] = await Promise.all([pixels(pictures.photo), pixels(pictures.maps[head])]);
      if (mine !== turn) return; // a later choice is being drawn
      const canvas = form.querySelector(`canvas[data-side=${side}]`);
      paint(canvas, photo, maps, scene.size, row, column, data.blanks[head]);
      canvas.setAttribute("aria-label", alt[i]); // with the picture, not before it
    }
  };

  const amount = (text) => ({ yes: 1, no: 0 })[text] ?? parseFloat(text);

  const compare = () => {
    const both = SIDES.map(chosen);
    const scene = data.scenes[value("image")];
    const key = ({ head, name }) => [scene.key, value("label"), head, name].join("/");
    const found = both.map((one) => numbers.get(key(one)));
    const better = [[], [], []]; // left, right, equal
    for (const row of form.querySelectorAll(".comparison tr[data-column]")) {
      const { column, wanted, name } = row.dataset;
      const texts = found.map((cells) => cells[column]);
      const [left, right] = texts.map(amount);
      const gain = { high: 1, low: -1 }[wanted] * (right - left); // NaN: nothing to compare
      const best = gain < 0 ? 0 : gain > 0 ? 1 : 2;
      if (gain === gain) better[best].push(name);
      texts.forEach((text, side) => {
        const mark = document.createElement("span");
        mark.textContent = text;
        if (gain === gain && best === side) {
          mark.className = "diff up2";
          mark.insertAdjacentHTML("beforeend", ' <span aria-hidden="true">✓</span><span class="visually-hidden">better</span>');
        }
        row.cells[side + 1].replaceChildren(mark);
      });
    }
    const titles = both.map(({ head, name }) => `${name} (${head} head)`);
    const parts = titles.map((title, side) => `${title} is better in ${better[side].join(", ") || "nothing"}. `);
    const equal = better[2].length ? `Equal: ${better[2].join(", ")}.` : "";
    const bare = scene.outlines[scene.labels.indexOf(value("label"))] ? "" : "Without an outline, so without pixel truth. ";
    const where = `${scene.title}, label ${value("label")}. ${bare}`;
    const same = titles[0] === titles[1];
    const said = note + where + (same ? `Both sides show ${titles[0]}.` : parts.join("") + equal);
    if (summary.textContent !== said) summary.textContent = said; // else it would be read out again
    return titles;
  };

  const render = () => {
    offerAll();
    const titles = compare();
    const { title, labels, outlines, size } = data.scenes[value("image")];
    const outline = value("outline") === "on" ? outlines[labels.indexOf(value("label"))] : "";
    const overlay = value("view") === "overlay";
    const words = form.querySelector("[name=view]:checked + span").textContent;
    SIDES.forEach((side, i) => {
      const { parentElement } = form.querySelector(`canvas[data-side=${side}]`);
      parentElement.querySelector("svg").setAttribute("viewBox", `0 0 ${size.join(" ")}`);
      for (const path of parentElement.querySelectorAll("path")) path.setAttribute("d", outline);
      form.querySelectorAll(".comparison thead th")[i + 1].textContent = `${side}: ${titles[i]}`;
    });
    form.elements.opacity.disabled = !overlay; // the other views are what the network sees
    form.querySelector(".slider output").textContent = `${value("opacity")}%`;
    form.querySelector(".scale").hidden = !overlay;
    for (const each of form.querySelectorAll(".credit")) each.hidden = each.dataset.image !== value("image");
    draw(titles.map((side) => `${title}, label ${value("label")}, ${side}: ${words}`)).catch((error) => {
      summary.textContent = error.message;
    });
  };

  const smallOf = ({ small, pictures }) => small ?? pictures.photo;
  for (const radio of form.elements.image) radio.nextElementSibling.src = smallOf(data.scenes[radio.value]);
  form.querySelector(".bar").style.background = `linear-gradient(90deg, ${data.colours.join()})`;
  set("image", form.dataset.first);
  for (const side of SIDES) set(side, form.elements[side].dataset.first);
  offerAll();
  set("label", form.dataset.label);
  document.querySelector(".explorer-off").hidden = true;
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    note = "";
    render();
  });
  form.addEventListener("change", remember); // not at "input": a browser limits how often an address may change
  form.querySelector(".swap").addEventListener("click", () => {
    for (const name of ["", "-head"]) {
      const [left, right] = SIDES.map((side) => value(side + name));
      set(`left${name}`, right);
      set(`right${name}`, left);
    }
    note = "";
    remember();
    render();
  });
  window.addEventListener("hashchange", () => restore() && render());
  if (restore() || location.hash === "#maps") form.querySelector(".beside").scrollIntoView();
  render();
})();
