// Search by section. Sphinx's `Search` reads the query, splits and stems it; the sections come from sections.js
// (made with the book, see search_sections.py), so that a book opened as files is searched too.
"use strict";

const SectionSearch = (() => {
  const LEAST = 0.05; // of the worth of the best; what has less is not shown
  const MOST_OF_A_PAGE = 4;
  const MOST = 100;
  let index = null, waiting = null;

  // [section, worth] of a stem; of all stems that begin with it where the book does not have it, worth half
  function places(stem) {
    const own = Object.hasOwn(index.words, stem);
    const stems = own ? [stem] : stem.length < 3 ? [] : Object.keys(index.words).filter((word) => word.startsWith(stem));
    const found = new Map();
    for (const word of stems) {
      const list = index.words[word];
      let place = 0; // each is counted from the one before
      for (let i = 0; i < list.length; i += 2) {
        place += list[i];
        found.set(place, Math.max(found.get(place) || 0, own ? list[i + 1] : list[i + 1] / 2));
      }
    }
    return found;
  }

  // Where `part` stands in `whole`, both lists of stems; -1 if nowhere.
  const within = (part, whole) => whole.findIndex((_, i) => part.every((stem, k) => whole[i + k] === stem));

  // The query, and what it may mean in the words of the book.
  function readings(query) {
    const all = [query];
    for (const [asked, meant] of index.synonyms) {
      const at = within(asked, query);
      if (at >= 0) all.push([...query.slice(0, at), ...meant, ...query.slice(at + asked.length)]);
    }
    return all;
  }

  // The worth of sections for one reading: the sum over its words, cut where words are missing.
  function worth(stems) {
    const found = [...new Set(stems)].map(places).filter((map) => map.size);
    const sum = new Map(), hits = new Map();
    for (const map of found) {
      for (const [section, value] of map) {
        sum.set(section, (sum.get(section) || 0) + value);
        hits.set(section, (hits.get(section) || 0) + 1);
      }
    }
    for (const [section, value] of sum) {
      let weight = (hits.get(section) / found.length) ** 3;
      // the words together, as the heading or in it
      const [page, , trail] = index.sections[section];
      const heading = stemsOf(trail.length ? trail.at(-1) : index.pages[page][1]);
      if (stems.length > 1 && within(stems, heading) >= 0) weight *= 1.5;
      sum.set(section, value * weight);
    }
    return sum;
  }

  const stemmer = new Stemmer();
  const stemsOf = (text) => splitQuery(text.toLowerCase().trim())
    .filter((word) => word.length > 1 && !stopwords.includes(word) && !/^\d/.test(word))
    .map((word) => (word.length > 2 ? stemmer.stemWord(word) : word));

  function find(query) {
    const best = new Map();
    const asked = stemsOf(query);
    for (const stems of readings(asked)) {
      for (const [section, value] of worth(stems)) best.set(section, Math.max(best.get(section) || 0, value));
    }
    const least = LEAST * Math.max(...best.values(), 0);
    const name = /[._]|[a-z][A-Z]/.test(query) ? query.trim().toLowerCase() : null; // a name of the library
    const results = [...best].filter(([, value]) => value >= least).map(([section, value]) => {
      const [page, anchor, trail, lead] = index.sections[section];
      const [address, title, tier] = index.pages[page];
      const called = (trail.at(-1) || "").toLowerCase();
      const exact = called === name || called.endsWith(`.${name}`);
      return { address, title, anchor, trail, lead, value, tier: exact ? 0 : tier };
    });
    results.sort((a, b) => a.tier - b.tier || b.value - a.value);
    const ofPage = {};
    return results.filter(({ address }) => (ofPage[address] = (ofPage[address] || 0) + 1) <= MOST_OF_A_PAGE).slice(0, MOST);
  }

  function show(results) {
    const root = document.documentElement.dataset.content_root || "";
    const items = results.map(({ address, title, anchor, trail, lead }) => {
      const item = document.createElement("li");
      const link = item.appendChild(document.createElement("a"));
      link.href = root + address + (anchor && "#" + anchor);
      link.textContent = [title, ...trail].join(" › ");
      const context = item.appendChild(document.createElement("p"));
      context.className = "context";
      context.textContent = lead;
      return item;
    });
    Search.output.replaceChildren(...items);
    Search.stopPulse();
    Search.title.textContent = _("Search Results");
    Search.status.setAttribute("role", "status");
    const pages = new Set(results.map(({ address }) => address)).size;
    Search.status.textContent = results.length
      ? `Search finished, found ${results.length} ${results.length > 1 ? "sections" : "section"} on ${pages} ${pages > 1 ? "pages" : "page"}.`
      : "Nothing was found. Are all words spelled correctly?";
  }

  Search.hasIndex = () => true; // ours
  Search.query = (query) => {
    if (!index) {
      waiting = query;
      return;
    }
    Search._parseQuery(query); // keeps the words, to be marked in the page that is opened
    show(find(query));
  };

  return {
    start(sections) {
      index = sections;
      if (waiting !== null) Search.query(waiting);
    },
    find,
  };
})();
