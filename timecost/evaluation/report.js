"use strict";
// The parts of the report that move. Text from models is only ever put into the page as text.
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, cls, text) => {
    const one = document.createElement(tag);
    if (cls) one.className = cls;
    if (text !== undefined) one.textContent = text;
    return one;
  };
  const reveal = (selector) => document.querySelectorAll(selector).forEach((one) => { one.hidden = false; });

  // Which to use: the last row whose limit is within what was asked.
  for (const box of document.querySelectorAll("[data-choose]")) {
    const input = box.querySelector("input"), output = box.querySelector("output");
    const rows = [...box.querySelectorAll("tbody tr")];
    const choose = () => {
      const limit = parseFloat(input.value);
      const within = rows.filter((row) => parseFloat(row.dataset.limit) <= limit);
      const row = within[within.length - 1];
      rows.forEach((one) => one.classList.toggle("chosen", one === row));
      output.replaceChildren();
      if (row) output.append("use ", row.cells[1].firstElementChild.cloneNode(true), ": " + row.cells[2].firstChild.textContent);
      else if (limit > 0) output.append(`nothing measured is that cheap: the least takes ${rows[0].cells[0].textContent} tokens.`);
      else output.append("a number of tokens, please.");
    };
    input.addEventListener("input", choose);
    input.parentElement.hidden = false;
    choose();
  }

  // The table of records: sorted by a button in each heading, filtered by words.
  const table = $("table"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const text = row.cells[column].dataset.v, number = Number(text);
    return text === "" || text === "None" ? null : Number.isNaN(number) && text !== "inf" ? text : text === "inf" ? Infinity : number;
  };
  heads.forEach((head, column) => {
    const button = make("button", "", head.firstChild.textContent);
    button.type = "button";
    head.firstChild.replaceWith(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      const rows = [...body.rows].sort((a, b) => {
        const x = value(a, column), y = value(b, column);
        if (x === null || y === null) return (x === null) - (y === null); // what is unknown stays last
        const order = typeof x === "string" || typeof y === "string" ? String(x).localeCompare(String(y)) : x - y;
        return sign * (order || 0);
      });
      body.append(...rows);
    });
  });
  const filter = $("filter"), count = $("count");
  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const cells = [...row.cells].map((cell) => cell.querySelector("bdi").textContent.toLowerCase());
      // A number is looked for as the whole of a cell, so that budget 8 does not find 8 in 98.1.
      row.hidden = !words.every((word) => cells.some((cell) => (/^[\d.]+$/.test(word) ? cell === word : cell.includes(word))));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${body.rows.length}`;
  };
  filter.addEventListener("input", show);
  filter.closest(".controls").hidden = false;
  show();

  if (!$("data")) return;
  const data = JSON.parse($("data").textContent);
  const VERDICTS = [["✓ right", "right"], ["✗ wrong", "wrong"], ["? not judged", "unjudged"]];
  const verdict = (status) => make("span", "verdict " + VERDICTS[status][1], VERDICTS[status][0]);
  const [SETTING, PROBLEM, STATUS, THINKING, ANSWER, CAUSE, STYLE, TEXT, REASON, STEPS, MEMORY] = Array(11).keys();
  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

  // A completion: its steps coloured by their marginal value where that is known, its answer marked.
  const written = (sample) => {
    const pre = make("pre");
    pre.tabIndex = 0;
    pre.setAttribute("aria-label", "Completion");
    let text = sample[TEXT];
    for (const [step, gain, chance, failed] of sample[STEPS] || []) {
      if (!text.startsWith(step)) break;
      text = text.slice(step.length);
      const span = make("span", "step" + (failed ? " failed" : ""), step);
      if (gain !== null && Math.abs(gain) >= 0.005) {
        const colour = gain > 0 ? "--gain" : "--loss";
        span.style.background = `rgb(var(${colour}) / ${Math.min(0.6, 0.1 + Math.abs(gain)).toFixed(2)})`;
      }
      const size = gain === null ? "" : Math.round(100 * Math.abs(gain));
      const points = size ? (gain > 0 ? "+" : "−") + size : size;
      span.append(make("sub", "", (failed ? "✂" : "") + points));
      span.title = `after this step a right answer has a chance of ${Math.round(100 * chance)} %`;
      pre.append(span);
    }
    const end = text.indexOf("</think>");
    if (end < 0) pre.append(text);
    else pre.append(text.slice(0, end + 8), make("span", "answer", text.slice(end + 8)));
    return pre;
  };
  const ended = { length: "cut off at the length limit", budget: "closed at its budget", value: "stopped by its forecast" };
  const facts = (sample) => {
    const budget = data.settings[sample[SETTING]].budget, over = budget && sample[THINKING] > budget;
    const asked = budget ? ` of ${budget}` : "";
    const bits = [`${sample[THINKING]}${asked} thinking${over ? " (over)" : ""} + ${sample[ANSWER]} answer tokens`];
    if (sample[STYLE]) bits.push(sample[STYLE]);
    if (sample[CAUSE] !== "natural") bits.push(ended[sample[CAUSE]] || sample[CAUSE]);
    if (sample[REASON]) bits.push(sample[REASON]);
    return bits.join("; ");
  };

  // The tokens of a B'MOJO's sample, marked by where they are while those of chunk `time` are written.
  const spanOf = ([window, , , tokens]) => Math.ceil(tokens.length / window);
  const remembered = (memory, layer, time) => {
    const [window, places, numPrompt, tokens, layers] = memory, now = Math.min(time, spanOf(memory) - 1);
    const asked = layer === "" ? layers.map((_, i) => i) : [Number(layer)].filter((i) => i < layers.length);
    const holders = new Map(), counts = []; // token -> layers that keep it
    for (const i of asked) {
      const held = layers[i].filter(([at, until]) => Math.floor(at / window) < now && now < until);
      counts.push(held.length);
      for (const [at] of held) holders.set(at, [...(holders.get(at) || []), i + 1]);
    }
    const all = make("div", "remembered"), pre = make("pre");
    const first = now * window + 1, last = Math.min(tokens.length, (now + 1) * window);
    const who = layer === "" ? "its layers keep" : `layer ${Number(layer) + 1} keeps`;
    const said = counts.length ? `${who} ${counts.join(", ")} of at most ${places} tokens` : "no such layer";
    all.append(make("p", "", `While tokens ${first} to ${last} of ${tokens.length} come: ${said}.`));
    pre.tabIndex = 0;
    pre.setAttribute("aria-label", "Tokens, the kept ones marked");
    tokens.forEach((token, at) => {
      if (at === 0 && numPrompt) pre.append(make("span", "part", "prompt "));
      if (at === numPrompt) pre.append(at ? "\n" : "", make("span", "part", "written "));
      if (token === "") return;
      const kept = holders.get(at);
      const one = make(kept ? "mark" : "span", kept ? "kept" : at >= last ? "later" : at > (now - 1) * window ? "near" : "faded", token);
      if (kept) {
        one.style.setProperty("--share", kept.length / asked.length);
        one.title = `kept by layer ${kept.join(", ")}`;
      }
      pre.append(one);
    });
    all.append(pre);
    return all;
  };
  const layerPick = $("m-layer"), timePick = $("m-time");
  if (layerPick) {
    const most = Math.max(...data.samples.map((sample) => (sample[MEMORY] ? sample[MEMORY][4].length : 0)));
    for (let i = most > 1 ? -1 : 0; i < most; i++) {
      const option = make("option", "", i < 0 ? "all" : String(i + 1));
      option.value = i < 0 ? "" : i;
      layerPick.append(option);
    }
  }
  let memories = []; // of the problem that is shown: [memory, place in its card]
  const remember = () => memories.forEach(([memory, place]) => place.replaceChildren(remembered(memory, layerPick.value, Number(timePick.value))));
  [layerPick, timePick].forEach((one) => one && one.addEventListener("input", remember));

  const dotOf = (setting) => {
    const dot = make("span", "dot");
    dot.style.background = `var(--${data.settings[setting].colour})`;
    return dot;
  };

  // One problem, all settings side by side.
  const pick = $("pick");
  const first = new Map(); // problem -> setting -> its first sample
  for (const sample of data.samples) {
    if (!first.has(sample[PROBLEM])) first.set(sample[PROBLEM], new Map());
    const mine = first.get(sample[PROBLEM]);
    if (!mine.has(sample[SETTING])) mine.set(sample[SETTING], sample);
  }
  const several = new Set(data.problems.map((problem) => problem.task)).size > 1;
  data.problems.forEach((problem, i) => {
    const head = [several ? problem.task : "", problem.difficulty === null ? "" : `difficulty ${problem.difficulty}`];
    const line = problem.prompt.replace(/\s+/g, " ").slice(0, 48);
    const option = make("option", "", [`${i + 1}`, ...head.filter(Boolean), line].join(" · "));
    option.value = i;
    pick.append(option);
  });
  const open = (index) => {
    const problem = data.problems[index];
    pick.value = index;
    $("prompt").textContent = problem.prompt;
    $("gold").replaceChildren("Right answer: ", make("bdi", "answer", problem.answer));
    const groups = new Map();
    for (const [setting, sample] of first.get(index) || []) {
      const model = data.settings[setting].model;
      if (!groups.has(model)) groups.set(model, []);
      groups.get(model).push([setting, sample]);
    }
    // A row for each model with several settings; those with one stand side by side in the first row.
    const alone = [...groups].filter(([, mine]) => mine.length === 1), rows = [...groups].filter(([, mine]) => mine.length > 1);
    const cards = $("cards");
    cards.replaceChildren();
    memories = [];
    for (const [model, mine] of [...(alone.length ? [[null, alone.flatMap(([, one]) => one)]] : []), ...rows]) {
      const grid = make("div", "cards");
      if (model !== null) {
        mine.sort(([a], [b]) => (data.settings[a].budget ?? Infinity) - (data.settings[b].budget ?? Infinity));
        const title = make("h3", "model");
        title.append(dotOf(mine[0][0]), make("bdi", "", model));
        cards.append(title);
      }
      cards.append(grid);
      for (const [index_, sample] of mine) {
        const setting = data.settings[index_], card = make("article", "card"), head = make(model === null ? "h3" : "h4");
        const name = model !== null && setting.name.startsWith(model + ", ") ? setting.name.slice(model.length + 2) : setting.name;
        const said = make("span");
        if (model === null) said.append(dotOf(index_));
        said.append(make("bdi", "", name));
        head.append(said, " ", verdict(sample[STATUS]));
        card.append(head);
        if (setting.budget) {
          const bar = make("div", "used" + (sample[THINKING] > setting.budget ? " over" : "")), fill = make("div");
          fill.style.width = `${Math.min(100, (100 * sample[THINKING]) / setting.budget)}%`;
          bar.append(fill);
          card.append(bar);
        }
        const [right, judged] = problem.right[index_];
        card.append(make("p", "", facts(sample)));
        if (judged) card.append(make("p", "", `${right} of ${plural(judged, "sample")} right`));
        card.append(written(sample));
        if (sample[MEMORY]) {
          memories.push([sample[MEMORY], make("div")]);
          card.append(memories[memories.length - 1][1]);
        }
        grid.append(card);
      }
    }
    if (layerPick) {
      $("memory").hidden = !memories.length;
      timePick.max = Math.max(0, ...memories.map(([memory]) => spanOf(memory) - 1));
      timePick.value = timePick.max;
      remember();
    }
    document.querySelector("[data-step='-1']").disabled = index === 0;
    document.querySelector("[data-step='1']").disabled = index === data.problems.length - 1;
  };
  pick.addEventListener("change", () => open(Number(pick.value)));
  document.querySelectorAll("[data-step]").forEach((button) => {
    button.addEventListener("click", () => open(Number(pick.value) + Number(button.dataset.step)));
  });
  open(data.first);

  // All samples of the page, twenty at a time.
  const PAGE = 20, list = $("list"), controls = ["s-setting", "s-status", "s-text"].map($);
  data.settings.forEach((setting, i) => {
    const option = make("option", "", several ? `${setting.task}: ${setting.name}` : setting.name);
    option.value = i;
    controls[0].append(option);
  });
  let start = 0;
  const lower = new Map();
  const searched = (sample, i) => {
    if (!lower.has(i)) lower.set(i, (data.problems[sample[PROBLEM]].prompt + "\n" + sample[TEXT]).toLowerCase());
    return lower.get(i);
  };
  const render = () => {
    const [setting, status, text] = controls.map((one) => one.value.toLowerCase());
    const found = data.samples.filter((sample, i) =>
      (setting === "" || sample[SETTING] === Number(setting)) && (status === "" || sample[STATUS] === Number(status)) &&
      (text === "" || searched(sample, i).includes(text)));
    start = Math.max(0, Math.min(start, found.length - 1));
    start -= start % PAGE;
    const part = found.slice(start, start + PAGE);
    $("s-count").textContent = found.length ? `${start + 1} to ${start + part.length} of ${found.length.toLocaleString("en")}` : "none";
    list.replaceChildren(...part.map((sample) => {
      const one = make("details"), head = make("summary"), problem = data.problems[sample[PROBLEM]];
      const begin = problem.prompt.replace(/\s+/g, " ").slice(0, 48);
      head.append(verdict(sample[STATUS]), " ", make("bdi", "", data.settings[sample[SETTING]].name), " ",
        make("bdi", "start", begin));
      one.append(head);
      one.addEventListener("toggle", () => {
        if (!one.open || one.childElementCount > 1) return;
        const gold = make("p", "", "Right answer: "), prompt = make("pre", "", problem.prompt);
        prompt.tabIndex = 0;
        prompt.setAttribute("aria-label", "Problem");
        gold.append(make("bdi", "answer", problem.answer));
        one.append(prompt, gold, make("p", "note", facts(sample)), written(sample));
      });
      return one;
    }));
    $("s-back").disabled = start === 0;
    $("s-more").disabled = start + PAGE >= found.length;
  };
  controls.forEach((one) => one.addEventListener("input", () => { start = 0; render(); }));
  $("s-back").addEventListener("click", () => { start -= PAGE; render(); });
  $("s-more").addEventListener("click", () => { start += PAGE; render(); });
  render();
  reveal("[data-problem], [data-samples]");
})();
